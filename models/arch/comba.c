/* Comba (Hu et al., 2025): a delta rule that predicts from the state before its decay, with a
 * correction of the query.
 *
 *   q, k, v = silu(conv(W x));  p = sigmoid(decay_h) k;  q := q - D_h p
 *   q, k, p := l2 per head;  q *= K^-1/2;  beta, alpha as in Gated DeltaNet
 *   d = beta (v - S^T p);  S = alpha S + k d^T;  o = S^T q;  y = W_o (rms(o) (.) sigmoid(W_g x)) */
#include "models/build/build.h"

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct gdn_args *d = family;
    (void)layer;
    struct qkv y = b_gdn_qkv(b, x, d, 1);
    val a = b_linear(b, x, "a_proj", d->H), beta = b_linear(b, x, "b_proj", d->H);
    val p = e_mul_group_w(b, y.k, w_vec_as(b, "decay", d->H, TENSOR_SIGMOID));
    val q = e_sub(b, y.q, e_mul_group_w(b, p, w_vec(b, "D", d->H)));
    beta = b_write_gate(b, beta, d->neg);
    val alpha = b_decay_gate(b, a, "A_log", d->H, "dt_bias");
    val o = b_delta(b, &(struct delta_args){
        .q = b_l2(b, q, d->K), .k = b_l2(b, y.k, d->K), .v = y.v, .w = alpha,
        .a = b_l2(b, p, d->K), .b = beta, .state_heads = d->H, .K = d->K, .V = d->V,
        .decay = DECAY_SCALAR, .scale = (float)(1 / sqrt(d->K))});
    val gate = d->gate ? b_linear(b, x, "g_proj", d->H * d->V) : VIEW_NONE;
    return b_gdn_out(b, o, gate, ACT_SIGMOID, d);
}

static void build(struct build *b)
{
    struct gdn_args d = b_gdn_read(b, 6, 256, 2);
    d.gate = cfg_bool(b, "use_output_gate", true);
    /* Both features are always on in the published model, whatever these keys say. */
    cfg_irrelevant(b, "use_output_correction use_inner_decay correction_factor");
    if (b_require(b, d.Hv == d.H, "num_v_heads %d of Comba must equal num_heads %d", d.Hv, d.H))
        b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

const struct arch arch_comba = {"comba", build};
