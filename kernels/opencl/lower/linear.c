/* Matrix products: which kernels serve which number of rows, and the slices that fix the order
 * of every sum. All kernels of one weight share slices and layout, so a row's result does not
 * depend on how many rows are beside it. */
#include "kernels/opencl/bundle.h"
#include "kernels/opencl/packed.h"
#include "kernels/opencl/ways.h"

/* VIEW(out); of packed rows (not NULL) their place, and room for so many. */
static void out_args(struct ocl_spec *s, const struct plan *p, const struct op *op,
                     const struct ocl_packed *to)
{
    if (!to) {
        ocl_arg_view(s, p, op->out);
        return;
    }
    ocl_arg(s, ARG_LONG, to->at);
    ocl_arg(s, ARG_INT, to->rows_p);
}

/* The parameters all kernels share, in their order. bare: nothing follows the sums. */
static void shared_args(struct ocl_spec *s, const struct ocl_model *m, const struct op *op,
                        int32_t slice_len, bool bare, const struct ocl_packed *to)
{
    const struct plan *p = m->plan;
    ocl_arg(s, ARG_ARENA, 0);
    out_args(s, p, op, to);
    ocl_arg_view(s, p, op->in[LINEAR_x]);
    ocl_arg_view(s, p, op->in[LINEAR_residual]);
    ocl_arg(s, ARG_WEIGHT, op->w[LINEAR_matrix]);
    ocl_arg(s, ARG_WEIGHT, op->w[LINEAR_bias]);
    ocl_arg(s, ARG_BATCH, BATCH_COUNTS);
    ocl_arg(s, ARG_INT, op->out.width);
    ocl_arg(s, ARG_INT, op->in[LINEAR_x].width);
    ocl_arg(s, ARG_LONG, m->weights[op->w[LINEAR_matrix]].cols_p);
    ocl_arg(s, ARG_INT, slice_len);
    ocl_arg(s, ARG_INT, !bare && op->w[LINEAR_bias] >= 0);
    ocl_arg(s, ARG_INT, !bare && view_given(op->in[LINEAR_residual]));
    ocl_arg(s, ARG_INT, bare ? ACT_NONE : op->p.linear.act);
    ocl_arg(s, ARG_INT, op->rows == ROWS_LOGITS);
}
static void common_args(struct ocl_spec *s, const struct ocl_model *m, const struct op *op,
                        int32_t slice_len)
{
    shared_args(s, m, op, slice_len, false, NULL);
}

static int few(struct ocl_model *m, const struct op *op, int32_t tile, int32_t min, int32_t max,
               struct err *e)
{
    struct ocl_slices c = ocl_slices(&m->d->tune, op->in[LINEAR_x].width);
    struct ocl_spec s;
    ocl_spec_init(&s, "linear_few.cl", op);
    ocl_def_format(&s, m->plan->weights[op->w[LINEAR_matrix]].dtype);
    ocl_def(&s, "TN", tile);
    common_args(&s, m, op, c.len);
    ocl_arg(&s, ARG_LOCAL, (int64_t)c.n * tile * 32 * 4);
    ocl_local(&s, 32, (size_t)c.n);
    ocl_groups(&s, 0, BY_ONE, (op->out.width + 31) / 32, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, tile);
    s.rows_min = min;
    s.rows_max = max;
    return ocl_spec_emit(&s, m, e);
}

static int many(struct ocl_model *m, const struct op *op, int32_t min, struct err *e)
{
    struct ocl_slices c = ocl_slices(&m->d->tune, op->in[LINEAR_x].width);
    struct ocl_spec s;
    ocl_spec_init(&s, "linear_many.cl", op);
    ocl_def_format(&s, m->plan->weights[op->w[LINEAR_matrix]].dtype);
    common_args(&s, m, op, c.len);
    ocl_local(&s, 16, 16);
    ocl_groups(&s, 0, BY_ONE, (op->out.width + 63) / 64, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 64);
    s.rows_min = min;
    return ocl_spec_emit(&s, m, e);
}

/* ---- tensor cores (bf16 weights in OCL_MMA layout) ---- */

/* Row capacity of packed activations. */
static int64_t packed_rows(const struct ocl_model *m, const struct op *op)
{
    int32_t rows = op->rows == ROWS_LOGITS ? m->cap.logits : m->cap.tokens;
    return (int64_t)round_up((size_t)MAX(rows, 1), 8) + OCL_PACKED_PAST;
}

