/* Which kernels run: the best by default, what the mask names, always something. */
#include <criterion/criterion.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

Test(select, every_op_has_a_kernel_and_ref_comes_with_the_mask_ref)
{
    const struct cpu_kernel *k[OP_KINDS][DTYPES] = {0};
    struct err e = {0};
    cr_assert_eq(select_kernels(k, "ref", &e), 0);
    for (int i = 0; i < OP_KINDS; i++) {
        for (int t = 0; t < DTYPES; t++) {
            cr_assert_not_null(k[i][t]);
            cr_assert_eq(k[i][t]->op, (enum op_kind)i);
            cr_assert_str_eq(k[i][t]->variant, "ref");
        }
    }
}

Test(select, nothing_is_chosen_that_this_cpu_lacks)
{
    const struct cpu_kernel *k[OP_KINDS][DTYPES] = {0};
    struct err e = {0};
    cr_assert_eq(select_kernels(k, NULL, &e), 0);
    for (int i = 0; i < OP_KINDS; i++)
        cr_assert_eq(k[i][DTYPE_BF16]->need & ~cpuid_features(), 0u);
}

Test(select, the_mask_keeps_other_variants_out)
{
    const struct cpu_kernel *k[OP_KINDS][DTYPES] = {0};
    struct err e = {0};
    cr_assert_eq(select_kernels(k, "avx2,ref", &e), 0);
    for (int i = 0; i < OP_KINDS; i++)
        cr_assert_str_neq(k[i][DTYPE_BF16]->variant, "avx512");
    if (cpuid_features() & NEED_AVX2)
        cr_assert_str_eq(k[OP_LINEAR][DTYPE_Q4_K]->variant, "avx2");
}

Test(select, an_unknown_variant_is_an_error_that_names_it)
{
    const struct cpu_kernel *k[OP_KINDS][DTYPES] = {0};
    struct err e = {0};
    cr_assert_eq(select_kernels(k, "avx2,turbo", &e), E_NOENT);
    cr_assert_not_null(strstr(e.text, "turbo"));
}
