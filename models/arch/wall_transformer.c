/* Wall attention: a decay for every channel of every query head, without positions.
 *
 *   score = sum_d q[d] k[d] exp(P_t[d] - P_j[d]) / sqrt(d) + c_t - c_j
 *   P = cumsum logsigmoid(g x), c = cumsum logsigmoid(gs x)
 *
 * The decay inside the product is why it has its own kernel (WALL). */
#include "models/build/build.h"

struct family { struct softmax_dims s; bool gate, scalar; };

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct family *f = family;
    const struct softmax_dims *d = &f->s;
    (void)layer;
    struct attention_args a = b_softmax_open(b, x, d);
    a.kind = OP_WALL;
    a.more[0] = b_log_forget(b, b_linear_bias(b, x, "g_proj", d->H * d->d));
    if (f->scalar)
        a.more[1] = b_log_forget(b, b_linear_bias(b, x, "gs_proj", d->H));
    val o = b_attention(b, &a);
    if (f->gate)
        o = e_mul(b, o, e_fn(b, EW_SIGMOID, b_linear(b, x, "o_gate_proj", d->H * d->d)));
    return b_linear(b, o, "o_proj", d->D);
}

static void build(struct build *b)
{
    struct family f = {b_softmax_dims(b, 32), cfg_bool(b, "use_output_gate", false),
                       cfg_bool(b, "use_scalar_gate", false)};
    f.s.theta = 0;
    f.s.wide_norm = true;
    b_require(b, f.s.window == 0, "window_size %d: Wall attention has none", f.s.window);
    cfg_irrelevant(b, "gate_init_bias");
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &f});
}

const struct arch arch_wall_transformer = {"wall_transformer", build};
