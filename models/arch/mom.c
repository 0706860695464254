/* Mixture of memories (Du et al., 2025): each token updates the topk of M Gated DeltaNet states
 * that a router chooses, and one shared state.
 *
 *   p = softmax(W_gate x), the topk best renormalised, 0 for the others
 *   memory e: k, v, beta, alpha from its own projections (A_log and dt_bias are common), q common;
 *     conv + silu over the tokens routed to it alone; l2, K^-1/2; the step of Gated DeltaNet
 *   o = sum_e p_e o_e (+ o_shared, every token);  y = W_o (rms(o) (.) silu(W_g x))
 *
 * A memory that is not chosen keeps its state: its decay is 1 and it is written with 0. */
#include "models/build/build.h"

struct dims { int D, H, K, V, M, topk, conv; bool shared, single, gate; float eps; };

static val conv(struct build *b, val x, val mask, const char *name, const struct dims *d)
{
    if (d->conv == 0)
        return e_fn(b, EW_SILU, x);
    int w = w_filter(b, name, x.width, d->conv);
    return view_given(mask) ? b_conv_where(b, x, mask, w, d->conv, ACT_SILU)
                            : b_conv(b, x, w, -1, d->conv, ACT_SILU);
}

static const char *memory_name(char out[32], const char *what, int e)
{
    if (e < 0)
        snprintf(out, 32, "shared_%s", what);
    else
        snprintf(out, 32, "%s_proj.%d", what, e);
    return out;
}

/* One memory; e < 0: the shared projections. mask: 1 where the token goes here, or all. */
static val memory(struct build *b, val x, val q, val mask, int e, const struct dims *d)
{
    char name[32];
    val k = b_linear(b, x, memory_name(name, "k", e), d->H * d->K);
    val v = b_linear(b, x, memory_name(name, "v", e), d->H * d->V);
    val beta = b_linear(b, x, memory_name(name, "b", e), d->H);
    val a = b_linear(b, x, memory_name(name, "a", e), d->H);
    a = e_fn(b, EW_SOFTPLUS, e_addw(b, a, w_vec(b, "dt_bias", d->H)));
    a = e_mulw(b, a, w_vec_as(b, "A_log", d->H, TENSOR_NEG_EXP));
    beta = e_fn(b, EW_SIGMOID, beta);
    if (view_given(mask)) {
        a = e_mul(b, a, mask);
        beta = e_mul(b, beta, mask);
    }
    q = b_l2(b, conv(b, q, mask, "q_conv1d.weight", d), d->K);
    k = b_l2(b, conv(b, k, mask, "k_conv1d.weight", d), d->K);
    v = conv(b, v, mask, "v_conv1d.weight", d);
    return b_gated_delta(b, &(struct gated_delta){
        .q = q, .k = k, .v = v, .alpha = e_fn(b, EW_EXP, a), .beta = beta, .H = d->H, .Hv = d->H,
        .K = d->K, .V = d->V});
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *d = family;
    (void)layer;
    val q = b_linear(b, x, "q_proj", d->H * d->K), o = VIEW_NONE, gate = VIEW_NONE;
    val p = b_topk(b, b_softmax(b, b_linear(b, x, "gate", d->M), d->M, 1), &(struct topk_args){
        .n = d->M, .k = d->topk, .n_groups = 1, .topk_groups = 1, .bias = -1, .norm = true,
        .dense = true, .scale = 1});
    val chosen = e_min(b, e_affine(b, p, 3e38f, 0), 1); /* any weight above 0 counts as 1 */
    for (int e = 0; e < d->M; e++) {
        val y = memory(b, x, q, b_slice(chosen, e, 1), d->single ? -1 : e, d);
        y = e_mul(b, y, b_slice(p, e, 1));
        o = e ? e_add(b, o, y) : y;
    }
    if (d->shared)
        o = e_add(b, o, memory(b, x, q, VIEW_NONE, -1, d));
    if (d->gate)
        gate = b_linear(b, x, "g_proj", d->H * d->V);
    o = b_head_norm(b, o, d->V, "o_norm.weight", gate, ACT_SILU, d->eps);
    return b_linear(b, o, "o_proj", d->D);
}

static void build(struct build *b)
{
    int K = (int)cfg_int(b, "head_dim", 256);
    const char *backend = cfg_str(b, "mom_backend", "gated_deltanet");
    struct dims d = {
        .D = (int)cfg_int(b, "hidden_size", 2048), .H = (int)cfg_int(b, "num_heads", 4), .K = K,
        .V = (int)(K * cfg_num(b, "expand_v", 1)), .M = (int)cfg_int(b, "num_memories", 4),
        .topk = (int)cfg_int(b, "topk", 2), .conv = b_conv_size(b, true),
        .shared = cfg_bool(b, "shared_mem", true), .single = cfg_bool(b, "single_kv_proj", false),
        .gate = cfg_bool(b, "use_output_gate", true), .eps = (float)cfg_num(b, "norm_eps", 1e-6)};
    cfg_irrelevant(b, "capacity aux_loss_scale use_layer_wise_balance"); /* training only */
    b_require(b, !cfg_has(b, "attn"), "attn: MoM has no hybrid form");
    if (b_require(b, !strcmp(backend, "gated_deltanet"), "mom_backend \"%s\" is not gated_deltanet",
                  backend) &&
        b_require(b, d.topk > 0 && d.topk <= d.M && d.M <= 256, "the %d best of %d memories",
                  d.topk, d.M))
        b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

const struct arch arch_mom = {"mom", build};
