/* The checks of one case; see check.h. Thread: one, in a forked child. */
#include "tests/check/check.h"

#include "base/mem.h"
#include "kernels/ref/ref_int16.h"
#include "kernels/ref/ref_split.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static host_kernel *const refs[OP_KINDS] = {
#define OP(KIND, name, rows, sections, cost, factor, what) [OP_##KIND] = ref_##name,
#include "kernels/ops.def"
};
host_kernel *check_ref(enum op_kind k) { return refs[k]; }

/* Its products have a definition of their own. */
static bool defined_apart(const struct cpu_kernel *k) { return k->need & (NEED_AMX | NEED_INT16); }

/* What a kernel equals or comes near. */
static host_kernel *definition_of(const struct cpu_kernel *k)
{
    static host_kernel *const int16[OP_KINDS] = {[OP_LINEAR] = ref_linear_int16,
                                                 [OP_EXPERTS] = ref_experts_int16,
                                                 [OP_BLOCKS] = ref_blocks_int16};
    static host_kernel *const split[OP_KINDS] = {[OP_LINEAR] = ref_linear_split,
                                                 [OP_EXPERTS] = ref_experts_split,
                                                 [OP_BLOCKS] = ref_blocks_split};
    return k->need & NEED_INT16 ? int16[k->op] : k->need & NEED_AMX ? split[k->op] : refs[k->op];
}

static void fail(struct verdict *v, const char *fmt, ...) PRINTF(2, 3);
static void fail(struct verdict *v, const char *fmt, ...)
{
    if (v->text[0])
        return; /* the first finding is the one to look at */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(v->text, sizeof v->text, fmt, ap);
    va_end(ap);
}

/* One run and, for attention and its relatives, the storing of its rows that the next piece
 * reads. */
static void run(struct rig *r, host_kernel *fn, int q, int from, int to, int nth, bool backwards)
{
    enum op_kind kind = r->op.kind;
    rig_run(r, fn, q, from, to, nth, backwards);
    rig_plain_nans(r);
    if (kind != OP_ATTENTION && (kind < OP_PATH || kind > OP_INDEXED))
        return;
    r->op.kind = OP_ATTENTION_KEEP;
    rig_run(r, ref_attention_keep, q, from, to, 1, false);
    r->op.kind = kind;
}

static bool same(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

/* Index of the first float that differs, -1 = none. */
static int64_t first_difference(const float *a, const float *b, int64_t n)
{
    if (memcmp(a, b, (size_t)n * sizeof *a) == 0)
        return -1;
    for (int64_t i = 0; i < n; i++)
        if (!same(a[i], b[i]))
            return i;
    return -1;
}

static void must_equal(struct rig *r, const struct memory *want, struct verdict *v,
                       const char *property)
{
    int64_t i = first_difference(r->arena, want->arena, r->arena_n);
    const float *a = r->arena, *b = want->arena;
    const char *where = "activations";
    if (i < 0) {
        i = first_difference(r->slot_mem, want->slots, r->slot_n);
        a = r->slot_mem, b = want->slots, where = "states";
    }
    if (i < 0) {
        i = first_difference(r->page_mem, want->pages, r->page_n);
        a = r->page_mem, b = want->pages, where = "pages";
    }
    if (i >= 0)
        fail(v, "%s: %s differ at %lld: %.9g, expected %.9g", property, where, (long long)i,
             (double)a[i], (double)b[i]);
}

/* ---- against ref ----------------------------------------------------------------------- */

static double ulps(float a, float b)
{
    int32_t x, y;
    memcpy(&x, &a, 4);
    memcpy(&y, &b, 4);
    x = x < 0 ? INT32_MIN - x : x;
    y = y < 0 ? INT32_MIN - y : y;
    return fabs((double)x - y);
}

/* How far outputs may be from others: as in struct cpu_kernel; both 0: the same bits. */
struct bound {
    float abs, rel;
    bool may_cancel; /* an infinity may have become NaN */
};

/* n floats of an output; the absolute bound grows with the largest of them, because sums that
 * cancel keep the error of their terms. What is no finite number has no neighbours: it must be the
 * same infinity, or a NaN. */
static void near(struct bound most, const float *got, const float *want, int64_t n,
                 struct verdict *v, const char *where)
{
    float largest = 1;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(want[i]))
            largest = fmaxf(largest, fabsf(want[i]));
    for (int64_t i = 0; i < n; i++) {
        /* denormals are zero: whether one is still there is not asked */
        if (same(got[i], want[i]) || (fabsf(got[i]) < FLT_MIN && fabsf(want[i]) < FLT_MIN))
            continue;
        double d = fabs((double)got[i] - want[i]);
        v->max_abs = fmax(v->max_abs, d);
        v->max_ulp = fmax(v->max_ulp, ulps(got[i], want[i]));
        bool ok = isfinite(got[i]) && isfinite(want[i])
                      ? d <= (double)most.abs * largest || d <= (double)most.rel * fabs(want[i])
                      : most.may_cancel && isinf(want[i]) && isnan(got[i]);
        if (!ok) {
            fail(v, "%s: element %lld is %.9g, ref has %.9g (%.0f ulp)", where, (long long)i,
                 (double)got[i], (double)want[i], ulps(got[i], want[i]));
            return;
        }
    }
}