static size_t packed_bytes(const struct ocl_model *m, const struct op *op)
{
    return (size_t)packed_rows(m, op) * (size_t)m->weights[op->w[LINEAR_matrix]].cols_p * 2;
}

/* The same, with room in the scratch buffer. */
static int64_t reserve_packed(struct ocl_model *m, const struct op *op)
{
    m->scratch_bytes = MAX(m->scratch_bytes, packed_bytes(m, op));
    return packed_rows(m, op);
}

/* From how many rows on whoever makes x packs it, and no op does; 0: never. */
static int32_t comes_packed(const struct ocl_model *m, const struct op *op)
{
    const struct ocl_packed *x = ocl_packed(m, op->in[LINEAR_x]);
    return x ? x->from : 0;
}

/* Where packed rows are in steps of `min` rows and some more: the memory; how many there is room
 * for, and where in it. */
static const struct ocl_packed *made_packed(const struct ocl_model *m, const struct op *op,
                                            int32_t min)
{
    const struct ocl_packed *x = ocl_packed(m, op->in[LINEAR_x]);
    return x && min >= x->from ? x : NULL;
}
static void packed_memory(struct ocl_spec *s, const struct ocl_model *m, const struct op *op,
                          int32_t min)
{
    ocl_arg(s, made_packed(m, op, min) ? ARG_ARENA : ARG_SCRATCH, 0);
}
static void packed_place(struct ocl_spec *s, struct ocl_model *m, const struct op *op, int32_t min)
{
    const struct ocl_packed *x = made_packed(m, op, min);
    if (x) {
        ocl_arg(s, ARG_LONG, x->rows_p);
        ocl_arg(s, ARG_LONG, x->at);
        return;
    }
    ocl_arg(s, ARG_PACK_ROWS, reserve_packed(m, op));
    ocl_arg_place(s, ARG_PACK_AT, 0, m->weights[op->w[LINEAR_matrix]].cols_p / 2);
}

/* How outputs are left packed in steps of min to max rows, all of which do the same; NULL: as
 * float32. */
static const struct ocl_packed *makes_packed(const struct ocl_model *m, const struct op *op,
                                             int32_t min, int32_t max)
{
    const struct ocl_packed *x = ocl_packed(m, op->out);
    ASSERT(!x || min >= x->from || max < x->from);
    return x && min >= x->from ? x : NULL;
}

bool ocl_aligned(const struct plan *p, struct view v)
{
    const struct act *a = &p->acts[v.act];
    return (a->offset + v.col) % 4 == 0 && a->stride % 4 == 0;
}

/* The rows [min, max] of a step as bf16: as lanes of mma.sync read them, or (cores) wgmma; behind
 * bare sums what follows them. */
static int mma_pack(struct ocl_model *m, const struct op *op, bool cores, int32_t min, int32_t max,
                    struct err *e)
{
    const struct op *bare = cores ? ocl_bare(m, op->in[LINEAR_x]) : NULL;
    int64_t eighths = m->weights[op->w[LINEAR_matrix]].cols_p / 8;
    struct ocl_spec s;
    if (min > max)
        return 0;
    ocl_spec_init(&s, "nvidia/pack_rows.cl", op);
    ocl_def(&s, "X_ALIGNED", ocl_aligned(m->plan, op->in[LINEAR_x]));
    ocl_def(&s, "CORES", cores);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->in[LINEAR_x]);
    ocl_arg(&s, ARG_SCRATCH, 0);
    ocl_arg(&s, ARG_INT, op->in[LINEAR_x].width);
    ocl_arg(&s, ARG_INT, eighths);
    ocl_arg(&s, ARG_PACK_ROWS, reserve_packed(m, op));
    ocl_arg_place(&s, ARG_PACK_AT, 0, m->weights[op->w[LINEAR_matrix]].cols_p / 2);
    ocl_arg(&s, ARG_BATCH, BATCH_COUNTS);
    ocl_arg(&s, ARG_INT, op->rows == ROWS_LOGITS);
    ocl_arg(&s, ARG_WEIGHT, bare ? bare->w[LINEAR_bias] : -1);
    ocl_arg(&s, ARG_INT, bare && bare->w[LINEAR_bias] >= 0);
    ocl_arg(&s, ARG_INT, bare ? bare->p.linear.act : ACT_NONE);
    if (cores) {
        ocl_local(&s, 32, 2);
        ocl_groups(&s, 0, BY_ONE, (int32_t)(eighths / 4 + 1) / 2, 1);
        ocl_groups(&s, 1, BY_ROWS, 1, 8);
    } else {
        ocl_local(&s, 64, 1);
        ocl_groups(&s, 0, BY_ONE, (int32_t)((eighths + 63) / 64), 1);
        ocl_groups(&s, 1, BY_ROWS, 1, 1);
    }
    s.rows_min = min;
    s.rows_max = max;
    return ocl_spec_emit(&s, m, e);
}

