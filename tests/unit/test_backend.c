/* The cpu backend as the layers above see it: load, weights, steps, states as values. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/backend.h"

#define VOCAB 37
#define WIDTH 20

/* tokens -> embed -> x; shift(x) -> y; logits = W y. One FIXED section. */
struct tiny {
    struct plan plan;
    struct act acts[4];
    struct weight weights[2];
    struct section section;
    struct op ops[4];
    struct capacity capacity;
};

static struct view whole(const struct tiny *m, int a)
{
    return (struct view){a, 0, m->acts[a].width};
}

static void tiny_init(struct tiny *m)
{
    *m = (struct tiny){.capacity = {8, 4, 4, 3, 2, 1}};
    for (int i = 0; i < 4; i++) {
        int width = i == 3 ? VOCAB : WIDTH;
        m->acts[i] = (struct act){i < 2 ? ROWS_TOKENS : ROWS_LOGITS, width,
                                  (int)round_up((size_t)width, 16), 0, i, 3};
    }
    m->weights[0] = (struct weight){WEIGHT_MATRIX, DTYPE_BF16, VOCAB, WIDTH};
    m->weights[1] = (struct weight){WEIGHT_MATRIX, DTYPE_F32, VOCAB, WIDTH};
    m->section = (struct section){"shift", SECTION_FIXED, WIDTH, 0, DTYPE_F32};
    for (int i = 0; i < 4; i++) {
        struct op *op = &m->ops[i];
        *op = (struct op){.section = -1, .w = {-1, -1}};
        for (size_t k = 0; k < ARRAY_LEN(op->in); k++)
            op->in[k] = VIEW_NONE;
        op->out = whole(m, i);
        if (i)
            op->in[0] = whole(m, i - 1);
    }
    m->ops[0].kind = OP_EMBED;
    m->ops[0].w[0] = 0;
    m->ops[0].p.embed.scale = 1;
    m->ops[1].kind = OP_SHIFT;
    m->ops[1].section = 0;
    m->ops[2].kind = OP_GATHER;
    m->ops[2].rows = ROWS_LOGITS;
    m->ops[3].kind = OP_LINEAR;
    m->ops[3].rows = ROWS_LOGITS;
    m->ops[3].w[0] = 1;
    m->plan = (struct plan){m->ops, 4, m->acts, 4, m->weights, 2, &m->section, 1, 32, 16,
                            VOCAB, WIDTH, whole(m, 3)};
    cr_assert_gt(plan_layout(&m->plan, &m->capacity), 0);
}

static float weight(int w, int row, int col) { return (float)((row * 5 + col * 3 + w) % 17 - 8); }

static struct device *tiny_open(struct tiny *m, const char *spec, int threads)
{
    struct device *d;
    struct err e = {0};
    struct device_options o = {.spec = spec, .threads = threads, .profile = true};
    tiny_init(m);
    cr_assert_eq(device_open(&d, &o, &e), 0, "%s", e.text);
    cr_assert_eq(d->backend->load(d, &m->plan, &m->capacity, &e), 0, "%s", e.text);
    for (int w = 0; w < 2; w++) {
        float rows[VOCAB * WIDTH];
        for (int i = 0; i < VOCAB * WIDTH; i++)
            rows[i] = weight(w, i / WIDTH, i % WIDTH);
        cr_assert_eq(d->backend->put_weight(d, w, 0, 5, rows, DTYPE_F32, &e), 0);
        cr_assert_eq(d->backend->put_weight(d, w, 5, VOCAB - 5, rows + 5 * WIDTH, DTYPE_F32, &e),
                     0);
    }
    cr_assert_eq(d->backend->ready(d, &e), 0);
    return d;
}

/* One sequence of n tokens; the logits of its last row. */
static const float *step(struct device *d, int slot, int64_t pos, const int32_t *tokens, int n)
{
    struct err e = {0};
    int32_t cu[] = {0, n}, rows[] = {n - 1}, slots[] = {slot}, pages[] = {0};
    struct batch b = {1, n, 1, tokens, cu, slots, &pos, rows, pages, 1, STEP_ALL};
    cr_assert_eq(d->backend->run(d, &b, &e), 0);
    const float *row = NULL;
    cr_assert_eq(d->backend->logits(d, 0, &row, &e), 0);
    return row;
}

