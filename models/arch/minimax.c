/* MiniMax-Text-01 and M1: lightning attention 7:1 softmax attention, experts everywhere; the
 * residual is taken behind the norm.
 *
 *   y = rms(h);  h = alpha y + beta mixer(y);  y = rms(h);  h = alpha' y + beta' experts(y)
 *   lightning: q, k, v = silu(W x);  S = a_h S + k v^T;  y = W_o (rms(S^T q) (.) sigmoid(W_g x)),
 *     the rms over all heads;  a_h = exp(-2^(-8 (h+1) / H) (1 - i / (L - 1 + 1e-5) + 1e-5)) in
 *     layer i of L
 *   experts: softmax, the k best renormalised */
#include "models/build/build.h"

struct dims {
    int D, H, K, layers;
    enum activation act;
    float alpha[2], beta[2], mlp_alpha, mlp_beta; /* [0] lightning, [1] softmax */
    struct gqa_args attn;
    struct rope rope;
    struct moe_args experts;
};

#define INNER_EPS 1e-6f /* of the norm inside lightning attention, whatever rms_norm_eps says */

static int decays(struct build *b, const struct dims *d, int layer)
{
    float a[1024];
    double depth = 1 - layer / (d->layers - 1 + 1e-5) + 1e-5;
    if (!b_require(b, d->H <= (int)ARRAY_LEN(a), "%d heads, at most %zu", d->H, ARRAY_LEN(a)))
        return -1;
    for (int h = 0; h < d->H; h++)
        a[h] = (float)exp(-pow(2, -8.0 * (h + 1) / d->H) * depth);
    return w_values(b, a, d->H);
}

static val lightning(struct build *b, val x, int layer, const struct dims *d)
{
    int n = d->H * d->K;
    val p[3];
    for (int i = 0; i < 3; i++) /* rows per head: q, k, v */
        p[i] = b_linear_heads(b, x, "qkv_proj", d->H, 3 * d->K, i * d->K, d->K);
    val gate = b_linear(b, x, "output_gate", n);
    for (int i = 0; i < 3; i++)
        p[i] = e_act(b, d->act, p[i]);
    val o = b_decay(b, &(struct decay_args){
        .q = p[0], .k = p[1], .v = p[2], .state_heads = d->H, .K = d->K, .V = d->K,
        .decay = DECAY_CONST, .constant = decays(b, d, layer)});
    static const char *const tables[] = {"slope_rate", "query_decay", "key_decay",
                                         "diagonal_decay"};
    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        b_unused(b, tables[i]); /* derived from the sizes */
    o = b_gated_norm(b, o, gate, NORM_RMS, n, w_vec(b, "norm.weight", n), -1, INNER_EPS,
                     ACT_SIGMOID, false);
    return b_linear(b, o, "out_proj", d->D);
}

/* alpha y + beta z */
static val mix(struct build *b, val y, float alpha, val z, float beta)
{
    return e_add(b, e_affine(b, y, alpha, 0), e_affine(b, z, beta, 0));
}

/* layer_types, or attn_type_list: 0 lightning, 1 softmax. */
static bool softmax_layer(struct build *b, int i)
{
    int64_t listed = config_int_at(cfg(b), "attn_type_list", i, i % 2 == 0, b_err(b));
    return b_layer_type(b, i, listed ? LAYER_ATTENTION : LAYER_LINEAR) == LAYER_ATTENTION;
}

static void run(struct build *b, const struct hybrid *f, const struct dims *d)
{
    val h = b_hybrid_open(b, f);
    for (int i = 0; i < f->layers && !b_failed(b); i++) {
        bool full = softmax_layer(b, i);
        b_hybrid_layer(b, f, i);
        val y = b_hybrid_norm(b, f, h, "input_layernorm");
        b_into(b, "self_attn.");
        val z = full ? b_gqa(b, y, &d->attn) : lightning(b, y, i, d);
        h = mix(b, y, d->alpha[full], z, d->beta[full]);
        b_hybrid_layer(b, f, i);
        y = b_hybrid_norm(b, f, h, "post_attention_layernorm");
        b_into(b, b_has(b, "mlp.gate.weight", false) ? "mlp." : "block_sparse_moe.");
        h = mix(b, y, d->mlp_alpha, b_moe(b, y, &d->experts), d->mlp_beta);
    }
    b_hybrid_close(b, f, h);
}

static void build(struct build *b)
{
    struct hybrid f = b_hybrid_read(b, 32, 1e-5);
    const char *act = cfg_str(b, "hidden_act", "silu");
    struct dims d = {
        .D = f.D, .layers = f.layers, .act = activation_parse(act), .attn = b_gqa_read(b, 32, 8),
        .alpha = {(float)cfg_num(b, "linear_attn_alpha_factor", 1),
                  (float)cfg_num(b, "full_attn_alpha_factor", 1)},
        .beta = {(float)cfg_num(b, "linear_attn_beta_factor", 1),
                 (float)cfg_num(b, "full_attn_beta_factor", 1)},
        .mlp_alpha = (float)cfg_num(b, "mlp_alpha_factor", 1),
        .mlp_beta = (float)cfg_num(b, "mlp_beta_factor", 1)};
    d.H = d.attn.H;
    d.K = d.attn.d;
    d.experts = (struct moe_args){.n = b_count(b, "num_local_experts", 8),
                                  .k = b_count(b, "num_experts_per_tok", 2),
                                  .inner = b_width(b, "intermediate_size", 14336),
                                  .norm = true,
                                  .router = "gate",
                                  .experts = "experts",
                                  .gate = "w1",
                                  .up = "w3",
                                  .down = "w2",
                                  .packed_in = "experts.gate_up_proj",
                                  .packed_out = "experts.down_proj",
                                  .act = d.act};
    /* The published implementations heed rotary_dim alone: whole heads turn without it. */
    int64_t turned = cfg_int(b, "rotary_dim", d.K);
    b_rope_read(b, &d.rope, d.K, 1e6, (double)turned / d.K);
    b_require(b, d.rope.rot == turned, "partial_rotary_factor turns %d columns of a head, "
              "rotary_dim says %lld", d.rope.rot, (long long)turned);
    d.attn.rope = &d.rope;
    b_check_layer_types(b, f.layers);
    cfg_refuse(b, "sliding_window");
    cfg_refuse(b, "shared_intermediate_size");
    b_require(b, cfg_bool(b, "postnorm", true), "postnorm false");
    cfg_irrelevant(b, "block_size router_jitter_noise shared_moe_mode attn_type_list");
    if (b_require(b, activation_known(act), "hidden_act \"%s\" is not known", act))
        run(b, &f, &d);
}

const struct arch arch_minimax = {"minimax", build};
