/* Recording of ops. Each b_* call makes one op with a fresh output activation. */
#include <stdio.h>

#include "models/build/build_int.h"

/* Room for one more item of a plan array that grows by doubling. */
static bool grow(struct build *b, void **items, int32_t n, int *cap, size_t size, int max,
                 const char *what)
{
    if (n < *cap)
        return true;
    int more = *cap ? 2 * *cap : 256;
    void *p = n < max ? mem_realloc(*items, (size_t)more * size) : NULL;
    if (!p) {
        b_fail(b, n < max ? E_NOMEM : E_RANGE, "the model needs more than %d %s", n, what);
        return false;
    }
    *items = p;
    *cap = more;
    return true;
}

val build_act(struct build *b, enum rows rows, int width)
{
    struct plan *p = b->plan;
    if (b_failed(b))
        return VIEW_NONE;
    if (width < 1 || width > LIMIT_WIDTH) {
        b_fail(b, E_RANGE, "config.json: an activation %d wide; 1 to %d", width, LIMIT_WIDTH);
        return VIEW_NONE;
    }
    if (!grow(b, (void **)&p->acts, p->n_acts, &b->cap_acts, sizeof *p->acts, LIMIT_ACTS,
              "activations"))
        return VIEW_NONE;
    p->acts[p->n_acts] = (struct act){.rows = rows, .width = width,
                                      .stride = (int32_t)round_up((size_t)width, 16)};
    return (val){p->n_acts++, 0, width};
}

enum rows build_rows(struct build *b, val v)
{
    return view_given(v) ? b->plan->acts[v.act].rows : ROWS_TOKENS;
}

/* Written to after a failure and never read, so that callers need no checks. */
static struct op failed;

/* out may be absent. */
static struct op *record(struct build *b, enum op_kind k, val out)
{
    struct plan *p = b->plan;
    if (b_failed(b) ||
        !grow(b, (void **)&p->ops, p->n_ops, &b->cap_ops, sizeof *p->ops, LIMIT_OPS, "ops"))
        return &failed;
    struct op *op = &p->ops[p->n_ops++];
    *op = (struct op){.kind = k, .rows = build_rows(b, out), .out = out, .section = -1,
                      .layer = b->layer};
    for (size_t i = 0; i < ARRAY_LEN(op->in); i++)
        op->in[i] = VIEW_NONE;
    for (size_t i = 0; i < ARRAY_LEN(op->w); i++)
        op->w[i] = -1;
    return op;
}

struct op *build_op(struct build *b, enum op_kind k, val out)
{
    return view_given(out) ? record(b, k, out) : &failed;
}

int build_section(struct build *b, const char *what, enum section_kind kind, int64_t elems)
{
    struct plan *p = b->plan;
    if (b_failed(b))
        return -1;
    if (!grow(b, (void **)&p->sections, p->n_sections, &b->cap_sections, sizeof *p->sections,
              LIMIT_OPS, "state sections"))
        return -1;
    struct section *s = &p->sections[p->n_sections];
    *s = (struct section){.kind = kind, .elems = elems};
    snprintf(s->name, sizeof s->name, "layers.%d.%s.%d", b->layer, what, b->layer_sections++);
    return p->n_sections++;
}

/* Both must hold: x is there and n wide. A miss is a mistake of an architecture file or a
 * contradiction in a config, and named as such. */
static bool wide(struct build *b, val x, int64_t n, const char *what)
{
    if (b_failed(b))
        return false;
    return b_require(b, view_given(x) && x.width == n, "layer %d: %s is %d wide, %lld expected",
                     b->layer, what, view_given(x) ? x.width : 0, (long long)n);
}

/* ---- matrices ---- */