/* Instructions that round once. */
static bool rounds_once(enum ew_op f)
{
    return f <= EW_ABS ? f != EW_POW : f == EW_SQRT || f == EW_RELU || f == EW_ROUND;
}

/* Chains of fused multiply-adds have one right answer; so have programs of correctly rounded
 * instructions, and LINEAR without a transcendental activation. */
static bool is_exact(const struct rig *r, const struct cpu_kernel *k)
{
    enum activation a = r->op.p.linear.act;
    if (k->op == OP_LINEAR)
        return a == ACT_NONE || a == ACT_RELU || a == ACT_SQRELU;
    if (defined_apart(k))
        return true;
    bool exact = k->op == OP_EW;
    for (int i = 0; exact && i < r->ew.n_code; i++)
        exact = rounds_once(r->ew.code[i].op);
    return exact;
}

/* From its definition. Where that is a row's own, the row's distance is from `ref` (near_other),
 * and what follows a product is as near as in a row of float32. */
static struct bound bound_of(const struct rig *r, const struct cpu_kernel *k)
{
    const struct cpu_kernel *o = k;
    if (is_exact(r, k))
        return (struct bound){0};
    for (int i = 0; i < select_rows && defined_apart(o); i++)
        if (select_table[i].op == k->op && cpu_vectors(&select_table[i]))
            o = &select_table[i];
    /* PARALLAX by vectors is the difference of two sums, and infinite values are in both. */
    return (struct bound){o->max_abs, o->max_rel, k->op == OP_PARALLAX};
}

/* The views an op writes. */
static int outputs(const struct rig *r, struct view *out)
{
    int n = 0;
    if (r->op.kind == OP_EW) {
        for (int i = 0; i < r->ew.n_out; i++)
            out[n++] = r->ew.out[i].v;
    } else if (view_given(r->op.out)) {
        out[n++] = r->op.out;
    }
    return n;
}

/* The state of sequence q; numbers in float16 as what they stand for. */
static void near_state(const struct rig *r, struct bound most, int q, const float *ref,
                       struct verdict *v)
{
    size_t n = (size_t)r->sections[0].elems;
    float *got = mem_array(2 * n, sizeof *got);
    ASSERT(got);
    rig_state_read(r, r->slot_mem, q, got);
    rig_state_read(r, ref, q, got + n);
    near(most, got, got + n, (int64_t)n, v, "state");
    mem_free(got);
}

/* Compares what the op writes with ref's, then puts ref's there, so that everything else of both
 * memories must be equal: guard zones, inputs, other slots and pages. */
