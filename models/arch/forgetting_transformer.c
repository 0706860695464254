/* Forgetting transformer (Lin et al. 2025): score = <q,k>/sqrt(d) + F_t - F_j with
 * F = cumsum logsigmoid(f(x)), no positions. window_size changes nothing in the reference. */
#include "models/build/build.h"

struct family { struct softmax_dims s; bool gate; };

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct family *f = family;
    const struct softmax_dims *d = &f->s;
    (void)layer;
    struct attention_args a = b_softmax_open(b, x, d);
    a.more[0] = b_log_forget(b, b_linear_bias(b, x, "f_proj", d->H));
    val o = b_attention(b, &a);
    if (f->gate)
        o = e_mul(b, o, e_fn(b, EW_SIGMOID, b_linear(b, x, "g_proj", d->H * d->d)));
    return b_linear(b, o, "o_proj", d->D);
}

static void build(struct build *b)
{
    struct family f = {b_softmax_dims(b, 32), cfg_bool(b, "use_output_gate", false)};
    f.s.theta = f.s.window = 0;
    f.s.wide_norm = true;
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &f});
}

const struct arch arch_forgetting_transformer = {"forgetting_transformer", build};
