/* Compressed blocks and the state files made of them: every bit comes back, what does not get
 * smaller costs a few bytes, and nothing that is not ours is taken apart. */
#include <criterion/criterion.h>

#include <sodium.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/rng.h"
#include "statecache/store/packed.h"
#include "tests/fault/fake_fs.h"

#if __has_include(<zstd.h>)
#include <zstd.h>
#define HAVE_ZSTD 1
#else
#define HAVE_ZSTD 0
#endif

static struct compressor *c;
static unsigned char *in, *block, *out;
static struct fs fs;

static void open_all(void)
{
    struct err e = {0};
    cr_assert_geq(sodium_init(), 0);
    cr_assert_eq(compressor_open(&c, &e), 0);
    in = malloc(COMPRESS_CONTENT);
    block = malloc(COMPRESS_BOUND(COMPRESS_CONTENT));
    out = malloc(COMPRESS_CONTENT);
}
static void close_all(void)
{
    compressor_close(c);
    free(in);
    free(block);
    free(out);
}

TestSuite(compress, .init = open_all, .fini = close_all);

/* What parts have in them. */
enum sort { NOISE, FLOATS, TOKENS, ZEROS, TEXT, SORTS };

static void fill(enum sort sort, unsigned char *p, size_t n, uint64_t seed)
{
    struct rng r = {.seed = seed};
    for (size_t i = 0; i < n; i += 4) {
        uint64_t x = rng_next(&r);
        /* A float between 2^-8 and 2 of either sign; an id; a letter. */
        uint32_t word = sort == NOISE    ? (uint32_t)x
                        : sort == FLOATS ? (uint32_t)(x & 0x807fffffu) |
                                               (uint32_t)(119 + (x >> 32) % 8) << 23
                        : sort == TOKENS ? (uint32_t)(x % 50000)
                        : sort == ZEROS  ? 0
                                         : 0x20202020u + (uint32_t)(x % 3) * 0x01010101u;
        memcpy(p + i, &word, MIN(n - i, (size_t)4));
    }
}

static size_t there_and_back(enum sort sort, size_t n, bool always)
{
    struct err e = {0};
    fill(sort, in, n, n * 7 + sort);
    memset(out, 0x5a, n);
    size_t m = compress_block(c, in, n, always, block);
    cr_assert(m > 0 && m <= COMPRESS_BOUND(n), "%zu of %zu", m, n);
    cr_assert_eq(compress_expand(c, block, m, out, n, &e), 0, "%s", e.text);
    cr_assert_eq(memcmp(in, out, n), 0, "sort %d of %zu bytes", sort, n);
    return m;
}

Test(compress, every_bit_comes_back)
{
    static const size_t sizes[] = {1, 2, 3, 4, 5, 8, 12, 20, 63, 64, 100, 1000, 1024, 4096, 5000,
                                   65536, 262143, COMPRESS_CONTENT - 4, COMPRESS_CONTENT - 1,
                                   COMPRESS_CONTENT};
    for (int sort = 0; sort < SORTS; sort++)
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
            for (int always = 0; always < 2; always++)
                there_and_back(sort, sizes[i], always);
}

Test(compress, what_repeats_gets_smaller_and_noise_costs_eight_bytes)
{
    cr_assert_eq(there_and_back(NOISE, COMPRESS_CONTENT, false), COMPRESS_BOUND(COMPRESS_CONTENT));
    cr_assert_not(compress_pays(in, COMPRESS_CONTENT));
    if (!compress_available())
        return;
    /* Three bits of exponent in eight: an eighth of all, and a little less. */
    cr_assert_lt(there_and_back(FLOATS, COMPRESS_CONTENT, false), COMPRESS_CONTENT / 8 * 7);
    cr_assert(compress_pays(in, COMPRESS_CONTENT));
    cr_assert_lt(there_and_back(TOKENS, COMPRESS_CONTENT, false), COMPRESS_CONTENT / 16 * 9);
    cr_assert_lt(there_and_back(ZEROS, COMPRESS_CONTENT, false), 1000);
}

Test(compress, the_same_contents_are_the_same_block)
{
    struct compressor *other;
    struct err e = {0};
    unsigned char *again = malloc(COMPRESS_BOUND(COMPRESS_CONTENT));
    cr_assert_eq(compressor_open(&other, &e), 0);
    for (int sort = 0; sort < SORTS; sort++) {
        size_t n = 300000;
        fill(sort, in, n, 1);
        size_t m = compress_block(c, in, n, false, block);
        fill(NOISE, in, n, 2); /* the other one has a past */
        compress_block(other, in, n, true, again);
        fill(sort, in, n, 1);
        cr_assert_eq(compress_block(other, in, n, false, again), m);
        cr_assert_eq(memcmp(block, again, m), 0);
    }
    compressor_close(other);
    free(again);
}