val b_embed(struct build *b, const char *name, int vocab, int width, float scale)
{
    val out = build_act(b, ROWS_TOKENS, width);
    const char *full = build_name(b, name, ".weight");
    b->embedding = build_weight(b, WEIGHT_MATRIX, build_dtype(b, full), vocab, width);
    build_part(b, b->embedding, full, vocab, 0, vocab, 0, false);
    if (b->embedding >= 0)
        b->m->bindings[b->embedding].dummy_scale = 1;
    snprintf(b->embedding_name, sizeof b->embedding_name, "%s", full);
    struct op *op = build_op(b, OP_EMBED, out);
    op->w[EMBED_table] = b->embedding;
    op->p.embed.scale = scale;
    b->plan->vocab = vocab;
    b->plan->hidden = width;
    return out;
}

val b_slice(val x, int col, int width)
{
    return view_given(x) ? (val){x.act, x.col + col, width} : x;
}

val b_linear_part(struct build *b, val x, const char *weight, const char *bias, int total_rows,
                  int row0, int rows, bool transposed)
{
    val out = build_act(b, build_rows(b, x), rows);
    if (b_failed(b))
        return VIEW_NONE;
    const char *full = build_name(b, weight, "");
    int w = build_find(b, WEIGHT_MATRIX, full, row0, rows, TENSOR_AS_IS);
    if (w < 0 || b->plan->weights[w].cols != x.width) {
        w = build_weight(b, WEIGHT_MATRIX, build_dtype(b, full), rows, x.width);
        build_part(b, w, full, total_rows, row0, rows, 0, transposed);
    }
    int wb = -1;
    if (bias) {
        const char *bias_name = build_name(b, bias, "");
        wb = build_weight(b, WEIGHT_VECTOR, DTYPE_F32, 1, rows);
        if (wb >= 0)
            b->m->bindings[wb].dummy_scale = 0.1f;
        build_part(b, wb, bias_name, 1, row0, 1, 0, false);
        if (row0 || total_rows != rows)
            b_fail(b, E_UNSUPPORTED, "tensor %s: a bias in parts", bias_name);
    }
    struct op *op = build_op(b, OP_LINEAR, out);
    op->in[LINEAR_x] = x;
    op->w[LINEAR_matrix] = w;
    op->w[LINEAR_bias] = wb;
    return out;
}

/* x with its columns in the order of a file that stores them turned (struct tensor). */
static val as_stored(struct build *b, val x, const char *weight)
{
    const struct tensor *t = b->ck ? checkpoint_find(b->ck, build_name(b, weight, "")) : NULL;
    int heads = t ? t->turned_a * t->turned_b : 0, n = heads ? x.width / heads : 0;
    if (b_failed(b) || heads == 0 || !b_require(b, x.width == n * heads, "%d heads in %d columns",
                                                heads, x.width))
        return x;
    float *at = arena_array(&b->m->arena, (size_t)x.width, sizeof *at);
    if (!at) {
        b_fail(b, E_NOMEM, "no memory for %d columns", x.width);
        return x;
    }
    for (int i = 0; i < x.width; i++) {
        int head = i / n;
        at[i] = (float)((head % t->turned_a * t->turned_b + head / t->turned_a) * n + i % n);
    }
    return b_columns(b, x, at, x.width);
}

val b_linear(struct build *b, val x, const char *name, int rows)
{
    char weight[LIMIT_TENSOR_NAME];
    snprintf(weight, sizeof weight, "%s.weight", name);
    return b_linear_part(b, as_stored(b, x, weight), weight, NULL, rows, 0, rows, false);
}

val b_linear_bias(struct build *b, val x, const char *name, int rows)
{
    char weight[LIMIT_TENSOR_NAME], bias[LIMIT_TENSOR_NAME];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    return b_linear_part(b, x, weight, bias, rows, 0, rows, false);
}

/* ---- norms, sums ---- */

