/* Kimi delta attention (Kimi team, 2025) and Gated DeltaNet 2: the delta rule with a decay per
 * key channel.
 *
 *   q, k, v = silu(conv(W x));  q, k := l2 per head;  q *= K^-1/2;  z = W_f2 W_f1 x + dt_bias
 *   alpha = exp(-exp(A_log_h) softplus(z)), or exp(L sigmoid(exp(A_log_h) z)) with a lower bound L
 *   S := diag(alpha) S;  then
 *     KDA    S += k (beta (v - S^T k))^T,  beta = sigmoid(W_b x) [x 2] per value head
 *     GDN-2  S += k (w (.) v - S^T (e (.) k))^T,  e = sigmoid(W_b x) [x 2],  w = sigmoid(W_w x)
 *   o = S^T q;  y = W_o (rms(o) (.) sigmoid(W_g2 W_g1 x + b))
 *
 * Value head h uses query and key head h / (Hv/H). KDA decays per value head, GDN-2 per key
 * head. */
#include "models/build/build.h"

struct family { struct gdn_args s; bool gdn2, bounded; double bound; };

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct family *f = family;
    const struct gdn_args *d = &f->s;
    int decays = f->gdn2 ? d->H : d->Hv;
    (void)layer;
    struct qkv y = b_gdn_qkv(b, x, d, 1);
    val erase = b_linear(b, x, "b_proj", f->gdn2 ? d->H * d->K : d->Hv);
    val write = f->gdn2 ? b_linear(b, x, "w_proj", d->Hv * d->V) : VIEW_NONE;
    val z = b_low_rank(b, x, "f_proj", d->V, decays * d->K, false);
    val gate = b_low_rank(b, x, "g_proj", d->V, d->Hv * d->V, b_has(b, "g_proj.1.bias", true));
    erase = b_write_gate(b, erase, d->neg);
    val alpha = f->bounded ? b_bounded_gate(b, z, "A_log", decays, "dt_bias", f->bound)
                           : b_decay_gate(b, z, "A_log", decays, "dt_bias");
    val k = b_l2(b, y.k, d->K);
    struct delta_args a = {.q = b_l2(b, y.q, d->K), .k = k, .v = y.v, .w = alpha, .b = erase,
                           .k_heads = d->H, .d_heads = decays, .state_heads = d->Hv, .K = d->K,
                           .V = d->V, .decay = DECAY_KEY, .decay_first = true,
                           .scale = (float)(1 / sqrt(d->K))};
    if (f->gdn2) {
        a.v = e_mul(b, y.v, e_fn(b, EW_SIGMOID, write));
        a.a = e_mul(b, k, erase);
        a.b = VIEW_NONE;
    }
    return b_gdn_out(b, b_delta(b, &a), gate, ACT_SIGMOID, d);
}

static void build_kind(struct build *b, bool gdn2)
{
    struct family f = {.s = b_gdn_read(b, 16, 128, 1), .gdn2 = gdn2,
                       .bounded = !gdn2 && cfg_has(b, "lower_bound")};
    if (!gdn2)
        f.bound = cfg_num(b, "lower_bound", 0);
    if (b_require(b, f.bound <= 0, "lower_bound %g must be negative", f.bound))
        b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &f});
}

static void build_kda(struct build *b) { build_kind(b, false); }
static void build_gdn2(struct build *b) { build_kind(b, true); }

const struct arch arch_kda = {"kda", build_kda};
const struct arch arch_gdn2 = {"gdn2", build_gdn2};
