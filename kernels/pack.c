/* Weights from row-major files into the panels of host.h, with their dtype converted.
 * Runs while loading, on one thread; afterwards packed weights are read-only. */
#include "kernels/host.h"

#include <string.h>

static uint32_t bits_of(float f)
{
    union { float f; uint32_t u; } x = {f};
    return x.u;
}
static float float_of(uint32_t u)
{
    union { uint32_t u; float f; } x = {u};
    return x.f;
}

float pack_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, frac = h & 1023;
    if (exp == 31)
        return float_of(sign | 0x7f800000 | frac << 13);
    if (exp == 0) {
        float f = (float)frac * 0x1p-24f; /* zero and denormals, exact in float32 */
        return sign ? -f : f;
    }
    return float_of(sign | (exp + 112) << 23 | frac << 13);
}

uint16_t pack_f32_to_f16(float f)
{
    uint32_t u = bits_of(f), sign = u >> 16 & 0x8000, mag = u & 0x7fffffff;
    if (mag > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (mag >= 0x477ff000) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (mag < 0x38800000) { /* below 2^-14: adding 0.5 leaves the denormal's bits, rounded */
        uint32_t r = bits_of(float_of(mag) + 0.5f) - bits_of(0.5f);
        return (uint16_t)(sign | r);
    }
    uint32_t r = mag + 0xfff + (mag >> 13 & 1);
    return (uint16_t)(sign | (r - (112u << 23)) >> 13);
}

uint16_t pack_f32_to_bf16(float f)
{
    uint32_t u = bits_of(f);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

bool pack_bytes(const struct weight *w, size_t *bytes)
{
    size_t n;
    if (w->rows <= 0 || w->cols <= 0 || w->cols > INT64_MAX / 256)
        return false;
    if (w->role == WEIGHT_VECTOR) {
        if (mul_overflows((size_t)w->rows, (size_t)w->cols, &n))
            return false;
        return !mul_overflows(round_up(n, PANEL), sizeof(float), bytes);
    }
    n = ((size_t)w->rows + PANEL - 1) / PANEL;
    return !mul_overflows(n, panel_bytes(w->dtype, w->cols), bytes);
}

static float load_one(const void *src, enum dtype type, int64_t i)
{
    switch (type) {
    case DTYPE_F32: return ((const float *)src)[i];
    case DTYPE_F16: return pack_f16_to_f32(((const uint16_t *)src)[i]);
    case DTYPE_BF16: return pack_bf16_to_f32(((const uint16_t *)src)[i]);
    }
    return 0;
}

/* Index of (row in panel, column) within a panel, in elements. */
static size_t panel_index(enum dtype t, int64_t lane, int64_t col)
{
    if (t == DTYPE_BF16)
        return (size_t)(col / 2 * 2 * PANEL + lane * 2 + col % 2);
    return (size_t)(col * PANEL + lane);
}

static void store_one(void *panel, enum dtype t, size_t at, float f)
{
    switch (t) {
    case DTYPE_F32: ((float *)panel)[at] = f; break;
    case DTYPE_F16: ((uint16_t *)panel)[at] = pack_f32_to_f16(f); break;
    case DTYPE_BF16: ((uint16_t *)panel)[at] = pack_f32_to_bf16(f); break;
    }
}

/* The common case, at memory speed: bf16 stays bf16, rows in whole panels. */
static void pack_bf16_panel(uint16_t *panel, const uint16_t *src, int64_t cols)
{
    for (int64_t c = 0; c + 1 < cols; c += 2)
        for (int r = 0; r < PANEL; r++)
            memcpy(panel + c * PANEL + 2 * r, src + r * cols + c, 4);
    if (cols % 2)
        for (int r = 0; r < PANEL; r++)
            panel[(cols - 1) * PANEL + 2 * r] = src[r * cols + cols - 1];
}

static void pack_row(struct host_weight *w, int64_t row, const void *src, enum dtype type,
                     int64_t at)
{
    char *panel = (char *)w->data + (size_t)(row / PANEL) * panel_bytes(w->dtype, w->cols);
    for (int64_t c = 0; c < w->cols; c++)
        store_one(panel, w->dtype, panel_index(w->dtype, row % PANEL, c),
                  load_one(src, type, at + c));
}

void pack_rows(struct host_weight *w, int64_t row0, int64_t n, const void *src, enum dtype type)
{
    if (w->role == WEIGHT_VECTOR) {
        for (int64_t i = 0; i < n * w->cols; i++)
            ((float *)w->data)[row0 * w->cols + i] = load_one(src, type, i);
        return;
    }
    for (int64_t r = 0; r < n;) {
        int64_t row = row0 + r;
        if (type == DTYPE_BF16 && w->dtype == DTYPE_BF16 && row % PANEL == 0 && n - r >= PANEL) {
            pack_bf16_panel((uint16_t *)w->data + row * (w->cols + w->cols % 2),
                            (const uint16_t *)src + r * w->cols, w->cols);
            r += PANEL;
        } else {
            pack_row(w, row, src, type, r * w->cols);
            r++;
        }
    }
}