#define UNPACKED 2 /* tiles of 8 rows that are read as they are; more are packed first */

/* tiles: of 8 rows. */
static int mma_few(struct ocl_model *m, const struct op *op, int32_t tiles, int32_t min,
                   int32_t max, struct err *e)
{
    struct ocl_slices c = ocl_slices(&m->d->tune, op->in[LINEAR_x].width);
    const struct ocl_packed *to = makes_packed(m, op, min, max);
    struct ocl_spec s;
    ocl_spec_init(&s, "nvidia/linear_few.cl", op);
    ocl_def(&s, "SLICES", c.n);
    ocl_def(&s, "NT", tiles);
    ocl_def(&s, "PACKED", tiles > UNPACKED);
    ocl_def(&s, "OUT_PACKED", to != NULL);
    bool aligned = ocl_aligned(m->plan, op->in[LINEAR_x]);
    ocl_def(&s, "X_ALIGNED", aligned ? 1 + (op->in[LINEAR_x].width % 32 == 0) : 0);
    ocl_def(&s, "UNROLL", m->d->tune.unroll);
    shared_args(&s, m, op, c.len, false, to);
    packed_memory(&s, m, op, min);
    packed_place(&s, m, op, min);
    ocl_local(&s, 32, (size_t)c.n);
    ocl_groups(&s, 0, BY_ONE, (op->out.width + 15) / 16, 1);
    s.rows_min = min;
    s.rows_max = max;
    return ocl_spec_emit(&s, m, e);
}

/* warps_o, warps_r: of a group, along the outputs and along the rows. */
static int mma_many(struct ocl_model *m, const struct op *op, int32_t warps_o, int32_t warps_r,
                    int32_t min, int32_t max, struct err *e)
{
    const struct ocl_packed *to;
    struct ocl_spec s;
    if (min > max)
        return 0;
    to = makes_packed(m, op, min, max);
    ocl_spec_init(&s, "nvidia/linear_many.cl", op);
    ocl_def(&s, "WARPS_O", warps_o);
    ocl_def(&s, "WARPS_R", warps_r);
    ocl_def(&s, "OUT_PACKED", to != NULL);
    shared_args(&s, m, op, ocl_slices(&m->d->tune, op->in[LINEAR_x].width).len, false, to);
    packed_memory(&s, m, op, min);
    packed_place(&s, m, op, min);
    ocl_local(&s, 32 * (size_t)(warps_o * warps_r), 1);
    ocl_groups(&s, 0, BY_ONE, (op->out.width + 127) / 128, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 32 * warps_r);
    s.rows_min = min;
    s.rows_max = max;
    return ocl_spec_emit(&s, m, e);
}

/* ---- Hopper (wgmma.h) ---- */

/* Whether the kernel has the op's activation; others come after it, in place. */
static bool wgmma_activates(const struct op *op)
{
    enum activation act = op->p.linear.act;
    return act == ACT_NONE || act == ACT_RELU || act == ACT_SQRELU;
}

/* A residual that is the output would be gone before an activation of its own. */
static bool can_wgmma(const struct ocl_model *m, const struct op *op)
{
    struct view res = op->in[LINEAR_residual];
    return m->d->tune.wgmma && (wgmma_activates(op) || !view_given(res) || res.act != op->out.act);
}

bool ocl_linear_bares(const struct ocl_model *m, const struct op *op)
{
    return m->weights[op->w[LINEAR_matrix]].layout == OCL_MMA && can_wgmma(m, op) &&
           !wgmma_activates(op) && !view_given(op->in[LINEAR_residual]);
}

