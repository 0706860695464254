/* Lowering of softmax attention (K6) and of what it keeps: on tensor cores where they serve the
 * plan's products, else one work-item for every key of a block. */
#include "base/limits.h"
#include "kernels/opencl/launches.h"

#define KEYS 32        /* of a block on tensor cores */
#define QUERIES 16     /* of a warp there */
#define WARPS 4        /* of a group: along the queries of a prompt, or along the values' columns */
/* Of the scratch buffer, at most, but where one sequence needs more: sums of splits that wait for
 * attention_join.cl, of so many rows (with more there are groups enough without splits), and packed
 * keys and values; neither more than a share of the device's memory, which is planned for without
 * them (scheduler/capacity.c keeps a tenth). */
#define PARTIAL_BYTES MIB(256)
#define PARTIAL_ROWS 64
#define PACKED_BYTES GIB(1)
#define MEMORY_SHARE 32

static bool is_ring(const struct ocl_model *m, const struct op *op)
{
    return m->plan->sections[op->section].kind == SECTION_FIXED;
}

void ocl_arg_kept(struct ocl_spec *s, const struct ocl_model *m, const struct op *op)
{
    const struct ocl_pool *p = is_ring(m, op) ? &m->slots : &m->pages;
    int64_t at = m->plan->sections[op->section].offset;
    int32_t i = ocl_pool_bank(p, at);
    ocl_arg(s, is_ring(m, op) ? ARG_SLOTS : ARG_PAGES, i);
    ocl_arg(s, ARG_LONG, p->banks[i].floats);
    ocl_arg(s, ARG_LONG, at - p->banks[i].from);
    ocl_arg(s, ARG_LONG, p->banks[i].floats);
    ocl_arg(s, ARG_BATCH, BATCH_PAGES);
    ocl_arg(s, ARG_INT, m->cap.pages_per_seq);
}

int32_t ocl_width_before(const struct op *op, int part)
{
    int32_t n = 0;
    for (int i = 1; i < part; i++)
        n += op->in[i].width;
    return n;
}

/* What both kernels are specialised by. */
static void def_shape(struct ocl_spec *s, const struct op *op)
{
    bool values = view_given(op->in[ATTENTION_v]); /* otherwise they are the keys' first columns */
    ocl_def(s, "HEADS", op->p.attention.heads);
    ocl_def(s, "KV_HEADS", op->p.attention.kv_heads);
    ocl_def(s, "V_HEADS", op->p.attention.v_heads);
    ocl_def(s, "DK", op->p.attention.dk);
    ocl_def(s, "DV", op->p.attention.dv);
    ocl_def(s, "WINDOW", op->p.attention.window);
    ocl_def(s, "ROW_WIDTH", ocl_width_before(op, 6));
    ocl_def(s, "V_AT", values ? ocl_width_before(op, 2) : 0);
    ocl_def(s, "F_AT", ocl_width_before(op, 3));
    ocl_def(s, "HAS_F", view_given(op->in[ATTENTION_forget]));
}

static struct view values_of(const struct op *op)
{
    return op->in[view_given(op->in[ATTENTION_v]) ? ATTENTION_v : ATTENTION_k];
}

/* out to pos: the arguments both begin with. */
static void begin_args(struct ocl_spec *s, const struct ocl_model *m, const struct op *op)
{
    ocl_arg(s, ARG_ARENA, 0);
    ocl_arg_view(s, m->plan, op->out);
    ocl_arg_view(s, m->plan, op->in[ATTENTION_q]);
    ocl_arg_view(s, m->plan, op->in[ATTENTION_k]);
    ocl_arg_view(s, m->plan, values_of(op));
    ocl_arg_view(s, m->plan, op->in[ATTENTION_forget]);
    ocl_arg_kept(s, m, op);
    ocl_arg(s, ARG_BATCH, BATCH_CU);
    ocl_arg(s, ARG_BATCH, BATCH_SLOTS);
    ocl_arg(s, ARG_BATCH, BATCH_ROW_POS);
}

static int scalar_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "attention.cl", op);
    def_shape(&s, op);
    begin_args(&s, m, op);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_SEQ);
    ocl_arg_float(&s, op->p.attention.scale);
    ocl_local(&s, PAGE_TOKENS, 1);
    ocl_groups(&s, 0, BY_ONE, op->p.attention.heads, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}

