/* Pieces that many architectures share: feed-forward, hybrid softmax attention. */
#include <stdio.h>

#include "models/build/build_int.h"

/* powlu: sg(z) z^(3/(sqrt(z)+1)) for z > 0, else z sg(z). The exponent's base is kept positive. */
static val powlu(struct build *b, val z)
{
    val pos = e_max(b, z, 1e-30f);
    val power = e_fn(b, EW_EXP, e_mul(b, e_fn(b, EW_LOG, pos),
                     e_mul(b, e_fn(b, EW_RSQRT, e_mul(b, e_affine(b, e_fn(b, EW_SQRT, pos), 1, 1),
                     e_affine(b, e_fn(b, EW_SQRT, pos), 1, 1))), e_affine(b, pos, 0, 3))));
    val negative = e_min(b, z, 0); /* exactly one of the two terms is not (almost) zero */
    return e_mul(b, e_fn(b, EW_SIGMOID, z), e_add(b, power, negative));
}

val b_swiglu(struct build *b, val x, const char *gate, const char *up, const char *down,
             int inner, const char *act)
{
    int width = x.width;
    bool pow = !strcmp(act, "powlu");
    if (!pow && !activation_known(act))
        b_fail(b, E_UNSUPPORTED, "config.json: hidden_act \"%s\" is not known", act);
    val g = b_linear(b, x, gate, inner), u = b_linear(b, x, up, inner);
    g = pow ? powlu(b, g) : e_act(b, activation_parse(act), g);
    return b_linear(b, e_mul(b, g, u), down, width);
}

val b_mlp(struct build *b, val x, const struct mlp *m)
{
    val gate = b_project(b, x, "gate_proj", m->inner, m->bias);
    val up = b_project(b, x, "up_proj", m->inner, m->bias);
    gate = e_act(b, m->act ? m->act : ACT_SILU, e_affine(b, gate, m->gate != 0 ? m->gate : 1, 0));
    val y = b_project(b, e_mul(b, gate, up), "down_proj", x.width, m->bias);
    return e_affine(b, y, m->down != 0 ? m->down : 1, 0);
}

val b_lora(struct build *b, val x, const char *name, int rank, enum activation act, int width,
           bool bias)
{
    char down[LIMIT_TENSOR_NAME], weight[LIMIT_TENSOR_NAME], up[LIMIT_TENSOR_NAME];
    snprintf(down, sizeof down, "%s.lora.0", name);
    snprintf(weight, sizeof weight, "%s.lora.0.weight", name);
    snprintf(up, sizeof up, "%s.lora.2", name);
    val y = e_act(b, act, b_linear(b, x, down, (int)b_rows(b, weight, rank)));
    return bias ? b_linear_bias(b, y, up, width) : b_linear(b, y, up, width);
}

int64_t b_mlp_width_ratio(struct build *b, int hidden, double hidden_ratio)
{
    double ratio = cfg_num(b, "hidden_ratio", hidden_ratio);
    int64_t n = (int64_t)(hidden * ratio * 2 / 3);
    return cfg_int(b, "intermediate_size", (n + 255) / 256 * 256);
}

int64_t b_mlp_width(struct build *b, int hidden) { return b_mlp_width_ratio(b, hidden, 4); }

const struct config *b_hybrid_spec(struct build *b, int layer)
{
    const struct config *spec;
    for (int i = 0; (spec = config_obj_at(cfg(b), "attn", i, b->err)); i++)
        for (int64_t j = 0; j < config_len(spec, "layers"); j++)
            if (config_int_at(spec, "layers", j, -1, b->err) == layer)
                return spec;
    return NULL;
}

val b_hybrid_attention(struct build *b, val x, int hidden, const struct config *spec)
{
    int H = (int)config_int(spec, "num_heads", 0, 1, 4096, b->err);
    int kv = (int)config_int(spec, "num_kv_heads", H, 1, 4096, b->err);
    bool bias = config_bool(spec, "qkv_bias", false, b->err);
    int window = (int)config_int(spec, "window_size", 0, 0, INT32_MAX, b->err);
    double theta = config_num(spec, "rope_theta", 10000, b->err);
    (void)config_has(spec, "qk_norm"); /* written, but not read by the reference */
    b_leave_unread(b, spec, "attn.");
    if (b_failed(b) || !b_require(b, H > 0 && hidden % H == 0, "attn.num_heads %d of width %d", H,
                                  hidden))
        return VIEW_NONE;
    return b_softmax_attention(b, x, &(struct softmax_dims){
        .D = hidden, .H = H, .kv = kv, .d = hidden / H, .bias = bias, .window = window,
        .theta = theta, .scale = (float)(1 / sqrt(hidden / H))});
}
