/* QRWKV6 (Recursal, 2024): Qwen2's layers with the time mixing of RWKV-6 instead of attention,
 * without bonus and group norm, and with fewer heads of keys and values.
 *
 *   delta_t = y_{t-1} - y_t  (y: the normed input);  m = tanh(W_1 (y + delta (.) mu_x)), 5 parts
 *   for n = r, k, v, w, g:  x_n = y + delta (.) (W_2n m_n + mu_n)
 *   q = W_q x_r;  k, v = W x (+ biases);  l = max(-exp(L_2 tanh(L_1 x_w) + b), -5);  a = exp(l)
 *   S := diag(a) S + ((1 - a) (.) k) v^T;  y = W_o (K^-1/2 S^T q (.) sigmoid(W_g x_g))
 *
 * GGUF has the five mu as one tensor, in the order w, k, v, r, g. */
#include "models/build/build.h"

struct dims { int D, H, Hkv, K, r, R, inner; bool bias; };

static val shifted(struct build *b, val y, val delta, val m, int n, const struct dims *d)
{
    static const char *const names[] = {"time_maa_r", "time_maa_k", "time_maa_v", "time_maa_w",
                                        "time_maa_g"};
    static const int fused_at[] = {3, 1, 2, 0, 4};
    bool fused = b_has(b, "time_maa_fused", false);
    int mu = fused ? w_vec_row(b, "time_maa_fused", 5, fused_at[n], d->D)
                   : w_vec(b, names[n], d->D);
    int w = w_matrix(b, "time_maa_w2", d->D, d->r); /* stored [5][r][D] */
    w_block(b, w, "time_maa_w2", &(struct block_part){
        .tensor_rows = 5 * (int64_t)d->r, .tensor_cols = d->D, .row0 = (int64_t)n * d->r,
        .rows = d->r, .transposed = true});
    val mix = b_linear_weight(b, b_slice(m, n * d->r, d->r), w, mu);
    return e_add(b, y, e_mul(b, delta, mix));
}

static val mixer(struct build *b, val y, int layer, void *family)
{
    const struct dims *d = family;
    int n = d->H * d->K, kv = d->Hkv * d->K;
    (void)layer;
    b_into(b, "self_attn.");
    int R = (int)b_rows(b, "time_decay_w2", d->R);
    val delta = e_sub(b, b_shift(b, y), y), x[5];
    val m = e_maddw(b, y, delta, w_vec(b, "time_maa_x", d->D));
    m = e_fn(b, EW_TANH, b_linear_part(b, m, "time_maa_w1", NULL, 5 * d->r, 0, 5 * d->r, true));
    for (int i = 0; i < 5; i++)
        x[i] = shifted(b, y, delta, m, i, d);
    val q = b_project(b, x[0], "q_proj", n, d->bias), k = b_project(b, x[1], "k_proj", kv, d->bias);
    val v = b_project(b, x[2], "v_proj", kv, d->bias), g = b_linear(b, x[4], "gate", n);
    val l = e_fn(b, EW_TANH, b_linear_part(b, x[3], "time_decay_w1", NULL, R, 0, R, true));
    l = b_linear_part(b, l, "time_decay_w2", "time_decay", n, 0, n, true);
    val a = e_fn(b, EW_EXP, e_max(b, e_fn(b, EW_NEG, e_fn(b, EW_EXP, l)), -5));
    k = b_repeat_heads(b, k, d->Hkv, d->H);
    k = e_mul(b, k, e_affine(b, a, -1, 1));
    val o = b_decay(b, &(struct decay_args){
        .q = q, .k = k, .v = v, .d = a, .v_heads = d->Hkv, .state_heads = d->H, .K = d->K,
        .V = d->K, .decay = DECAY_KEY, .scale = (float)(1 / sqrt(d->K))});
    return b_linear(b, e_mul(b, o, e_fn(b, EW_SIGMOID, g)), "o_proj", d->D);
}

static val ffn(struct build *b, val y, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    b_into(b, "mlp.");
    return b_swiglu(b, y, "gate_proj", "up_proj", "down_proj", d->inner, "silu");
}

static void build(struct build *b)
{
    struct hybrid f = b_hybrid_read(b, 32, 1e-6);
    int H = b_count(b, "num_attention_heads", 32);
    struct dims d = {.D = f.D, .H = H, .Hkv = b_count(b, "num_key_value_heads", H),
                     .r = b_width(b, "lora_rank_tokenshift", f.D < 4096 ? 32 : 64),
                     .R = b_width(b, "lora_rank_decay", f.D < 4096 ? 64 : 128),
                     .inner = b_width(b, "intermediate_size", 22016),
                     .bias = cfg_bool(b, "attention_bias", true)};
    if (!b_require(b, H > 0 && d.Hkv > 0 && H % d.Hkv == 0 && f.D % H == 0,
                   "%d heads, %d of keys and values, in a width of %d", H, d.Hkv, f.D))
        return;
    d.K = f.D / H;
    b_prefix(b, "model.layers.0.self_attn.");
    d.r = (int)b_cols(b, "time_maa_w1", 5 * d.r) / 5; /* stored [D][5 r] */
    int64_t gate = cfg_int(b, "gate_rank_type", 1);
    b_require(b, gate == 1, "gate_rank_type %lld, only 1 is supported", (long long)gate);
    b_require(b, cfg_bool(b, "balance_state", true), "balance_state false");
    b_require(b, cfg_bool(b, "use_tokenshift", true), "use_tokenshift false");
    cfg_refuse(b, "use_rope");
    cfg_refuse(b, "groupnorm_att");
    cfg_refuse(b, "attention_output_bias");
    b_same_act(b, "hidden_act", ACT_SILU);
    cfg_irrelevant(b, "lora_rank_gate max_window_layers rope_theta rope_scaling rope_parameters "
                      "sliding_window use_sliding_window");
    f.mixer = mixer;
    f.ffn = ffn;
    f.family = &d;
    b_hybrid(b, &f);
}

const struct arch arch_rwkv6qwen2 = {"rwkv6qwen2", build};