/* Without a seal in front of it: whatever the bytes are, only `want` bytes are ever written. */
Test(compress, hostile_blocks_are_refused_or_as_long_as_they_should_be)
{
    struct rng r = {.seed = 5};
    size_t n = 4000;
    fill(FLOATS, in, n, 3);
    size_t m = compress_block(c, in, n, true, block);
    unsigned char *bad = malloc(m + 1), *room = malloc(n); /* as long as that: ASan sees the rest */
    for (int k = 0; k < 20000; k++) {
        struct err e = {0};
        memcpy(bad, block, m);
        for (uint64_t changes = rng_below(&r, 4); changes > 0; changes--)
            bad[rng_below(&r, rng_below(&r, 2) ? 40 : m)] = (unsigned char)rng_next(&r);
        size_t len = rng_below(&r, 3) ? m : rng_below(&r, m + 1);
        size_t want = rng_below(&r, 3) ? n : 1 + rng_below(&r, n);
        int rc = compress_expand(c, bad, len, room, want, &e);
        cr_assert(rc == 0 || rc == E_FORMAT || rc == E_UNSUPPORTED);
        cr_assert_eq(rc, e.code);
        cr_assert(rc || (want == n && len == m) || memcmp(bad, block, m) != 0);
    }
    free(bad);
    free(room);
}

#if HAVE_ZSTD
/* 8 MiB of zeros in some hundred bytes, where 1,000 should be. */
Test(compress, a_bomb_ends_at_the_size_that_is_known)
{
    size_t n = MIB(8), each = 1000, bound = ZSTD_compressBound(n);
    unsigned char *zeros = calloc(1, n), *bomb = malloc(bound), *room = malloc(4 * each);
    size_t m = ZSTD_compress(bomb, bound, zeros, n, 1);
    cr_assert(!ZSTD_isError(m) && m < each, "%zu", m);
    unsigned char *b = calloc(1, 20 + 4 * m);
    struct err e = {0};
    b[0] = 4;
    b[1] = 1;
    for (size_t k = 0; k < 4; k++) {
        bytes_put(b + 4 + 4 * k, m, 4);
        memcpy(b + 20 + m * k, bomb, m);
    }
    cr_assert_eq(compress_expand(c, b, 20 + 4 * m, room, 4 * each, &e), E_FORMAT);
    cr_assert(strstr(e.text, "are not those of 1000"), "%s", e.text);
    free(zeros);
    free(bomb);
    free(room);
    free(b);
}
#endif

/* ---- files -------------------------------------------------------------------------------- */

#define STATE_BYTES (2 * COMPRESS_CONTENT + 4000)
#define PAGE 12000

struct state {
    struct format format;
    struct head h;
    unsigned char head[CODEC_HEAD];
    struct part part[PARTS];
    struct piece tokens, slab, logits, pages[300];
};

/* A state of 40 tokens with pages in pieces that no block begins with. */
static void make(struct state *s)
{
    memset(s, 0, sizeof(*s));
    s->h = (struct head){.kind = CODEC_STATE, .packed = true, .position = 40};
    memset(s->format.key, 9, sizeof(s->format.key));
    s->format.slot_bytes = STATE_BYTES;
    s->format.stretch = 4096;
    s->format.page_bytes = PAGE;
    s->format.page_tokens = 1;
    s->format.vocab = 50000;
    struct piece *all[] = {&s->tokens, &s->slab, &s->logits};
    static const size_t sizes[] = {160, STATE_BYTES, 200000};
    static const enum sort sorts[] = {TOKENS, FLOATS, FLOATS};
    for (size_t i = 0; i < 3; i++) {
        unsigned char *p = malloc(sizes[i]);
        fill(sorts[i], p, sizes[i], i);
        *all[i] = (struct piece){p, sizes[i]};
    }
    for (size_t i = 0; i < 40; i++) {
        unsigned char *p = malloc(PAGE);
        fill(i % 2 ? FLOATS : ZEROS, p, PAGE, i);
        s->pages[i] = (struct piece){p, PAGE};
    }
    s->part[PART_TOKENS] = (struct part){&s->tokens, 1};
    s->part[PART_STATE] = (struct part){&s->slab, 1};
    s->part[PART_PAGES] = (struct part){s->pages, 40};
    s->part[PART_LOGITS] = (struct part){&s->logits, 1};
    codec_seal(&s->format, &s->h, s->part, s->head);
}

static void unmake(struct state *s)
{
    for (int i = 0; i < 4; i++)
        for (size_t k = 0; k < s->part[i].n_pieces; k++)
            free((void *)(uintptr_t)s->part[i].piece[k].p);
}

static struct fs_file *write_file(struct state *s, struct packed *p)
{
    uint64_t bytes = 0;
    fs_init(&fs, 3);
    *p = (struct packed){.io = &fs.io, .format = &s->format, .compressor = c};
    p->fd = fs.io.create(fs.io.ctx, "/x");
    cr_assert_eq(fsio_write_all(&fs.io, p->fd, s->head, CODEC_HEAD), 0);
    cr_assert_eq(packed_write(p, s->head, s->part, &bytes), 0);
    struct fs_file *x = &fs.files[p->fd];
    cr_assert_eq(bytes, x->n_now);
    cr_assert_leq(bytes, packed_bound(s->part));
    return x;
}