/* ---- tensor cores ---- */

static int32_t groups_of_32(int32_t n) { return (n + 31) / 32; }

/* Bytes of local memory that a group takes: a block of keys and values, padded, and queries, scores
 * and places where a block is not packed. */
static size_t local_bytes(const struct op *op)
{
    size_t k = (size_t)groups_of_32(op->p.attention.dk);
    size_t v = (size_t)groups_of_32(op->p.attention.dv);
    return (KEYS * (k * 4 + 4) + KEYS / 2 * (v * 8 + 2)) * 16 + k * 1024 +
           QUERIES * (KEYS / 2 + 4) * 8 + 2 * KEYS * 8;
}

/* The rule: tensor cores round q, k, v and weights to bf16, which a plan of float32 or float16
 * matrices does not want; a tile has one head of values; a block must fit, and a warp's outputs its
 * registers. */
bool ocl_attention_mma(const struct ocl_model *m, const struct op *op)
{
    bool matrices = false, coarse = false;
    for (int32_t i = 0; i < m->plan->n_weights; i++) {
        const struct weight *w = &m->plan->weights[i];
        matrices |= w->role == WEIGHT_MATRIX;
        coarse |= w->role == WEIGHT_MATRIX && w->dtype != DTYPE_F32 && w->dtype != DTYPE_F16;
    }
    return m->d->tune.mma && (coarse || !matrices) && op->kind == OP_ATTENTION &&
           op->p.attention.kv_heads % op->p.attention.v_heads == 0 &&
           op->p.attention.dk <= 256 && op->p.attention.dv <= 256 && local_bytes(op) <= KIB(47);
}

/* Whether rows of keys and values, in the batch and where they are kept, may be read 16 bytes at a
 * time. */
static bool aligned(const struct ocl_model *m, const struct op *op)
{
    bool yes = op->p.attention.dk % 4 == 0 && op->p.attention.dv % 4 == 0 &&
               ocl_width_before(op, 6) % 4 == 0 && m->plan->slot_floats % 4 == 0 &&
               m->plan->sections[op->section].offset % 4 == 0;
    for (int i = 0; i <= ATTENTION_v; i++) {
        struct view v = op->in[i];
        const struct act *a = view_given(v) ? &m->plan->acts[v.act] : NULL;
        yes = yes && (!a || ((a->offset + v.col) % 4 == 0 && a->stride % 4 == 0));
    }
    return yes;
}

static int32_t split_of(const struct ocl_model *m)
{
    return (int32_t)round_up((size_t)m->d->tune.key_split, KEYS);
}

/* The most rows of a sequence whose queries are one tile of a warp. */
static int32_t few_rows(const struct op *op)
{
    return MAX(QUERIES / (op->p.attention.heads / op->p.attention.kv_heads), 1);
}

/* The most splits that the keys of such rows lie in. */
static int32_t splits_of(const struct ocl_model *m, const struct op *op)
{
    int64_t keys = (int64_t)m->cap.pages_per_seq * PAGE_TOKENS, split = split_of(m);
    if (op->p.attention.window)
        keys = op->p.attention.window + QUERIES + split;
    return (int32_t)MAX((keys + split - 1) / split, 1);
}

static size_t partial_floats(const struct op *op)
{
    return round_up((size_t)op->p.attention.dv + 2, 4);
}

static size_t packed_bytes(const struct op *op) /* of a block, all key heads */
{
    size_t k = (size_t)groups_of_32(op->p.attention.dk);
    size_t v = (size_t)groups_of_32(op->p.attention.dv);
    return (KEYS * k * 4 + KEYS / 2 * v * 8 + 1) * 16 * (size_t)op->p.attention.kv_heads;
}

/* How much of the scratch buffer may be used: rows whose splits wait there, blocks of keys. */
struct room {
    int32_t rows, blocks;
    bool all_rows, all_blocks; /* every batch fits */
};