static void against_ref(struct rig *r, struct bound most, const struct memory *ref,
                        struct verdict *v)
{
    struct view out[LIMIT_EW_OUT];
    int n = outputs(r, out);
    for (int i = 0; i < n; i++) {
        int rows = r->acts[out[i].act].rows == ROWS_LOGITS ? r->batch.n_logits : r->batch.n_tokens;
        for (int t = 0; t < rows; t++) {
            float *got = host_row(&r->step, out[i], t);
            const float *want = ref->arena + (got - r->arena);
            char where[32];
            snprintf(where, sizeof where, "row %d", t);
            near(most, got, want, out[i].width, v, where);
            memcpy(got, want, (size_t)out[i].width * 4);
        }
    }
    if (r->plan.n_sections && r->sections[0].kind == SECTION_FIXED) {
        for (int q = 0; q < r->batch.n_seqs; q++) {
            float *got = host_state(&r->step, 0, r->slots[q]);
            const float *want = ref->slots + (got - r->slot_mem);
            near_state(r, most, q, ref->slots, v);
            memcpy(got, want, (size_t)section_floats(&r->sections[0]) * 4);
        }
    }
    if (r->op.kind == OP_DELTAFORMER) { /* results are what it caches */
        near(most, r->page_mem, ref->pages, r->page_n, v, "pages");
        memcpy(r->page_mem, ref->pages, (size_t)r->page_n * 4);
    }
    must_equal(r, ref, v, "outside of the output");
}

/* ---- properties ------------------------------------------------------------------------ */

static void any_threads(struct rig *r, host_kernel *fn, const struct memory *before,
                        const struct memory *whole, struct verdict *v)
{
    static const int counts[] = {2, 3, 4, 7, 64}; /* `whole` is what one made */
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        char name[64];
        snprintf(name, sizeof name, "%d threads", counts[i]);
        rig_load(r, before);
        run(r, fn, -1, 0, 0, counts[i], i % 2);
        must_equal(r, whole, v, name);
    }
}

/* Every sequence on its own, and cut at random places. */
static void alone_and_split(struct rig *r, host_kernel *fn, const struct memory *before,
                            const struct memory *whole, struct verdict *v)
{
    if (r->op.rows == ROWS_LOGITS)
        return; /* its rows are not the batch's */
    rig_load(r, before);
    for (int q = 0; q < r->batch.n_seqs; q++)
        run(r, fn, q, 0, r->cu[q + 1] - r->cu[q], 1, false);
    must_equal(r, whole, v, "each sequence alone");
    rig_load(r, before);
    for (int q = 0; q < r->batch.n_seqs; q++) {
        int n = r->cu[q + 1] - r->cu[q];
        for (int at = 0, to; at < n; at = to) {
            to = at + 1 + (int)rng_below(&r->rng, (uint64_t)(n - at));
            run(r, fn, q, at, to, 2, false);
        }
    }
    must_equal(r, whole, v, "in pieces");
}

/* All vector variants of an op agree, so that a state may move between machines. */
static void same_as_siblings(struct rig *r, const struct cpu_kernel *k,
                             const struct memory *before, const struct memory *whole,
                             struct verdict *v)
{
    for (int i = 0; i < select_rows && cpu_vectors(k); i++) {
        const struct cpu_kernel *o = &select_table[i];
        if (o == k || o->op != k->op || !cpu_vectors(o) ||
            (o->formats & k->formats) != k->formats || (o->need & ~cpuid_features()) ||
            strcmp(numerics_class(o), numerics_class(k)) != 0)
            continue;
        rig_load(r, before);
        run(r, o->run, -1, 0, 0, 1, false);
        must_equal(r, whole, v, o->variant);
    }
}

static uint64_t digest(uint64_t h, const float *p, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &p[i], sizeof bits);
        if (isnan(p[i])) /* which payload comes through is the processor's own business */
            bits = 0x7fc00000u;
        h = (h ^ bits) * UINT64_C(0x100000001b3); /* FNV-1a over words */
    }
    return h;
}

