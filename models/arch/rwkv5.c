/* RWKV-5 "Eagle" (Peng et al., 2024), from 5.0 to 5.2.
 *
 *   x_* = y_{t-1} + mu_* (y - y_{t-1})  (y: the normed input);  k, v, r, g = W x_*
 *   o = (S + diag(u) k v^T)^T r;  S = diag(w) S + k v^T,  w = exp(-exp(time_decay))
 *   y = W_o (groupnorm(o) (.) silu(g));  ffn: sigmoid(W_r x_r) (.) W_v relu(W_k x_k)^2
 *
 * 5.0 has no gate; before 5.2, w and u = exp(time_first) are one number a head. Two sets of tensor
 * names: the RWKV project's own (blocks.0.att.time_mix_k ...) and those of its converted
 * checkpoints (rwkv.blocks.0.attention.time_mix_key ...). */
#include "models/build/build.h"

#define GROUP_EPS 64e-5f

struct dims { int D, H, K, inner; float eps; bool own; };

/* exp of the numbers, each standing for as many columns as there are. */
static void spread_exp(const float *whole, int64_t elems, int64_t row, int64_t n, float *out)
{
    (void)row;
    for (int64_t i = 0; i < n; i++)
        out[i] = expf(whole[i * elems / n]);
}

static void decay(const float *whole, int64_t elems, int64_t row, int64_t n, float *out)
{
    spread_exp(whole, elems, row, n, out);
    for (int64_t i = 0; i < n; i++)
        out[i] = expf(-out[i]);
}

static val mixed(struct build *b, val y, val before, char which, const struct dims *d)
{
    static const char *const names[] = {"key", "value", "receptance", "gate"};
    char name[32];
    const char *letters = "kvrg", *at = strchr(letters, which);
    if (d->own)
        snprintf(name, sizeof name, "time_mix_%c", which);
    else
        snprintf(name, sizeof name, "time_mix_%s", names[at ? at - letters : 0]);
    return e_maddw(b, before, e_sub(b, y, before), w_vec(b, name, d->D));
}

static val time_mix(struct build *b, val y, int layer, void *family)
{
    const struct dims *d = family;
    int n = d->H * d->K;
    val before = b_shift(b, y), gate = VIEW_NONE;
    (void)layer;
    val k = b_linear(b, mixed(b, y, before, 'k', d), "key", n);
    val v = b_linear(b, mixed(b, y, before, 'v', d), "value", n);
    val r = b_linear(b, mixed(b, y, before, 'r', d), "receptance", n);
    if (b_has(b, "gate.weight", true))
        gate = b_linear(b, mixed(b, y, before, 'g', d), "gate", n);
    bool fine = b_has(b, "time_faaaa", true);
    int64_t each = fine ? n : d->H;
    val w = e_addw(b, e_affine(b, k, 0, 0), w_derived_vec(b, "time_decay", each, n, decay));
    val o = b_decay(b, &(struct decay_args){
        .q = r, .k = k, .v = v, .d = w, .state_heads = d->H, .K = d->K, .V = d->K,
        .decay = DECAY_KEY, .bonus = fine ? w_vec(b, "time_faaaa", n)
                                          : w_derived_vec(b, "time_first", each, n, spread_exp)});
    o = b_gated_norm(b, o, gate, NORM_LAYER, d->K, w_vec(b, "ln_x.weight", n),
                     w_vec(b, "ln_x.bias", n), GROUP_EPS, ACT_SILU, false);
    return b_linear(b, o, "output", d->D);
}

static val channel_mix(struct build *b, val y, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val before = b_shift(b, y);
    val k = b_linear(b, mixed(b, y, before, 'k', d), "key", d->inner);
    val r = b_linear(b, mixed(b, y, before, 'r', d), "receptance", d->D);
    val v = b_linear(b, e_fn(b, EW_SQRELU, k), "value", d->D);
    return e_mul(b, e_fn(b, EW_SIGMOID, r), v);
}

/* The frame of converted checkpoints. */
static void run_converted(struct build *b, struct dims *d)
{
    int layers = b_count(b, "num_hidden_layers", 24);
    b_prefix(b, "rwkv.");
    val h = b_embed(b, "embeddings", (int)cfg_int(b, "vocab_size", 65536), d->D, 1);
    for (int i = 0; i < layers && !b_failed(b); i++) {
        b_layer(b, i);
        b_prefix(b, "rwkv.blocks.%d.", i);
        if (i == 0)
            h = b_layer_norm(b, h, "pre_ln", true, d->eps);
        val y = b_layer_norm(b, h, "ln1", true, d->eps);
        b_into(b, "attention.");
        h = e_add(b, h, time_mix(b, y, i, d));
        b_prefix(b, "rwkv.blocks.%d.", i);
        y = b_layer_norm(b, h, "ln2", true, d->eps);
        b_into(b, "feed_forward.");
        h = e_add(b, h, channel_mix(b, y, i, d));
    }
    b_prefix(b, "rwkv.");
    h = b_layer_norm(b, b_gather(b, h), "ln_out", true, d->eps);
    b_prefix(b, "%s", "");
    b_logits(b, h, "head", cfg_bool(b, "tie_word_embeddings", false));
}

static void build(struct build *b)
{
    struct dims d = {.own = b_rwkv_is_own(b), .K = b_count(b, "head_size", 64),
                     .eps = (float)cfg_num(b, "layer_norm_epsilon", 1e-5)};
    d.D = d.own ? b_rwkv_width(b, 2048) : b_width(b, "hidden_size", 2048);
    /* the published rule: 3.5 times the width, a multiple of 32 */
    d.inner = d.own ? b_rwkv_inner(b) : b_width(b, "intermediate_size", d.D * 7 / 2 / 32 * 32);
    int wide = b_width(b, "attention_hidden_size", d.D);
    double divisor = cfg_num(b, "head_size_divisor", 8);
    cfg_irrelevant(b, "num_attention_heads rescale_every model_version");
    if (b_require(b, wide == d.D && d.K > 0 && d.D % d.K == 0, "attention_hidden_size %d, heads of "
                  "%d in a width of %d", wide, d.K, d.D) &&
        b_require(b, divisor == 8, "head_size_divisor %g, only 8 is supported", divisor)) {
        d.H = d.D / d.K;
        if (d.own)
            b_rwkv_own(b, &(struct rwkv_own){time_mix, channel_mix, &d, d.D, d.eps, 0});
        else
            run_converted(b, &d);
    }
}

const struct arch arch_rwkv5 = {"rwkv5", build};
