/* The plan as a whole: indices, views, what is written before it is read, lives, sections and the
 * arena. What each op wants of its operands: validate_ops.c. */
#include "kernels/validate_int.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

/* Columns that an op wrote, of one activation; the newest first. */
struct written { int32_t from, to, next; };

/* How a section is used: by one op, or by attention ops that share it and the one that stores. */
struct use { int32_t first, keep; };

struct validation {
    struct walk w;
    int32_t *writer;         /* [act] */
    int32_t *runs;           /* [act] newest entry of pool, -1 = none */
    struct written *pool;
    int32_t n_pool, at;      /* at: index of the op looked at */
    struct use *uses;        /* [section] */
};

/* ---- tables ---- */

static void check_acts(const struct plan *p, struct err *e)
{
    for (int32_t i = 0; i < p->n_acts && !e->code; i++) {
        const struct act *a = &p->acts[i];
        if ((unsigned)a->rows > ROWS_LOGITS || a->width < 1 || a->width > LIMIT_WIDTH ||
            a->stride < a->width)
            err_set(e, E_RANGE, "activation %d: %d columns in rows of %d; 1 to %d", i, a->width,
                    a->stride, LIMIT_WIDTH);
    }
    for (int32_t i = 0; i < p->n_weights && !e->code; i++) {
        const struct weight *w = &p->weights[i];
        if ((unsigned)w->role > WEIGHT_VECTOR || w->rows < 1 || w->cols < 1 ||
            w->rows > LIMIT_MATRIX_ROWS || w->cols > LIMIT_WIDTH)
            err_set(e, E_RANGE, "weight %d: %lld x %lld; 1 to %d and %d", i, (long long)w->rows,
                    (long long)w->cols, LIMIT_MATRIX_ROWS, LIMIT_WIDTH);
        else if ((unsigned)w->dtype >= DTYPES || !format_fits(w->dtype, w->cols) ||
                 (w->role == WEIGHT_VECTOR && w->dtype != DTYPE_F32))
            err_set(e, E_RANGE, "weight %d: a %s of %lld columns in format %d", i,
                    w->role == WEIGHT_VECTOR ? "vector" : "matrix", (long long)w->cols,
                    (int)w->dtype);
    }
}

/* Sections of a kind follow one another, and end within the slot or the page. */
static void check_sections(const struct plan *p, struct err *e)
{
    int64_t end[2] = {0, 0}, size[2] = {p->slot_floats, p->page_token_floats};
    for (int32_t i = 0; i < p->n_sections && !e->code; i++) {
        const struct section *s = &p->sections[i];
        if ((unsigned)s->kind > SECTION_PAGED || s->elems < 1 || s->elems > INT64_MAX - 1 ||
            (s->dtype != DTYPE_F32 && (s->dtype != DTYPE_F16 || s->kind != SECTION_FIXED))) {
            err_set(e, E_RANGE, "section %s: kind %d, %lld numbers of format %d", s->name,
                    (int)s->kind, (long long)s->elems, (int)s->dtype);
            break;
        }
        int64_t rows = s->kind == SECTION_PAGED ? PAGE_TOKENS : 1, n;
        if (s->offset < end[s->kind] || mul_overflows(section_floats(s), rows, &n) ||
            add_overflows(s->offset, n, &end[s->kind]) || end[s->kind] > size[s->kind] * rows)
            err_set(e, E_RANGE, "section %s: %lld floats at %lld overlap the section before, or "
                    "the end at %lld", s->name, (long long)section_floats(s), (long long)s->offset,
                    (long long)(size[s->kind] * rows));
    }
}

/* ---- views ---- */

static bool overlap(struct view a, struct view b)
{
    return a.act == b.act && a.col < b.col + b.width && b.col < a.col + a.width;
}
static bool same(struct view a, struct view b)
{
    return a.act == b.act && a.col == b.col && a.width == b.width;
}