static int read_file(struct state *s, struct packed *p, struct fs_file *x, struct err *e)
{
    struct head h;
    if (x->n_now < CODEC_HEAD)
        return err_set(e, E_FORMAT, "short");
    int rc = codec_open(&s->format, x->now, x->n_now, &h, e);
    if (!rc)
        rc = h.packed ? packed_open(p, x->n_now, &h, e) : err_set(e, E_FORMAT, "not packed");
    for (int i = 0; i < PARTS && !rc; i++) {
        unsigned char *room = malloc(h.bytes[i] + 1);
        size_t third = h.bytes[i] / 12 * 4;
        struct piece half[2] = {{room, third}, {room + third, h.bytes[i] - third}};
        struct part part = {half, 2};
        rc = packed_read(p, &h, (enum codec_part)i, &part, e);
        if (!rc)
            rc = codec_check(&s->format, &h, (enum codec_part)i, &part, e);
        size_t at = 0;
        for (size_t k = 0; k < s->part[i].n_pieces && !rc; k++) {
            cr_assert_eq(memcmp(room + at, s->part[i].piece[k].p, s->part[i].piece[k].n), 0);
            at += s->part[i].piece[k].n;
        }
        free(room);
    }
    return rc;
}

Test(compress, a_file_has_every_bit_of_every_part)
{
    static struct state s;
    struct packed p;
    struct err e = {0};
    if (!compress_available())
        return;
    make(&s);
    struct fs_file *x = write_file(&s, &p);
    cr_assert_lt(x->n_now, s.h.file_bytes / 10 * 9);
    cr_assert_eq(read_file(&s, &p, x, &e), 0, "%s", e.text);
    fs_fini(&fs);
    unmake(&s);
}

Test(compress, damage_anywhere_is_found)
{
    static struct state s;
    struct packed p;
    struct rng r = {.seed = 8};
    if (!compress_available())
        return;
    make(&s);
    struct fs_file *x = write_file(&s, &p);
    size_t n = x->n_now;
    for (int k = 0; k < 120; k++) {
        struct err e = {0};
        /* The head, what is around the blocks, the blocks, the foot. */
        size_t at = k % 4 == 0   ? rng_below(&r, CODEC_HEAD + 24)
                    : k % 4 == 1 ? n - 1 - rng_below(&r, PACKED_FOOT)
                                 : rng_below(&r, n);
        unsigned char was = x->now[at];
        x->now[at] ^= (unsigned char)(1 + rng_below(&r, 255));
        int rc = read_file(&s, &p, x, &e);
        cr_assert(rc == E_FORMAT || rc == E_DENIED || rc == E_UNSUPPORTED, "%zu: %d", at, rc);
        x->now[at] = was;
    }
    for (int k = 0; k < 40; k++) { /* torn, or with something behind it */
        struct err e = {0};
        x->n_now = k < 20 ? n - 1 - rng_below(&r, n - 1) : n - 1 - (size_t)k;
        cr_assert_neq(read_file(&s, &p, x, &e), 0);
    }
    x->n_now = n;
    struct err e = {0};
    cr_assert_eq(read_file(&s, &p, x, &e), 0, "%s", e.text);
    s.format.key[0] ^= 1;
    cr_assert_eq(read_file(&s, &p, x, &e), E_DENIED);
    fs_fini(&fs);
    unmake(&s);
}

/* Blocks of ours, but not at this place. */
Test(compress, blocks_do_not_change_places)
{
    static struct state s;
    struct packed p;
    struct err e = {0};
    if (!compress_available())
        return;
    make(&s);
    unsigned char *slab = (unsigned char *)(uintptr_t)s.slab.p;
    memcpy(slab + COMPRESS_CONTENT + 8, slab, 1000);
    codec_seal(&s.format, &s.h, s.part, s.head);
    struct fs_file *x = write_file(&s, &p);
    struct head h;
    cr_assert_eq(codec_open(&s.format, x->now, x->n_now, &h, &e), 0);
    cr_assert_eq(packed_open(&p, x->n_now, &h, &e), 0);
    size_t first = h.offset[PART_STATE], len = PACKED_BLOCK + bytes_get(x->now + first, 4);
    size_t second = first + len, other = PACKED_BLOCK + bytes_get(x->now + second, 4);
    unsigned char *copy = malloc(len + other);
    memcpy(copy, x->now + second, other);
    memcpy(copy + other, x->now + first, len);
    memcpy(x->now + first, copy, len + other);
    cr_assert_eq(read_file(&s, &p, x, &e), E_FORMAT);
    cr_assert(strstr(e.text, "another tag"), "%s", e.text);
    free(copy);
    fs_fini(&fs);
    unmake(&s);
}

Test(compress, other_kinds_are_never_packed)
{
    static struct state s;
    struct head h;
    struct err e = {0};
    make(&s);
    s.head[10] = CODEC_SHARED;
    codec_sign(&s.format, s.head);
    cr_assert_eq(codec_open(&s.format, s.head, CODEC_HEAD, &h, &e), E_FORMAT);
    cr_assert(strstr(e.text, "never packed"), "%s", e.text);
    unmake(&s);
}
