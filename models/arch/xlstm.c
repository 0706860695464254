/* xLSTM (Beck et al., 2024), the mLSTM blocks of the published 7B model.
 *
 *   i, f = 15 tanh(W x / 15) per head;  S = sigmoid(f) S + e^i k v^T,  n = sigmoid(f) n + e^i k
 *   h = K^-1/2 S^T q / max(|K^-1/2 n q|, 1);  y = W_o (sigmoid(W_g x) (.) layernorm_head(h))
 *   ffn: W_d (silu(W_g y) (.) W_u y);  logits := 30 tanh(logits / 30)
 *
 * The reference divides state and sums by e^m, m the largest sum of gates so far, against overflow,
 * and adds eps to the denominator then. Gates of at most 15 cannot overflow float32, so nothing is
 * divided here; and the layer norm behind h takes any factor of it out again, eps and all. */
#include "models/build/build.h"

struct dims {
    int D, H, qk, v, inner, layers;
    float eps, gate_cap, logit_cap;
    bool bias, fused;
};

static val capped(struct build *b, val x, float cap)
{
    return e_affine(b, e_fn(b, EW_TANH, e_affine(b, x, 1 / cap, 0)), cap, 0);
}

/* Part [row, row + rows) of a fused projection, or a projection of its own. */
static val part(struct build *b, val x, const struct dims *d, const char *own, bool bias, val fused,
                int row, int rows)
{
    return d->fused ? b_slice(fused, row, rows) : b_project(b, x, own, rows, bias);
}

static val mixer(struct build *b, val x, const struct dims *d)
{
    int H = d->H, K = d->qk / H, V = d->v / H;
    val all = VIEW_NONE, gates = VIEW_NONE;
    if (d->fused) {
        all = b_project(b, x, "qkv_opreact", 2 * d->qk + 2 * d->v, d->bias);
        gates = b_project(b, x, "ifgate_preact", 2 * H, true);
    }
    val q = part(b, x, d, "q", d->bias, all, 0, d->qk);
    val k = part(b, x, d, "k", d->bias, all, d->qk, d->qk);
    val v = part(b, x, d, "v", d->bias, all, 2 * d->qk, d->v);
    val g = part(b, x, d, "ogate_preact", d->bias, all, 2 * d->qk + d->v, d->v);
    val i = part(b, x, d, "igate_preact", true, gates, 0, H);
    val f = part(b, x, d, "fgate_preact", true, gates, H, H);
    k = e_mul(b, k, e_fn(b, EW_EXP, capped(b, i, d->gate_cap)));
    struct decay_args a = {
        .q = q, .k = k, .v = v, .d = e_fn(b, EW_SIGMOID, capped(b, f, d->gate_cap)),
        .state_heads = H, .K = K, .V = V, .decay = DECAY_SCALAR, .scale = (float)(1 / sqrt(K))};
    val h = b_decay(b, &a);
    a.v = e_affine(b, b_slice(v, 0, 1), 0, 1); /* one column of ones: the state is the sum of k */
    a.v_heads = a.V = 1;
    h = e_div(b, h, e_max(b, e_fn(b, EW_ABS, b_decay(b, &a)), 1));
    h = b_norm(b, h, NORM_LAYER, V, w_vec(b, "multihead_norm.weight", d->v),
               d->bias ? w_vec(b, "multihead_norm.bias", d->v) : -1, d->eps, 1);
    return b_project(b, e_mul(b, h, e_fn(b, EW_SIGMOID, g)), "out_proj", d->D, d->bias);
}

static val ffn(struct build *b, val x, const struct dims *d)
{
    val all = d->fused ? b_project(b, x, "proj_up_gate_z", 2 * d->inner, d->bias) : VIEW_NONE;
    val g = part(b, x, d, "proj_up_gate", d->bias, all, 0, d->inner);
    val u = part(b, x, d, "proj_up", d->bias, all, d->inner, d->inner);
    return b_project(b, e_mul(b, e_fn(b, EW_SILU, g), u), "proj_down", d->D, d->bias);
}

