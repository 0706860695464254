/* The tree. Invariants: a chunk is hashed, and a subtree merged, only when bytes follow it, because
 * the root is hashed in another way; the stack has one subtree for each bit of `chunks`. */
#include "statecache/store/blake3.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "blocks are loaded, and values are hashed again, as they lie in memory"
#endif

#define BLOCK 64
#define BATCH 64 /* chunks at a time, a power of two */
enum { CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8 };

static const uint32_t start_value[8] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                                        0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};

/* Inputs of one kind: their length (blocks of 64), whether counters go up from one to the next, and
 * the flags of every, the first and the last block. */
struct inputs { size_t bytes; bool counts; uint32_t flags, first, last; };
static const struct inputs whole_chunks = {BLAKE3_CHUNK, true, 0, CHUNK_START, CHUNK_END};
static const struct inputs parents = {BLOCK, false, PARENT, 0, 0};

struct blake3_lanes {
    const char *name;
    /* Values of n inputs end to end. `out` may be where `in` is, if inputs have one block. */
    void (*hash)(const unsigned char *in, size_t n, const struct inputs *x, uint64_t counter,
                 uint32_t (*out)[8]);
};

#define LANES 4
#define TARGET
#define NAME(x) x##_4
#include "statecache/store/blake3_lanes.h"
#if defined(__x86_64__)
#define LANES 8
#define TARGET __attribute__((target("avx2")))
#define NAME(x) x##_8
#include "statecache/store/blake3_lanes.h"
#define LANES 16
#define TARGET __attribute__((target("avx512f")))
#define NAME(x) x##_16
#include "statecache/store/blake3_lanes.h"
#endif

const struct blake3_lanes *blake3_lanes(int i)
{
    static const struct blake3_lanes sets[] = {
#if defined(__x86_64__)
        {"avx512", hash_16}, {"avx2", hash_8},
#endif
        {"any", hash_4}};
    size_t first = 0;
#if defined(__x86_64__)
    first = __builtin_cpu_supports("avx512f") ? 0 : __builtin_cpu_supports("avx2") ? 1 : 2;
#endif
    return first + (size_t)i < ARRAY_LEN(sets) ? &sets[first + (size_t)i] : NULL;
}

const char *blake3_lanes_name(const struct blake3_lanes *lanes) { return lanes->name; }

void blake3_init(struct blake3 *s, const struct blake3_lanes *lanes)
{
    s->lanes = lanes ? lanes : blake3_lanes(0);
    s->n = 0;
    s->chunks = 0;
    s->depth = 0;
}

/* The subtree that follows the `chunks` ones: k chunks, k a divisor of both. */
static void push(struct blake3 *s, const uint32_t value[8], uint64_t k)
{
    memcpy(s->stack[s->depth++], value, sizeof(s->stack[0]));
    s->chunks += k;
    for (uint64_t level = s->chunks / k; (level & 1) == 0; level >>= 1) {
        s->depth--;
        s->lanes->hash((const unsigned char *)s->stack[s->depth - 1], 1, &parents, 0,
                       &s->stack[s->depth - 1]);
    }
}

/* Whole chunks from p on, which more bytes follow. Returns how many. */
static size_t add_chunks(struct blake3 *s, const unsigned char *p, size_t n)
{
    uint32_t value[BATCH][8];
    size_t k = BATCH;
    while (s->chunks % k || k * BLAKE3_CHUNK >= n)
        k /= 2;
    s->lanes->hash(p, k, &whole_chunks, s->chunks, value);
    for (size_t left = k / 2; left > 0; left /= 2)
        s->lanes->hash((const unsigned char *)value, left, &parents, 0, value);
    push(s, value[0], k);
    return k;
}

void blake3_update(struct blake3 *s, const void *in, size_t n)
{
    const unsigned char *p = in;
    while (n > 0) {
        if (s->n == BLAKE3_CHUNK) {
            uint32_t value[1][8];
            s->lanes->hash(s->chunk, 1, &whole_chunks, s->chunks, value);
            push(s, value[0], 1);
            s->n = 0;
        }
        size_t take = MIN(n, BLAKE3_CHUNK - s->n);
        if (s->n == 0 && n > BLAKE3_CHUNK) {
            take = add_chunks(s, p, n) * BLAKE3_CHUNK;
        } else {
            memcpy(s->chunk + s->n, p, take);
            s->n += take;
        }
        p += take;
        n -= take;
    }
}

/* ---- one block, for ends ------------------------------------------------------------------ */

static uint32_t turned(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void mix(uint32_t v[16], int a, int b, int c, int d, uint32_t x, uint32_t y)
{
    v[a] += v[b] + x;
    v[d] = turned(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = turned(v[b] ^ v[c], 12);
    v[a] += v[b] + y;
    v[d] = turned(v[d] ^ v[a], 8);
    v[c] += v[d];
    v[b] = turned(v[b] ^ v[c], 7);
}

/* h becomes the value after a block of n bytes, zeros behind them. */
static void compress(uint32_t h[8], const unsigned char *block, size_t n, uint64_t counter,
                     uint32_t flags)
{
    static const unsigned char order[16] = {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8};
    uint32_t m[16] = {0}, next[16], v[16];
    memcpy(m, block, n);
    memcpy(v, h, 32);
    memcpy(v + 8, start_value, 16);
    v[12] = (uint32_t)counter;
    v[13] = (uint32_t)(counter >> 32);
    v[14] = (uint32_t)n;
    v[15] = flags;
    for (int round = 0; round < 7; round++) {
        for (int i = 0; i < 4; i++) /* columns */
            mix(v, i, 4 + i, 8 + i, 12 + i, m[2 * i], m[2 * i + 1]);
        for (int i = 0; i < 4; i++) /* diagonals */
            mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[8 + 2 * i],
                m[9 + 2 * i]);
        for (int i = 0; i < 16; i++)
            next[i] = m[order[i]];
        memcpy(m, next, sizeof(m));
    }
    for (int i = 0; i < 8; i++)
        h[i] = v[i] ^ v[8 + i];
}

/* The value of the last chunk; root: it is the only one. */
static void last_chunk(const struct blake3 *s, bool root, uint32_t h[8])
{
    memcpy(h, start_value, sizeof(start_value));
    for (size_t at = 0, n; at == 0 || at < s->n; at += n) {
        n = MIN(s->n - at, (size_t)BLOCK);
        bool last = at + n == s->n;
        compress(h, s->chunk + at, n, s->chunks,
                 (at == 0 ? CHUNK_START : 0) | (last ? CHUNK_END : 0) | (last && root ? ROOT : 0));
        if (last)
            return;
    }
}

void blake3_final(const struct blake3 *s, unsigned char out[BLAKE3_OUT])
{
    uint32_t pair[2][8];
    last_chunk(s, s->depth == 0, pair[1]);
    for (int32_t i = s->depth; i-- > 0;) {
        memcpy(pair[0], s->stack[i], sizeof(pair[0]));
        uint32_t h[8];
        memcpy(h, start_value, sizeof(h));
        compress(h, (const unsigned char *)pair, sizeof(pair), 0, PARENT | (i == 0 ? ROOT : 0));
        memcpy(pair[1], h, sizeof(h));
    }
    memcpy(out, pair[1], BLAKE3_OUT);
}
