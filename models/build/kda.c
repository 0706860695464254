/* The mixer of Kimi delta attention under the names of published files. Thread: loading. */
#include "models/build/build_int.h"

/* The first of the names that the file has; without a file the first. */
static const char *named(struct build *b, const char *const names[3])
{
    char weight[64];
    for (int i = 0; i < 3 && names[i]; i++) {
        snprintf(weight, sizeof weight, "%s.weight", names[i]);
        if (b_has(b, weight, i == 0) || b_has(b, names[i], i == 0))
            return names[i];
    }
    return names[0];
}
#define NAMED(...) named(b, (const char *const[3]){__VA_ARGS__})

static val convolved(struct build *b, val x, const char *name, int part, const struct kda_args *a)
{
    int n = a->H * a->K;
    char weight[64];
    snprintf(weight, sizeof weight, "%s_conv1d.weight", name);
    int w = b_has(b, "conv1d.weight", false)
                ? w_vec_row(b, "conv1d.weight", 3, part, (int64_t)n * a->conv)
                : w_filter(b, weight, n, a->conv);
    return b_conv(b, x, w, -1, a->conv, ACT_SILU);
}

val b_kda(struct build *b, val x, const struct kda_args *a)
{
    int n = a->H * a->K;
    val q = b_linear(b, x, "q_proj", n), k = b_linear(b, x, "k_proj", n),
        v = b_linear(b, x, "v_proj", n);
    val beta = b_linear(b, x, NAMED("b_proj", "beta_proj"), a->H), g;
    val f = VIEW_NONE;
    if (!a->full_decay)
        f = b_linear(b, x, NAMED("f_a_proj", "forget_gate_down", "forget_gate.f_a_proj"), a->K);
    if (a->full_gate) {
        g = b_linear(b, x, NAMED("g_proj", "output_gate"), n);
    } else {
        g = b_linear(b, x, NAMED("g_a_proj", "output_gate_down"), a->K);
        g = b_linear(b, g, NAMED("g_b_proj", "output_gate_up"), n);
    }
    f = a->full_decay
            ? b_linear(b, x, NAMED("f_proj", "forget_gate.f_proj"), n)
            : b_linear(b, f, NAMED("f_b_proj", "forget_gate_up", "forget_gate.f_b_proj"), n);
    const char *A_log = NAMED("A_log", "forget_gate.A_log");
    const char *dt_bias = NAMED("dt_bias", "forget_gate.dt_bias");
    val alpha = a->bounded ? b_bounded_gate(b, f, A_log, a->H, dt_bias, a->bound)
                           : b_decay_gate(b, f, A_log, a->H, dt_bias);
    q = b_l2(b, convolved(b, q, "q", 0, a), a->K);
    k = b_l2(b, convolved(b, k, "k", 1, a), a->K);
    val o = b_gated_delta(b, &(struct gated_delta){
        .q = q, .k = k, .v = convolved(b, v, "v", 2, a), .alpha = alpha,
        .beta = e_fn(b, EW_SIGMOID, beta), .H = a->H, .Hv = a->H, .K = a->K, .V = a->K});
    o = b_gated_norm(b, o, g, NORM_RMS, a->K, w_vec(b, "o_norm.weight", a->K), -1, a->eps,
                     ACT_SIGMOID, false);
    return b_linear(b, o, NAMED("o_proj", "dense"), a->D);
}
