/* Several devices as one: where a plan is cut, and that nobody can tell it from one device. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/split/cut.h"
#include "kernels/split/split.h"
#include "models/model.h"

/* ---- where it is cut ---- */

#define LAYERS 6
#define WIDTH 16

/* embed; LAYERS x (x += W x, a section each); gather; the embedding again, as logits. */
struct stack {
    struct plan plan;
    struct act acts[3];
    struct weight weights[LAYERS + 1];
    struct section sections[LAYERS];
    struct op ops[2 * LAYERS + 3];
};

static void add(struct stack *s, enum op_kind kind, int layer, int in, int out, int w, int section)
{
    struct op *op = &s->ops[s->plan.n_ops++];
    *op = (struct op){.kind = kind, .layer = layer, .section = section, .w = {w, -1},
                      .out = {out, 0, s->acts[out].width}, .rows = s->acts[out].rows};
    for (size_t i = 0; i < ARRAY_LEN(op->in); i++)
        op->in[i] = VIEW_NONE;
    if (in >= 0)
        op->in[0] = (struct view){in, 0, s->acts[in].width};
}

static void stack_init(struct stack *s, int64_t vocab, enum section_kind last)
{
    *s = (struct stack){0};
    s->plan = (struct plan){.ops = s->ops, .acts = s->acts, .n_acts = 3, .weights = s->weights,
                            .n_weights = LAYERS + 1, .sections = s->sections,
                            .n_sections = LAYERS, .vocab = (int32_t)vocab, .hidden = WIDTH,
                            .logits = {2, 0, (int32_t)vocab}};
    for (int i = 0; i < 3; i++)
        s->acts[i] = (struct act){i == 0 ? ROWS_TOKENS : ROWS_LOGITS, i < 2 ? WIDTH : (int)vocab,
                                  i < 2 ? WIDTH : (int)round_up((size_t)vocab, 16), 0, 0,
                                  2 * LAYERS + 2};
    s->weights[0] = (struct weight){WEIGHT_MATRIX, DTYPE_F32, vocab, WIDTH};
    add(s, OP_EMBED, 0, -1, 0, 0, -1);
    for (int i = 0; i < LAYERS; i++) {
        bool paged = i == LAYERS - 1 && last == SECTION_PAGED;
        s->weights[i + 1] = (struct weight){WEIGHT_MATRIX, DTYPE_F32, WIDTH, WIDTH};
        s->sections[i] = (struct section){"s", paged ? last : SECTION_FIXED, 20,
                                          paged ? 0 : s->plan.slot_floats, DTYPE_F32};
        s->plan.slot_floats += paged ? 0 : 32;
        s->plan.page_token_floats += paged ? 20 : 0;
        add(s, OP_SHIFT, i, 0, 0, -1, i);
        add(s, OP_LINEAR, i, 0, 0, i + 1, -1);
    }
    add(s, OP_GATHER, LAYERS - 1, 0, 1, -1, -1);
    add(s, OP_LINEAR, LAYERS - 1, 1, 2, 0, -1);
}

Test(split, the_largest_part_is_as_small_as_it_can_be)
{
    struct stack s;
    struct part p[LAYERS];
    struct err e = {0};
    stack_init(&s, 2 * WIDTH, SECTION_FIXED); /* the embedding weighs as two layers, twice */
    cr_assert_eq(plan_cut(p, 2, &s.plan, &e), 0, "%s", e.text);
    cr_assert_eq(p[0].end, 1 + 2 * 3);
    cr_assert_eq(p[1].from, p[0].end);
    cr_assert_eq(p[0].weight_bytes, p[1].weight_bytes);
    cr_assert_eq(p[0].weight_of[0], 0); /* tied: in both, under numbers of their own */
    cr_assert_geq(p[1].weight_of[0], 0);
    cr_assert_eq(p[1].weight_of[1], -1);
    cr_assert_eq(p[0].plan.n_weights, 4);
    part_free(&p[0]);
    part_free(&p[1]);
    cr_assert_eq(plan_cut(p, 3, &s.plan, &e), 0, "%s", e.text);
    for (int i = 0; i < 3; i++) { /* of 10 layers' worth */
        cr_assert_leq(p[i].weight_bytes, 4 * WIDTH * WIDTH * 4);
        part_free(&p[i]);
    }
}

