/* RecurrentGemma (Griffin; De et al., 2024): real-gated linear recurrent units 2:1 attention over a
 * window, zero-centred norms.
 *
 *   u = conv(W_x x);  r, i = sigmoid(block-diagonal u);  log a = -8 softplus(Lambda) r
 *   h = a h + sqrt(1 - a^2) (i (.) u), the root being 1 at token 0
 *   y = W_o (h (.) gelu(W_y x));  ffn: W_d (gelu(W_g x) (.) W_u x);  logits := 30 tanh(logits /
 *   30) */
#include "models/build/build.h"

struct dims {
    int D, heads, lru, conv;
    struct mlp mlp;
    struct gqa_args attn;
    struct rope rope;
};

/* -8 softplus(Lambda) */
static void log_decay(const float *whole, int64_t elems, int64_t row, int64_t n, float *out)
{
    (void)elems;
    (void)row;
    for (int64_t i = 0; i < n; i++)
        out[i] = whole[i] > 20 ? -8 * whole[i] : (float)(-8 * log1p(exp((double)whole[i])));
}

/* sigmoid(x_h W_h + b) per head; the file keeps W_h as [in, out]. */
static val gate(struct build *b, val x, const char *name, const struct dims *d)
{
    char weight[64], bias[64];
    int n = d->lru / d->heads;
    snprintf(weight, sizeof weight, "rg_lru.%s_gate_weight", name);
    snprintf(bias, sizeof bias, "rg_lru.%s_gate_bias", name);
    int each = b_padded(n), w = w_matrix(b, weight, (int64_t)d->heads * each, n);
    for (int h = 0; h < d->heads; h++)
        w_block(b, w, weight, &(struct block_part){
            .tensor_rows = d->lru, .tensor_cols = n, .row0 = (int64_t)h * n, .rows = n,
            .at = (int64_t)h * each, .transposed = true});
    val y = b_cut(b, b_blocks(b, x, d->heads, w, -1, each, false), d->heads, n);
    return e_fn(b, EW_SIGMOID, e_addw(b, y, w_vec(b, bias, d->lru)));
}

static val recurrent(struct build *b, val x, const struct dims *d)
{
    val y = b_linear_bias(b, x, "linear_y", d->lru), u = b_linear_bias(b, x, "linear_x", d->lru);
    u = b_conv(b, u, w_filter(b, "conv_1d.weight", d->lru, d->conv),
               w_vec(b, "conv_1d.bias", d->lru), d->conv, ACT_NONE);
    val i = gate(b, u, "input", d), r = gate(b, u, "recurrent", d), first = b_first(b);
    int lambda = w_derived(b, "rg_lru.recurrent_param", d->lru, 0, d->lru, log_decay);
    val log_a = e_mulw(b, r, lambda);
    val root = e_fn(b, EW_EXP, e_affine(b, log_a, 2, 0));
    root = e_fn(b, EW_SQRT, e_max(b, e_affine(b, root, -1, 1), 0));
    root = e_add(b, e_mul(b, root, e_affine(b, first, -1, 1)), first);
    val h = b_rnn(b, e_fn(b, EW_EXP, log_a), e_mul(b, root, e_mul(b, i, u)));
    return b_linear_bias(b, e_mul(b, h, e_act(b, d->mlp.act, y)), "linear_out", d->D);
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    const char *key = cfg_has(b, "block_types") ? "block_types" : "_block_types";
    int64_t n = config_len(cfg(b), key);
    const char *type = n > 0 ? config_str_at(cfg(b), key, layer % n, b_err(b)) : NULL;
    bool full = type ? !strcmp(type, "attention") : layer % 3 == 2;
    b_require(b, !type || full || !strcmp(type, "recurrent"), "block_types: \"%s\" is not known",
              type ? type : "");
    b_into(b, "temporal_block.");
    return full ? b_gqa(b, x, &d->attn) : recurrent(b, x, d);
}

static val ffn(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    b_into(b, "mlp_block.");
    return b_mlp(b, x, &d->mlp);
}

/* The reference keeps the square root of the width in bfloat16. */
static float to_bf16(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    u = (u + 0x7FFF + (u >> 16 & 1)) & 0xFFFF0000u;
    memcpy(&x, &u, sizeof x);
    return x;
}

static void build(struct build *b)
{
    struct hybrid f = b_hybrid_read(b, 26, 1e-6);
    const char *act = cfg_str(b, "hidden_activation", "gelu_pytorch_tanh");
    struct dims d = {.D = f.D,
                     .attn = b_gqa_read(b, 10, 1),
                     .lru = b_width(b, "lru_width", f.D),
                     .conv = b_count(b, "conv1d_width", 4),
                     .mlp = {.inner = b_width(b, "intermediate_size", 3 * (int64_t)f.D) / 2,
                             .bias = true, .act = activation_parse(act)}};
    d.heads = d.attn.H;
    d.attn.window = (int)cfg_int(b, "attention_window_size", 2048);
    d.attn.out_bias = true;
    b_rope_read(b, &d.rope, d.attn.d, 10000, 0.5);
    d.attn.rope = &d.rope;
    f.norm = TENSOR_ADD_ONE;
    f.tied = true;
    f.embedding =
        cfg_bool(b, "embeddings_scale_by_sqrt_dim", true) ? to_bf16(sqrtf((float)f.D)) : 1;
    f.soft_cap = (float)cfg_num(b, "logits_soft_cap", 30);
    cfg_irrelevant(b, "block_types _block_types w_init_variance_scale final_w_init_variance_scale");
    f.mixer = mixer;
    f.ffn = ffn;
    f.family = &d;
    f.mixer_norm = "temporal_pre_norm";
    f.ffn_norm = "channel_pre_norm";
    f.last_norm = "final_norm";
    if (b_require(b, activation_known(act), "hidden_activation \"%s\" is not known", act) &&
        b_require(b, d.lru > 0 && d.lru % d.heads == 0, "lru_width %d in %d blocks", d.lru,
                  d.heads))
        b_hybrid(b, &f);
}

const struct arch arch_recurrent_gemma = {"recurrent_gemma", build};
