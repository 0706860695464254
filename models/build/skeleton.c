/* The common frame of most families, with or without attention over the residuals of earlier
 * layers. Thread: loading. */
#include "models/build/build_int.h"

/* What b_skeleton has read: the family's wishes with every default in place. */
struct frame {
    const struct skeleton *s;
    int D, inner, layers;
    float eps;
    bool norm_bias;
    const char *root, *mixer_norm, *mixer_name, *ffn_norm, *ffn_name, *act;
};

static const char *or_else(const char *given, const char *usual)
{
    return given ? given : usual;
}

static struct frame read_frame(struct build *b, const struct skeleton *s)
{
    struct frame f = {
        .s = s, .D = (int)cfg_int(b, "hidden_size", 2048),
        .layers = (int)cfg_int(b, "num_hidden_layers", s->layers ? s->layers : 24),
        .eps = (float)cfg_num(b, "norm_eps", s->eps != 0 ? s->eps : 1e-6),
        .norm_bias = s->layer_norm && cfg_bool(b, "norm_bias", true),
        .root = or_else(s->root, "model."),
        .mixer_norm = or_else(s->mixer_norm, "attn_norm"),
        .mixer_name = or_else(s->mixer_name, "attn"),
        .ffn_norm = or_else(s->ffn_norm, "mlp_norm"), .ffn_name = or_else(s->ffn_name, "mlp")};
    b_require(b, f.layers > 0 && f.layers <= LIMIT_LAYERS, "num_hidden_layers %d, 1 to %d",
              f.layers, LIMIT_LAYERS);
    if (s->ffn || s->no_ffn)
        return f;
    f.act = cfg_str(b, "hidden_act", "swish");
    f.inner = (int)b_mlp_width_ratio(b, f.D, s->hidden_ratio != 0 ? s->hidden_ratio : 4);
    if (!cfg_has(b, "intermediate_size")) { /* the rule may have changed: the file is right */
        b_prefix(b, "%slayers.0.%s.", f.root, f.ffn_name);
        f.inner = (int)b_rows(b, "gate_proj.weight", f.inner);
    }
    return f;
}

static val norm(struct build *b, const struct frame *f, val x, const char *name)
{
    return f->s->layer_norm ? b_layer_norm(b, x, name, f->norm_bias, f->eps)
                            : b_rms(b, x, name, f->eps);
}

static val normed(struct build *b, const struct frame *f, int i, val x, const char *name)
{
    b_prefix(b, "%slayers.%d.", f->root, i);
    return norm(b, f, x, name);
}

/* The family's mixer, or softmax attention where `attn` lists the layer. */
static val mix(struct build *b, const struct frame *f, int i, val x)
{
    const struct config *attention = b_hybrid_spec(b, i);
    b_prefix(b, "%slayers.%d.%s.", f->root, i, f->mixer_name);
    return attention ? b_hybrid_attention(b, x, f->D, attention)
                     : f->s->mixer(b, x, i, f->s->family);
}

static val feed(struct build *b, const struct frame *f, int i, val x)
{
    b_prefix(b, "%slayers.%d.%s.", f->root, i, f->ffn_name);
    if (f->s->ffn)
        return f->s->ffn(b, x, i, f->s->family);
    return b_swiglu(b, x, "gate_proj", "up_proj", "down_proj", f->inner, f->act);
}

static val plain_layers(struct build *b, const struct frame *f, val h)
{
    for (int i = 0; i < f->layers && !b_failed(b); i++) {
        b_layer(b, i);
        b_prefix(b, "%slayers.%d.", f->root, i);
        if (i == 0 && f->s->layer_norm && cfg_bool(b, "norm_first", true))
            h = norm(b, f, h, "pre_norm");
        h = e_add(b, h, mix(b, f, i, normed(b, f, i, h, f->mixer_norm)));
        if (!f->s->no_ffn)
            h = e_add(b, h, feed(b, f, i, normed(b, f, i, h, f->ffn_norm)));
    }
    return h;
}

/* ---- attention residuals: every sub-layer reads a learned mean of what came before ---- */

#define SOURCES_MAX 512 /* two sub-layers each of the deepest published models */

struct sources {
    val x[SOURCES_MAX], unit[SOURCES_MAX]; /* frozen ones, and their rms norm without weight */
    val sum, sum_unit;                     /* the running sum, if any */
    int n;
};

static val unit_norm(struct build *b, const struct frame *f, val x)
{
    return b_norm(b, x, NORM_RMS, f->D, -1, -1, f->eps, 1);
}