/* An activation in a kernel of its own, in OpenCL C: its functions are the compiler's. */
static int wgmma_after(struct ocl_model *m, const struct op *op, int32_t min, int32_t max,
                       struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "nvidia/linear_after.cl", op);
    common_args(&s, m, op, 0);
    ocl_local(&s, 128, 1);
    ocl_groups(&s, 0, BY_ONE, (op->out.width + 127) / 128, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    s.rows_min = min;
    s.rows_max = max;
    return ocl_spec_emit(&s, m, e);
}

/* Chains of slices lie behind the packed rows: [slice][row][output]. */
struct chains { int64_t at, plane; int32_t stride; };

static struct chains reserve_chains(struct ocl_model *m, const struct op *op, int32_t parts,
                                    int32_t rows)
{
    struct chains c = {.at = (int64_t)round_up(packed_bytes(m, op), 256) / 4,
                       .stride = (int32_t)round_up((size_t)op->out.width, 16)};
    c.plane = (int64_t)rows * c.stride;
    m->scratch_bytes = MAX(m->scratch_bytes, (size_t)(c.at + parts * c.plane) * 4);
    return c;
}

#define SUM_WARPS 2 /* of a group of nvidia/sum_packed.cl */

static int wgmma_sum(struct ocl_model *m, const struct op *op, const struct chains *c,
                     int32_t parts, int32_t min, int32_t max, struct err *e)
{
    const struct ocl_packed *to = makes_packed(m, op, min, max);
    struct ocl_spec s;
    ocl_spec_init(&s, to ? "nvidia/sum_packed.cl" : "nvidia/linear_sum.cl", op);
    ocl_def(&s, "SLICES", parts);
    shared_args(&s, m, op, 0, ocl_bare(m, op->out), to);
    ocl_arg(&s, ARG_SCRATCH, 0);
    ocl_arg_place(&s, ARG_CHAINS_AT, c->at, parts * c->plane);
    ocl_arg(&s, ARG_INT, c->stride);
    ocl_arg(&s, ARG_LONG, c->plane);
    if (to) {
        ocl_local(&s, 32, SUM_WARPS);
        ocl_groups(&s, 0, BY_ONE, (op->out.width + 32 * SUM_WARPS - 1) / (32 * SUM_WARPS), 1);
        ocl_groups(&s, 1, BY_ROWS, 1, 8);
    } else {
        ocl_local(&s, 128, 1);
        ocl_groups(&s, 0, BY_ONE, (op->out.width + 127) / 128, 1);
        ocl_groups(&s, 1, BY_ROWS, 1, 1);
    }
    s.rows_min = min;
    s.rows_max = max;
    return ocl_spec_emit(&s, m, e);
}

static int wgmma(struct ocl_model *m, const struct op *op, struct ocl_way way, int32_t min,
                 int32_t max, struct err *e)
{
    bool bare = way.parts > 1 || !wgmma_activates(op);
    const struct ocl_packed *to = makes_packed(m, op, min, max);
    struct chains c = {0};
    struct ocl_spec s;
    ocl_spec_init(&s, OCL_WGMMA, op);
    ocl_def(&s, "ROWS", way.shape->rows);
    ocl_arg(&s, ARG_WEIGHT, op->w[LINEAR_matrix]);
    ocl_arg(&s, ARG_WEIGHT, op->w[LINEAR_bias]);
    packed_memory(&s, m, op, min);
    if (way.parts > 1) {
        c = reserve_chains(m, op, way.parts, max);
        ocl_arg_place(&s, ARG_CHAINS_AT, c.at, way.parts * c.plane);
        ocl_arg(&s, ARG_INT, c.stride);
    } else {
        out_args(&s, m->plan, op, to);
    }
    ocl_arg_view(&s, m->plan, op->in[LINEAR_residual]);
    ocl_arg(&s, ARG_INT, op->out.width);
    ocl_arg(&s, ARG_INT, op->in[LINEAR_x].width);
    ocl_arg(&s, ARG_LONG, m->weights[op->w[LINEAR_matrix]].cols_p);
    ocl_arg(&s, ARG_INT, ocl_slices(&m->d->tune, op->in[LINEAR_x].width).len);
    ocl_arg(&s, ARG_INT, !bare && op->w[LINEAR_bias] >= 0);
    ocl_arg(&s, ARG_INT, !bare && view_given(op->in[LINEAR_residual]));
    ocl_arg(&s, ARG_INT, bare ? ACT_NONE : op->p.linear.act);
    ocl_arg(&s, ARG_INT, op->rows == ROWS_LOGITS);
    packed_place(&s, m, op, min);
    ocl_arg(&s, ARG_INT, way.parts);
    ocl_arg(&s, ARG_LONG, c.plane);
    ocl_arg(&s, ARG_INT, to && way.parts == 1);
    ocl_local(&s, OCL_WGMMA_LANES, 1);
    ocl_groups(&s, 0, BY_ONE, (op->out.width + OCL_WGMMA_OUTPUTS - 1) / OCL_WGMMA_OUTPUTS *
               way.parts, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, way.shape->rows);
    s.groups_max = (int32_t)m->d->info.units;
    s.rows_min = min;
    s.rows_max = max;
    int rc = ocl_spec_emit(&s, m, e);
    if (!rc && way.parts > 1)
        return wgmma_sum(m, op, &c, way.parts, min, max, e);
    return rc || !bare || ocl_bare(m, op->out) ? rc : wgmma_after(m, op, min, max, e);
}