val b_gated_norm(struct build *b, val x, val gate, enum norm_kind k, int group, int weight,
                 int bias, float eps, enum activation act, bool gate_first)
{
    val out = build_act(b, build_rows(b, x), x.width);
    if (b_failed(b) || (view_given(gate) && !wide(b, gate, x.width, "a norm's gate")))
        return VIEW_NONE;
    b_require(b, group > 0 && x.width % group == 0, "layer %d: %d columns in groups of %d",
              b->layer, x.width, group);
    struct op *op = build_op(b, OP_NORM, out);
    op->in[NORM_x] = x;
    op->in[NORM_gate] = gate;
    op->w[NORM_weight] = weight;
    op->w[NORM_bias] = bias;
    op->p.norm.kind = k;
    op->p.norm.group = group;
    op->p.norm.eps = eps;
    op->p.norm.scale = 1;
    op->p.norm.gate_act = act;
    op->p.norm.gate_first = gate_first;
    return out;
}

val b_norm(struct build *b, val x, enum norm_kind k, int group, int weight, int bias, float eps,
           float scale)
{
    int before = b->plan->n_ops;
    val out = b_gated_norm(b, x, VIEW_NONE, k, group, weight, bias, eps, ACT_NONE, false);
    if (b->plan->n_ops > before)
        b->plan->ops[before].p.norm.scale = scale;
    return out;
}

val b_rms(struct build *b, val x, const char *name, float eps)
{
    char weight[LIMIT_TENSOR_NAME];
    snprintf(weight, sizeof weight, "%s.weight", name);
    return b_norm(b, x, NORM_RMS, x.width, w_vec(b, weight, x.width), -1, eps, 1);
}

val b_layer_norm(struct build *b, val x, const char *name, bool bias, float eps)
{
    char weight[LIMIT_TENSOR_NAME], off[LIMIT_TENSOR_NAME];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(off, sizeof off, "%s.bias", name);
    int w = w_vec(b, weight, x.width), o = bias ? w_vec(b, off, x.width) : -1;
    if (o >= 0)
        b->m->bindings[o].dummy_mean = 0;
    return b_norm(b, x, NORM_LAYER, x.width, w, o, eps, 1);
}

val b_l2(struct build *b, val x, int group)
{
    return b_norm(b, x, NORM_L2, group, -1, -1, 1e-6f, 1);
}

val b_groupsum(struct build *b, val x, int group, float scale)
{
    if (b_failed(b) || !b_require(b, group > 0 && x.width % group == 0,
                                  "layer %d: %d columns in groups of %d", b->layer, x.width, group))
        return VIEW_NONE;
    val out = build_act(b, build_rows(b, x), x.width / group);
    struct op *op = build_op(b, OP_GROUPSUM, out);
    op->in[GROUPSUM_x] = x;
    op->p.groupsum.group = group;
    op->p.groupsum.scale = scale;
    return out;
}

val b_softmax(struct build *b, val x, int group, float scale)
{
    val out = build_act(b, build_rows(b, x), x.width);
    struct op *op = build_op(b, OP_SOFTMAX, out);
    op->in[SOFTMAX_x] = x;
    op->p.softmax.group = group;
    op->p.softmax.scale = scale;
    return out;
}

/* ---- along the sequence ---- */

val b_conv(struct build *b, val x, int weight, int bias, int size, enum activation act)
{
    if (b_failed(b) || !b_require(b, size >= 1 && size <= LIMIT_CONV_SIZE, "convolution of size %d, 1 to %d",
                                   size, LIMIT_CONV_SIZE))
        return VIEW_NONE;
    val out = build_act(b, ROWS_TOKENS, x.width);
    struct op *op = build_op(b, OP_CONV, out);
    op->in[CONV_x] = x;
    op->w[CONV_filter] = weight;
    op->w[CONV_bias] = bias;
    op->p.conv.size = size;
    op->p.conv.act = act;
    if (size > 1)
        op->section = build_section(b, "conv", SECTION_FIXED, (int64_t)(size - 1) * x.width);
    return out;
}

