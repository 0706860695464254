/* The frame of production hybrids and how their configs name things. Thread: loading. */
#include "models/build/build_int.h"

void b_into(struct build *b, const char *name)
{
    size_t n = strlen(b->prefix);
    snprintf(b->prefix + n, sizeof b->prefix - n, "%s", name);
}

void b_text_config(struct build *b)
{
    const struct config *text = config_obj(b->config, "text_config", b->err);
    if (!text)
        return;
    cfg_irrelevant(b, "vision_config audio_config image_token_id video_token_id "
                      "vision_start_token_id vision_end_token_id image_token_index "
                      "video_token_index audio_token_id language_model_only");
    bool tied = cfg_bool(b, "tie_word_embeddings", false);
    b_leave_outer(b);
    b->config = text;
    b->tied = tied;
    build_common_keys(b);
}

const char *b_text_root(struct build *b)
{
    static const char *const roots[] = {"model.language_model.", "language_model.model.", "model."};
    const char *root = "model.";
    for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
        b_prefix(b, "%s", roots[i]);
        if (b_has(b, "embed_tokens.weight", false)) {
            root = roots[i];
            break;
        }
    }
    b_prefix(b, "%s", "");
    return root;
}

/* ---- layers ---- */

static const char *types_key(struct build *b)
{
    return cfg_has(b, "layers_block_type") ? "layers_block_type" : "layer_types";
}

void b_check_layer_types(struct build *b, int n)
{
    int64_t len = config_len(cfg(b), types_key(b));
    if (cfg_has(b, types_key(b)))
        b_require(b, len == n, "%s has %lld entries for %d layers", types_key(b), (long long)len,
                  n);
}

enum layer_type b_layer_type(struct build *b, int layer, enum layer_type other)
{
    static const struct { const char *name; enum layer_type type; } names[] = {
        {"linear_attention", LAYER_LINEAR}, {"mamba", LAYER_LINEAR}, {"mamba2", LAYER_LINEAR},
        {"conv", LAYER_LINEAR}, {"recurrent", LAYER_LINEAR}, {"kda_attention", LAYER_LINEAR},
        {"full_attention", LAYER_ATTENTION}, {"attention", LAYER_ATTENTION},
        {"sliding_attention", LAYER_WINDOW}, {"mlp", LAYER_MLP}, {"dense", LAYER_MLP},
        {"moe", LAYER_MOE}, {"sparse", LAYER_MOE}, {"hybrid", LAYER_HYBRID},
    };
    const char *key = types_key(b);
    if (!cfg_has(b, key))
        return other;
    const char *name = config_str_at(cfg(b), key, layer, b->err);
    for (size_t i = 0; name && i < ARRAY_LEN(names); i++)
        if (!strcmp(names[i].name, name))
            return names[i].type;
    b_fail(b, E_UNSUPPORTED, "config.json: %s[%d] \"%s\" is not understood", key, layer,
           name ? name : "");
    return other;
}

bool b_sparse_layer(struct build *b, int layer, bool usual)
{
    const char *key = "mlp_layer_types";
    int64_t n = config_len(cfg(b), key);
    if (!cfg_has(b, key) || b_failed(b))
        return usual;
    if (!b_require(b, layer < n, "%s has %lld entries, none for layer %d", key, (long long)n,
                   layer))
        return usual;
    const char *name = config_str_at(cfg(b), key, layer, b->err);
    bool sparse = name && !strcmp(name, "sparse");
    b_require(b, sparse || (name && !strcmp(name, "dense")),
              "%s[%d] \"%s\" is not dense or sparse", key, layer, name ? name : "");
    return sparse;
}

bool b_listed(struct build *b, const char *key, int layer)
{
    bool found = false;
    for (int64_t i = 0; cfg_has(b, key) && i < config_len(cfg(b), key); i++)
        found |= config_int_at(cfg(b), key, i, -1, b->err) == layer;
    return found;
}

void b_check_listed(struct build *b, const char *key, const int *layers, int n)
{
    int64_t len = config_len(cfg(b), key);
    if (!cfg_has(b, key) || !b_require(b, len == n, "%s has %lld entries, and %d such layers are "
                                       "there", key, (long long)len, n))
        return;
    for (int i = 0; i < n; i++) {
        int64_t layer = config_int_at(cfg(b), key, i, -1, b->err);
        if (!b_require(b, layer == layers[i], "%s[%d] is %lld where %d is such a layer", key, i,
                       (long long)layer, layers[i]))
            return;
    }
}

bool b_same_act(struct build *b, const char *key, enum activation act)
{
    const char *name = cfg_str(b, key, NULL);
    return !name ||
           b_require(b, activation_known(name) && activation_parse(name) == act,
                     "%s \"%s\" is not what model_type %s computes", key, name, b->m->arch);
}

/* ---- frame ---- */