Test(split, a_slot_is_the_parts_slots_one_after_the_other)
{
    struct stack s;
    struct part p[3];
    struct err e = {0};
    stack_init(&s, WIDTH, SECTION_PAGED);
    cr_assert_eq(plan_cut(p, 3, &s.plan, &e), 0, "%s", e.text);
    int64_t slot = 0, page = 0;
    for (int k = 0; k < 3; k++) {
        const struct plan *q = &p[k].plan;
        cr_assert_eq(p[k].slot_from, slot);
        cr_assert_eq(p[k].page_from, page);
        slot += q->slot_floats;
        page += q->page_token_floats * PAGE_TOKENS;
        for (int32_t i = 0; i < q->n_ops; i++)
            cr_assert(q->ops[i].section < q->n_sections);
        for (int32_t i = 0, at = 0; i < q->n_sections; i++)
            if (q->sections[i].kind == SECTION_FIXED)
                cr_assert_eq(q->sections[i].offset, 32 * at++);
        cr_assert_eq(p[k].in.n, k > 0);
        cr_assert_eq(p[k].out.n, k < 2);
        cr_assert_eq(view_given(q->logits), k == 2);
    }
    cr_assert_eq(slot, s.plan.slot_floats);
    cr_assert_eq(page, s.plan.page_token_floats * PAGE_TOKENS);
    for (int k = 0; k < 3; k++)
        part_free(&p[k]);
}

Test(split, ops_that_share_a_section_stay_together)
{
    struct stack s;
    struct part p[LAYERS];
    struct err e = {0};
    stack_init(&s, WIDTH, SECTION_FIXED);
    s.ops[1 + 2 * 4].section = 0; /* layer 4 looks at layer 0's */
    cr_assert_eq(plan_cut(p, 2, &s.plan, &e), 0, "%s", e.text);
    cr_assert_eq(p[0].end, 1 + 2 * 5);
    part_free(&p[0]);
    part_free(&p[1]);
    cr_assert_eq(plan_cut(p, 3, &s.plan, &e), E_RANGE);
    cr_assert_not_null(strstr(e.text, "2 parts at most, and there are 3 devices"), "%s", e.text);
}

Test(split, memory_that_is_not_there_is_an_error)
{
    struct stack s;
    struct part p[2];
    int rc = E_NOMEM;
    stack_init(&s, WIDTH, SECTION_FIXED);
    for (uint64_t n = 1; rc; n++) {
        struct err e = {0};
        mem_fail_at(n);
        rc = plan_cut(p, 2, &s.plan, &e);
        mem_fail_at(0);
        cr_assert(rc == 0 || rc == E_NOMEM, "%s", e.text);
        cr_assert_lt(n, 100);
    }
    part_free(&p[0]);
    part_free(&p[1]);
}

/* ---- names ---- */

static int open_code(const char *spec, struct err *e)
{
    struct device *d = NULL;
    struct device_options o = {.spec = spec, .threads = 1};
    *e = (struct err){0};
    int rc = device_open(&d, &o, e);
    if (d)
        d->backend->close(d);
    return rc;
}