/* What the plan computes when `before` is the token before the last; -1 = none. */
static float expected(int32_t before, int row)
{
    float sum = 0;
    for (int k = 0; k < WIDTH && before >= 0; k++)
        sum += weight(1, row, k) * weight(0, before, k);
    return sum;
}

static void assert_logits(const float *got, int32_t before)
{
    for (int r = 0; r < VOCAB; r++)
        cr_assert_eq(got[r], expected(before, r), "row %d: %g", r, (double)got[r]);
}

Test(backend, a_step_computes_what_the_plan_says_and_keeps_the_state)
{
    static const char *const specs[] = {"cpu", "ref"};
    for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
        for (int threads = 1; threads < 4; threads++) {
            struct tiny m;
            struct device *d = tiny_open(&m, specs[i], threads);
            const int32_t first[] = {3, 9, 11}, second[] = {36};
            assert_logits(step(d, 1, 0, first, 3), 9);
            assert_logits(step(d, 1, 3, second, 1), 11);
            assert_logits(step(d, 2, 0, second, 1), -1); /* a fresh slot is zero */
            cr_assert_gt(d->backend->memory(d), 0);
            d->backend->profile(d, NULL);
            d->backend->close(d);
        }
    }
}

Test(backend, rows_are_sampled_as_the_definition_says_under_any_number_of_threads)
{
    struct tiny m;
    struct err e = {0};
    struct sampler s;
    cr_assert_eq(sample_init(&s, VOCAB, &e), 0);
    for (int threads = 1; threads < 9; threads++) {
        struct device *d = tiny_open(&m, "cpu", threads);
        const int32_t tokens[] = {7, 20, 3, 9}, cu[] = {0, 4}, rows[] = {0, 1, 2, 3}, slot = 0;
        const int32_t page = 0;
        const int64_t pos = 0;
        struct batch b = {1, 4, 4, tokens, cu, &slot, &pos, rows, &page, 1, STEP_ALL};
        struct sample_row ask[4];
        struct sample_result told[4], want;
        cr_assert_eq(d->backend->run(d, &b, &e), 0);
        for (int32_t i = 0; i < 4; i++)
            ask[i] = (struct sample_row){.logits = 3 - i, .n_top = 3, .draw = true, .scale = 1e-2f,
                                         .top_p = SAMPLE_ALL, .uniform = UINT64_C(9) << (50 + i)};
        cr_assert_eq(d->backend->sample(d, ask, 4, told, &e), 0);
        for (int32_t i = 0; i < 4; i++) {
            const float *row;
            cr_assert_eq(d->backend->logits(d, 3 - i, &row, &e), 0);
            sample_choose(&s, row, &ask[i], &want);
            cr_assert(told[i].id == want.id && told[i].total == want.total &&
                      told[i].top[2].id == want.top[2].id && told[i].logit == row[want.id]);
        }
        d->backend->close(d);
    }
    sample_fini(&s);
}

Test(backend, states_are_values)
{
    struct tiny m;
    struct err e = {0};
    struct device *d = tiny_open(&m, "cpu", 2);
    const struct backend *b = d->backend;
    const int32_t token[] = {7}, other[] = {20};
    float state[32], back[32];
    step(d, 0, 0, token, 1);
    cr_assert_eq(b->slot_read(d, 0, state, &e), 0);
    cr_assert_eq(state[0], weight(0, 7, 0));
    cr_assert_eq(b->slot_copy(d, 2, 0, &e), 0);
    step(d, 0, 1, other, 1);
    assert_logits(step(d, 2, 1, other, 1), 7); /* the copy went its own way */
    cr_assert_eq(b->slot_write(d, 1, state, &e), 0);
    assert_logits(step(d, 1, 1, other, 1), 7);
    cr_assert_eq(b->slot_zero(d, 1, &e), 0);
    cr_assert_eq(b->slot_read(d, 1, back, &e), 0);
    for (int i = 0; i < 32; i++)
        cr_assert_eq(back[i], 0);
    b->close(d);
}

