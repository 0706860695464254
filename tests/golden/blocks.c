#include "tests/golden/blocks.h"

#include <math.h>
#include <string.h>

/* Where each bit of a block lies in its parts, found by taking blocks of one bit apart. */
#define PARTS sizeof(struct format_parts)
static struct layout {
    uint8_t none[PARTS]; /* of the block of zeros */
    uint16_t at[FORMAT_BLOCK_MAX * 8];
    uint8_t mask[FORMAT_BLOCK_MAX * 8];
} layouts[DTYPES];
_Static_assert(PARTS == 4 + FORMAT_SUB_MAX + FORMAT_BLOCK_MAX, "bytes alone");

static void split(enum dtype t, const uint8_t *block, uint8_t parts[PARTS])
{
    struct format_parts p = {0};
    format_split(t, block, &p);
    memcpy(parts, &p, PARTS);
}

void blocks_prepare(void)
{
    for (int t = 0; t < DTYPES; t++) {
        struct layout *l = &layouts[t];
        uint8_t block[FORMAT_BLOCK_MAX] = {0}, parts[PARTS];
        if (format_plain((enum dtype)t))
            continue;
        split((enum dtype)t, block, l->none);
        for (int bit = 0; bit < formats[t].bytes * 8; bit++) {
            block[bit / 8] = (uint8_t)(1 << bit % 8);
            split((enum dtype)t, block, parts);
            block[bit / 8] = 0;
            for (size_t i = PARTS; i-- > 0;)
                if (parts[i] != l->none[i]) { /* the lowest bit that it alone decides */
                    uint8_t other = parts[i] ^ l->none[i];
                    l->at[bit] = (uint16_t)i;
                    l->mask[bit] = other & (uint8_t)-other;
                }
        }
    }
}

static void join(enum dtype t, const struct format_parts *p, uint8_t *block)
{
    const struct layout *l = &layouts[t];
    uint8_t want[PARTS], got[PARTS];
    memcpy(want, p, PARTS);
    memset(block, 0, (size_t)formats[t].bytes);
    for (int bit = 0; bit < formats[t].bytes * 8; bit++)
        if ((want[l->at[bit]] ^ l->none[l->at[bit]]) & l->mask[bit])
            block[bit / 8] |= (uint8_t)(1 << bit % 8);
    split(t, block, got);
    ASSERT(memcmp(want, got, PARTS) == 0);
}

static void put_f16(uint8_t *p, float f)
{
    uint16_t h = f16_of_f32(f);
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
}

static float largest(const float *x, int n)
{
    float m = 0;
    for (int i = 0; i < n; i++)
        m = fmaxf(m, fabsf(x[i]));
    return m;
}

/* round(x / step), step > 0. */
static int steps(float x, float step, int most)
{
    return step > 0 ? (int)fminf(fmaxf(roundf(x / step), 0), (float)most) : 0;
}

/* The scale of each run, and what is added to its values (formats with a minimum). */
static void fit(enum dtype t, const float *x, float *scale, float *add)
{
    const struct weight_format *f = &formats[t];
    float high = -INFINITY, low = INFINITY;
    for (int q = 0; q < 1 << f->bits; q++) {
        high = fmaxf(high, format_number(t, (uint8_t)q));
        low = fminf(low, format_number(t, (uint8_t)q));
    }
    for (int j = 0; j < f->block / f->run; j++, x += f->run) {
        float least = x[0], most = x[0];
        for (int i = 1; i < f->run; i++) {
            least = fminf(least, x[i]);
            most = fmaxf(most, x[i]);
        }
        bool min = f->head == HEAD_F16_MIN;
        if (min && f->sub != SUB_NONE)
            least = fminf(least, 0); /* minima are subtracted only */
        add[j] = min ? least : 0;
        scale[j] = min ? (most - least) / high : largest(x, f->run) / fminf(high, -low);
    }
}

/* Scales as the format stores them. */
static void store(enum dtype t, const float *scale, const float *add, struct format_parts *p)
{
    const struct weight_format *f = &formats[t];
    int runs = f->block / f->run;
    int top = f->sub == SUB_SIGNED ? 31 : f->sub == SUB_PAIR ? 63 : f->sub == SUB_NIBBLES ? 15 : 1;
    float d = largest(scale, runs) / (float)top, m = largest(add, runs) / (float)top;
    if (f->head == HEAD_E8M0) {
        p->head[0] = (uint8_t)(d > 0 ? 128 + (int)ceilf(log2f(d)) : 0);
        return;
    }
    put_f16(p->head, d);
    if (f->head == HEAD_F16_MIN)
        put_f16(p->head + 2, f->sub == SUB_NONE ? add[0] : m);
    for (int j = 0; f->sub != SUB_NONE && j < runs; j++) {
        int s = steps(scale[j], d, top), low = steps(-add[j], m, top);
        p->sub[j] = (uint8_t)(f->sub == SUB_NIBBLES ? s | low << 4 : s);
        if (f->sub == SUB_PAIR)
            p->sub[runs + j] = (uint8_t)low;
    }
}

static void encode(enum dtype t, const float *x, uint8_t *block)
{
    const struct weight_format *f = &formats[t];
    struct format_parts p = {0};
    float scale[FORMAT_SUB_MAX], add[FORMAT_SUB_MAX];
    fit(t, x, scale, add);
    store(t, scale, add, &p);
    for (int i = 0; i < f->block; i++) {
        float s, a, best = INFINITY;
        format_scale(t, &p, i / f->run, &s, &a);
        for (int q = 0; q < 1 << f->bits; q++) {
            float off = fabsf(s * format_number(t, (uint8_t)q) + a - x[i]);
            if (off < best) {
                best = off;
                p.q[i] = (uint8_t)q;
            }
        }
    }
    join(t, &p, block);
}

void blocks_encode(enum dtype t, const float *x, int64_t n, void *dst)
{
    const struct weight_format *f = &formats[t];
    uint8_t *b = dst;
    if (format_encodes(t)) {
        format_encode(t, x, n, dst);
        return;
    }
    for (int64_t at = 0; at < n; at += f->block, b += f->bytes)
        encode(t, x + at, b);
}
