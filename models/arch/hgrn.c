/* HGRN (Qin et al., 2023) and HGRN2 (2024): gated recurrences whose forget gate has a lower bound
 * that grows with depth.
 *
 *   f = sigmoid(W_f x);  a = lb_i + (1 - lb_i) f in layer i,
 *   lb_i = sum_{l=1..i} softmax(lower_bounds, over all layers)_l
 *   HGRN    h = a h + silu(W_i x) (1 - a);  y = W_o (rms(h) (.) silu(W_g x))
 *   HGRN2   per head S = diag(a) S + (1 - a) v^T, v = W_i x;  o = S^T silu(W_q x) E^-1/2
 *           y = W_o rms(o), over all heads at once, eps 1e-5 whatever the config says
 *
 * Layer 0 has no lower bound. Convolutions, where used, have no activation. */
#include "models/build/build.h"

struct dims { int D, inner, H, E, conv, layers; bool two, bounds; float eps; };

/* lb of layer `row` from the tensor [layers][n]. */
static void lower_bound(const float *whole, int64_t elems, int64_t row, int64_t n, float *out)
{
    int64_t layers = elems / n;
    for (int64_t c = 0; c < n; c++) {
        double max = -INFINITY, sum = 0, part = 0;
        for (int64_t l = 0; l < layers; l++)
            max = fmax(max, whole[l * n + c]);
        for (int64_t l = 0; l < layers; l++) {
            double e = exp(whole[l * n + c] - max);
            sum += e;
            part += l >= 1 && l <= row ? e : 0;
        }
        out[c] = (float)(part / sum);
    }
}

/* 1 - lower_bound: what is left for the gate. */
static void room_above(const float *whole, int64_t elems, int64_t row, int64_t n, float *out)
{
    lower_bound(whole, elems, row, n, out);
    for (int64_t c = 0; c < n; c++)
        out[c] = 1 - out[c];
}

static val forget(struct build *b, val f, int layer, const struct dims *d)
{
    f = e_fn(b, EW_SIGMOID, f);
    if (layer == 0 || !d->bounds)
        return f;
    b_prefix(b, "model.");
    int64_t all = (int64_t)d->layers * d->inner;
    int low = w_derived(b, "lower_bounds", all, layer, d->inner, lower_bound);
    int room = w_derived(b, "lower_bounds", all, layer, d->inner, room_above);
    b_prefix(b, "model.layers.%d.attn.", layer);
    return e_addw(b, e_mulw(b, f, room), low);
}

static val mixer_one(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    val i = b_conv_proj(b, x, "i", d->inner, d->conv, ACT_NONE);
    val f = b_conv_proj(b, x, "f", d->inner, d->conv, ACT_NONE);
    val g = b_linear(b, x, "g_proj", d->inner), a = forget(b, f, layer, d);
    val h = b_rnn(b, a, e_mul(b, e_fn(b, EW_SILU, i), e_affine(b, a, -1, 1)));
    h = b_head_norm(b, h, d->inner, "g_norm.weight", g, ACT_SILU, d->eps);
    return b_linear(b, h, "o_proj", d->D);
}

static val mixer_two(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    val q = b_conv_proj(b, x, "q", d->D, d->conv, ACT_NONE);
    val f = b_conv_proj(b, x, "f", d->D, d->conv, ACT_NONE);
    val v = b_conv_proj(b, x, "i", d->D, d->conv, ACT_NONE), a = forget(b, f, layer, d);
    val o = b_decay(b, &(struct decay_args){
        .q = e_fn(b, EW_SILU, q), .k = e_affine(b, a, -1, 1), .v = v, .d = a, .state_heads = d->H,
        .K = d->E, .V = d->E, .decay = DECAY_KEY, .scale = (float)(1 / sqrt(d->E))});
    o = b_head_norm(b, o, d->D, "g_norm.weight", VIEW_NONE, ACT_NONE, 1e-5f);
    return b_linear(b, o, "o_proj", d->D);
}

static void build_kind(struct build *b, bool two)
{
    int D = (int)cfg_int(b, "hidden_size", 2048);
    struct dims d = {.D = D, .inner = D, .layers = (int)cfg_int(b, "num_hidden_layers", 24),
                     .conv = b_conv_size(b, false), .two = two,
                     .bounds = cfg_bool(b, "use_lower_bound", true),
                     .eps = (float)cfg_num(b, "norm_eps", 1e-6)};
    if (two) { /* expand_ratio, if given, is the size of a head; else num_heads decides */
        int heads = (int)cfg_int(b, "num_heads", 0);
        d.E = (int)cfg_int(b, "expand_ratio", heads ? D / heads : 128);
        d.H = d.E ? D / d.E : 0;
        if (!b_require(b, d.E > 0 && D % d.E == 0, "heads of %d in a width of %d", d.E, D))
            return;
    } else {
        d.inner = b_times(b, D, "expand_ratio", 1);
    }
    if (d.bounds) { /* the first row, and in a model of one layer the whole, bounds nothing */
        b_prefix(b, "model.");
        b_unused(b, "lower_bounds");
    }
    b_skeleton(b, &(struct skeleton){.mixer = two ? mixer_two : mixer_one, .family = &d});
}

static void build_one(struct build *b) { build_kind(b, false); }
static void build_two(struct build *b) { build_kind(b, true); }

const struct arch arch_hgrn = {"hgrn", build_one};
const struct arch arch_hgrn2 = {"hgrn2", build_two};