val b_shift(struct build *b, val x)
{
    val out = build_act(b, ROWS_TOKENS, x.width);
    struct op *op = build_op(b, OP_SHIFT, out);
    op->in[SHIFT_x] = x;
    op->section = build_section(b, "shift", SECTION_FIXED, x.width);
    return out;
}

#define ROT_MAX 2048 /* rotary columns of one head */

val b_rope(struct build *b, val x, int head, int rot, double theta, bool interleaved)
{
    float inv[ROT_MAX / 2];
    for (int i = 0; i < rot / 2 && i < ROT_MAX / 2; i++)
        inv[i] = (float)pow(theta, -2.0 * i / rot);
    return b_rope_with(b, x, head, rot, inv, interleaved, 1);
}

val b_rope_with(struct build *b, val x, int head, int rot, const float *inv, bool interleaved,
                float scale)
{
    if (b_failed(b) || !b_require(b, rot > 0 && rot % 2 == 0 && rot <= head && rot <= ROT_MAX &&
                                         x.width % head == 0,
                                  "rotary dimension %d of a head of %d", rot, head))
        return x;
    struct op *op = build_op(b, OP_ROPE, x);
    op->in[ROPE_x] = x;
    op->w[ROPE_frequencies] = w_values(b, inv, rot / 2);
    op->p.rope.head = head;
    op->p.rope.rot = rot;
    op->p.rope.interleaved = interleaved;
    op->p.rope.scale = scale;
    return x;
}

/* ---- states ---- */

static val absent_if_empty(val v) { return v.width > 0 ? v : VIEW_NONE; }
static int or_heads(int given, int usual) { return given > 0 ? given : usual; }
static float or_one(float given) { return given != 0 ? given : 1; }

val b_decay(struct build *b, const struct decay_args *a)
{
    int H = a->state_heads, q = or_heads(a->q_heads, H), k = or_heads(a->k_heads, H);
    int v = or_heads(a->v_heads, H), outputs = MAX(H, q);
    bool factors = a->decay != DECAY_NONE && a->decay != DECAY_CONST;
    if (b_failed(b) ||
        !b_require(b, H > 0 && outputs % MIN(H, q) == 0 && H % k == 0 && H % v == 0,
                   "%d query, %d key, %d value and %d state heads", q, k, v, H))
        return VIEW_NONE;
    wide(b, a->q, (int64_t)q * a->K, "q");
    wide(b, a->k, (int64_t)k * a->K, "k");
    wide(b, a->v, (int64_t)v * a->V, "v");
    val out = build_act(b, ROWS_TOKENS, outputs * a->V);
    struct op *op = build_op(b, OP_DECAY, out);
    op->in[DECAY_q] = a->q;
    op->in[DECAY_k] = a->k;
    op->in[DECAY_v] = a->v;
    op->in[DECAY_decay] = factors ? a->d : VIEW_NONE;
    op->w[DECAY_bonus] = a->bonus > 0 ? a->bonus : -1;
    op->w[DECAY_constant] = a->constant > 0 ? a->constant : -1;
    op->p.decay.q_heads = q;
    op->p.decay.k_heads = k;
    op->p.decay.v_heads = v;
    op->p.decay.d_heads = factors ? or_heads(a->d_heads, H) : 0;
    op->p.decay.state_heads = H;
    op->p.decay.K = a->K;
    op->p.decay.V = a->V;
    op->p.decay.decay = a->decay;
    op->p.decay.scale = or_one(a->scale);
    op->section = build_section(b, "S", SECTION_FIXED, (int64_t)H * a->K * a->V);
    return out;
}

