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

Test(select, another_arithmetic_is_used_where_it_is_named_and_can_be)
{
    const struct cpu_kernel *k[OP_KINDS][DTYPES] = {0};
    struct err e = {0};
    cr_assert_eq(select_kernels(k, NULL, &e), 0);
    for (int i = 0; i < OP_KINDS; i++)
        for (int t = 0; t < DTYPES; t++)
            cr_assert_eq(k[i][t]->need & (NEED_INT16 | NEED_AMX), 0u);
    cr_assert_eq(select_kernels(k, "int16,avx2,ref", &e), 0);
    for (int t = 0; t < DTYPES; t++) { /* whole numbers in blocks, and nothing else */
        bool serves = INT16_ANY >> t & 1;
        cr_assert_eq(serves, !format_plain((enum dtype)t) && t != DTYPE_FP8);
        cr_assert_eq((k[OP_LINEAR][t]->need & NEED_INT16) != 0, serves, "%s", dtype_name(t));
        cr_assert_eq((k[OP_EXPERTS][t]->need & NEED_INT16) != 0, serves, "%s", dtype_name(t));
        cr_assert_eq(k[OP_EMBED][t]->need & NEED_INT16, 0u);
    }
    cr_assert_eq(select_kernels(k, "int16-avx2,ref", &e), 0);
    cr_assert_eq(cpu_vectors(k[OP_LINEAR][DTYPE_Q8_0]), (cpuid_features() & NEED_AVX2) != 0);
}

/* What states are stored under: no arithmetic may take up another's. */
Test(select, every_arithmetic_has_a_name_of_its_own)
{
    static const char *const masks[] = {"ref", "int16,ref", "avx2,ref", "int16,avx2,ref"};
    struct weight w[] = {{WEIGHT_MATRIX, DTYPE_Q8_0, 32, 32}, {WEIGHT_MATRIX, DTYPE_BF16, 32, 32}};
    struct op ops[] = {{.kind = OP_LINEAR, .w = {0, -1}}, {.kind = OP_LINEAR, .w = {1, -1}},
                       {.kind = OP_SHIFT, .w = {-1, -1}}};
    struct plan quantised = {.weights = w, .n_weights = 2, .ops = ops, .n_ops = 3};
    struct plan plain = {.weights = w, .n_weights = 2, .ops = ops + 1, .n_ops = 2};
    char name[ARRAY_LEN(masks)][2][64];
    for (size_t i = 0; i < ARRAY_LEN(masks); i++) {
        const struct cpu_kernel *k[OP_KINDS][DTYPES] = {0};
        struct err e = {0};
        cr_assert_eq(select_kernels(k, masks[i], &e), 0);
        numerics_cpu(k, &quantised, name[i][0], sizeof name[i][0]);
        numerics_cpu(k, &plain, name[i][1], sizeof name[i][1]);
        for (size_t j = 0; j < i; j++)
            cr_assert(strcmp(name[i][0], name[j][0]) != 0 || !(cpuid_features() & NEED_AVX2),
                      "%s: %s", masks[i], name[i][0]);
    }
    cr_assert_str_eq(name[0][0], name[0][1]);
    cr_assert_str_eq(name[0][1], name[1][1]); /* without blocks it is as if it were not named */
    cr_assert_str_eq(name[2][1], name[3][1]);
    cr_assert_not_null(strstr(name[1][0], "+int16/"));
    cr_assert_not_null(strstr(name[3][0], "+int16/"));
}

Test(select, an_unknown_variant_is_an_error_that_names_it)
{
    const struct cpu_kernel *k[OP_KINDS][DTYPES] = {0};
    struct err e = {0};
    cr_assert_eq(select_kernels(k, "avx2,turbo", &e), E_NOENT);
    cr_assert_not_null(strstr(e.text, "turbo"));
}
