/* Where to cut, and the parts' plans. Thread: loading. */
#include "kernels/split/cut.h"

#include <string.h>

#include "base/mem.h"

/* ---- where ------------------------------------------------------------------------------- */

/* Calls f for every weight an op uses. */
static void op_weights(const struct op *op, void (*f)(int32_t w, void *arg), void *arg)
{
    for (size_t i = 0; i < ARRAY_LEN(op->w); i++)
        if (op->w[i] >= 0)
            f(op->w[i], arg);
    for (int i = 0; op->kind == OP_EW && i < op->p.ew->n_in; i++)
        if (!view_given(op->p.ew->in[i].v))
            f(op->p.ew->in[i].weight, arg);
}

/* The first section that no op before `at` uses: those from here on belong to later ops. */
static int32_t sections_before(const struct plan *p, int32_t at)
{
    int32_t n = 0;
    for (int32_t i = 0; i < at; i++)
        n = MAX(n, p->ops[i].section + 1);
    return n;
}

/* May `at` begin a part? */
static bool divides(const struct plan *p, int32_t at)
{
    if (p->ops[at].layer == p->ops[at - 1].layer)
        return false;
    int32_t first = sections_before(p, at);
    for (int32_t i = at; i < p->n_ops; i++)
        if (p->ops[i].section >= 0 && p->ops[i].section < first)
            return false;
    return true;
}

/* 0, every op that may begin a part, and the end, ascending; their number. */
static int32_t find_places(const struct plan *p, int32_t *places)
{
    int32_t n = 0, logits = 0;
    while (logits < p->n_ops && p->ops[logits].rows != ROWS_LOGITS)
        logits++;
    places[n++] = 0;
    for (int32_t i = 1; i <= logits && i < p->n_ops; i++)
        if (divides(p, i))
            places[n++] = i;
    places[n++] = p->n_ops;
    return n;
}

static int64_t weight_bytes(const struct weight *w)
{
    return w->rows * (int64_t)format_bytes(w->dtype, w->cols);
}

struct sum { const struct plan *p; int32_t *seen, mark; int64_t bytes; };

static void add_weight(int32_t w, void *arg)
{
    struct sum *s = arg;
    if (s->seen[w] != s->mark)
        s->bytes += weight_bytes(&s->p->weights[w]);
    s->seen[w] = s->mark;
}

/* cost[i * n + j]: bytes of the weights that the ops from place i to place j use. */
static void find_costs(const struct plan *p, const int32_t *places, int32_t n, int32_t *seen,
                       int64_t *cost)
{
    for (int32_t i = 0; i < n; i++) {
        struct sum s = {p, seen, i + 1, 0};
        for (int32_t j = i + 1; j < n; j++) {
            for (int32_t k = places[j - 1]; k < places[j]; k++)
                op_weights(&p->ops[k], add_weight, &s);
            cost[i * n + j] = s.bytes;
        }
    }
}

/* best[k * n + j]: the least possible largest of k + 1 parts that end at place j, of which the last
 * begins at place from[k * n + j]. */
static void find_best(const int64_t *cost, int32_t n, int32_t parts, int64_t *best, int32_t *from)
{
    for (int32_t j = 0; j < n; j++)
        best[j] = j ? cost[j] : INT64_MAX;
    for (int32_t k = 1; k < parts; k++)
        for (int32_t j = 0; j < n; j++) {
            best[k * n + j] = INT64_MAX;
            for (int32_t i = k; i < j; i++) {
                int64_t most = MAX(best[(k - 1) * n + i], cost[i * n + j]);
                if (most < best[k * n + j]) {
                    best[k * n + j] = most;
                    from[k * n + j] = i;
                }
            }
        }
}

