/* Exported sessions with any field and any byte changed, and then sealed again with the right key:
 * what only the checks behind the seal can refuse. What is accepted must be usable. */
#include "statecache/codec.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/fake_cache.h"

static struct fake f;
static struct buf good[2]; /* two exported sessions, one with KV pages */
static const struct tenant_tag none;

static void make(int which)
{
    struct session_info s;
    struct err e = {0};
    int32_t tokens[200];
    fake_tokens(tokens, 200, 1);
    buf_init(&good[which], 1 << 20);
    HOLDS(!session_create(f.sc, &none, 0, &s, &e));
    HOLDS(fake_turn(&f, &s.id, tokens, 30 + which * 100, 2) > 0);
    HOLDS(fake_turn(&f, &s.id, tokens, 10, 2) > 0);
    HOLDS(!session_export(f.sc, &none, &s.id, &good[which], &e));
}

/* A digest for every part as the table places it, where that is inside the blob. */
static void redigest(unsigned char *p, size_t n)
{
    for (int i = 0; i < PARTS; i++) {
        unsigned char *row = p + 160 + 64 * i;
        uint64_t at, bytes;
        memcpy(&at, row + 16, 8);
        memcpy(&bytes, row + 24, 8);
        struct head h = {0};
        struct piece piece = {p + (at <= n ? at : 0), at <= n && bytes <= n - at ? bytes : 0};
        struct part part[PARTS] = {{&piece, 1}};
        unsigned char head[CODEC_HEAD];
        codec_seal(&f.sc->format, &h, part, head);
        memcpy(row + 32, head + 160 + 32, CODEC_DIGEST);
    }
}

static void use(const struct session_info *s)
{
    struct err e = {0};
    int32_t token = 3;
    struct session_info t;
    HOLDS(s->position >= 0 && s->turns >= 0);
    HOLDS(fake_turn(&f, &s->id, &token, 1, 1) >= -1); /* a changed state answers wrong: -1 */
    HOLDS(!session_fork(f.sc, &none, &s->id, -1, &t, &e));
    HOLDS(!session_delete(f.sc, &none, &t.id, &e));
    HOLDS(!session_delete(f.sc, &none, &s->id, &e));
    statecache_tick(f.sc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static bool ready;
    if (!ready) {
        fake_init(&f, true, 4, 300);
        fake_open(&f);
        memset(f.sc->format.key, 7, sizeof(f.sc->format.key)); /* the same in every process */
        make(0);
        make(1);
        ready = true;
    }
    if (n < 2)
        return 0;
    const struct buf *from = &good[data[0] & 1];
    size_t len = from->len;
    unsigned char *p = malloc(len);
    struct session_info s;
    struct err e = {0};
    memcpy(p, from->p, len);
    bool digests = data[0] & 2;
    size_t cut = data[0] & 4 ? data[1] * (size_t)16 : 0;
    /* Changes of three bytes: where (a head, or anywhere) and to what. */
    for (size_t i = 2; i + 3 <= n; i += 3) {
        size_t at = data[i] | (size_t)data[i + 1] << 8;
        p[at % len] = data[i + 2];
    }
    len -= MIN(cut, len);
    if (digests && len >= CODEC_HEAD)
        redigest(p, len);
    if (len >= CODEC_HEAD)
        codec_sign(&f.sc->format, p);
    if (!session_import(f.sc, &none, p, len, &s, &e))
        use(&s);
    free(p);
    return 0;
}
