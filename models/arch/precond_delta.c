/* Preconditioned Gated DeltaNet and KDA: the key that is written is scaled per channel by a
 * running second moment of the keys.
 *
 *   q, k, v, alpha, beta as in Gated DeltaNet or KDA, k after l2
 *   T = exp(-exp(A_log_atk) softplus(W_a' x + dt_bias_atk)) T + sigmoid(W_b' x) (k (.) k)
 *   r = log(T + squash_eps) - log_atk_scale;  k' = k (.) squash_x^(-r / (1 + |r|))
 *   S := alpha S;  S += k' (beta (v - S^T k))^T;  o = S^T q
 *
 * The trace T is per key head (Gated DeltaNet) or per value head (KDA). */
#include "models/build/build.h"

struct dims { struct gdn_args s; bool kda, bounded; double squash_x, squash_eps, bound; };

/* k' from k [heads * K], and the inputs of the trace's decay and write, one per head. */
static val precondition(struct build *b, val k, val forget, val write, int heads,
                        const struct dims *d)
{
    val g = b_decay_gate(b, forget, "A_log_atk", heads, "dt_bias_atk");
    val wide = e_mul(b, e_affine(b, k, 0, 1), g); /* the decay on every channel */
    val T = b_rnn(b, wide, e_mul(b, e_mul(b, k, k), e_fn(b, EW_SIGMOID, write)));
    val minus_r = e_fn(b, EW_NEG, e_fn(b, EW_LOG, e_affine(b, T, 1, (float)d->squash_eps)));
    minus_r = e_add_group_w(b, minus_r, w_vec(b, "log_atk_scale", heads));
    val power = e_div(b, minus_r, e_affine(b, e_fn(b, EW_ABS, minus_r), 1, 1));
    return e_mul(b, k, e_fn(b, EW_EXP, e_affine(b, power, (float)log(d->squash_x), 0)));
}

static val decay(struct build *b, val x, val a, const struct dims *d)
{
    int Hv = d->s.Hv;
    if (!d->kda)
        return b_decay_gate(b, a, "A_log", Hv, "dt_bias");
    val z = b_low_rank(b, x, "f_proj", d->s.V, Hv * d->s.K, false);
    return d->bounded ? b_bounded_gate(b, z, "A_log", Hv, "dt_bias", d->bound)
                      : b_decay_gate(b, z, "A_log", Hv, "dt_bias");
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct dims *f = family;
    const struct gdn_args *d = &f->s;
    int H = d->H, traces = f->kda ? d->Hv : H;
    (void)layer;
    struct qkv y = b_gdn_qkv(b, x, d, 1);
    val a = f->kda ? VIEW_NONE : b_linear(b, x, "a_proj", d->Hv);
    val beta = b_linear(b, x, "b_proj", f->kda ? H : d->Hv);
    val forget = b_linear(b, x, f->kda ? "a_proj" : "a_atk_proj", traces);
    val write = b_linear(b, x, "b_atk_proj", traces), gate = VIEW_NONE;
    if (f->kda)
        gate = b_low_rank(b, x, "g_proj", d->V, d->Hv * d->V, b_has(b, "g_proj.1.bias", true));
    else if (d->gate)
        gate = b_linear(b, x, "g_proj", d->Hv * d->V);
    beta = b_write_gate(b, beta, d->neg);
    val alpha = decay(b, x, a, f);
    val q = b_l2(b, y.q, d->K), k = b_l2(b, y.k, d->K);
    if (f->kda) { /* the trace is per value head, and so is then everything else */
        q = b_repeat_heads(b, q, H, d->Hv);
        k = b_repeat_heads(b, k, H, d->Hv);
        beta = b_repeat_heads(b, beta, H, d->Hv);
        H = d->Hv;
    }
    val o = b_gated_delta(b, &(struct gated_delta){
        .q = q, .k = precondition(b, k, forget, write, traces, f), .predict = k, .v = y.v,
        .alpha = alpha, .beta = beta, .H = H, .Hv = d->Hv, .K = d->K, .V = d->V});
    return b_gdn_out(b, o, gate, f->kda ? ACT_SIGMOID : ACT_SILU, d);
}

static void build_kind(struct build *b, bool kda)
{
    struct dims d = {.s = kda ? b_gdn_read(b, 16, 128, 1) : b_gdn_read(b, 6, 256, 2), .kda = kda,
                     .squash_x = cfg_num(b, "squash_x", 1.5),
                     .squash_eps = cfg_num(b, "squash_eps", 1e-6)};
    d.s.gate = kda || cfg_bool(b, "use_gate", true);
    cfg_irrelevant(b, "a_log_init_lower log_atk_scale_init");
    d.bounded = kda && cfg_has(b, "lower_bound");
    d.bound = d.bounded ? cfg_num(b, "lower_bound", 0) : 0;
    if (b_require(b, d.squash_x > 0 && d.squash_eps > 0 && d.bound <= 0,
                  "squash_x %g, squash_eps %g, lower_bound %g", d.squash_x, d.squash_eps, d.bound))
        b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

static void build_gdn(struct build *b) { build_kind(b, false); }
static void build_kda(struct build *b) { build_kind(b, true); }

const struct arch arch_precond_gated_deltanet = {"precond_gated_deltanet", build_gdn};
const struct arch arch_precond_kda = {"precond_kda", build_kda};