/* Sets from and end of the parts. */
static int choose(struct part *parts, int32_t n_parts, const struct plan *p, struct err *e)
{
    int32_t *places = mem_array((size_t)p->n_ops + 1, sizeof *places), n = 0;
    int32_t *seen = mem_array((size_t)p->n_weights + 1, sizeof *seen), *from = NULL;
    int64_t *cost = NULL, *best = NULL;
    if (places && seen) {
        n = find_places(p, places);
        cost = mem_array((size_t)n * (size_t)n, sizeof *cost);
        best = mem_array((size_t)n * (size_t)n_parts, sizeof *best);
        from = mem_array((size_t)n * (size_t)n_parts, sizeof *from);
    }
    if (!cost || !best || !from) {
        err_set(e, E_NOMEM, "no memory to cut a plan of %d ops", p->n_ops);
    } else if (n - 1 < n_parts) {
        err_set(e, E_RANGE, "the model can be cut into %d parts at most, and there are %d devices",
                (int)n - 1, (int)n_parts);
    } else {
        find_costs(p, places, n, seen, cost);
        find_best(cost, n, n_parts, best, from);
        for (int32_t k = n_parts - 1, j = n - 1; k >= 0; j = from[k-- * n + j]) {
            parts[k].end = places[j];
            parts[k].from = k ? places[from[k * n + j]] : 0;
        }
    }
    mem_free(places);
    mem_free(seen);
    mem_free(from);
    mem_free(cost);
    mem_free(best);
    return e->code;
}

/* ---- one part's plan --------------------------------------------------------------------- */

struct take { struct part *x; const struct plan *whole; };

static void take_weight(int32_t w, void *arg)
{
    struct take *t = arg;
    struct part *x = t->x;
    if (x->weight_of[w] >= 0)
        return;
    x->weight_of[w] = x->plan.n_weights;
    x->plan.weights[x->plan.n_weights++] = t->whole->weights[w];
    x->weight_bytes += weight_bytes(&t->whole->weights[w]);
}

static int32_t here(const struct part *x, int32_t w) { return w < 0 ? w : x->weight_of[w]; }

static void take_ops(struct part *x, const struct plan *p, int32_t first_section)
{
    struct take t = {x, p};
    int32_t n_programs = 0;
    for (int32_t i = x->from; i < x->end; i++) {
        struct op *op = &x->plan.ops[x->plan.n_ops++];
        *op = p->ops[i];
        op_weights(op, take_weight, &t);
        for (size_t k = 0; k < ARRAY_LEN(op->w); k++)
            op->w[k] = here(x, op->w[k]);
        op->section -= op->section < 0 ? 0 : first_section;
        if (op->kind != OP_EW)
            continue;
        struct ew_program *ew = &x->programs[n_programs++];
        *ew = *op->p.ew;
        op->p.ew = ew;
        for (int k = 0; k < ew->n_in; k++)
            if (!view_given(ew->in[k].v))
                ew->in[k].weight = here(x, ew->in[k].weight);
    }
}

/* Where the sections of a kind from s on begin in an item; without one, its end. */
static int64_t section_at(const struct plan *p, int32_t s, enum section_kind kind)
{
    for (; s > 0 && s < p->n_sections; s++)
        if (p->sections[s].kind == kind)
            return p->sections[s].offset;
    if (s == 0)
        return 0;
    return kind == SECTION_FIXED ? p->slot_floats : PAGE_TOKENS * p->page_token_floats;
}

/* Sections [first, end) of the whole. */
static void take_sections(struct part *x, const struct plan *p, int32_t first, int32_t end)
{
    struct plan *own = &x->plan;
    x->slot_from = section_at(p, first, SECTION_FIXED);
    x->page_from = section_at(p, first, SECTION_PAGED);
    own->slot_floats = section_at(p, end, SECTION_FIXED) - x->slot_from;
    own->page_token_floats = (section_at(p, end, SECTION_PAGED) - x->page_from) / PAGE_TOKENS;
    for (int32_t i = first; i < end; i++) {
        struct section *s = &own->sections[own->n_sections++];
        *s = p->sections[i];
        s->offset -= s->kind == SECTION_FIXED ? x->slot_from : x->page_from;
    }
}

struct touch { struct act *acts; bool *written; int32_t at; };

