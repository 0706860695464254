/* The matrix unit itself: random products of tiles against what kernels/ref/ref_split.h is built
 * on, bit for bit; of bytes, against integers; and its rate from registers. See tiles.h. */
#include "tests/check/tiles.h"

#include "base/clock.h"
#include "base/rng.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/impl/tiles.h"

struct operands {
    _Alignas(64) uint16_t a[16][32], b[16][32];
    _Alignas(64) float c[16][16], want[16][16];
};

/* Any bits but NaNs: most of the time exponents around 1; or all; or denormals and what becomes
 * one; or the largest numbers and infinities. */
static uint16_t of_kind(uint16_t u, int kind)
{
    bool no_number = (u & 0x7f80) == 0x7f80;
    switch (kind) {
    case 1: return no_number ? u & 0xbfff : u;
    case 2: return u & 0x81ff;
    case 3: return no_number ? u & 0xff80 : u | 0x4000;
    default: return (u & 0x8fff) | 0x3000;
    }
}

static void fill_halves(struct rng *r, uint16_t *x, int kind)
{
    for (int i = 0; i < 16 * 32; i += 4) {
        uint64_t bits = rng_next(r);
        for (int j = 0; j < 4; j++)
            x[i + j] = of_kind((uint16_t)(bits >> 16 * j), kind);
    }
}

static void fill(struct rng *r, struct operands *x)
{
    int kind = (int)rng_below(r, 8), a = kind > 3 ? 0 : kind, b = kind > 3 ? 0 : (kind * 3 + 1) % 4;
    fill_halves(r, x->a[0], a);
    fill_halves(r, x->b[0], b);
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j += 4) {
            uint64_t bits = rng_next(r);
            for (int n = 0; n < 4; n++)
                x->c[i][j + n] = f32_of_bf16(of_kind((uint16_t)(bits >> 16 * n), a));
        }
}

/* rows x 16 results of k pairs, a lane each: sixteen chains at once, otherwise as it is written. */
static void define(struct operands *x, int rows, int pairs)
{
    for (int m = 0; m < rows; m++) {
        v16 even = v16_zero(), odd = v16_zero();
        for (int k = 0; k < pairs; k++) {
            v16 w = v16_load_pairs(x->b[k]);
            even = v16_fma(v16_set1(f32_of_bf16(x->a[m][2 * k])), v16_pair_even(w), even);
            odd = v16_fma(v16_set1(f32_of_bf16(x->a[m][2 * k + 1])), v16_pair_odd(w), odd);
        }
        v16_store(x->want[m], v16_add(v16_load(x->c[m]), v16_add(even, odd)));
    }
}

static int differ(const struct operands *x, int rows)
{
    int n = 0;
    for (int m = 0; m < rows; m++)
        for (int i = 0; i < 16; i++) {
            float a = x->c[m][i], b = x->want[m][i];
            n += memcmp(&a, &b, sizeof a) != 0 && !(isnan(a) && isnan(b));
        }
    return n;
}

int64_t tiles_random(int64_t n, uint64_t seed)
{
    struct operands x;
    struct rng r = {seed, 0};
    int64_t wrong = 0;
    unsigned saved = threads_flush_denormals();
    for (int64_t i = 0; i < n; i++) {
        int rows = 1 + (int)rng_below(&r, 16), pairs = rng_below(&r, 2) ? 16 : 8;
        struct tile_config c = {.palette = 1};
        c.rows[0] = c.rows[6] = (uint8_t)rows;
        c.rows[4] = (uint8_t)pairs;
        c.row_bytes[0] = c.row_bytes[4] = 64;
        c.row_bytes[6] = (uint16_t)(4 * pairs);
        fill(&r, &x);
        define(&x, rows, pairs);
        TILE_CONFIG(&c);
        TILE_LOAD(0, x.c);
        TILE_LOAD(4, x.b);
        TILE_LOAD(6, x.a);
        TILE_DP(0, 6, 4);
        TILE_STORE(0, x.c);
        wrong += differ(&x, rows);
    }
    TILE_RELEASE();
    threads_restore_denormals(saved);
    return wrong;
}

/* ---- bytes ------------------------------------------------------------------------------ */

struct byte_operands {
    _Alignas(64) uint8_t a[16][64];
    _Alignas(64) int8_t b[16][64];
    _Alignas(64) int32_t c[16][16], want[16][16];
};

/* Any bytes; or the largest of them, whose sums are the longest. */
static void fill_bytes(struct rng *r, struct byte_operands *x)
{
    const uint64_t ends = rng_below(r, 4) ? 0 : UINT64_C(0x7f7f7f7f7f7f7f7f);
    for (int i = 0; i < 16; i++) {
        for (int k = 0; k < 64; k += 8) {
            uint64_t a = rng_next(r) | ends, b = rng_next(r) | ends;
            memcpy(&x->a[i][k], &a, sizeof a);
            memcpy(&x->b[i][k], &b, sizeof b);
        }
        for (int k = 0; k < 16; k++)
            x->c[i][k] = (int32_t)(uint32_t)rng_next(r) >> 4;
    }
}

static void define_bytes(struct byte_operands *x, int rows, int bytes, bool is_signed)
{
    for (int m = 0; m < rows; m++)
        for (int i = 0; i < 16; i++) {
            x->want[m][i] = x->c[m][i];
            for (int k = 0; k < bytes; k++) {
                int a = is_signed ? (int8_t)x->a[m][k] : x->a[m][k];
                x->want[m][i] += a * x->b[k / 4][4 * i + k % 4];
            }
        }
}

int64_t tiles_random_bytes(int64_t n, uint64_t seed)
{
    struct byte_operands x;
    struct rng r = {seed, 1};
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; i++) {
        int rows = 1 + (int)rng_below(&r, 16), bytes = rng_below(&r, 2) ? 64 : 32;
        bool is_signed = rng_below(&r, 2);
        struct tile_config c = {.palette = 1};
        c.rows[0] = c.rows[6] = (uint8_t)rows;
        c.rows[4] = (uint8_t)(bytes / 4);
        c.row_bytes[0] = c.row_bytes[4] = 64;
        c.row_bytes[6] = (uint16_t)bytes;
        fill_bytes(&r, &x);
        define_bytes(&x, rows, bytes, is_signed);
        TILE_CONFIG(&c);
        TILE_LOAD(0, x.c);
        TILE_LOAD(4, x.b);
        TILE_LOAD(6, x.a);
        if (is_signed)
            TILE_DP_SS(0, 6, 4);
        else
            TILE_DP_US(0, 6, 4);
        TILE_STORE(0, x.c);
        for (int m = 0; m < rows; m++)
            for (int k = 0; k < 16; k++)
                wrong += x.c[m][k] != x.want[m][k];
    }
    TILE_RELEASE();
    return wrong;
}

void tiles_peak(long n)
{
    struct tile_config c = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        c.rows[t] = 16;
        c.row_bytes[t] = 64;
    }
    TILE_CONFIG(&c);
    TILE_ZERO(0); TILE_ZERO(1); TILE_ZERO(2); TILE_ZERO(3);
    TILE_ZERO(4); TILE_ZERO(5); TILE_ZERO(6); TILE_ZERO(7);
    for (long i = 0; i < n; i++) {
        TILE_DP(0, 6, 4); TILE_DP(1, 6, 5); TILE_DP(2, 7, 4); TILE_DP(3, 7, 5);
    }
    TILE_RELEASE();
}
