/* The phases of a step: small plans whose phases can be seen by eye, and those of real shapes. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/stages.h"
#include "kernels/phases.h"
#include "models/model.h"

#define W 64
#define ACTS 8
#define OPS 8

static struct act acts[ACTS];
static struct op ops[OPS];
static struct plan plan;
static const struct capacity one = {.tokens = 1, .logits = 1, .seqs = 1, .slots = 1};

/* Every activation W wide, at a place of its own. */
static void begin(void)
{
    plan = (struct plan){.ops = ops, .acts = acts, .n_acts = ACTS, .logits = VIEW_NONE};
    for (int i = 0; i < ACTS; i++)
        acts[i] = (struct act){ROWS_TOKENS, W, W, (int64_t)i * W, 0, OPS};
}

static struct view whole(int act) { return (struct view){act, 0, W}; }

static struct op *record(enum op_kind kind, int out, int in)
{
    struct op *op = &ops[plan.n_ops++];
    *op = (struct op){.kind = kind, .out = whole(out), .section = -1};
    for (int i = 0; i < OP_INPUTS; i++)
        op->in[i] = VIEW_NONE;
    op->in[0] = whole(in);
    return op;
}

static struct phases find(void)
{
    struct phases x;
    struct err e = {0};
    cr_assert_eq(phases_find(&x, &plan, &one, &e), 0, "%s", e.text);
    return x;
}

static void expect(const struct phases *x, int op, int phase, int chain, int tiles)
{
    cr_assert_eq(x->ops[op].phase, phase, "op %d: phase %d", op, x->ops[op].phase);
    cr_assert_eq(x->ops[op].chain, chain, "op %d: chain %d", op, x->ops[op].chain);
    cr_assert_eq(x->ops[op].tiles, tiles, "op %d: tiles %d", op, x->ops[op].tiles);
}

Test(phases, products_of_one_input_share_a_phase_and_their_reader_waits)
{
    begin();
    record(OP_LINEAR, 1, 0);
    record(OP_LINEAR, 2, 0);
    record(OP_LINEAR, 3, 2);
    struct phases x = find();
    cr_assert_eq(x.n_phases, 2);
    expect(&x, 0, 0, 0, W / 32);
    expect(&x, 1, 0, 1, W / 32);
    expect(&x, 2, 1, 2, W / 32);
    phases_free(&x);
}

Test(phases, a_norm_of_the_whole_row_takes_along_what_is_row_local)
{
    begin();
    record(OP_NORM, 1, 0)->p.norm.group = W;
    record(OP_SHIFT, 2, 1)->section = 0;
    record(OP_LINEAR, 3, 2);
    struct phases x = find();
    cr_assert_eq(x.n_phases, 2);
    expect(&x, 1, 0, 0, 1);
    expect(&x, 2, 1, 2, W / 32);
    phases_free(&x);
}

Test(phases, an_op_by_column_is_the_epilogue_of_the_product_it_reads)
{
    begin();
    record(OP_LINEAR, 1, 0);
    record(OP_SHIFT, 2, 1)->section = 0;
    record(OP_LINEAR, 3, 2);
    struct phases x = find();
    cr_assert_eq(x.n_phases, 2);
    expect(&x, 1, 0, 0, W / 32);
    phases_free(&x);
}

Test(phases, a_chain_is_cut_as_its_coarsest_member)
{
    begin();
    record(OP_SHIFT, 1, 0)->section = 0;
    record(OP_NORM, 2, 1)->p.norm.group = W / 16;
    struct phases x = find();
    cr_assert_eq(x.n_phases, 1);
    expect(&x, 0, 0, 0, 16);
    expect(&x, 1, 0, 0, 16);
    phases_free(&x);
}

Test(phases, too_few_tiles_are_no_chain)
{
    begin();
    record(OP_SHIFT, 1, 0)->section = 0;
    record(OP_NORM, 2, 1)->p.norm.group = W / 4;
    struct phases x = find();
    cr_assert_eq(x.n_phases, 2);
    expect(&x, 0, 0, 0, W);
    expect(&x, 1, 1, 1, 4);
    phases_free(&x);
}