static struct room room_of(const struct ocl_model *m, const struct op *op)
{
    uint64_t share = m->d->info.memory_bytes / MEMORY_SHARE;
    uint64_t packed = MIN((uint64_t)PACKED_BYTES, share);
    uint64_t partial = MIN((uint64_t)PARTIAL_BYTES, share);
    size_t row = (size_t)op->p.attention.heads * (size_t)splits_of(m, op) * partial_floats(op) * 4;
    int64_t spans = (int64_t)m->cap.pages_per_seq * PAGE_TOKENS / KEYS; /* of one sequence */
    if (op->p.attention.window)
        spans = (op->p.attention.window + m->cap.tokens) / KEYS + 2;
    int64_t blocks = MAX((int64_t)(packed / packed_bytes(op)), spans);
    int64_t rows = MIN(MAX((int64_t)(partial / row), 1), PARTIAL_ROWS);
    int64_t most = MIN((int64_t)m->cap.seqs * few_rows(op), m->cap.tokens);
    return (struct room){(int32_t)MIN(rows, most), (int32_t)MIN(blocks, spans * m->cap.seqs),
                         most <= rows, spans * m->cap.seqs <= blocks};
}

/* What a launch does. */
enum form { WALK, SPLITS, PACKED };

static void serve(struct ocl_spec *s, int32_t min, int32_t max)
{
    s->seq_min = min;
    s->seq_max = max;
    ocl_arg(s, ARG_INT, min);
    ocl_arg(s, ARG_INT, max);
}

static void def_blocks(struct ocl_spec *s, const struct ocl_model *m, const struct op *op)
{
    ocl_def(s, "KEYS", KEYS);
    ocl_def(s, "SPLIT", split_of(m));
    ocl_def(s, "PART_FLOATS", (int64_t)partial_floats(op));
}

static int mma_tiles(struct ocl_model *m, const struct op *op, enum form form, int32_t rows_min,
                     int32_t rows_max, struct ocl_gate gate, struct err *e)
{
    int32_t per = op->p.attention.heads / op->p.attention.kv_heads;
    int32_t warps_r = form == PACKED ? WARPS : 1, warps_c = form == PACKED ? 1 : WARPS;
    struct ocl_spec s;
    ocl_spec_init(&s, "nvidia/attention.cl", op);
    def_shape(&s, op);
    def_blocks(&s, m, op);
    ocl_def(&s, "WARPS_R", warps_r);
    ocl_def(&s, "WARPS_C", warps_c);
    ocl_def(&s, "PARTIAL", form == SPLITS);
    ocl_def(&s, "PACKED", form == PACKED);
    ocl_def(&s, "ALIGNED", aligned(m, op));
    begin_args(&s, m, op);
    ocl_arg(&s, ARG_BATCH, BATCH_COUNTS);
    serve(&s, rows_min, rows_max);
    ocl_arg_float(&s, op->p.attention.scale);
    ocl_arg(&s, ARG_SCRATCH, 0);
    ocl_arg(&s, ARG_INT, splits_of(m, op));
    ocl_local(&s, 32 * (size_t)(warps_r * warps_c), 1);
    ocl_groups(&s, 0, BY_ONE, op->p.attention.kv_heads, 1);
    ocl_groups(&s, 1, BY_SHARES, per, QUERIES * warps_r);
    if (form == SPLITS && op->p.attention.window)
        ocl_groups(&s, 2, BY_ONE, splits_of(m, op), 1);
    else if (form == SPLITS)
        ocl_groups(&s, 2, BY_KEYS, 1, split_of(m));
    s.gate = gate;
    return ocl_spec_emit(&s, m, e);
}

static int mma_pack(struct ocl_model *m, const struct op *op, int32_t rows_min,
                    struct ocl_gate gate, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "nvidia/attention_pack.cl", op);
    def_shape(&s, op);
    def_blocks(&s, m, op);
    ocl_def(&s, "LANES", 32 * WARPS);
    ocl_def(&s, "ALIGNED", aligned(m, op));
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->in[ATTENTION_k]);
    ocl_arg_view(&s, m->plan, values_of(op));
    ocl_arg_kept(&s, m, op);
    ocl_arg(&s, ARG_BATCH, BATCH_CU);
    ocl_arg(&s, ARG_BATCH, BATCH_SLOTS);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_POS);
    ocl_arg(&s, ARG_BATCH, BATCH_COUNTS);
    serve(&s, rows_min, INT32_MAX);
    ocl_arg(&s, ARG_SCRATCH, 0);
    ocl_local(&s, 32 * WARPS, 1);
    ocl_groups(&s, 0, BY_ONE, op->p.attention.kv_heads, 1);
    ocl_groups(&s, 1, BY_SPANS, op->p.attention.window, KEYS);
    s.gate = gate;
    return ocl_spec_emit(&s, m, e);
}