static val norm(struct build *b, val x, const char *name, const struct dims *d)
{
    char weight[32], bias[32];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    return b_norm(b, x, NORM_RMS, d->D, w_vec(b, weight, d->D), d->bias ? w_vec(b, bias, d->D) : -1,
                  d->eps, 1);
}

static void run(struct build *b, const struct dims *d)
{
    b_prefix(b, "backbone.");
    val h = b_embed(b, "embeddings", (int)cfg_int(b, "vocab_size", 50304), d->D, 1);
    for (int i = 0; i < d->layers && !b_failed(b); i++) {
        b_layer(b, i);
        b_prefix(b, "backbone.blocks.%d.", i);
        val y = norm(b, h, "norm_mlstm", d);
        b_into(b, "mlstm_layer.");
        h = e_add(b, h, mixer(b, y, d));
        b_prefix(b, "backbone.blocks.%d.", i);
        y = norm(b, h, "norm_ffn", d);
        b_into(b, "ffn.");
        h = e_add(b, h, ffn(b, y, d));
    }
    b_prefix(b, "backbone.");
    h = b_rms(b, b_gather(b, h), "out_norm", d->eps);
    b_prefix(b, "%s", "");
    b_logits(b, h, "lm_head", cfg_bool(b, "tie_word_embeddings", false));
    b_logits_cap(b, d->logit_cap);
}

static void build(struct build *b)
{
    int D = b_width(b, "hidden_size", b_width(b, "embedding_dim", 4096));
    int layers = b_count(b, "num_hidden_layers", b_count(b, "num_blocks", 32));
    const char *mode = cfg_str(b, "weight_mode", "single");
    struct dims d = {.D = D, .layers = layers, .H = b_count(b, "num_heads", 8),
                     .qk = b_times(b, D, "qk_dim_factor", 0.5),
                     .v = b_times(b, D, "v_dim_factor", 1),
                     .eps = (float)cfg_num(b, "norm_eps", 1e-6),
                     .gate_cap = (float)cfg_num(b, "gate_soft_cap", 15),
                     .logit_cap = (float)cfg_num(b, "output_logit_soft_cap", 30),
                     .bias = cfg_bool(b, "use_bias", false), .fused = !strcmp(mode, "fused")};
    int64_t unit = b_width(b, "ffn_round_up_to_multiple_of", 64);
    double wide = b_times(b, D, "ffn_proj_factor", 2.667);
    b_require(b, b_count(b, "num_blocks", layers) == layers &&
                     b_width(b, "embedding_dim", D) == D,
              "num_blocks is not num_hidden_layers %d, or embedding_dim not hidden_size %d", layers,
              D);
    b_require(b, d.fused || !strcmp(mode, "single"), "weight_mode \"%s\" is not single or fused",
              mode);
    b_require(b, cfg_bool(b, "add_out_norm", true) && cfg_bool(b, "add_post_blocks_norm", true),
              "add_out_norm, add_post_blocks_norm: only models with a last norm are supported");
    b_require(b, d.gate_cap > 0 && d.gate_cap <= 30, "gate_soft_cap %g, up to 30", d.gate_cap);
    cfg_refuse(b, "add_qk_norm");
    cfg_irrelevant(b, "chunkwise_kernel sequence_kernel step_kernel mode eps cell_norm_eps "
                      "head_dim autocast_kernel_dtype inference_state_dtype return_last_states "
                      "max_inference_chunksize norm_reduction_force_float32 "
                      "igate_bias_init_range mlstm_round_up_to_multiple_of "
                      "force_bos_token_insert");
    if (!b_require(b, d.H > 0 && d.qk % d.H == 0 && d.v % d.H == 0 && unit > 0,
                   "%d heads for keys of %d and values of %d", d.H, d.qk, d.v))
        return;
    d.inner = (int)(((int64_t)wide + unit - 1) / unit * unit);
    run(b, &d);
}

const struct arch arch_xlstm = {"xlstm", build};