/* sum_l p_l x_l, p = softmax_l <w_q, rms(x_l; w_n)>, over the frozen sources and the sum. */
static val mix_sources(struct build *b, const struct frame *f, struct sources *r,
                       const char *query, const char *key)
{
    val scores[SOURCES_MAX + 1];
    int n = r->n;
    int w = w_vec(b, key, f->D);
    r->x[n] = r->sum;
    r->unit[n] = r->sum_unit = unit_norm(b, f, r->sum);
    for (int l = 0; l <= n; l++)
        scores[l] = b_linear(b, e_mulw(b, r->unit[l], w), query, 1);
    val p = b_softmax(b, e_cat(b, n + 1, scores), n + 1, 1), out = VIEW_NONE;
    for (int l = 0; l <= n; l++) {
        val part = e_mul(b, r->x[l], b_slice(p, l, 1));
        out = l ? e_add(b, out, part) : part;
    }
    return out;
}

/* The sum so far becomes one more source. */
static void freeze(struct sources *r)
{
    r->n++; /* mix_sources has put it there already */
    r->sum = VIEW_NONE;
}

static void accumulate(struct build *b, struct sources *r, val y)
{
    r->sum = view_given(r->sum) ? e_add(b, r->sum, y) : y;
}

static val residual_layers(struct build *b, const struct frame *f, val h)
{
    struct sources r = {.x = {h}, .n = 1, .sum = VIEW_NONE};
    int64_t block = cfg_int(b, "attnres_block_size", 0);
    int64_t most = 2 * (int64_t)f->layers / MAX(block, 1) + 2;
    if (!b_require(b, block == 1 || block % 2 == 0, "attnres_block_size %lld, 1 or even",
                   (long long)block) ||
        !b_require(b, most < SOURCES_MAX && !f->s->layer_norm && !f->s->no_ffn,
                   "attnres_block_size %lld needs %lld residual sources, at most %d, and layers of "
                   "two sub-layers", (long long)block, (long long)most, SOURCES_MAX))
        return VIEW_NONE;
    r.unit[0] = unit_norm(b, f, h);
    for (int i = 0; i < f->layers && !b_failed(b); i++) {
        val z = h;
        b_layer(b, i);
        b_prefix(b, "%slayers.%d.", f->root, i);
        if (i == 0)
            b_unused(b, "attn_res_");
        else
            z = mix_sources(b, f, &r, "attn_res_proj", "attn_res_norm.weight");
        if (i > 0 && 2 * i % block == 0)
            freeze(&r);
        accumulate(b, &r, mix(b, f, i, norm(b, f, z, f->mixer_norm)));
        b_prefix(b, "%slayers.%d.", f->root, i);
        z = mix_sources(b, f, &r, "mlp_res_proj", "mlp_res_norm.weight");
        if ((2 * i + 1) % block == 0)
            freeze(&r);
        accumulate(b, &r, feed(b, f, i, norm(b, f, z, f->ffn_norm)));
    }
    b_prefix(b, "%s", f->root);
    return mix_sources(b, f, &r, "res_proj", "res_norm.weight");
}

/* The layer tests' form: rows of the tensor `input` through the bare mixer, times `output`. */
static void bare_layer(struct build *b, const struct skeleton *s, int D)
{
    int rows = (int)b_rows(b, "input.weight", D);
    cfg_irrelevant(b, "norm_eps layer layer_idx"); /* a mixer that has a use for them reads them */
    val y = s->mixer(b, b_embed(b, "input", rows, D, 1), 0, s->family);
    b_logits(b, b_gather(b, y), "output", false);
}

/* Whether `attn` lists every layer: then nobody asks for the key that only mixers read. */
static bool mixerless(struct build *b, int layers)
{
    for (int i = 0; i < layers; i++)
        if (!b_hybrid_spec(b, i))
            return false;
    return true;
}

void b_skeleton(struct build *b, const struct skeleton *s)
{
    if (b_failed(b))
        return;
    if (b->bare) {
        bare_layer(b, s, (int)cfg_int(b, "hidden_size", 2048));
        return;
    }
    struct frame f = read_frame(b, s);
    if (mixerless(b, f.layers))
        cfg_irrelevant(b, "elementwise_affine");
    b_prefix(b, "%s", f.root);
    val h = b_embed(b, "embeddings", (int)cfg_int(b, "vocab_size", 32000), f.D, 1);
    h = cfg_int(b, "attnres_block_size", 0) ? residual_layers(b, &f, h) : plain_layers(b, &f, h);
    b_prefix(b, "%s", f.root);
    h = norm(b, &f, b_gather(b, h), or_else(s->last_norm, "norm"));
    b_prefix(b, "%s", "");
    b_logits(b, h, "lm_head", cfg_bool(b, "tie_word_embeddings", false));
}