static void ends(const struct phases *x, int op, int n, int32_t first, int32_t last)
{
    const struct pieces *p = &x->ops[op].pieces;
    cr_assert_eq(p->n, n, "op %d: %d pieces", op, p->n);
    cr_assert_eq(p->end[0], first, "op %d: the first ends at %d", op, p->end[0]);
    cr_assert_eq(p->end[n - 1], last);
}

Test(phases, a_reader_of_some_columns_cuts_the_rest_alike)
{
    begin();
    record(OP_SHIFT, 1, 0)->section = 0;
    struct op *op = record(OP_SHIFT, 2, 1);
    op->section = 1;
    op->in[0] = (struct view){1, 0, W / 2};
    op->out.width = W / 2;
    struct phases x = find();
    expect(&x, 1, 0, 0, W / 2);
    ends(&x, 0, 2, W / 2, W);
    ends(&x, 1, 1, W / 2, W / 2);
    phases_free(&x);
}

Test(phases, columns_that_do_not_fall_into_tiles_are_no_chain)
{
    begin();
    record(OP_SHIFT, 1, 0)->section = 0;
    struct op *op = record(OP_SHIFT, 2, 1);
    op->section = 1;
    op->in[0] = (struct view){1, 0, W / 2 + 1};
    op->out.width = W / 2 + 1;
    struct phases x = find();
    expect(&x, 1, 1, 1, W / 2 + 1);
    phases_free(&x);
}

/* q | k | v of one convolution, a norm of q and k, gates beside them: a tile is a head. */
Test(phases, a_recurrence_takes_along_all_that_one_head_needs)
{
    begin();
    for (int i = 0; i < ACTS; i++)
        acts[i] = (struct act){ROWS_TOKENS, 3 * W, 3 * W, (int64_t)i * 3 * W, 0, OPS};
    record(OP_CONV, 1, 0)->section = 0;
    ops[0].in[0].width = ops[0].out.width = 3 * W;
    struct op *norm = record(OP_NORM, 2, 1);
    norm->p.norm.group = W / 8;
    norm->in[0].width = norm->out.width = 2 * W;
    record(OP_SHIFT, 4, 5)->section = 1;
    ops[2].in[0].width = ops[2].out.width = 8;
    struct op *delta = record(OP_DELTA, 6, 2);
    delta->section = 2;
    delta->p.delta.state_heads = delta->p.delta.k_heads = delta->p.delta.d_heads = 8;
    delta->p.delta.K = delta->p.delta.V = 8;
    delta->p.delta.decay = DECAY_SCALAR;
    delta->p.delta.steps = 1;
    delta->in[DELTA_q] = (struct view){2, 0, W};
    delta->in[DELTA_k] = (struct view){2, W, W};
    delta->in[DELTA_v] = (struct view){1, 2 * W, W};
    delta->in[DELTA_w] = (struct view){4, 0, 8};
    struct phases x = find();
    cr_assert_eq(x.n_phases, 1);
    for (int i = 0; i < 4; i++)
        expect(&x, i, 0, 0, 8);
    ends(&x, 0, 3, W, 3 * W);
    ends(&x, 1, 2, 8, 16);
    ends(&x, 2, 1, 8, 8);
    phases_free(&x);
}

/* One group would make a column after the other; up to 256 it does. */
Test(phases, wide_ops_behind_a_norm_of_the_whole_row_wait_for_it)
{
    for (int32_t wide = 256; wide <= 512; wide *= 2) {
        begin();
        record(OP_NORM, 1, 0);
        record(OP_SHIFT, 2, 1)->section = 0;
        for (int i = 0; i < ACTS; i++)
            acts[i] = (struct act){ROWS_TOKENS, wide, wide, (int64_t)i * wide, 0, OPS};
        for (int i = 0; i < 2; i++)
            ops[i].out.width = ops[i].in[0].width = wide;
        ops[0].p.norm.group = wide;
        struct phases x = find();
        expect(&x, 1, wide > 256, wide > 256, wide > 256 ? wide : 1);
        phases_free(&x);
    }
}

