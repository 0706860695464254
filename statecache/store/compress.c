/* Byte planes and zstd. The only file that knows the library. */
#include "statecache/store/compress.h"

#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

#if __has_include(<zstd.h>)
#define HAVE_ZSTD 1
#include <zstd.h>
#else
#define HAVE_ZSTD 0
#endif

/* Exponents have no repeats that are worth it: the fastest strategy, which hardly looks for any and
 * is as small as higher levels (README.md has them). */
#define LEVEL 1
#define MIN_MATCH 7
#define HASH_LOG 12
#define METHOD_ZSTD 1
#define PLANES 4
#define RUNS 16        /* of the sample, spread over the block, … */
#define RUN_WORDS 64   /* … each of so many values */
/* A plane whose bytes collide so many times as often as even ones do is compressed: 6 bits of
 * entropy each (Renyi's, of order 2) and less. */
#define UNEVEN 4
enum { AT_PLANES = 0, AT_METHOD = 1, AT_ZERO = 2, AT_SIZES = 4 };

struct compressor {
    unsigned char planes[COMPRESS_CONTENT]; /* of the block in hand */
#if HAVE_ZSTD
    ZSTD_CCtx *pack;
    ZSTD_DCtx *unpack;
#endif
};

bool compress_available(void) { return HAVE_ZSTD; }

int compressor_open(struct compressor **out, struct err *e)
{
    struct compressor *c = mem_zalloc(sizeof(*c));
    *out = c;
    if (!c)
        return err_set(e, E_NOMEM, "no memory for compressing: %zu bytes", sizeof(*c));
#if HAVE_ZSTD
    c->pack = ZSTD_createCCtx();
    c->unpack = ZSTD_createDCtx();
    bool ok = c->pack && c->unpack;
    ok = ok && !ZSTD_isError(ZSTD_CCtx_setParameter(c->pack, ZSTD_c_compressionLevel, LEVEL));
    ok = ok && !ZSTD_isError(ZSTD_CCtx_setParameter(c->pack, ZSTD_c_minMatch, MIN_MATCH));
    ok = ok && !ZSTD_isError(ZSTD_CCtx_setParameter(c->pack, ZSTD_c_hashLog, HASH_LOG));
    if (!ok) {
        compressor_close(c);
        *out = NULL;
        return err_set(e, E_NOMEM, "no memory for libzstd %s", ZSTD_versionString());
    }
#endif
    return 0;
}

void compressor_close(struct compressor *c)
{
#if HAVE_ZSTD
    if (c) {
        ZSTD_freeCCtx(c->pack);
        ZSTD_freeDCtx(c->unpack);
    }
#endif
    mem_free(c);
}

/* ---- planes ------------------------------------------------------------------------------- */

static uint32_t turned(uint32_t x) { return x << 1 | x >> 31; }
static uint32_t turned_back(uint32_t x) { return x >> 1 | x << 31; }

/* p [4 * n] -> planes [4][n]. Memory that is not aligned is read as well. */
static void take_apart(const unsigned char *p, size_t n, unsigned char *restrict planes)
{
    unsigned char *restrict p0 = planes, *restrict p1 = planes + n, *restrict p2 = planes + 2 * n,
                  *restrict p3 = planes + 3 * n;
    for (size_t i = 0; i < n; i++) {
        uint32_t x;
        memcpy(&x, p + 4 * i, 4);
        x = turned(x);
        p0[i] = (unsigned char)x;
        p1[i] = (unsigned char)(x >> 8);
        p2[i] = (unsigned char)(x >> 16);
        p3[i] = (unsigned char)(x >> 24);
    }
}

static void put_together(const unsigned char *restrict planes, size_t n, unsigned char *restrict p)
{
    const unsigned char *p0 = planes, *p1 = planes + n, *p2 = planes + 2 * n, *p3 = planes + 3 * n;
    for (size_t i = 0; i < n; i++) {
        uint32_t x = p0[i] | (uint32_t)p1[i] << 8 | (uint32_t)p2[i] << 16 | (uint32_t)p3[i] << 24;
        x = turned_back(x);
        memcpy(p + 4 * i, &x, 4);
    }
}

/* ---- what pays ---------------------------------------------------------------------------- */

/* Which planes of the n values at p are uneven enough, as bits. Whole numbers: the same on every
 * machine. */
static unsigned uneven_planes(const unsigned char *p, size_t n)
{
    uint32_t seen[PLANES][256] = {{0}};
    size_t run = MIN(n, (size_t)RUN_WORDS), runs = n > RUNS * RUN_WORDS ? RUNS : n / run;
    for (size_t r = 0; r < runs; r++) {
        const unsigned char *at = p + (n / runs * r) * 4;
        for (size_t i = 0; i < run; i++) {
            uint32_t x;
            memcpy(&x, at + 4 * i, 4);
            x = turned(x);
            for (int k = 0; k < PLANES; k++)
                seen[k][x >> 8 * k & 255]++;
        }
    }
    uint64_t total = runs * run;
    unsigned uneven = 0;
    for (int k = 0; k < PLANES; k++) {
        uint64_t pairs = 0;
        for (int b = 0; b < 256; b++)
            pairs += (uint64_t)seen[k][b] * (seen[k][b] - (seen[k][b] > 0));
        if (pairs * 256 >= UNEVEN * total * (total - 1) && total > 64)
            uneven |= 1u << k;
    }
    return uneven;
}

