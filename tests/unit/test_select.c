/* Which kernels run: the best by default, what the mask names, always something. */
#include <criterion/criterion.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/numerics.h"

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

/* Which formats int16 serves: whole numbers in blocks, and nothing else. */
static void assert_int16(const struct cpu_kernel *k[OP_KINDS][DTYPES], bool vectors)
{
    static const enum op_kind products[] = {OP_LINEAR, OP_BLOCKS, OP_EXPERTS};
    for (int t = 0; t < DTYPES; t++) {
        bool serves = INT16_ANY >> t & 1;
        cr_assert_eq(serves, !format_plain((enum dtype)t) && t != DTYPE_FP8);
        for (size_t i = 0; i < ARRAY_LEN(products); i++) {
            const struct cpu_kernel *x = k[products[i]][t];
            cr_assert_eq((x->need & NEED_INT16) != 0, serves, "%s", dtype_name((enum dtype)t));
            cr_assert(!serves || cpu_vectors(x) == vectors, "%s", x->variant);
        }
        for (int i = 0; i < OP_KINDS; i++)
            cr_assert(i == OP_LINEAR || i == OP_BLOCKS || i == OP_EXPERTS ||
                      !(k[i][t]->need & NEED_INT16));
    }
}

static void assert_no_int16(const struct cpu_kernel *k[OP_KINDS][DTYPES])
{
    for (int i = 0; i < OP_KINDS; i++)
        for (int t = 0; t < DTYPES; t++)
            cr_assert_str_eq(select_arithmetic(k[i][t]), "float32");
}

static void select_all(const struct cpu_kernel *k[OP_KINDS][DTYPES], const char *mask)
{
    struct err e = {0};
    cr_assert_eq(select_kernels(k, mask, &e), 0, "%s", e.text);
}

Test(select, blocks_are_multiplied_by_int16_on_x86_unless_a_mask_says_otherwise)
{
    static const char *const float32[] = {"float32", "avx2,ref", "avx2", "ref"};
    const struct cpu_kernel *k[OP_KINDS][DTYPES] = {0}, *named[OP_KINDS][DTYPES] = {0};
    unsigned has = cpuid_features();
    select_all(k, NULL);
    if (has & NEED_AVX2)
        assert_int16(k, true);
    else
        assert_no_int16(k); /* NEON, too */
    for (int i = 0; i < OP_KINDS; i++)
        for (int t = 0; t < DTYPES; t++)
            cr_assert(!(k[i][t]->need & NEED_AMX));
    for (size_t i = 0; i < ARRAY_LEN(float32); i++)
        if (has & NEED_AVX2 || i == 0 || i == 3) {
            const struct cpu_kernel *alone[OP_KINDS][DTYPES] = {0};
            select_all(alone, float32[i]);
            assert_no_int16(alone);
        }
    select_all(named, "int16,float32"); /* everywhere; on x86 what is used without a mask */
    assert_int16(named, (has & (NEED_AVX2 | NEED_NEON)) != 0);
    if (has & NEED_AVX2)
        cr_assert_arr_eq(named, k, sizeof k);
}

Test(select, a_name_is_a_variant_or_all_of_an_arithmetic)
{
    const struct cpu_kernel *all[OP_KINDS][DTYPES] = {0}, *one[OP_KINDS][DTYPES] = {0};
    unsigned has = cpuid_features();
    select_all(all, "float32");
    for (int i = 0; i < OP_KINDS; i++) /* the best of this machine */
        cr_assert(!(has & NEED_AVX512) || strcmp(all[i][DTYPE_BF16]->variant, "avx2") != 0);
    select_all(one, "int16-avx2,ref");
    if (has & NEED_AVX2) {
        cr_assert_str_eq(one[OP_LINEAR][DTYPE_Q8_0]->variant, "int16-avx2");
        cr_assert_str_eq(one[OP_LINEAR][DTYPE_BF16]->variant, "ref");
    }
    select_all(one, "amx,float32");
    if (has & NEED_AMX)
        cr_assert_str_eq(one[OP_LINEAR][DTYPE_Q8_0]->variant, "amx");
}

/* What states are stored under: no arithmetic may take up another's. */
Test(select, every_arithmetic_has_a_name_of_its_own)
{
    static const char *const masks[] = {"ref", "int16,ref", "float32", "int16,float32"};
    struct weight w[] = {{WEIGHT_MATRIX, DTYPE_Q8_0, 32, 32}, {WEIGHT_MATRIX, DTYPE_BF16, 32, 32}};
    struct op ops[] = {{.kind = OP_LINEAR, .w = {0, -1}, .section = -1},
                       {.kind = OP_LINEAR, .w = {1, -1}, .section = -1},
                       {.kind = OP_SHIFT, .w = {-1, -1}, .section = -1}};
    struct plan quantised = {.weights = w, .n_weights = 2, .ops = ops, .n_ops = 3};
    struct plan plain = {.weights = w, .n_weights = 2, .ops = ops + 1, .n_ops = 2};
    char name[ARRAY_LEN(masks)][2][64];
    for (size_t i = 0; i < ARRAY_LEN(masks); i++) {
        const struct cpu_kernel *k[OP_KINDS][DTYPES] = {0};
        struct err e = {0};
        cr_assert_eq(select_kernels(k, masks[i], &e), 0);
        numerics_cpu(k, &quantised, name[i][0], sizeof name[i][0]);
        numerics_cpu(k, &plain, name[i][1], sizeof name[i][1]);
        cr_assert_eq(*numerics_inputs(name[i][0]) != 0, strncmp(masks[i], "int16", 5) == 0);
        cr_assert_str_empty(numerics_inputs(name[i][1]));
        for (size_t j = 0; j < i; j++)
            cr_assert(strcmp(name[i][0], name[j][0]) != 0 || !(cpuid_features() & NEED_AVX2),
                      "%s: %s", masks[i], name[i][0]);
    }
    cr_assert_str_eq(name[0][0], name[0][1]);
    cr_assert_str_eq(name[0][1], name[1][1]); /* without blocks it is as if it were not named */
    cr_assert_str_eq(name[2][1], name[3][1]);
    cr_assert_not_null(strstr(name[1][0], "+int16/"));
    cr_assert_not_null(strstr(name[3][0], "+int16/"));
    if (cpuid_features() & NEED_AVX2) { /* the default: both names are those that states have */
        const struct cpu_kernel *k[OP_KINDS][DTYPES] = {0};
        char both[2][64];
        select_all(k, NULL);
        numerics_cpu(k, &quantised, both[0], sizeof both[0]);
        numerics_cpu(k, &plain, both[1], sizeof both[1]);
        cr_assert_str_eq(both[0], name[3][0]);
        cr_assert_str_eq(both[1], name[2][1]);
    }
}

Test(select, an_unknown_variant_is_an_error_that_names_it)
{
    const struct cpu_kernel *k[OP_KINDS][DTYPES] = {0};
    struct err e = {0};
    cr_assert_eq(select_kernels(k, "float32,turbo", &e), E_NOENT);
    cr_assert_not_null(strstr(e.text, "turbo"));
    cr_assert_eq(select_kernels(k, "float", &e), E_NOENT);
    cr_assert_eq(select_kernels(k, "int16-", &e), E_NOENT);
}