/* Blocks and the same values as float32 give the same bits where one definition serves both. */
static void same_as_twin(struct rig *r, const struct cpu_kernel *k, const struct memory *before,
                         const struct memory *whole, struct verdict *v)
{
    int32_t at = r->op.w[0];
    if (format_plain(select_format(&r->plan, &r->op)) || defined_apart(k))
        return;
    struct host_weight blocks = r->packed[at], *w = &r->packed[at];
    float *row = mem_array((size_t)w->cols, sizeof *row);
    r->weights[at].dtype = w->dtype = DTYPE_F32;
    ASSERT(row && pack_bytes(&r->weights[at], &w->bytes) && (w->data = mem_aligned(w->bytes)));
    for (int64_t i = 0; i < w->rows; i++) {
        panel_row(&blocks, i, 0, w->cols, row);
        pack_rows(w, i, 1, row, DTYPE_F32);
    }
    rig_load(r, before);
    run(r, k->run, -1, 0, 0, 1, false);
    must_equal(r, whole, v, "as float32");
    mem_aligned_free(w->data, w->bytes);
    mem_free(row);
    *w = blocks;
    r->weights[at].dtype = blocks.dtype;
}

/* Of two definitions: the results of one are near those of the other. Not asked of infinities (a
 * part of one times zero is no number) and of large sums that cancel before an activation. */
static void near_other(struct rig *r, const struct cpu_kernel *k, const struct memory *before,
                       const struct memory *whole, struct verdict *v)
{
    rig_load(r, before);
    run(r, refs[k->op], -1, 0, 0, 1, false);
    struct memory ref = rig_save(r);
    rig_load(r, whole);
    against_ref(r, (struct bound){k->max_abs, k->max_rel, false}, &ref, v);
    memory_free(&ref);
}

static bool weights_unchanged(const struct rig *r, unsigned char *const *copies)
{
    for (int i = 0; i < r->plan.n_weights; i++)
        if (memcmp(r->packed[i].data, copies[i], r->packed[i].bytes) != 0)
            return false;
    return true;
}

void check_case(const struct cpu_kernel *k, const struct shape *s, enum input_class c,
                uint64_t seed, struct verdict *v)
{
    struct rig r;
    unsigned char *weights[RIG_WEIGHTS] = {0};
    *v = (struct verdict){0};
    ops_rig(&r, k->op, s, c, seed);
    v->served = k->formats >> select_format(&r.plan, &r.op) & 1; /* or it is another row's */
    if (!v->served) {
        rig_free(&r);
        return;
    }
    for (int i = 0; i < r.plan.n_weights; i++) {
        weights[i] = mem_zalloc(r.packed[i].bytes);
        ASSERT(weights[i]);
        memcpy(weights[i], r.packed[i].data, r.packed[i].bytes);
    }
    struct memory before = rig_save(&r);
    run(&r, definition_of(k), -1, 0, 0, 1, false);
    struct memory ref = rig_save(&r);
    rig_load(&r, &before);
    run(&r, k->run, -1, 0, 0, 1, false);
    struct memory whole = rig_save(&r);
    v->bits = digest(UINT64_C(0xcbf29ce484222325), whole.arena, r.arena_n);
    v->bits = digest(v->bits, whole.slots, r.slot_n);
    v->bits = digest(v->bits, whole.pages, r.page_n);
    v->libm = numerics_calls_libm(&r.op, cpu_vectors(k));
    against_ref(&r, bound_of(&r, k), &ref, v);
    if (defined_apart(k) && c != CLASS_inf && c != CLASS_nan && c != CLASS_large)
        near_other(&r, k, &before, &whole, v);
    any_threads(&r, k->run, &before, &whole, v);
    alone_and_split(&r, k->run, &before, &whole, v);
    same_as_siblings(&r, k, &before, &whole, v);
    same_as_twin(&r, k, &before, &whole, v);
    if (!weights_unchanged(&r, weights))
        fail(v, "a weight was written to");
    memory_free(&before);
    memory_free(&ref);
    memory_free(&whole);
    for (int i = 0; i < r.plan.n_weights; i++)
        mem_free(weights[i]);
    rig_free(&r);
}