bool compress_pays(const void *p, size_t n) { return n >= 4 && uneven_planes(p, n / 4) != 0; }

/* ---- a block ------------------------------------------------------------------------------ */

static size_t as_it_lies(const void *p, size_t n, unsigned char *out)
{
    memset(out, 0, AT_SIZES);
    out[AT_PLANES] = 1;
    bytes_put(out + AT_SIZES, n, 4);
    memcpy(out + AT_SIZES + 4, p, n);
    return COMPRESS_BOUND(n);
}

/* Less than n bytes, or 0: it does not get smaller. */
static size_t squeeze(struct compressor *c, const unsigned char *p, size_t n, unsigned char *out,
                      size_t room)
{
#if HAVE_ZSTD
    size_t m = ZSTD_compress2(c->pack, out, MIN(room, n - 1), p, n);
    return ZSTD_isError(m) || m >= n ? 0 : m;
#else
    (void)c, (void)p, (void)n, (void)out, (void)room;
    return 0;
#endif
}

size_t compress_block(struct compressor *c, const void *p, size_t n, bool always,
                      unsigned char *out)
{
    size_t each = n / PLANES, at = AT_SIZES + PLANES * 4;
    ASSERT(n > 0 && n <= COMPRESS_CONTENT);
    unsigned which = n % PLANES ? 0 : always ? (1u << PLANES) - 1 : uneven_planes(p, each);
    if (!which)
        return as_it_lies(p, n, out);
    take_apart(p, each, c->planes);
    memset(out, 0, AT_SIZES);
    out[AT_PLANES] = PLANES;
    out[AT_METHOD] = METHOD_ZSTD;
    for (int k = 0; k < PLANES; k++) {
        const unsigned char *plane = c->planes + each * (size_t)k;
        size_t room = COMPRESS_BOUND(n) - MIN(at, COMPRESS_BOUND(n)), m = 0;
        if (which >> k & 1 && each > 1 && room > 0)
            m = squeeze(c, plane, each, out + at, room);
        if (!m) {
            if (each > room) /* only the sizes' row is too much: they did not get smaller */
                return as_it_lies(p, n, out);
            memcpy(out + at, plane, each);
            m = each;
        }
        bytes_put(out + AT_SIZES + 4 * (size_t)k, m, 4);
        at += m;
    }
    return at < COMPRESS_BOUND(n) ? at : as_it_lies(p, n, out);
}

/* One plane of `each` bytes from its m. */
static int expand_plane(struct compressor *c, const unsigned char *in, size_t m,
                        unsigned char *plane, size_t each, unsigned method, struct err *e)
{
    if (m == each) {
        memcpy(plane, in, each);
        return 0;
    }
    if (method != METHOD_ZSTD)
        return err_set(e, E_UNSUPPORTED, "a block compressed by method %u, this build knows %d",
                       method, METHOD_ZSTD);
#if HAVE_ZSTD
    size_t n = ZSTD_decompressDCtx(c->unpack, plane, each, in, m);
    if (ZSTD_isError(n))
        return err_set(e, E_FORMAT, "%zu compressed bytes are not those of %zu: %s", m, each,
                       ZSTD_getErrorName(n));
    if (n != each)
        return err_set(e, E_FORMAT, "%zu compressed bytes have %zu in them, not %zu", m, n, each);
    return 0;
#else
    (void)c;
    return err_set(e, E_UNSUPPORTED, "it is compressed by zstd, and this build has no libzstd");
#endif
}

int compress_expand(struct compressor *c, const unsigned char *in, size_t n, void *out,
                    size_t want, struct err *e)
{
    ASSERT(want > 0 && want <= COMPRESS_CONTENT);
    unsigned planes = n > AT_SIZES ? in[AT_PLANES] : 0;
    size_t at = AT_SIZES + (size_t)planes * 4, each = planes ? want / planes : 0;
    if ((planes != 1 && planes != PLANES) || n < at || bytes_get(in + AT_ZERO, 2) || want % planes)
        return err_set(e, E_FORMAT, "%zu bytes with %u planes are no block of %zu", n, planes,
                       want);
    unsigned char *to = planes == 1 ? out : c->planes;
    int rc = 0;
    for (unsigned k = 0; k < planes && !rc; k++) {
        size_t m = (size_t)bytes_get(in + AT_SIZES + 4 * (size_t)k, 4);
        if (m == 0 || m > each || m > n - at)
            return err_set(e, E_FORMAT, "plane %u has %zu bytes, %zu are possible and %zu left", k,
                           m, each, n - at);
        rc = expand_plane(c, in + at, m, to + each * k, each, in[AT_METHOD], e);
        at += m;
    }
    if (!rc && at != n)
        rc = err_set(e, E_FORMAT, "a block of %zu bytes ends after %zu", n, at);
    if (!rc && planes == PLANES)
        put_together(c->planes, each, out);
    return rc;
}