Test(phases, shared_memory_waits_as_a_shared_activation_does)
{
    begin();
    acts[3].offset = acts[0].offset; /* written while another op still reads what is there */
    record(OP_LINEAR, 1, 0);
    record(OP_LINEAR, 3, 4);
    record(OP_LINEAR, 5, 4);
    struct phases x = find();
    cr_assert_eq(x.ops[1].phase, 1);
    cr_assert_eq(x.ops[2].phase, 0);
    phases_free(&x);
}

Test(phases, a_section_is_touched_in_order)
{
    begin();
    record(OP_ATTENTION, 1, 0)->section = 3;
    record(OP_ATTENTION_KEEP, 2, 0)->section = 3;
    ops[1].out = VIEW_NONE;
    struct phases x = find();
    cr_assert_eq(x.ops[1].phase, 1);
    phases_free(&x);
}

/* ---- real plans ---- */

static bool overlap(struct view a, struct view b)
{
    return view_given(a) && view_given(b) && a.act == b.act && a.col < b.col + b.width &&
           b.col < a.col + a.width;
}

static bool writes(const struct op *op, struct view v)
{
    bool any = op->kind != OP_EW && overlap(op->out, v);
    for (int i = 0; op->kind == OP_EW && i < op->p.ew->n_out; i++)
        any |= overlap(op->p.ew->out[i].v, v);
    return any;
}

/* Whether `by` writes what op reads or writes. */
static bool disturbs(const struct op *by, const struct op *op)
{
    bool any = false;
    for (int i = 0; i < OP_INPUTS; i++)
        any |= view_given(op->in[i]) && writes(by, op->in[i]);
    if (op->kind != OP_EW)
        return any || (view_given(op->out) && writes(by, op->out));
    for (int i = 0; i < op->p.ew->n_in; i++)
        any |= view_given(op->p.ew->in[i].v) && writes(by, op->p.ew->in[i].v);
    for (int i = 0; i < op->p.ew->n_out; i++)
        any |= writes(by, op->p.ew->out[i].v);
    return any;
}

/* Ops that may not pass each other are in order, in one chain or in phases apart; a chain is in
 * one phase. Returns how many such pairs there are. */
static int in_order(const struct phases *x, const struct plan *p)
{
    int pairs = 0;
    for (int32_t i = 0; i < p->n_ops; i++) {
        cr_assert_leq(x->ops[i].chain, i);
        cr_assert_eq(x->ops[i].phase, x->ops[x->ops[i].chain].phase);
        for (int32_t j = 0; j < i; j++) {
            const struct op *a = &p->ops[j], *b = &p->ops[i];
            if (!disturbs(a, b) && !disturbs(b, a) && (a->section < 0 || a->section != b->section))
                continue;
            pairs++;
            cr_assert(x->ops[j].phase < x->ops[i].phase || x->ops[j].chain == x->ops[i].chain,
                      "op %d in phase %d needs op %d in phase %d", i, x->ops[i].phase, j,
                      x->ops[j].phase);
        }
    }
    return pairs;
}

/* What two families come to, when no two activations share memory: a pass that makes more phases of
 * them makes their decoding slower. */
Test(phases, of_models)
{
    static const struct { const char *dir; int32_t ops, phases; } cases[] = {
        {"tests/gpu/rwkv7-1.5b", 628, 244},
        {"tests/gpu/gdn-1.3b", 292, 196},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = {0};
        struct model *m;
        struct phases x;
        struct model_options o = {.dir = cases[i].dir, .dummy = true, .dummy_seed = 1};
        cr_assert_geq(model_open(&m, &o, &e), 0, "%s", e.text);
        cr_assert_eq(m->plan.n_ops, cases[i].ops);
        cr_assert_eq(phases_find(&x, &m->plan, NULL, &e), 0, "%s", e.text);
        cr_assert_leq(x.n_phases, cases[i].phases, "%s: %d phases", cases[i].dir, x.n_phases);
        cr_assert_gt(in_order(&x, &m->plan), m->plan.n_ops - 2); /* all but the first need one */
        phases_free(&x);
        cr_assert_gt(plan_layout(&m->plan, &one), 0);
        cr_assert_eq(phases_find(&x, &m->plan, &one, &e), 0, "%s", e.text);
        in_order(&x, &m->plan);
        cr_assert_gt(x.n_phases, cases[i].phases - 1); /* shared memory only adds waits */
        phases_free(&x);
        model_close(m);
    }
}