static int mma_join(struct ocl_model *m, const struct op *op, int32_t rows_max,
                    struct ocl_gate gate, struct err *e)
{
    struct ocl_spec s;
    ocl_spec_init(&s, "nvidia/attention_join.cl", op);
    def_blocks(&s, m, op);
    ocl_def(&s, "HEADS", op->p.attention.heads);
    ocl_def(&s, "DV", op->p.attention.dv);
    ocl_def(&s, "WINDOW", op->p.attention.window);
    ocl_arg(&s, ARG_ARENA, 0);
    ocl_arg_view(&s, m->plan, op->out);
    ocl_arg(&s, ARG_BATCH, BATCH_CU);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_POS);
    ocl_arg(&s, ARG_BATCH, BATCH_COUNTS);
    serve(&s, 1, rows_max);
    ocl_arg(&s, ARG_SCRATCH, 0);
    ocl_arg(&s, ARG_INT, splits_of(m, op));
    ocl_local(&s, (size_t)groups_of_32(op->p.attention.dv) * 32, 1);
    ocl_groups(&s, 0, BY_ONE, op->p.attention.heads, 1);
    ocl_groups(&s, 1, BY_SERVED, 1, 1);
    s.gate = gate;
    return ocl_spec_emit(&s, m, e);
}

/* Sequences of many rows: their keys are packed once for all tiles. Those of few: a group a split,
 * so that one long sequence fills the device. What the scratch buffer has no room for is walked
 * through, with the same bits. */
static int mma_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    struct room room = room_of(m, op);
    int32_t few = few_rows(op);
    struct ocl_extent spans = {BY_SPANS, op->p.attention.window, KEYS}, rows = {BY_SERVED, 1, 1};
    struct ocl_gate packs = {spans, 0, room.blocks}, walks = {spans, room.blocks + 1, INT64_MAX};
    struct ocl_gate splits = {rows, 0, room.rows}, walks_few = {rows, room.rows + 1, INT64_MAX};
    int rc;
    m->scratch_bytes = MAX(m->scratch_bytes, (size_t)room.blocks * packed_bytes(op));
    m->scratch_bytes = MAX(m->scratch_bytes,
                           (size_t)room.rows * (size_t)op->p.attention.heads *
                               (size_t)splits_of(m, op) * partial_floats(op) * sizeof(float));
    if ((rc = mma_pack(m, op, few + 1, packs, e)) ||
        (rc = mma_tiles(m, op, PACKED, few + 1, INT32_MAX, packs, e)) ||
        (rc = mma_tiles(m, op, SPLITS, 1, few, splits, e)) ||
        (rc = mma_join(m, op, few, splits, e)))
        return rc;
    if (!room.all_rows && (rc = mma_tiles(m, op, WALK, 1, few, walks_few, e)))
        return rc;
    return room.all_blocks ? 0 : mma_tiles(m, op, WALK, few + 1, INT32_MAX, walks, e);
}

int ocl_attention_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    return ocl_attention_mma(m, op) ? mma_lower(m, op, e) : scalar_lower(m, op, e);
}

int ocl_attention_keep_lower(struct ocl_model *m, const struct op *op, struct err *e)
{
    int32_t width = ocl_width_before(op, 6);
    struct ocl_spec s;
    ocl_spec_init(&s, "attention_keep.cl", op);
    ocl_arg(&s, ARG_ARENA, 0);
    for (int i = 1; i < 6; i++)
        ocl_arg_view(&s, m->plan, op->in[i]);
    ocl_arg_kept(&s, m, op);
    ocl_arg(&s, ARG_BATCH, BATCH_CU);
    ocl_arg(&s, ARG_BATCH, BATCH_SLOTS);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_POS);
    ocl_arg(&s, ARG_BATCH, BATCH_ROW_SEQ);
    for (int i = 2; i < 7; i++)
        ocl_arg(&s, ARG_INT, ocl_width_before(op, i));
    ocl_arg(&s, ARG_INT, is_ring(m, op) ? op->p.attention.window : 0);
    ocl_local(&s, 64, 1);
    ocl_groups(&s, 0, BY_ONE, (width + 63) / 64, 1);
    ocl_groups(&s, 1, BY_ROWS, 1, 1);
    return ocl_spec_emit(&s, m, e);
}