/* Inside its activation, of these rows, and within its life. */
static bool view_fits(struct validation *v, struct view x, enum rows rows, const char *what)
{
    const struct plan *p = v->w.plan;
    if (!walk_require(&v->w, x.act >= 0 && x.act < p->n_acts, "%s is activation %d of %d", what,
                      x.act, p->n_acts))
        return false;
    const struct act *a = &p->acts[x.act];
    return walk_require(&v->w, x.col >= 0 && x.width >= 1 && x.width <= a->width - x.col,
                        "%s is columns %d and %d more of %d", what, x.col, x.width, a->width) &&
           walk_require(&v->w, a->rows == rows, "%s has rows of %s", what,
                        a->rows == ROWS_LOGITS ? "logits" : "tokens") &&
           walk_require(&v->w, a->first <= v->at && v->at <= a->last,
                        "%s is used at op %d, and lives from %d to %d", what, v->at, a->first,
                        a->last);
}

/* Every column was written: each run found moves the first one that is not yet known. */
static void view_written(struct validation *v, struct view x, const char *what)
{
    int32_t at = x.col, end = x.col + x.width;
    for (bool moved = true; moved && at < end;) {
        moved = false;
        for (int32_t i = v->runs[x.act]; i >= 0 && !moved; i = v->pool[i].next)
            if (v->pool[i].from <= at && at < v->pool[i].to) {
                at = v->pool[i].to;
                moved = true;
            }
    }
    walk_require(&v->w, at >= end, "%s is read before column %d of activation %d is written", what,
                 at, x.act);
}

static void note_written(struct validation *v, struct view x)
{
    struct written *n = &v->pool[v->n_pool];
    *n = (struct written){x.col, x.col + x.width, v->runs[x.act]};
    v->runs[x.act] = v->n_pool++;
    v->writer[x.act] = v->at;
}

/* ---- operands ---- */

static bool may_lack(enum operand_use u)
{
    return u == OPERAND_OPTIONAL || u == OPERAND_OPTIONAL_INPLACE;
}

static void check_alias(struct validation *v, struct view x, enum operand_use use,
                        const char *what)
{
    struct view out = v->w.op->out;
    if (!view_given(out))
        return;
    switch (use) {
    case OPERAND_GIVEN:
    case OPERAND_OPTIONAL:
        walk_require(&v->w, !overlap(x, out), "%s shares columns with the output", what);
        break;
    case OPERAND_INPLACE:
    case OPERAND_OPTIONAL_INPLACE:
        walk_require(&v->w, same(x, out) || !overlap(x, out), "%s is a part of the output", what);
        break;
    case OPERAND_SAME:
        walk_require(&v->w, same(x, out), "%s is not the output, in place", what);
        break;
    case OPERAND_OWN:
        walk_require(&v->w, x.act == out.act && x.col >= out.col &&
                                x.col + x.width <= out.col + out.width,
                     "%s is not a part of the output", what);
        break;
    }
}

static void check_inputs(struct validation *v)
{
    const struct op *op = v->w.op;
    enum rows rows = op->kind == OP_GATHER ? ROWS_TOKENS : op->rows;
    for (int i = 0; i < OP_INPUTS && !v->w.e->code; i++) {
        const struct operand *o = &op_faces[op->kind].in[i];
        struct view x = op->in[i];
        if (!view_given(x)) {
            walk_require(&v->w, (!o->name || may_lack(o->use)) && x.width == 0,
                         "%s is missing", o->name ? o->name : "an operand of some width");
            continue;
        }
        if (!walk_require(&v->w, o->name != NULL, "operand %d is given, there is none", i) ||
            !view_fits(v, x, rows, o->name))
            return;
        if (o->use != OPERAND_OWN)
            view_written(v, x, o->name);
        check_alias(v, x, o->use, o->name);
    }
}

static bool weight_fits(struct validation *v, int32_t w, enum weight_role role, const char *what)
{
    const struct plan *p = v->w.plan;
    return walk_require(&v->w, w >= 0 && w < p->n_weights, "%s is weight %d of %d", what, w,
                        p->n_weights) &&
           walk_require(&v->w, p->weights[w].role == role, "%s is a %s, a %s expected", what,
                        role == WEIGHT_MATRIX ? "vector" : "matrix",
                        role == WEIGHT_MATRIX ? "matrix" : "vector");
}