val b_delta(struct build *b, const struct delta_args *a)
{
    int H = a->state_heads, n = MAX(a->steps, 1), k = or_heads(a->k_heads, H);
    if (b_failed(b) ||
        !b_require(b, H > 0 && H % k == 0, "%d value heads, %d key heads", H, k))
        return VIEW_NONE;
    wide(b, a->q, (int64_t)k * a->K, "q");
    wide(b, a->k, (int64_t)n * k * a->K, "k");
    wide(b, a->v, (int64_t)n * H * a->V, "v");
    val out = build_act(b, ROWS_TOKENS, H * a->V);
    struct op *op = build_op(b, OP_DELTA, out);
    op->in[DELTA_q] = a->q;
    op->in[DELTA_k] = a->k;
    op->in[DELTA_v] = a->v;
    op->in[DELTA_w] = a->decay == DECAY_NONE ? VIEW_NONE : a->w;
    op->in[DELTA_a] = absent_if_empty(a->a);
    op->in[DELTA_b] = absent_if_empty(a->b);
    op->p.delta.k_heads = k;
    op->p.delta.d_heads = or_heads(a->d_heads, H);
    op->p.delta.state_heads = H;
    op->p.delta.K = a->K;
    op->p.delta.V = a->V;
    op->p.delta.steps = n;
    op->p.delta.decay = a->decay;
    op->p.delta.dplr = a->dplr;
    op->p.delta.decay_first = a->decay_first;
    op->p.delta.scale = or_one(a->scale);
    op->section = build_section(b, "S", SECTION_FIXED, (int64_t)H * a->K * a->V);
    return out;
}

/* One op of attention: the computation, or the storing of its rows when out is absent. */
static void attention_op(struct build *b, enum op_kind kind, const struct attention_args *a,
                         val out, int section)
{
    struct op *op = record(b, kind, out);
    op->in[0] = kind == OP_ATTENTION_KEEP ? VIEW_NONE : a->q;
    op->in[1] = a->k;
    op->in[2] = absent_if_empty(a->v);
    for (int i = 0; i < 3; i++)
        op->in[3 + i] = absent_if_empty(a->more[i]);
    op->in[OP_CACHED_END] = kind == OP_ATTENTION_KEEP ? VIEW_NONE : absent_if_empty(a->asked);
    op->section = section;
    op->p.attention.heads = a->heads;
    op->p.attention.kv_heads = a->kv_heads;
    op->p.attention.v_heads = or_heads(a->v_heads, a->kv_heads);
    op->p.attention.dk = a->dk;
    op->p.attention.dv = a->dv;
    op->p.attention.window = a->window;
    op->p.attention.block = a->block;
    op->p.attention.count = a->count;
    op->p.attention.scale = a->scale;
}

/* The section of the rows: operands 1 to 5 of a token, of the past or of a window. NSA has a
 * window among others and keeps all. */
static int kv_section(struct build *b, const struct attention_args *a)
{
    bool ring = a->window > 0 && a->kind != OP_NSA;
    int64_t row = a->k.width + MAX(a->v.width, 0);
    for (int i = 0; i < 3; i++)
        row += MAX(a->more[i].width, 0);
    return build_section(b, ring ? "window" : "kv", ring ? SECTION_FIXED : SECTION_PAGED,
                         ring ? row * a->window : row);
}

static void chooses_blocks(struct build *b, const struct attention_args *a)
{
    b_require(b, a->block >= 1 && a->count >= 1 && a->count <= LIMIT_TOPK,
              "%d chosen blocks of %d, at most %d", a->count, a->block, LIMIT_TOPK);
    b_context_max(b, (int64_t)LIMIT_BLOCKS * a->block);
}