static const char *or_else(const char *given, const char *usual)
{
    return given ? given : usual;
}

static float factor(float f)
{
    return f != 0 ? f : 1;
}

struct hybrid b_hybrid_read(struct build *b, int layers, double eps)
{
    struct hybrid f = {.D = b_width(b, "hidden_size", 2048),
                       .layers = b_count(b, "num_hidden_layers", layers),
                       .eps = (float)cfg_num(b, "rms_norm_eps", eps)};
    b_require(b, f.layers > 0 && f.layers <= LIMIT_LAYERS, "num_hidden_layers %d, 1 to %d",
              f.layers, LIMIT_LAYERS);
    cfg_irrelevant(b, "num_logits_to_keep output_router_logits router_aux_loss_coef pretraining_tp "
                      "z_loss_coefficient attention_dropout embd_pdrop resid_pdrop");
    return f;
}

val b_hybrid_open(struct build *b, const struct hybrid *f)
{
    b_prefix(b, "%s", or_else(f->root, "model."));
    return b_embed(b, or_else(f->embed, "embed_tokens"), (int)cfg_int(b, "vocab_size", 32000), f->D,
                   factor(f->embedding));
}

void b_hybrid_layer(struct build *b, const struct hybrid *f, int i)
{
    b_layer(b, i);
    b_prefix(b, "%slayers.%d.", or_else(f->root, "model."), i);
}

/* The norm's own scale takes a factor without another pass over the row. */
static val scaled_norm(struct build *b, const struct hybrid *f, val x, const char *name, float by)
{
    char weight[LIMIT_TENSOR_NAME];
    snprintf(weight, sizeof weight, "%s.weight", name);
    return b_norm(b, x, NORM_RMS, x.width, w_vec_as(b, weight, x.width, f->norm), -1, f->eps, by);
}

val b_hybrid_norm(struct build *b, const struct hybrid *f, val x, const char *name)
{
    return scaled_norm(b, f, x, name, 1);
}

static val residual(struct build *b, const struct hybrid *f, val h, val y)
{
    return e_add(b, h, e_affine(b, y, factor(f->residual), 0));
}

void b_logits_cap(struct build *b, float cap)
{
    if (cap <= 0 || b_failed(b))
        return;
    val y = e_affine(b, b->plan->logits, 1 / cap, 0);
    b->plan->logits = e_affine(b, e_fn(b, EW_TANH, y), cap, 0);
}

void b_hybrid_logits(struct build *b, const struct hybrid *f, val h)
{
    b_prefix(b, "%s", "");
    const char *head = b_has(b, "language_model.lm_head.weight", false) ? "language_model.lm_head"
                                                                        : "lm_head";
    b_logits(b, h, head, cfg_bool(b, "tie_word_embeddings", f->tied) || b->tied);
    b_logits_cap(b, f->soft_cap);
}

void b_hybrid_close(struct build *b, const struct hybrid *f, val h)
{
    b_prefix(b, "%s", or_else(f->root, "model."));
    h = scaled_norm(b, f, b_gather(b, h), or_else(f->last_norm, "norm"), factor(f->logits));
    b_hybrid_logits(b, f, h);
}

void b_hybrid(struct build *b, const struct hybrid *f)
{
    val h = b_hybrid_open(b, f);
    for (int i = 0; i < f->layers && !b_failed(b); i++) {
        b_hybrid_layer(b, f, i);
        val y = b_hybrid_norm(b, f, h, or_else(f->mixer_norm, "input_layernorm"));
        h = residual(b, f, h, f->mixer(b, y, i, f->family));
        if (!f->ffn)
            continue;
        b_hybrid_layer(b, f, i);
        y = b_hybrid_norm(b, f, h, or_else(f->ffn_norm, "post_attention_layernorm"));
        h = residual(b, f, h, f->ffn(b, y, i, f->family));
    }
    b_hybrid_close(b, f, h);
}

/* ---- sizes ---- */

int b_count(struct build *b, const char *key, int64_t dflt)
{
    int64_t n = config_int(b->config, key, dflt, 0, COUNT_MAX, b->err);
    return (int)MIN(n, COUNT_MAX);
}

int b_width(struct build *b, const char *key, int64_t dflt)
{
    int64_t n = config_int(b->config, key, dflt, 0, LIMIT_WIDTH, b->err);
    return (int)MIN(n, LIMIT_WIDTH);
}

int b_times(struct build *b, int width, const char *key, double dflt)
{
    double n = width * cfg_num(b, key, dflt);
    if (b_require(b, n >= 1 && n <= LIMIT_WIDTH, "%s makes a width of %g, 1 to %d", key, n,
                  LIMIT_WIDTH))
        return (int)n;
    return 1;
}

int b_auto_int(struct build *b, const char *key, int otherwise)
{
    return cfg_is_str(b, key, "auto") ? otherwise : b_width(b, key, otherwise);
}
