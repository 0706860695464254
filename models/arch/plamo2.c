/* PLaMo 2 (Preferred Networks, 2025): Mamba-2 with one group and softmax attention by turns, norms
 * before and behind every half of a layer.
 *
 *   h += post(mixer(pre(h)));  h += post'(mlp(pre'(h)));  the norms' weights are stored less
 *     1, 1/5, 1 and 5^-3/2
 *   mamba: z, x of each head from one projection;  x = silu(conv(x));  B, C, dt = rms(W x), each;
 *     a = exp(-exp(A_log) sp(W_dt dt + dt_bias));  S = a S + B (dt x)^T;
 *     y = W_o ((S^T C + D x) (.) silu(z))
 *   attention: q, k = rms(W x) (.) w per head, then turned
 *
 * attention_window_size is not heeded: the programs that serve it attend to everything. */
#include "models/build/build.h"

struct dims {
    int D, H, P, N, conv, rank, inner, step, layers;
    bool enabled;
    float eps;
    struct gqa_args attn;
    struct rope rope;
};

#define HEAD_EPS 1e-6f /* of the norms of queries and keys, whatever rms_norm_eps says */

static val part_norm(struct build *b, val x, const char *name, const struct dims *d)
{
    return b_norm(b, x, NORM_RMS, x.width, w_vec(b, name, x.width), -1, d->eps, 1);
}

static val mamba(struct build *b, val x, const struct dims *d)
{
    int inner = d->H * d->P;
    val z = b_linear_heads(b, x, "in_proj", d->H, 2 * d->P, 0, d->P);
    val X = b_linear_heads(b, x, "in_proj", d->H, 2 * d->P, d->P, d->P);
    X = b_conv(b, X, w_filter(b, "conv1d.weight", inner, d->conv), -1, d->conv, ACT_SILU);
    val p = b_linear(b, X, "bcdt_proj", 2 * d->N + d->rank);
    val B = part_norm(b, b_slice(p, 0, d->N), "B_norm_weight", d);
    val C = part_norm(b, b_slice(p, d->N, d->N), "C_norm_weight", d);
    val dt = part_norm(b, b_slice(p, 2 * d->N, d->rank), "dt_norm_weight", d);
    dt = e_addw(b, b_linear(b, dt, "dt_proj", d->H), w_vec(b, "dt_bias", d->H));
    dt = e_fn(b, EW_SOFTPLUS, dt);
    val a = e_fn(b, EW_EXP, e_mulw(b, dt, w_vec_as(b, "A_log", d->H, TENSOR_NEG_EXP)));
    val y = b_decay(b, &(struct decay_args){
        .q = C, .k = B, .v = e_mul(b, X, dt), .d = a, .q_heads = 1, .k_heads = 1,
        .state_heads = d->H, .K = d->N, .V = d->P, .decay = DECAY_SCALAR});
    y = e_add(b, y, e_mul_group_w(b, X, w_vec(b, "D", d->H)));
    return b_linear(b, e_mul(b, y, e_fn(b, EW_SILU, z)), "out_proj", d->D);
}

static val attention(struct build *b, val x, const struct dims *d)
{
    const struct gqa_args *a = &d->attn;
    int nq = a->H * a->d, nk = a->kv * a->d, all = nq + 2 * nk;
    val q = b_linear_part(b, x, "qkv_proj.weight", NULL, all, 0, nq, false);
    val k = b_linear_part(b, x, "qkv_proj.weight", NULL, all, nq, nk, false);
    val v = b_linear_part(b, x, "qkv_proj.weight", NULL, all, nq + nk, nk, false);
    q = b_norm(b, q, NORM_RMS, a->d, w_vec(b, "q_weight", nq), -1, HEAD_EPS, 1);
    k = b_norm(b, k, NORM_RMS, a->d, w_vec(b, "k_weight", nk), -1, HEAD_EPS, 1);
    return b_linear(b, b_gqa_core(b, q, k, v, a), "o_proj", d->D);
}

static val norm(struct build *b, val x, const char *name, enum transform t, const struct dims *d)
{
    return b_norm(b, x, NORM_RMS, d->D, w_vec_as(b, name, d->D, t), -1, d->eps, 1);
}

/* Of fewer layers than half a step the last attends. */
static bool attends(const struct dims *d, int layer)
{
    if (!d->enabled)
        return true;
    return d->layers <= d->step / 2 ? layer == d->layers - 1 : layer % d->step == d->step / 2;
}

static void run(struct build *b, const struct hybrid *f, const struct dims *d)
{
    val h = b_hybrid_open(b, f);
    for (int i = 0; i < f->layers && !b_failed(b); i++) {
        enum layer_type type = b_layer_type(b, i, attends(d, i) ? LAYER_ATTENTION : LAYER_LINEAR);
        b_layer(b, i);
        b_prefix(b, "model.layers.layers.%d.", i);
        val y = norm(b, h, "pre_mixer_norm.weight", TENSOR_ADD_ONE, d);
        b_into(b, "mixer.");
        y = type == LAYER_LINEAR ? mamba(b, y, d) : attention(b, y, d);
        b_prefix(b, "model.layers.layers.%d.", i);
        h = e_add(b, h, norm(b, y, "post_mixer_norm.weight", TENSOR_ADD_5TH, d));
        y = norm(b, h, "pre_mlp_norm.weight", TENSOR_ADD_ONE, d);
        y = b_packed_glu(b, y, "mlp.gate_up_proj", "mlp.down_proj", d->inner, ACT_SILU);
        h = e_add(b, h, norm(b, y, "post_mlp_norm.weight", TENSOR_ADD_11TH, d));
    }
    b_hybrid_close(b, f, h);
}

static void build(struct build *b)
{
    struct hybrid f = b_hybrid_read(b, 32, 1e-6);
    int P = b_count(b, "hidden_size_per_head", 128), H = b_count(b, "num_attention_heads", 32);
    struct dims d = {
        .D = f.D, .layers = f.layers, .eps = f.eps, .H = b_count(b, "mamba_num_heads", 64), .P = P,
        .N = b_count(b, "mamba_d_state", 64), .conv = b_count(b, "mamba_d_conv", 4),
        .rank = f.D / 16 > 64 ? f.D / 16 : 64, .inner = b_width(b, "intermediate_size", 13312),
        .step = b_count(b, "mamba_step", 2), .enabled = cfg_bool(b, "mamba_enabled", true)};
    d.attn = (struct gqa_args){.D = f.D, .H = H, .kv = b_count(b, "num_key_value_heads", 4),
                               .d = P, .eps = f.eps, .scale = (float)(1 / sqrt(P))};
    b_rope_read(b, &d.rope, P, 1e4, 1);
    d.attn.rope = &d.rope;
    f.norm = TENSOR_ADD_ONE;
    f.tied = true;
    b_check_layer_types(b, f.layers);
    cfg_irrelevant(b, "attention_window_size full_attention_idx mamba_chunk_size head_dim");
    cfg_refuse(b, "sliding_window");
    if (b_require(b, d.step > 1 && d.H > 0 && P > 0 && d.attn.kv > 0 && H % d.attn.kv == 0,
                  "mamba_step %d, %d heads of %d, %d of %d", d.step, d.H, P, H, d.attn.kv))
        run(b, &f, &d);
}

const struct arch arch_plamo2 = {"plamo2", build};