/* ---- stages of the host ---- */

#define VIEWS (OP_INPUTS + LIMIT_EW_IN + LIMIT_EW_OUT + 1)
struct touched { struct view v[VIEWS]; bool writes[VIEWS]; int n; };

static void note(struct view *v, bool writes, void *arg)
{
    struct touched *t = arg;
    t->v[t->n] = *v;
    t->writes[t->n++] = writes;
}

/* Whether two ops touch one float of the arena's rows, and one of them writes it. */
static bool meet(const struct plan *p, const struct touched *a, const struct touched *b)
{
    bool any = false;
    for (int i = 0; i < a->n; i++)
        for (int j = 0; j < b->n; j++) {
            const struct act *f = &p->acts[a->v[i].act], *g = &p->acts[b->v[j].act];
            bool other = a->v[i].act != b->v[j].act && f->offset < g->offset + g->stride &&
                         g->offset < f->offset + f->stride;
            any |= (a->writes[i] || b->writes[j]) && (other || overlap(a->v[i], b->v[j]));
        }
    return any;
}

/* Every op is in one stage, and those that may not pass each other are in stages in order. */
static void check_stages(struct plan *p, int32_t most)
{
    struct stages s;
    struct err e = {0};
    cr_assert_eq(stages_find(&s, p, &one, &e), 0, "%s", e.text);
    int32_t *at = calloc((size_t)p->n_ops, sizeof *at), seen = 0;
    cr_assert_eq(s.first[0], 0);
    cr_assert_eq(s.first[s.n], p->n_ops);
    for (int32_t k = 0; k < s.n; k++) {
        cr_assert_lt(s.first[k], s.first[k + 1], "stage %d is empty", k);
        for (int32_t i = s.first[k]; i < s.first[k + 1]; i++) {
            cr_assert_eq(at[s.ops[i]], 0, "op %d comes twice", s.ops[i]);
            at[s.ops[i]] = k + 1;
            cr_assert_lt(s.ops[i] - s.ops[s.first[k]], STAGES_SPAN); /* what makes it linear */
            seen++;
            cr_assert_eq(s.next[s.ops[i]], s.ops[(i + 1) % p->n_ops]);
        }
    }
    cr_assert_eq(seen, p->n_ops);
    struct touched *all = calloc((size_t)p->n_ops, sizeof *all);
    for (int32_t i = 0; i < p->n_ops; i++) {
        op_views(&p->ops[i], note, &all[i]);
        for (int32_t j = 0; j < i; j++) {
            int32_t section = p->ops[i].section;
            bool apart = !meet(p, &all[i], &all[j]) &&
                         (section < 0 || section != p->ops[j].section);
            cr_assert(apart || at[j] < at[i], "op %d in stage %d needs op %d in stage %d", i,
                      at[i] - 1, j, at[j] - 1);
        }
    }
    cr_assert_leq(s.n, most, "%d stages", s.n);
    stages_free(&s);
    free(all);
    free(at);
}

Test(phases, stages_of_models)
{
    static const struct { const char *dir; int32_t most; } cases[] = {
        {"models/demo/rwkv7", 130},
        {"models/demo/gated-deltanet", 92},
        {"tests/golden/hf/hf_qwen3_5", 48},
        {"tests/gpu/rwkv7-1.5b", 508},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = {0};
        struct model *m;
        struct model_options o = {.dir = cases[i].dir, .dummy = true, .dummy_seed = 1};
        cr_assert_geq(model_open(&m, &o, &e), 0, "%s", e.text);
        cr_assert_gt(plan_layout(&m->plan, &one), 0);
        check_stages(&m->plan, cases[i].most);
        model_close(m);
    }
}