val b_attention(struct build *b, const struct attention_args *given)
{
    struct attention_args a = *given;
    if (!a.kind)
        a.kind = OP_ATTENTION;
    int v_heads = or_heads(a.v_heads, a.kv_heads);
    int outputs = a.kind == OP_DELTAFORMER ? 2 : a.kind == OP_NSA ? 3 : 1;
    if (b_failed(b) || !b_require(b, a.kv_heads > 0 && a.heads % a.kv_heads == 0 &&
                                      a.heads % v_heads == 0 && a.window >= 0,
                                  "%d attention heads, %d key and %d value heads, window %d",
                                  a.heads, a.kv_heads, v_heads, a.window))
        return VIEW_NONE;
    if (a.kind == OP_ATTENTION)
        wide(b, a.q, (int64_t)a.heads * a.dk, "q");
    wide(b, a.k, (int64_t)a.kv_heads * a.dk, "k");
    if (a.v.width > 0)
        wide(b, a.v, (int64_t)v_heads * a.dv, "v");
    if (a.kind == OP_INDEXER || a.kind == OP_INDEXED)
        chooses_blocks(b, &a);
    val out = build_act(b, ROWS_TOKENS, a.kind == OP_INDEXER ? a.count : outputs * a.heads * a.dv);
    if (a.kind == OP_DELTAFORMER) /* u is written and cached by the op itself */
        a.v = b_slice(out, a.heads * a.dv, a.heads * a.dv);
    int section = a.shared ? a.shared - 1 : kv_section(b, &a);
    attention_op(b, a.kind, &a, out, section);
    if (a.share) /* the caller stores the rows after the last reader */
        *a.share = section + 1;
    else if (!a.shared)
        attention_op(b, OP_ATTENTION_KEEP, &a, VIEW_NONE, section);
    return out;
}

void b_attention_keep(struct build *b, const struct attention_args *a)
{
    attention_op(b, OP_ATTENTION_KEEP, a, VIEW_NONE, a->shared - 1);
}

/* ---- within a channel, choosing, reordering ---- */

val b_rnn(struct build *b, val f, val i)
{
    val out = build_act(b, ROWS_TOKENS, f.width);
    wide(b, i, f.width, "an elementwise recurrence's input");
    struct op *op = build_op(b, OP_RNN, out);
    op->in[RNN_factor] = f;
    op->in[RNN_input] = i;
    op->section = build_section(b, "h", SECTION_FIXED, f.width);
    return out;
}

val b_logsum(struct build *b, val x)
{
    val out = build_act(b, ROWS_TOKENS, 2 * x.width);
    struct op *op = build_op(b, OP_LOGSUM, out);
    op->in[LOGSUM_x] = x;
    op->section = build_section(b, "z", SECTION_FIXED, x.width);
    return out;
}

val b_scan(struct build *b, val x, val dt, val B, val C, int A, int D)
{
    val out = build_act(b, ROWS_TOKENS, x.width);
    wide(b, dt, x.width, "dt");
    wide(b, C, B.width, "C");
    struct op *op = build_op(b, OP_SCAN, out);
    op->in[SCAN_x] = x;
    op->in[SCAN_dt] = dt;
    op->in[SCAN_B] = B;
    op->in[SCAN_C] = C;
    op->w[SCAN_A] = A;
    op->w[SCAN_D] = D;
    op->p.scan.N = B.width;
    op->section = build_section(b, "h", SECTION_FIXED, (int64_t)x.width * B.width);
    return out;
}

val b_topk(struct build *b, val scores, const struct topk_args *a)
{
    int groups = a->n > 0 ? scores.width / a->n : 0;
    if (b_failed(b) ||
        !b_require(b, a->n > 0 && scores.width % a->n == 0 && a->k > 0 && a->k <= a->n &&
                          a->k <= LIMIT_TOPK && a->n_groups <= LIMIT_TOPK,
                   "the %d best of %d in %d groups, at most %d", a->k, a->n, a->n_groups, LIMIT_TOPK))
        return VIEW_NONE;
    val out = build_act(b, build_rows(b, scores), groups * (a->dense ? a->n : 2 * a->k));
    struct op *op = build_op(b, OP_TOPK, out);
    op->in[TOPK_scores] = scores;
    op->w[TOPK_bias] = a->bias;
    op->p.topk.n = a->n;
    op->p.topk.k = a->k;
    op->p.topk.n_groups = a->n_groups;
    op->p.topk.topk_groups = a->topk_groups;
    op->p.topk.none = a->none;
    op->p.topk.norm = a->norm;
    op->p.topk.dense = a->dense;
    op->p.topk.eps = a->eps;
    op->p.topk.scale = a->scale;
    return out;
}