static void check_weights(struct validation *v)
{
    const struct op *op = v->w.op;
    for (int i = 0; i < OP_WEIGHTS && !v->w.e->code; i++) {
        const struct operand *o = &op_faces[op->kind].w[i];
        if (op->w[i] == -1) {
            walk_require(&v->w, !o->name || may_lack(o->use), "%s is missing", o->name);
            continue;
        }
        if (walk_require(&v->w, o->name != NULL, "weight operand %d is given, there is none", i))
            weight_fits(v, op->w[i], o->role, o->name);
    }
}

static void check_output(struct validation *v)
{
    const struct op *op = v->w.op;
    if (op->kind == OP_EW || op->kind == OP_ATTENTION_KEEP)
        walk_require(&v->w, !view_given(op->out), "an output is given, there is none");
    else
        (void)view_fits(v, op->out, op->rows, "the output");
}

/* ---- elementwise programs ---- */

static bool program_input(struct validation *v, const struct ew_in *in, const char *what)
{
    if (!view_given(in->v))
        return weight_fits(v, in->weight, WEIGHT_VECTOR, what);
    if (!view_fits(v, in->v, v->w.op->rows, what))
        return false;
    view_written(v, in->v, what);
    return !v->w.e->code;
}

/* An output may be the very view of an input that is read element by element, and of no other. */
static void program_output(struct validation *v, const struct ew_program *e, int k)
{
    struct view out = e->out[k].v;
    char what[32];
    snprintf(what, sizeof what, "output %d", k);
    if (!view_fits(v, out, v->w.op->rows, what))
        return;
    for (int i = 0; i < e->n_in; i++) {
        struct view x = e->in[i].v;
        bool fine = !view_given(x) || !overlap(x, out) ||
                    (e->in[i].spread == EW_FULL && same(x, out));
        walk_require(&v->w, fine, "output %d shares columns with input %d", k, i);
    }
    for (int i = 0; i < k; i++)
        walk_require(&v->w, !overlap(e->out[i].v, out), "outputs %d and %d share columns", i, k);
}

static void check_program(struct validation *v)
{
    const struct ew_program *e = v->w.op->p.ew;
    if (!walk_require(&v->w, e != NULL, "there is no program") ||
        !walk_require(&v->w, e->width >= 1 && e->n_in >= 0 && e->n_in <= LIMIT_EW_IN &&
                                 e->n_code >= 0 && e->n_code <= LIMIT_EW_CODE && e->n_out >= 0 &&
                                 e->n_out <= LIMIT_EW_OUT,
                      "%d inputs, %d instructions, %d outputs; at most %d, %d, %d", e->n_in,
                      e->n_code, e->n_out, LIMIT_EW_IN, LIMIT_EW_CODE, LIMIT_EW_OUT))
        return;
    for (int i = 0; i < e->n_in; i++) {
        char what[32];
        snprintf(what, sizeof what, "input %d", i);
        if (!program_input(v, &e->in[i], what))
            return;
    }
    for (int i = 0; i < e->n_out && !v->w.e->code; i++)
        program_output(v, e, i);
}

/* ---- sections ---- */

static bool section_fits(struct validation *v)
{
    const struct op *op = v->w.op;
    const struct plan *p = v->w.plan;
    enum op_sections want = op_faces[op->kind].sections;
    bool none = want == OP_SECTIONS_NONE || (want == OP_SECTIONS_MAYBE && op->section == -1);
    if (none || !walk_require(&v->w, op->section >= 0 && op->section < p->n_sections,
                              "state section %d of %d", op->section, p->n_sections))
        return none && walk_require(&v->w, op->section == -1, "state section %d, none expected",
                                    op->section);
    enum section_kind kind = p->sections[op->section].kind;
    if (p->sections[op->section].dtype != DTYPE_F32 &&
        !walk_require(&v->w, section_may_be_f16(op), "section %s is of float16",
                      p->sections[op->section].name))
        return false;
    return walk_require(&v->w, want == OP_SECTIONS_RING ||
                                   kind == (want == OP_SECTIONS_PAGED ? SECTION_PAGED
                                                                      : SECTION_FIXED),
                        "section %s is %s", p->sections[op->section].name,
                        kind == SECTION_PAGED ? "paged" : "fixed");
}