#define ROWS_STEP 64 /* rows that are chosen for together */

static bool same_ways(const struct ocl_ways *a, const struct ocl_ways *b)
{
    bool ok = true;
    for (int32_t k = 0; k < a->n; k++)
        ok = ok && a->way[k].shape == b->way[k].shape && a->way[k].parts == b->way[k].parts;
    return ok;
}

/* The ways for steps of `from` rows; returns up to how many, at most `most`, they are the same. */
static int32_t choose_range(const struct ocl_model *m, struct ocl_ways *t, int32_t from,
                            int32_t most)
{
    int32_t to = (int32_t)round_up((size_t)from, ROWS_STEP);
    struct ocl_ways next = *t;
    ocl_ways_choose(m, t, to);
    for (; to < most; to += ROWS_STEP) {
        ocl_ways_choose(m, &next, to + ROWS_STEP);
        if (!same_ways(t, &next))
            break;
    }
    return MIN(to, most);
}

/* Steps of min to `most` rows. */
static int wgmma_range(struct ocl_model *m, const struct op *op, int32_t min, int32_t most,
                       struct err *e)
{
    int rc = 0;
    for (int32_t from = min, to; from <= most && !rc; from = to + 1) {
        struct ocl_ways t = {.op = {op}, .n = 1};
        to = choose_range(m, &t, from, most);
        rc = wgmma(m, op, t.way[0], from, to, e);
    }
    return rc;
}

static int wgmma_lower(struct ocl_model *m, const struct op *op, int32_t min, struct err *e)
{
    int32_t most = MAX(op->rows == ROWS_LOGITS ? m->cap.logits : m->cap.tokens, min);
    int32_t packed = comes_packed(m, op), end = packed ? packed - 1 : INT32_MAX;
    int rc = mma_pack(m, op, true, min, end, e);
    rc = rc ? rc : wgmma_range(m, op, min, MIN(end, most), e);
    return rc || !packed ? rc : wgmma_range(m, op, packed, most, e);
}

/* ---- products side by side ---- */

bool ocl_linear_by_wgmma(const struct ocl_model *m, const struct op *op)
{
    return op->kind == OP_LINEAR && m->weights[op->w[LINEAR_matrix]].layout == OCL_MMA &&
           can_wgmma(m, op) && m->d->tune.wgmma_rows <= OCL_BUNDLE_ROWS + 1 &&
           comes_packed(m, op) <= OCL_BUNDLE_ROWS + 1;
}

#define RANGES_MOST (OCL_MANY_ROWS / ROWS_STEP + 2)

/* Steps of up to `to` rows, behind those before. */
struct range { int32_t to; struct ocl_ways t; };

/* Into ranges: those of min to max rows that are made alike. Returns their number. */
static int32_t find_ranges(const struct ocl_model *m, struct range *ranges,
                           const struct ocl_ways *t, int32_t min, int32_t max)
{
    int32_t n = 0;
    for (int32_t from = min; from <= max; from = ranges[n++].to + 1) {
        ranges[n].t = *t;
        ranges[n].to = choose_range(m, &ranges[n].t, from, max);
    }
    return n;
}

