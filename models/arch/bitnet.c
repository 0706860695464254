/* BitNet attention (Wang et al. 2023): ternary weights, 8-bit activations per token.
 *
 *   x^ = rms(x), a = 127 / max|x^|;  n = clamp(round(a x^), -128, 127);  W~ in {-1, 0, 1}
 *   y = (W~ n) mean|W| / a
 *
 * W~ n is a sum of small integers: exact in float32. */
#include "models/build/build.h"

/* mean|W| of a whole tensor, kept from dividing by nothing as the reference does. */
static void mean_abs(const float *whole, int64_t elems, int64_t row, int64_t n, float *out)
{
    double sum = 0;
    (void)row;
    (void)n;
    for (int64_t i = 0; i < elems; i++)
        sum += fabsf(whole[i]);
    out[0] = (float)fmax(sum / (double)elems, 1e-5);
}

static val bit_linear(struct build *b, val x, const char *name, int rows)
{
    char weight[64], norm[64];
    b_join(weight, sizeof weight, name, ".weight");
    b_join(norm, sizeof norm, name, ".norm.weight");
    val y = b_norm(b, x, NORM_RMS, x.width, w_vec(b, norm, x.width), -1, 1e-8f, 1);
    val most = e_max(b, b_absmax(b, y, y.width), 1e-5f);
    y = e_fn(b, EW_ROUND, e_affine(b, e_div(b, y, most), 127, 0));
    y = e_max(b, e_min(b, y, 127), -128);
    int scale = w_derived(b, weight, (int64_t)rows * x.width, 0, 1, mean_abs);
    y = e_mul(b, b_linear_as(b, y, weight, rows, TENSOR_TERNARY), e_affine(b, most, 1.0f / 127, 0));
    return e_mulw(b, y, scale);
}

static val mixer(struct build *b, val x, int layer, void *family)
{
    const struct softmax_dims *d = family;
    (void)layer;
    val q = bit_linear(b, x, "q_proj", d->H * d->d), k = bit_linear(b, x, "k_proj", d->kv * d->d);
    val v = bit_linear(b, x, "v_proj", d->kv * d->d);
    q = b_rope(b, q, d->d, d->d, d->theta, false);
    k = b_rope(b, k, d->d, d->d, d->theta, false);
    val o = b_attention(b, &(struct attention_args){
        .q = q, .k = k, .v = v, .heads = d->H, .kv_heads = d->kv, .dk = d->d, .dv = d->d,
        .window = d->window, .scale = d->scale});
    return bit_linear(b, o, "o_proj", d->D);
}

static void build(struct build *b)
{
    struct softmax_dims d = b_softmax_dims(b, 32);
    b_skeleton(b, &(struct skeleton){.mixer = mixer, .family = &d});
}

const struct arch arch_bitnet = {"bitnet", build};