Test(backend, large_states_are_copied_whole_by_any_number_of_threads)
{
    static const int64_t sizes[] = {1 << 14, (1 << 14) + 16, 99 * 1024 + 32};
    for (int i = 0; i < 9; i++) {
        struct tiny m;
        struct err e = {0};
        struct device_options o = {.spec = "cpu", .threads = i / 3 * 2 + 1};
        struct device *d;
        size_t n = (size_t)sizes[i % 3];
        float *in = mem_array(n + 1, sizeof *in), *out = mem_array(n + 1, sizeof *out);
        tiny_init(&m);
        m.plan.slot_floats = sizes[i % 3];
        cr_assert_eq(device_open(&d, &o, &e), 0, "%s", e.text);
        cr_assert_eq(d->backend->load(d, &m.plan, &m.capacity, &e), 0, "%s", e.text);
        for (size_t k = 0; k < n; k++)
            in[k] = (float)k + 1;
        out[n] = -1;
        cr_assert_eq(d->backend->slot_zero(d, 0, &e), 0);
        cr_assert_eq(d->backend->slot_zero(d, 2, &e), 0);
        cr_assert_eq(d->backend->slot_write(d, 1, in, &e), 0);
        for (int32_t slot = 0; slot < 3; slot++) {
            cr_assert_eq(d->backend->slot_read(d, slot, out, &e), 0);
            for (size_t k = 0; k < n; k++)
                cr_assert_eq(out[k], slot == 1 ? in[k] : 0, "slot %d, %zu", (int)slot, k);
        }
        cr_assert_eq(d->backend->slot_copy(d, 2, 1, &e), 0);
        cr_assert_eq(d->backend->slot_read(d, 2, out, &e), 0);
        cr_assert_eq(memcmp(in, out, n * sizeof *in), 0);
        cr_assert_eq(out[n], -1);
        d->backend->close(d);
        mem_free(in);
        mem_free(out);
    }
}

Test(backend, pages_are_values)
{
    struct tiny m;
    struct err e = {0};
    struct device *d = tiny_open(&m, "cpu", 1);
    static float page[PAGE_TOKENS * 16], back[PAGE_TOKENS * 16];
    for (int i = 0; i < PAGE_TOKENS * 16; i++)
        page[i] = (float)i;
    cr_assert_eq(d->backend->page_write(d, 0, page, &e), 0);
    cr_assert_eq(d->backend->page_copy(d, 1, 0, &e), 0);
    cr_assert_eq(d->backend->page_read(d, 1, back, &e), 0);
    cr_assert_eq(memcmp(page, back, sizeof page), 0);
    d->backend->close(d);
}

Test(backend, too_much_is_refused_with_both_numbers)
{
    struct tiny m;
    struct device *d = tiny_open(&m, "cpu", 1);
    struct err e = {0};
    m.plan.slot_floats = INT64_C(1) << 45;
    cr_assert_eq(d->backend->load(d, &m.plan, &m.capacity, &e), E_NOMEM);
    cr_assert_not_null(strstr(e.text, "available"), "%s", e.text);
    e = (struct err){0};
    m.plan.slot_floats = INT64_MAX / 2;
    cr_assert_eq(d->backend->load(d, &m.plan, &m.capacity, &e), E_NOMEM);
    d->backend->close(d);
}

Test(backend, rows_outside_of_a_weight_are_refused)
{
    struct tiny m;
    struct device *d = tiny_open(&m, "cpu", 1);
    struct err e = {0};
    float row[WIDTH] = {0};
    cr_assert_eq(d->backend->put_weight(d, 0, VOCAB, 1, row, DTYPE_F32, &e), E_RANGE);
    e = (struct err){0};
    cr_assert_eq(d->backend->put_weight(d, 0, -1, 1, row, DTYPE_F32, &e), E_RANGE);
    d->backend->close(d);
}

Test(backend, an_unknown_device_names_those_there_are)
{
    struct device *d;
    struct err e = {0};
    struct device_options o = {.spec = "abacus"};
    cr_assert_eq(device_open(&d, &o, &e), E_NOENT);
    cr_assert_null(d);
    cr_assert_not_null(strstr(e.text, "abacus"));
    cr_assert_not_null(strstr(e.text, "cpu"));
    d = NULL;
    o.spec = "cpu";
    o.kernels = "nonsense";
    e = (struct err){0};
    cr_assert_eq(device_open(&d, &o, &e), E_NOENT);
}