int ocl_linear_together(struct ocl_model *m, const int32_t *ops, int32_t n, int32_t min,
                        int32_t max, struct err *e)
{
    struct range ranges[RANGES_MOST];
    struct ocl_ways t = {.n = n};
    int32_t first = m->n_launches, n_ranges;
    int rc = 0;
    for (int32_t k = 0; k < n; k++)
        t.op[k] = &m->plan->ops[ops[k]];
    max = MIN(max, t.op[0]->rows == ROWS_LOGITS ? m->cap.logits : m->cap.tokens);
    ASSERT(n <= OCL_WGMMA_MEMBERS && max <= OCL_MANY_ROWS);
    n_ranges = find_ranges(m, ranges, &t, min, max);
    for (int32_t k = 0; k < n && n_ranges && !rc; k++) {
        int32_t packed = comes_packed(m, t.op[k]);
        rc = mma_pack(m, t.op[k], true, min, packed ? MIN(max, packed - 1) : max, e);
        for (int32_t i = 0, from = min; i < n_ranges && !rc; from = ranges[i++].to + 1)
            rc = wgmma(m, t.op[k], ranges[i].t.way[k], from, ranges[i].to, e);
        for (; first < m->n_launches; first++)
            m->launches[first].op = ops[k];
    }
    return rc;
}

int32_t ocl_linear_packed_from(const struct ocl_model *m, const struct op *op, bool *cores)
{
    *cores = can_wgmma(m, op);
    if (m->weights[op->w[LINEAR_matrix]].layout != OCL_MMA)
        return 0;
    return *cores ? m->d->tune.wgmma_rows : OCL_BUNDLE_ROWS + 1;
}

int32_t ocl_linear_packs_from(const struct ocl_model *m, const struct op *op, bool cores)
{
    bool hopper = can_wgmma(m, op);
    if (m->weights[op->w[LINEAR_matrix]].layout != OCL_MMA || hopper != cores ||
        (hopper && !wgmma_activates(op)) || view_given(op->in[LINEAR_residual]))
        return 0;
    return hopper ? m->d->tune.wgmma_rows : OCL_BUNDLE_ROWS + 1;
}

#define FEW 64 /* rows that mma_few can make */

/* Tiles of two sizes. */
static int mma_many_lower(struct ocl_model *m, const struct op *op, int32_t min, int32_t max,
                          struct err *e)
{
    int32_t wide = MAX(m->d->tune.wide_rows, FEW + 1);
    int rc = mma_many(m, op, 4, 2, min, MIN(max, wide - 1), e);
    return rc ? rc : mma_many(m, op, 2, 4, MAX(min, wide), max, e);
}

/* Up to `most` rows, by twice as many tiles each time; from some number on x may come packed. */
static int mma_few_lower(struct ocl_model *m, const struct op *op, int32_t most, struct err *e)
{
    int32_t packed = comes_packed(m, op), from = 1, rc = 0;
    for (int32_t tiles = 1; from <= most && !rc; tiles *= 2)
        for (int32_t end = MIN(tiles * 8, most), to; from <= end && !rc; from = to + 1) {
            to = packed > from ? MIN(packed - 1, end) : end;
            rc = mma_few(m, op, tiles, from, to, e);
        }
    return rc;
}

static int mma_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    bool hopper = can_wgmma(m, op);
    int32_t few = hopper ? m->d->tune.wgmma_rows - 1 : FEW;
    int32_t packed = comes_packed(m, op), end = packed ? packed - 1 : INT32_MAX;
    int rc;
    /* Launches run in this order: rows are packed before they are read. */
    if ((rc = mma_pack(m, op, false, 8 * UNPACKED + 1, hopper ? few : end, e)) ||
        (rc = mma_few_lower(m, op, few, e)))
        return rc;
    if (hopper)
        return wgmma_lower(m, op, few + 1, e);
    rc = mma_many_lower(m, op, FEW + 1, end, e);
    return rc || !packed ? rc : mma_many_lower(m, op, MAX(packed, FEW + 1), INT32_MAX, e);
}

int ocl_linear_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    int32_t some = m->d->tune.few_rows, rc;
    if (m->weights[op->w[LINEAR_matrix]].layout == OCL_MMA)
        return mma_lower(m, op, e);
    if ((rc = few(m, op, 1, 1, 1, e)) || (rc = few(m, op, 4, 2, some, e)))
        return rc;
    return many(m, op, MAX(some, 1) + 1, e);
}
