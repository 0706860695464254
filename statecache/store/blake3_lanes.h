/* Hashes of equally long inputs side by side, a lane for each. blake3.c includes this once for
 * every instruction set, with LANES (4, 8, 16), TARGET (its attribute) and NAME(x) set. */

#define VECTOR NAME(vector)
typedef uint32_t VECTOR __attribute__((vector_size(4 * LANES)));

/* Rows l and l + s swap the elements that differ in bit s of their index: one step of turning a
 * square of rows into columns. Indices of a shuffle of both rows. */
#define LOW(c, s) ((c) & (s) ? LANES + ((c) ^ (s)) : (c))
#define HIGH(c, s) ((c) & (s) ? LANES + (c) : (c) ^ (s))
#define UP4(f, c, s) f(c, s), f((c) + 1, s), f((c) + 2, s), f((c) + 3, s)
#if LANES == 16
#define EACH(f, s) UP4(f, 0, s), UP4(f, 4, s), UP4(f, 8, s), UP4(f, 12, s)
#elif LANES == 8
#define EACH(f, s) UP4(f, 0, s), UP4(f, 4, s)
#else
#define EACH(f, s) UP4(f, 0, s)
#endif
#define SWAP(s) \
    _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++) if (!(i & (s))) { \
        VECTOR a = r[i], b = r[i | (s)]; \
        r[i] = __builtin_shufflevector(a, b, EACH(LOW, s)); \
        r[i | (s)] = __builtin_shufflevector(a, b, EACH(HIGH, s)); \
    }

/* m[w]: word w of every input's block. */
TARGET static inline __attribute__((always_inline)) void NAME(load)(VECTOR m[16],
                                                                    const unsigned char *const *in)
{
    _Pragma("GCC unroll 4") for (int part = 0; part < 16 / LANES; part++) {
        VECTOR *r = m + part * LANES;
        _Pragma("GCC unroll 16") for (int l = 0; l < LANES; l++)
            memcpy(&r[l], in[l] + part * (int)sizeof(VECTOR), sizeof(VECTOR));
        SWAP(1)
        SWAP(2)
#if LANES > 4
        SWAP(4)
#endif
#if LANES > 8
        SWAP(8)
#endif
    }
}

#define TURN(x, n) ((x) >> (n) | (x) << (32 - (n)))
#define MIX(a, b, c, d, x, y) \
    v[a] += v[b] + m[x], v[d] = TURN(v[d] ^ v[a], 16), v[c] += v[d], \
    v[b] = TURN(v[b] ^ v[c], 12), v[a] += v[b] + m[y], v[d] = TURN(v[d] ^ v[a], 8), \
    v[c] += v[d], v[b] = TURN(v[b] ^ v[c], 7)
/* The order of words in a round: that of the one before, permuted. */
#define ROUND(p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13, p14, p15) \
    MIX(0, 4, 8, 12, p0, p1), MIX(1, 5, 9, 13, p2, p3), MIX(2, 6, 10, 14, p4, p5), \
    MIX(3, 7, 11, 15, p6, p7), MIX(0, 5, 10, 15, p8, p9), MIX(1, 6, 11, 12, p10, p11), \
    MIX(2, 7, 8, 13, p12, p13), MIX(3, 4, 9, 14, p14, p15)

/* One block of every lane: h becomes the lanes' new values. */
TARGET static inline __attribute__((always_inline)) void NAME(compress)(
    VECTOR h[8], const VECTOR m[16], const VECTOR counter[2], uint32_t flags)
{
    const VECTOR zero = {0};
    VECTOR v[16];
    _Pragma("GCC unroll 8") for (int i = 0; i < 8; i++)
        v[i] = h[i];
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
        v[8 + i] = zero + start_value[i];
    v[12] = counter[0];
    v[13] = counter[1];
    v[14] = zero + BLOCK;
    v[15] = zero + flags;
    ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    ROUND(2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8);
    ROUND(3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1);
    ROUND(10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6);
    ROUND(12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4);
    ROUND(9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7);
    ROUND(11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13);
    _Pragma("GCC unroll 8") for (int i = 0; i < 8; i++)
        h[i] = v[i] ^ v[8 + i];
}

/* As struct blake3_lanes says. */
TARGET static void NAME(hash)(const unsigned char *in, size_t n, const struct inputs *x,
                              uint64_t counter, uint32_t (*out)[8])
{
    for (size_t first = 0; first < n; first += LANES) {
        const unsigned char *p[LANES];
        VECTOR h[8], m[16], at[2];
        for (size_t l = 0; l < LANES; l++) { /* lanes without an input do the last one again */
            size_t i = MIN(first + l, n - 1);
            p[l] = in + i * x->bytes;
            at[0][l] = (uint32_t)(counter + i * x->counts);
            at[1][l] = (uint32_t)((counter + i * x->counts) >> 32);
        }
        for (int i = 0; i < 8; i++)
            h[i] = (VECTOR){0} + start_value[i];
        for (size_t b = 0; b < x->bytes; b += BLOCK) {
            NAME(load)(m, p);
            NAME(compress)(h, m, at, x->flags | (b == 0 ? x->first : 0) |
                                         (b + BLOCK == x->bytes ? x->last : 0));
            for (size_t l = 0; l < LANES; l++)
                p[l] += BLOCK;
        }
        for (size_t l = 0; l < MIN(n - first, (size_t)LANES); l++)
            for (int i = 0; i < 8; i++)
                out[first + l][i] = h[i][l];
    }
}

#undef VECTOR
#undef LOW
#undef HIGH
#undef UP4
#undef EACH
#undef SWAP
#undef TURN
#undef MIX
#undef ROUND
#undef LANES
#undef TARGET
#undef NAME