val b_experts(struct build *b, val x, val route, int k, int weight, int rows, bool per_slot)
{
    val out = build_act(b, build_rows(b, x), k * rows);
    struct op *op = build_op(b, OP_EXPERTS, out);
    op->in[EXPERTS_x] = x;
    op->in[EXPERTS_chosen] = route;
    op->w[EXPERTS_matrix] = weight;
    op->p.experts.k = k;
    op->p.experts.rows = rows;
    op->p.experts.per_slot = per_slot;
    return out;
}

val b_blocks(struct build *b, val x, int blocks, int weight, int bias, int rows, bool shared)
{
    val out = build_act(b, build_rows(b, x), blocks * rows);
    if (!b_failed(b) && !b_require(b, x.width % blocks == 0, "%d columns in %d blocks", x.width,
                                   blocks))
        return VIEW_NONE;
    struct op *op = build_op(b, OP_BLOCKS, out);
    op->in[BLOCKS_x] = x;
    op->w[BLOCKS_matrix] = weight;
    op->w[BLOCKS_bias] = bias;
    op->p.blocks.blocks = blocks;
    op->p.blocks.shared = shared;
    return out;
}

int b_padded(int rows) { return (int)round_up((size_t)rows, BLOCK_ROWS); }

val b_cut(struct build *b, val x, int n, int width)
{
    int each = b_padded(width);
    float *index = each == width || b_failed(b) ? NULL : mem_array((size_t)n * (size_t)width,
                                                                   sizeof *index);
    if (each == width || b_failed(b))
        return x;
    if (!index) {
        b_fail(b, E_NOMEM, "no memory for %d parts of %d columns", n, width);
        return VIEW_NONE;
    }
    for (int i = 0; i < n * width; i++)
        index[i] = (float)(i / width * each + i % width);
    val y = b_columns(b, x, index, n * width);
    mem_free(index);
    return y;
}

val b_columns(struct build *b, val x, const float *index, int n)
{
    val out = build_act(b, build_rows(b, x), n);
    struct op *op = build_op(b, OP_COLUMNS, out);
    op->in[COLUMNS_x] = x;
    op->w[COLUMNS_index] = w_values(b, index, n);
    return out;
}

val b_first(struct build *b)
{
    val out = build_act(b, ROWS_TOKENS, 1);
    build_op(b, OP_FIRST, out);
    return out;
}

/* ---- the end ---- */

val b_gather(struct build *b, val x)
{
    val out = build_act(b, ROWS_LOGITS, x.width);
    build_op(b, OP_GATHER, out)->in[GATHER_x] = x;
    return out;
}

void b_logits(struct build *b, val x, const char *name, bool tied)
{
    char full[LIMIT_TENSOR_NAME];
    snprintf(full, sizeof full, "%s.weight", name);
    bool said = cfg_has(b, "tie_word_embeddings"), own = b_has(b, full, !tied);
    own |= said && !tied; /* older files say nothing and leave the second name out */
    if (own) {
        b->plan->logits = b_linear_part(b, x, full, NULL, b->plan->vocab, 0, b->plan->vocab, false);
        return;
    }
    val out = build_act(b, ROWS_LOGITS, b->plan->vocab);
    struct op *op = build_op(b, OP_LINEAR, out);
    op->in[LINEAR_x] = x;
    op->w[LINEAR_matrix] = b->embedding;
    if (!b_failed(b) && x.width != b->plan->weights[b->embedding].cols)
        b_fail(b, E_RANGE, "tied embedding %s: %lld columns, %d expected", b->embedding_name,
               (long long)b->plan->weights[b->embedding].cols, x.width);
    b->plan->logits = out;
}
