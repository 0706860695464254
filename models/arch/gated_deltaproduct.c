/* Gated DeltaProduct (Siems et al., 2025): n delta-rule steps per token.
 *
 *   q, k_1..n, v_1..n = silu(conv(W x));  q, k_j := l2 per head;  q *= K^-1/2
 *   beta_j = sigmoid(W_b x) [x 2];  alpha = exp(-exp(A_log) softplus(W_a x + dt_bias)) or 1
 *   S := alpha S;  for j = 1..n: S += k_j (beta_j (v_j - S^T k_j))^T;  o = S^T q
 *   y = W_o (rms(o) (.) silu(W_g x)) */
#include "models/build/build.h"

struct family { struct gdn_args s; int n; bool forget; };

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct family *f = family;
    const struct gdn_args *d = &f->s;
    (void)layer;
    struct qkv y = b_gdn_qkv(b, x, d, f->n);
    val a = f->forget ? b_linear(b, x, "a_proj", d->H) : VIEW_NONE;
    val beta = b_write_gate(b, b_linear(b, x, "b_proj", f->n * d->H), d->neg);
    if (f->forget)
        a = b_decay_gate(b, a, "A_log", d->H, "dt_bias");
    val o = b_delta(b, &(struct delta_args){
        .q = b_l2(b, y.q, d->K), .k = b_l2(b, y.k, d->K), .v = y.v, .w = a, .b = beta,
        .state_heads = d->H, .K = d->K, .V = d->V, .steps = f->n,
        .decay = f->forget ? DECAY_SCALAR : DECAY_NONE, .decay_first = true,
        .scale = (float)(1 / sqrt(d->K))});
    val gate = d->gate ? b_linear(b, x, "g_proj", d->H * d->V) : VIEW_NONE;
    return b_gdn_out(b, o, gate, ACT_SILU, d);
}

static void build(struct build *b)
{
    struct family f = {b_gdn_read(b, 6, 256, 2), (int)cfg_int(b, "num_householder", 1),
                       cfg_bool(b, "use_forget_gate", false)};
    f.s.gate = cfg_bool(b, "use_output_gate", true);
    if (b_require(b, f.n > 0, "num_householder %d", f.n) &&
        b_require(b, f.s.Hv == f.s.H, "num_v_heads %d must equal num_heads %d", f.s.Hv, f.s.H))
        b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &f});
}

const struct arch arch_gated_deltaproduct = {"gated_deltaproduct", build};