static void note_touch(struct view *v, bool writes, void *arg)
{
    struct touch *t = arg;
    struct act *a = &t->acts[v->act];
    a->first = MIN(a->first, t->at);
    a->last = MAX(a->last, t->at);
    t->written[v->act] |= writes;
}

/* Lives within the part; what comes from outside lives from its start, what goes on to its end. */
static void take_acts(struct part *x, const struct plan *p, bool *written)
{
    struct plan *own = &x->plan;
    for (int32_t i = 0; i < p->n_acts; i++) {
        own->acts[i] = p->acts[i];
        own->acts[i].first = INT32_MAX;
        own->acts[i].last = -1;
    }
    for (int32_t i = 0; i < own->n_ops; i++) {
        struct touch t = {own->acts, written, i};
        op_views(&own->ops[i], note_touch, &t);
    }
    for (int32_t i = 0; i < p->n_acts; i++) {
        struct act *a = &own->acts[i];
        if (a->last < 0 || a->rows != ROWS_TOKENS)
            continue;
        if (p->acts[i].first < x->from) {
            x->in.acts[x->in.n++] = i;
            a->first = 0;
        }
        if (written[i] && p->acts[i].last >= x->end && x->end < p->n_ops) {
            x->out.acts[x->out.n++] = i;
            a->last = own->n_ops;
        }
    }
    if (x->end == p->n_ops && view_given(own->logits))
        own->acts[own->logits.act].last = own->n_ops;
}

static int make(struct part *x, const struct plan *p, int32_t first_section, int32_t end_section,
                struct err *e)
{
    size_t ops = (size_t)(x->end - x->from) + 1, acts = (size_t)p->n_acts + 1;
    size_t weights = (size_t)p->n_weights + 1, sections = (size_t)p->n_sections + 1;
    bool *written = mem_array(acts, sizeof *written);
    x->plan = (struct plan){
        .ops = mem_array(ops, sizeof *x->plan.ops), .acts = mem_array(acts, sizeof *x->plan.acts),
        .n_acts = p->n_acts, .weights = mem_array(weights, sizeof *x->plan.weights),
        .sections = mem_array(sections, sizeof *x->plan.sections), .vocab = p->vocab,
        .hidden = p->hidden, .logits = x->end == p->n_ops ? p->logits : VIEW_NONE};
    x->programs = mem_array(ops, sizeof *x->programs);
    x->weight_of = mem_array(weights, sizeof *x->weight_of);
    x->in.acts = mem_array(acts, sizeof *x->in.acts);
    x->out.acts = mem_array(acts, sizeof *x->out.acts);
    bool fine = written && x->plan.ops && x->plan.acts && x->plan.weights && x->plan.sections &&
                x->programs && x->weight_of && x->in.acts && x->out.acts;
    if (fine) {
        memset(x->weight_of, 0xff, weights * sizeof *x->weight_of); /* -1 */
        take_ops(x, p, first_section);
        take_sections(x, p, first_section, end_section);
        take_acts(x, p, written);
    }
    mem_free(written);
    return fine ? 0 : err_set(e, E_NOMEM, "no memory for a part of %zu ops", ops - 1);
}

int plan_cut(struct part *parts, int32_t n, const struct plan *p, struct err *e)
{
    memset(parts, 0, (size_t)n * sizeof *parts);
    int rc = choose(parts, n, p, e);
    for (int32_t k = 0; k < n && !rc; k++) {
        int32_t first = k ? sections_before(p, parts[k].from) : 0;
        int32_t end = k + 1 < n ? sections_before(p, parts[k].end) : p->n_sections;
        rc = make(&parts[k], p, first, end, e);
    }
    for (int32_t k = 0; k < n && rc; k++)
        part_free(&parts[k]);
    return rc;
}

void part_free(struct part *x)
{
    mem_free(x->plan.ops);
    mem_free(x->plan.acts);
    mem_free(x->plan.weights);
    mem_free(x->plan.sections);
    mem_free(x->programs);
    mem_free(x->weight_of);
    mem_free(x->in.acts);
    mem_free(x->out.acts);
    *x = (struct part){0};
}