/* The rows of two ops on one section are the same columns of the same values. */
static bool same_rows(const struct op *a, const struct op *b)
{
    bool equal = a->p.attention.window == b->p.attention.window;
    for (int i = 1; i < OP_CACHED_END; i++)
        equal = equal && a->in[i].width == b->in[i].width &&
                (a->in[i].width == 0 || same(a->in[i], b->in[i]));
    return equal;
}

/* A section belongs to one op; one of cached rows to all that read the same rows, and to one
 * ATTENTION_KEEP after them. */
static void note_section(struct validation *v)
{
    const struct op *op = v->w.op;
    const struct plan *p = v->w.plan;
    enum op_sections want = op_faces[op->kind].sections;
    if (op->section < 0)
        return;
    struct use *u = &v->uses[op->section];
    const char *name = p->sections[op->section].name;
    bool rows = want == OP_SECTIONS_RING || want == OP_SECTIONS_PAGED;
    bool keep = op->kind == OP_ATTENTION_KEEP;
    if (u->first < 0) {
        walk_require(&v->w, !keep, "stores rows of section %s, which no op has read", name);
        u->first = v->at;
        return;
    }
    walk_require(&v->w, rows, "section %s belongs to op %d too", name, u->first);
    walk_require(&v->w, u->keep < 0, "section %s was stored before, by op %d", name, u->keep);
    walk_require(&v->w, same_rows(&p->ops[u->first], op), "section %s holds other rows, of op %d",
                 name, u->first);
    if (keep)
        u->keep = v->at;
}

static void check_kept(struct validation *v)
{
    const struct plan *p = v->w.plan;
    for (int32_t i = 0; i < p->n_sections; i++) {
        const struct use *u = &v->uses[i];
        if (u->first < 0)
            continue;
        v->w.op = &p->ops[u->first];
        enum op_sections want = op_faces[v->w.op->kind].sections;
        bool rows = want == OP_SECTIONS_RING || want == OP_SECTIONS_PAGED;
        walk_require(&v->w, !rows || u->keep >= 0, "no op stores the rows of section %s",
                     p->sections[i].name);
    }
}

/* ---- ops in order ---- */

static void check_op(struct validation *v)
{
    static const char *const kinds[] = {"tokens", "logits"};
    const struct op *op = v->w.op;
    if (!walk_require(&v->w, (unsigned)op->kind < OP_KINDS, "kind %d", (int)op->kind))
        return;
    enum op_rows want = op_faces[op->kind].rows;
    bool logits = op->rows == ROWS_LOGITS;
    walk_require(&v->w, (unsigned)op->rows <= ROWS_LOGITS &&
                            (want == OP_ROWS_ANY || logits == (want == OP_ROWS_LOGITS)),
                 "works on rows of %s", kinds[logits]);
    check_output(v);
    if (!v->w.e->code)
        check_inputs(v);
    check_weights(v);
    if (op->kind == OP_EW && !v->w.e->code)
        check_program(v);
    if (v->w.e->code || !section_fits(v))
        return;
    validate_op(&v->w);
    if (v->w.e->code)
        return;
    note_section(v);
    for (int i = 0; op->kind == OP_EW && i < op->p.ew->n_out; i++)
        note_written(v, op->p.ew->out[i].v);
    if (view_given(op->out))
        note_written(v, op->out);
}

static void check_logits(struct validation *v)
{
    const struct plan *p = v->w.plan;
    struct view x = p->logits;
    bool fits = x.act >= 0 && x.act < p->n_acts && p->acts[x.act].rows == ROWS_LOGITS &&
                x.col >= 0 && x.width == p->vocab && x.width <= p->acts[x.act].width - x.col &&
                p->acts[x.act].last >= p->n_ops;
    if (p->n_ops < 1 || p->vocab < 1 || p->vocab > LIMIT_VOCAB || !fits) {
        err_set(v->w.e, E_RANGE, "logits: %d columns of activation %d for %d token ids", x.width,
                x.act, p->vocab);
        return;
    }
    v->w.op = &p->ops[p->n_ops - 1];
    view_written(v, x, "the plan's result");
}

/* ---- the arena ---- */

struct span { int64_t from, to; int32_t first, last, act; };

