/* States in float16: what a model makes of the option, their place in files, what rounds and what
 * stays out. The kernels' bits are kernelcheck's. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/cpu/cpu.h"
#include "kernels/ref/ref_math.h"
#include "kernels/validate.h"
#include "models/model.h"
#include "statecache/store/codec.h"

static struct model *open_model(const char *dir, enum states states, struct err *e)
{
    struct model *m = NULL;
    struct model_options o = {.dir = dir, .states = states};
    (void)!model_open(&m, &o, e); /* NULL tells */
    return m;
}

Test(states16, a_number_is_rounded_to_nearest_and_never_becomes_infinite)
{
    static const struct { float from, to; } cases[] = {
        {1, 1}, {1 + 1 / 2048.0f, 1}, {1 + 3 / 2048.0f, 1 + 2 / 1024.0f}, {65504, 65504},
        {65519, 65504}, {65520, 65504}, {1e30f, 65504}, {-1e30f, -65504}, {INFINITY, 65504},
        {-INFINITY, -65504}, {0x1p-24f, 0x1p-24f}, {0x1p-26f, 0}, {0, 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_expect_eq(f32_of_f16(f16_kept(cases[i].from)), cases[i].to, "%g", (double)cases[i].from);
    cr_expect(isnan(f32_of_f16(f16_kept(NAN))));
}

Test(states16, matrix_states_take_half_and_the_others_stay)
{
    struct err e = {0};
    struct model *a = open_model("models/demo/gated-deltanet", STATES_F32, &e);
    struct model *b = open_model("models/demo/gated-deltanet", STATES_F16, &e);
    cr_assert(a && b, "%s", e.text);
    cr_assert_eq(a->plan.n_sections, b->plan.n_sections);
    int64_t saved = 0;
    int narrow = 0;
    for (int32_t i = 0; i < b->plan.n_ops; i++) {
        const struct op *op = &b->plan.ops[i];
        if (op->section < 0)
            continue;
        const struct section *x = &b->plan.sections[op->section];
        cr_expect_eq(x->dtype, op->kind == OP_DELTA ? DTYPE_F16 : DTYPE_F32, "%s", x->name);
        cr_expect_eq(x->elems, a->plan.sections[op->section].elems);
        saved += x->elems - section_floats(x);
        narrow += x->dtype == DTYPE_F16;
    }
    cr_expect_gt(narrow, 0);
    cr_expect_eq(a->plan.slot_floats - b->plan.slot_floats, saved);
    cr_expect_eq(memcmp(a->fingerprint, b->fingerprint, sizeof a->fingerprint), 0);
    model_close(a);
    model_close(b);
}

Test(states16, a_model_without_such_states_is_refused)
{
    struct err e = {0};
    cr_assert_null(open_model("tests/golden/hf/hf_mamba", STATES_F16, &e));
    cr_expect_eq(e.code, E_UNSUPPORTED);
    cr_expect_not_null(strstr(e.text, "mamba has none that can be"), "%s", e.text);
}

Test(states16, narrow_states_and_sums_that_only_grow_stay_as_they_are)
{
    struct op op = {.kind = OP_DECAY, .p.decay = {.V = 15, .decay = DECAY_SCALAR}};
    cr_expect_not(section_may_be_f16(&op)); /* a normaliser */
    op.p.decay.V = 16;
    cr_expect(section_may_be_f16(&op));
    op.p.decay.decay = DECAY_NONE;
    cr_expect_not(section_may_be_f16(&op));
    op.kind = OP_SHIFT;
    cr_expect_not(section_may_be_f16(&op));
}

Test(states16, a_device_that_keeps_float32_says_so_and_other_ops_cannot)
{
    struct err e = {0};
    struct op_limits limits = {0};
    struct model *m = open_model("models/demo/rwkv7", STATES_F16, &e);
    cr_assert(m, "%s", e.text);
    cr_expect_eq(plan_validate_states(&m->plan, &limits, &e), E_UNSUPPORTED);
    cr_expect_not_null(strstr(e.text, "this device keeps them in float32"), "%s", e.text);
    e = (struct err){0};
    cr_expect_eq(plan_validate(&m->plan, NULL, NULL, &e), 0);
    for (int32_t i = 0; i < m->plan.n_ops; i++)
        if (m->plan.ops[i].kind == OP_SHIFT) {
            m->plan.sections[m->plan.ops[i].section].dtype = DTYPE_F16;
            break;
        }
    cr_expect_lt(plan_validate(&m->plan, NULL, NULL, &e), 0);
    cr_expect_not_null(strstr(e.text, "is of float16"), "%s", e.text);
    model_close(m);
}

Test(states16, the_name_of_the_arithmetic_says_so)
{
    const struct cpu_kernel *k[OP_KINDS][DTYPES];
    char wide[320], half[320];
    struct err e = {0};
    struct model *a = open_model("models/demo/rwkv7", STATES_F32, &e);
    struct model *b = open_model("models/demo/rwkv7", STATES_F16, &e);
    cr_assert(a && b && select_kernels(k, NULL, &e) == 0, "%s", e.text);
    numerics_cpu(k, &a->plan, wide, sizeof wide);
    numerics_cpu(k, &b->plan, half, sizeof half);
    cr_expect_null(strstr(wide, "+f16states"));
    cr_expect_not_null(strstr(half, "+f16states/"), "%s", half);
    model_close(a);
    model_close(b);
}

/* A slot of a float section, then an odd number of halves, then floats. */
static struct section sections[2][3] = {
    {{"a", SECTION_FIXED, 5, 0, DTYPE_F32}, {"b", SECTION_FIXED, 33, 16, DTYPE_F16},
     {"c", SECTION_FIXED, 2, 48, DTYPE_F32}},
    {{"a", SECTION_FIXED, 5, 0, DTYPE_F32}, {"b", SECTION_FIXED, 33, 16, DTYPE_F32},
     {"c", SECTION_FIXED, 2, 64, DTYPE_F32}}};
static const struct plan plans[2] = {
    {.sections = sections[0], .n_sections = 3, .slot_floats = 64, .vocab = 9},
    {.sections = sections[1], .n_sections = 3, .slot_floats = 80, .vocab = 9}};

Test(states16, a_file_has_the_schema_of_its_model_and_the_size_of_its_states)
{
    struct format f[2] = {0};
    codec_layout(&f[0], &plans[0], 32);
    codec_layout(&f[1], &plans[1], 32);
    cr_expect_eq(memcmp(f[0].schema, f[1].schema, sizeof f[0].schema), 0);
    cr_expect_eq(f[0].slot_bytes, 256);
    cr_expect_eq(f[1].slot_bytes, 320);
}

Test(states16, a_number_that_is_not_finite_is_found_in_either_half)
{
    static float slot[64];
    uint16_t *halves = (uint16_t *)(slot + 16);
    struct piece piece = {slot, sizeof slot};
    struct part part[PARTS] = {[PART_STATE] = {&piece, 1}};
    struct format f = {0};
    unsigned char out[CODEC_HEAD];
    codec_layout(&f, &plans[0], 32);
    for (int at = 0; at < 34; at++)
        for (int bad = 0; bad < 4; bad++) {
            static const uint16_t values[] = {0x7bff, 0xfbff, 0x7c00, 0xfe01};
            struct head h = {.kind = CODEC_STATE};
            struct err e = {0};
            memset(slot, 0, sizeof slot);
            halves[at] = values[bad];
            codec_seal(&f, &h, part, out);
            int rc = codec_check(&f, &h, PART_STATE, &part[PART_STATE], &e);
            bool known = bad < 2 || at == 33; /* behind the last one lies nothing */
            cr_expect_eq(rc == 0, known, "%d: %x: %s", at, values[bad], e.text);
        }
}