Test(split, wrong_names_are_told)
{
    struct err e;
    cr_assert_eq(open_code("ref+ref", &e), 0, "%s", e.text);
    cr_assert_eq(open_code("ref+ref+rows=8", &e), 0, "%s", e.text);
    cr_assert_eq(open_code("ref+", &e), E_NOENT);
    cr_assert_eq(open_code("+", &e), E_NOENT);
    cr_assert_eq(open_code("ref+abacus", &e), E_NOENT);
    cr_assert_not_null(strstr(e.text, "abacus"), "%s", e.text);
    cr_assert_eq(open_code("ref+rows=8", &e), E_RANGE);
    static const char *const wrong[] = {"ref+ref+rows=0", "ref+ref+rows=", "ref+ref+rows=-3",
                                        "ref+ref+rows=8x", "ref+ref+rows=99999999999"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        cr_assert_eq(open_code(wrong[i], &e), E_FORMAT, "%s", wrong[i]);
    char many[SPLIT_MAX * 4 + 8];
    for (size_t i = 0; i < sizeof many; i++)
        many[i] = "ref+"[i % 4];
    many[SPLIT_MAX * 4 + 3] = '\0';
    cr_assert_eq(open_code(many, &e), E_RANGE);
    cr_assert_not_null(strstr(e.text, "16"), "%s", e.text);
}

/* ---- whole models ---- */

#define N 90 /* tokens: more than a page */
#define SEQS 3
#define PAGES 2 /* of a sequence */

struct loaded {
    struct model *m;
    struct device *d;
};

static int load_code(struct loaded *l, const char *dir, const char *spec, struct err *e)
{
    struct model_options mo = {.dir = dir, .threads = 3};
    struct device_options o = {.spec = spec, .threads = 2};
    struct capacity c = {N * SEQS, N * SEQS, SEQS, SEQS + 1, SEQS * PAGES + 1, PAGES};
    *l = (struct loaded){0};
    *e = (struct err){0};
    cr_assert_eq(model_open(&l->m, &mo, e), 0, "%s", e->text);
    cr_assert_eq(device_open(&l->d, &o, e), 0, "%s", e->text);
    return model_load(l->m, l->d, &c, e);
}

static void unload(struct loaded *l)
{
    l->d->backend->close(l->d);
    model_close(l->m);
}

/* Rows [from, from + n) of every sequence q at position pos[q]; logits of all rows to out. */
static void run(struct loaded *l, int32_t n, const int64_t *pos, float *out)
{
    static int32_t tokens[N * SEQS], rows[N * SEQS];
    static const int32_t slots[SEQS] = {2, 0, 1}, pages[SEQS * PAGES] = {5, 0, 3, 2, 1, 4};
    int32_t cu[SEQS + 1] = {0}, vocab = l->m->plan.vocab;
    struct err e = {0};
    for (int32_t q = 0; q < SEQS; q++) {
        cu[q + 1] = (q + 1) * n;
        for (int32_t t = 0; t < n; t++)
            tokens[q * n + t] = (int32_t)((7 + q * 31 + (pos[q] + t) * 13) % vocab);
    }
    for (int32_t i = 0; i < n * SEQS; i++)
        rows[i] = i;
    int32_t per = l->m->plan.page_token_floats ? PAGES : 0;
    struct batch b = {SEQS, n * SEQS, n * SEQS, tokens, cu, slots, pos, rows, pages, per, STEP_ALL};
    cr_assert_eq(l->d->backend->run(l->d, &b, &e), 0, "%s", e.text);
    for (int32_t i = 0; i < n * SEQS; i++) {
        const float *row;
        struct sample_row ask = {.logits = i, .n_top = -1, .draw = true, .greedy = true};
        struct sample_result told;
        cr_assert_eq(l->d->backend->logits(l->d, i, &row, &e), 0, "%s", e.text);
        memcpy(out + (int64_t)i * vocab, row, (size_t)vocab * sizeof *row);
        if (i % 17)
            continue;
        cr_assert_eq(l->d->backend->sample(l->d, &ask, 1, &told, &e), 0, "%s", e.text);
        for (int32_t v = 0; v < vocab; v++)
            cr_assert(out[(int64_t)i * vocab + v] <= out[(int64_t)i * vocab + told.id]);
    }
}

/* State and pages of slot 0's sequence, as the caches store them. */
static void keep(struct loaded *l, float *slot, float *page)
{
    struct err e = {0};
    cr_assert_eq(l->d->backend->slot_read(l->d, 0, slot, &e), 0, "%s", e.text);
    for (int i = 0; i < PAGES && l->m->plan.page_token_floats; i++)
        cr_assert_eq(l->d->backend->page_read(l->d, 3 - i,
                                              page + i * PAGE_TOKENS * l->m->plan.page_token_floats,
                                              &e), 0);
}

static void bring(struct loaded *l, const float *slot, const float *page)
{
    struct err e = {0};
    const struct backend *b = l->d->backend;
    int64_t each = PAGE_TOKENS * l->m->plan.page_token_floats;
    cr_assert_eq(b->slot_write(l->d, SEQS, slot, &e), 0, "%s", e.text);
    cr_assert_eq(b->slot_zero(l->d, 0, &e), 0);
    cr_assert_eq(b->slot_copy(l->d, 0, SEQS, &e), 0);
    for (int i = 0; i < PAGES && l->m->plan.page_token_floats; i++) {
        cr_assert_eq(b->page_write(l->d, SEQS * PAGES, page + i * each, &e), 0);
        cr_assert_eq(b->page_copy(l->d, 3 - i, SEQS * PAGES, &e), 0);
    }
}

/* Two devices take turns: what one computed the other goes on from. Everything is equal. */
static void compare(const char *dir, const char *spec, const char *split)
{
    struct loaded one, two;
    struct err e;
    cr_assert_eq(load_code(&one, dir, spec, &e), 0, "%s", e.text);
    cr_assert_eq(load_code(&two, dir, split, &e), 0, "%s", e.text);
    const struct plan *p = &one.m->plan;
    cr_assert_str_eq(one.d->backend->numerics(one.d), two.d->backend->numerics(two.d));
    cr_assert_eq(memcmp(one.m->fingerprint, two.m->fingerprint, sizeof one.m->fingerprint), 0);
    size_t rows = (size_t)N * SEQS * (size_t)p->vocab * sizeof(float);
    size_t slot = (size_t)p->slot_floats * sizeof(float);
    size_t page = (size_t)PAGES * PAGE_TOKENS * (size_t)p->page_token_floats * sizeof(float);
    float *a = mem_zalloc(rows), *b = mem_zalloc(rows), *s = mem_zalloc(2 * (slot + 1));
    float *k = mem_zalloc(2 * (page + 1));
    int64_t pos[SEQS] = {0};
    cr_assert(a && b && s && k);
    static const int32_t steps[] = {70, 1, 9, 1};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        size_t used = (size_t)steps[i] * SEQS * (size_t)p->vocab * sizeof(float);
        run(&one, steps[i], pos, a);
        run(&two, steps[i], pos, b);
        cr_assert_eq(memcmp(a, b, used), 0, "%s: logits of step %zu on %s", dir, i, split);
        keep(&one, s, k);
        keep(&two, s + p->slot_floats, k + page / sizeof(float));
        cr_assert_eq(memcmp(s, s + p->slot_floats, slot), 0, "%s: a state on %s", dir, split);
        cr_assert_eq(memcmp(k, k + page / sizeof(float), page), 0, "%s: pages on %s", dir, split);
        for (int q = 0; q < SEQS; q++)
            pos[q] += steps[i];
        bring(i % 2 ? &one : &two, s, k); /* what each has anyway, through the other's hands */
        if (i % 2 == 0)
            bring(&one, s + p->slot_floats, k + page / sizeof(float));
    }
    mem_free(a);
    mem_free(b);
    mem_free(s);
    mem_free(k);
    unload(&one);
    unload(&two);
}