static int by_first(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

/* No two activations in the same memory at the same time: in order of their births, each is held
 * against those still alive. */
static void check_arena(const struct plan *p, const struct capacity *c, struct err *e)
{
    int32_t n = 0, alive = 0;
    struct span *all = mem_array((size_t)p->n_acts + 1, sizeof *all);
    struct span *live = mem_array((size_t)p->n_acts + 1, sizeof *live);
    if (!all || !live)
        err_set(e, E_NOMEM, "no memory to check %d activations", p->n_acts);
    for (int32_t i = 0; i < p->n_acts && !e->code; i++) {
        const struct act *a = &p->acts[i];
        int64_t rows = a->rows == ROWS_LOGITS ? c->logits : c->tokens;
        if (a->last < 0)
            continue;
        if (a->offset < 0)
            err_set(e, E_RANGE, "activation %d: at %lld", i, (long long)a->offset);
        all[n++] = (struct span){a->offset, a->offset + rows * a->stride, a->first, a->last, i};
    }
    if (!e->code)
        qsort(all, (size_t)n, sizeof *all, by_first);
    for (int32_t i = 0; i < n && !e->code; i++) {
        int32_t kept = 0;
        for (int32_t j = 0; j < alive; j++) {
            if (live[j].last < all[i].first)
                continue;
            if (live[j].from < all[i].to && all[i].from < live[j].to)
                err_set(e, E_RANGE, "activations %d and %d share memory, and are alive at op %d",
                        live[j].act, all[i].act, all[i].first);
            live[kept++] = live[j];
        }
        live[kept] = all[i];
        alive = kept + 1;
    }
    mem_free(all);
    mem_free(live);
}

/* ---- the whole ---- */

static int32_t count_writes(const struct plan *p)
{
    int32_t n = p->n_ops;
    for (int32_t i = 0; i < p->n_ops; i++)
        if (p->ops[i].kind == OP_EW && p->ops[i].p.ew)
            n += MIN(MAX(p->ops[i].p.ew->n_out, 0), LIMIT_EW_OUT);
    return n;
}

static void check_ops(struct validation *v)
{
    const struct plan *p = v->w.plan;
    size_t acts = (size_t)p->n_acts + 1, sections = (size_t)p->n_sections + 1;
    v->writer = mem_array(acts, sizeof *v->writer);
    v->runs = mem_array(acts, sizeof *v->runs);
    v->pool = mem_array((size_t)count_writes(p) + 1, sizeof *v->pool);
    v->uses = mem_array(sections, sizeof *v->uses);
    v->w.writer = v->writer;
    if (!v->writer || !v->runs || !v->pool || !v->uses) {
        err_set(v->w.e, E_NOMEM, "no memory to check a plan of %d ops", p->n_ops);
        return;
    }
    for (size_t i = 0; i < acts; i++)
        v->writer[i] = v->runs[i] = -1;
    for (size_t i = 0; i < sections; i++)
        v->uses[i] = (struct use){-1, -1};
    for (v->at = 0; v->at < p->n_ops && !v->w.e->code; v->at++) {
        v->w.op = &p->ops[v->at];
        check_op(v);
    }
    if (!v->w.e->code)
        check_kept(v);
    if (!v->w.e->code)
        check_logits(v);
}

int plan_validate_states(const struct plan *p, const struct op_limits *limits, struct err *e)
{
    for (int32_t i = 0; i < p->n_sections; i++)
        if (p->sections[i].dtype != DTYPE_F32 && !limits->f16_states)
            return err_set(e, E_UNSUPPORTED, "states in float16: this device keeps them in "
                           "float32, only cpu and ref know both");
    return 0;
}

int plan_validate(const struct plan *p, const struct op_limits *limits, const struct capacity *c,
                  struct err *e)
{
    struct err found = {0};
    struct validation v = {.w = {.plan = p, .limits = limits, .e = &found}};
    check_acts(p, &found);
    check_sections(p, &found);
    if (!found.code && limits)
        (void)!plan_validate_states(p, limits, &found); /* found tells */
    if (!found.code)
        check_ops(&v);
    if (!found.code && c)
        check_arena(p, c, &found);
    mem_free(v.writer);
    mem_free(v.runs);
    mem_free(v.pool);
    mem_free(v.uses);
    return found.code ? err_set(e, found.code, "%s", found.text) : 0;
}
