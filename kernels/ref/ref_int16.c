#include "kernels/ref/ref_int16.h"

#include <math.h>
#include <string.h>

/* A format belongs to the list, or to those whose numbers are not whole. */
#define INT16_BIT(ID) 1u << DTYPE_##ID |
#define FORMAT(ID, name, block, bytes, st, gguf, bits, run, head, sub, map, center) \
    _Static_assert(((INT16_FORMATS(INT16_BIT) 0u) >> DTYPE_##ID & 1) == \
                   (MAP_##map == MAP_LINEAR || MAP_##map == MAP_IQ4 || MAP_##map == MAP_FP4), #ID);
#include "kernels/formats.def"
#undef FORMAT

float ref_int16_group(const float *x, int16_t q[INT16_GROUP])
{
    float largest = 0;
    bool number = true;
    for (int k = 0; k < INT16_GROUP; k++) {
        largest = fmaxf(largest, fabsf(x[k]));
        number = number && isfinite(x[k]);
    }
    memset(q, 0, INT16_GROUP * sizeof *q);
    if (!number)
        return NAN;
    if (largest < INT16_LEAST)
        return 0;
    float times = 32767 / largest;
    for (int k = 0; k < INT16_GROUP; k++)
        q[k] = (int16_t)rintf(x[k] * times);
    return largest / 32767;
}

float ref_int16_row(const struct host_weight *w, int64_t row, const float *x, int32_t n)
{
    const struct weight_format *f = &formats[w->dtype];
    float acc = 0;
    for (int32_t k = 0; k < n; k += INT16_GROUP) {
        struct format_parts p;
        int16_t q[INT16_GROUP];
        float by = ref_int16_group(x + k, q);
        panel_parts(w, row, k / f->block, &p);
        for (int i = 0; i < INT16_GROUP; i += f->run) {
            int at = k % f->block + i;
            int32_t sum = 0, inputs = 0;
            float scale, min;
            format_scale(w->dtype, &p, at / f->run, &scale, &min);
            for (int j = 0; j < f->run; j++) {
                sum += (int32_t)format_number(w->dtype, p.q[at + j]) * q[i + j];
                inputs += q[i + j];
            }
            acc = fmaf((float)sum, scale * by, acc);
            if (f->head == HEAD_F16_MIN)
                acc = fmaf(min, (float)inputs * by, acc);
        }
    }
    return acc;
}