Test(split, nobody_can_tell_it_from_one_device)
{
    static const char *const dirs[] = {"tests/golden/public/gated_deltanet",
                                       "tests/golden/hf/hf_qwen3_5_moe",
                                       "tests/golden/public/rwkv7"};
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        compare(dirs[i], "cpu", "cpu+cpu");
        compare(dirs[i], "cpu", "cpu+cpu+rows=7");
        compare(dirs[i], "ref", "ref+ref+rows=64");
    }
    compare("models/demo/rwkv7", "cpu", "cpu+cpu+cpu+rows=11");
}

Test(split, two_arithmetics_and_too_many_devices_are_refused)
{
    struct loaded l;
    struct err e;
    if (load_code(&l, "models/demo/rwkv7", "ref", &e) == 0) {
        struct loaded c;
        cr_assert_eq(load_code(&c, "models/demo/rwkv7", "cpu", &e), 0, "%s", e.text);
        bool differ = strcmp(l.d->backend->numerics(l.d), c.d->backend->numerics(c.d)) != 0;
        unload(&c);
        cr_assert_eq(load_code(&c, "models/demo/rwkv7", "cpu+ref", &e),
                     differ ? E_UNSUPPORTED : 0);
        cr_assert(!differ || strstr(e.text, "one model needs one arithmetic"), "%s", e.text);
        unload(&c);
    }
    unload(&l);
    cr_assert_eq(load_code(&l, "tests/golden/public/rwkv7", "ref+ref+ref+ref", &e), E_RANGE);
    cr_assert_not_null(strstr(e.text, "there are 4 devices"), "%s", e.text);
    unload(&l);
}
