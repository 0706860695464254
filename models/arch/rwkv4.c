/* RWKV-4 (Peng et al., 2023).
 *
 *   x_* = y_{t-1} + mu_* (y - y_{t-1})  (y: the normed input);  k, v, r = W x_*
 *   o = sum_j e^(k_j - decay (age - 1)) v_j + e^(u + k) v over the sum of the weights
 *   y = W_o (sigmoid(r) (.) o);  ffn: sigmoid(W_r x_r) (.) W_v relu(W_k x_k)^2
 *
 * Two sets of tensor names: the library's, and the RWKV project's own
 * (blocks.0.att.time_mix_k ...).
 *
 * Its own op WKV: the weights are exponentials of sums that grow along the sequence, so a running
 * maximum has to be carried with both sums; nothing else needs that together with a decay. */
#include "models/build/build.h"

struct dims { int D, A, inner, layers, rescale; float eps; bool own; };

static val mixed(struct build *b, val y, val before, const char *name, const struct dims *d)
{
    char full[32]; /* the project's own names keep the first letter */
    snprintf(full, sizeof full, "time_mix_%.*s", d->own ? 1 : 16, name);
    return e_maddw(b, before, e_sub(b, y, before), w_vec(b, full, d->D));
}

static val time_mix(struct build *b, val y, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val before = b_shift(b, y);
    val k = b_linear(b, mixed(b, y, before, "key", d), "key", d->A);
    val v = b_linear(b, mixed(b, y, before, "value", d), "value", d->A);
    val r = b_linear(b, mixed(b, y, before, "receptance", d), "receptance", d->A);
    val o = b_wkv(b, k, v, w_vec_as(b, "time_decay", d->A, TENSOR_NEG_EXP),
                  w_vec(b, "time_first", d->A));
    return b_linear(b, e_mul(b, e_fn(b, EW_SIGMOID, r), o), "output", d->D);
}

static val channel_mix(struct build *b, val y, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val before = b_shift(b, y);
    val k = b_linear(b, mixed(b, y, before, "key", d), "key", d->inner);
    val r = b_linear(b, mixed(b, y, before, "receptance", d), "receptance", d->D);
    val v = b_linear(b, e_fn(b, EW_SQRELU, k), "value", d->D);
    return e_mul(b, e_fn(b, EW_SIGMOID, r), v);
}

#define LAST_EPS 1e-5f /* of the norm before the logits, whatever layer_norm_epsilon says */

/* The reference halves the residual stream every `rescale` layers, which guards float16; norms undo
 * it, but for their eps. */
static float eps_at(float eps, const struct dims *d, int layer)
{
    return d->rescale > 0 ? ldexpf(eps, 2 * MIN(layer / d->rescale, 32)) : eps;
}

static val layer(struct build *b, val h, int i, struct dims *d)
{
    b_layer(b, i);
    b_prefix(b, "rwkv.blocks.%d.", i);
    if (i == 0)
        h = b_layer_norm(b, h, "pre_ln", true, d->eps);
    val y = b_layer_norm(b, h, "ln1", true, eps_at(d->eps, d, i));
    b_into(b, "attention.");
    h = e_add(b, h, time_mix(b, y, i, d));
    b_prefix(b, "rwkv.blocks.%d.", i);
    y = b_layer_norm(b, h, "ln2", true, eps_at(d->eps, d, i));
    b_into(b, "feed_forward.");
    return e_add(b, h, channel_mix(b, y, i, d));
}

static void build(struct build *b)
{
    bool own = b_rwkv_is_own(b);
    int D = own ? b_rwkv_width(b, 4096) : b_width(b, "hidden_size", 4096);
    struct dims d = {.own = own, .D = D, .A = b_width(b, "attention_hidden_size", D),
                     .inner = b_width(b, "intermediate_size", 4 * (int64_t)D),
                     .layers = b_count(b, "num_hidden_layers", 32),
                     .eps = (float)cfg_num(b, "layer_norm_epsilon", 1e-5)};
    d.rescale = b_count(b, "rescale_every", 6);
    cfg_irrelevant(b, "context_length");
    if (own) {
        d.inner = b_rwkv_inner(b);
        b_prefix(b, "blocks.0.att.");
        d.A = (int)b_rows(b, "key.weight", D);
        b_rwkv_own(b, &(struct rwkv_own){time_mix, channel_mix, &d, D, d.eps, 0});
        return;
    }
    b_require(b, d.layers > 0 && d.layers <= LIMIT_LAYERS, "num_hidden_layers %d, 1 to %d",
              d.layers, LIMIT_LAYERS);
    b_prefix(b, "rwkv.");
    val h = b_embed(b, "embeddings", (int)cfg_int(b, "vocab_size", 50277), D, 1);
    for (int i = 0; i < d.layers && !b_failed(b); i++)
        h = layer(b, h, i, &d);
    b_prefix(b, "rwkv.");
    h = b_layer_norm(b, b_gather(b, h), "ln_out", true, eps_at(LAST_EPS, &d, d.layers));
    b_prefix(b, "%s", "");
    b_logits(b, h, "head", cfg_bool(b, "tie_word_embeddings", false));
}

const struct arch arch_rwkv4 = {"rwkv", build};
