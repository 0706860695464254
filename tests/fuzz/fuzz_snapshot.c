/* Exported sessions, and files of a state directory, with any field and any byte changed, and then
 * sealed again with the right key: what only the checks behind the seal can refuse. What is
 * accepted must be usable. */
#include "base/log.h"
#include "statecache/store/codec.h"
#define FS_FILES 64   /* what is cleared for every input, */
#define FS_OPS 256
#define FAKE_VOCAB 12 /* and computed */
#define FAKE_STATE 48
#include "tests/fuzz/fuzz.h"
#ifdef __clang__ /* what is looked for is in the cache, not in the disk and model around it */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif
#include "tests/fault/fake_fs.h"
#include "tests/unit/fake_cache.h"
#ifdef __clang__
#pragma clang attribute pop
#endif

#define AT_ID 96
#define AT_PATH 160

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
static void redigest(const struct format *format, unsigned char *p, size_t n)
{
    for (int i = 0; i < PARTS; i++) {
        unsigned char *row = p + CODEC_TABLE + 64 * i;
        uint64_t at, bytes;
        memcpy(&at, row + 16, 8);
        memcpy(&bytes, row + 24, 8);
        struct head h = {0};
        struct piece piece = {p + (at <= n ? at : 0), at <= n && bytes <= n - at ? bytes : 0};
        struct part part[PARTS] = {{&piece, 1}};
        unsigned char head[CODEC_HEAD];
        codec_seal(format, &h, part, head);
        memcpy(row + 32, head + CODEC_TABLE + 32, CODEC_DIGEST);
    }
}

/* A turn takes as long as several inputs: some bits of the first byte ask for it. */
static bool lives(uint8_t first) { return (first & 48) == 48; }

static void use(const struct session_info *s, bool whole)
{
    struct err e = {0};
    int32_t token = 3;
    struct session_info t;
    HOLDS(s->position >= 0 && s->turns >= 0);
    HOLDS(!whole || fake_turn(&f, &s->id, &token, 1, 1) >= -1); /* -1: changed, it is wrong */
    HOLDS(!session_fork(f.sc, &none, &s->id, -1, &t, &e));
    HOLDS(!session_delete(f.sc, &none, &t.id, NULL, &e));
    HOLDS(!session_delete(f.sc, &none, &s->id, NULL, &e));
    statecache_tick(f.sc);
}

/* ---- a state directory -------------------------------------------------------------------- */

static struct fake g;
static struct fs disk;
static struct image { char path[160]; unsigned char p[4096]; size_t n; } image[64];
static int n_image;
static struct format format; /* of the directory's files */
static struct session_id sessions[2];

static void put_file(const char *path, const void *p, size_t n)
{
    int fd = disk.io.create(disk.io.ctx, path);
    HOLDS(fd >= 0 && disk.io.write(disk.io.ctx, fd, p, n) > 0);
}

static void fresh_disk(void)
{
    unsigned char key[CODEC_KEY];
    memset(key, 7, sizeof(key)); /* the same in every process */
    fs_init(&disk, 1);
    disk.whole_writes = true;
    put_file("/s/key", key, sizeof(key));
}

/* A session whose path has whole stretches, and a fork of it. */
static void make_image(void)
{
    struct session_info s;
    struct err e = {0};
    int32_t tokens[200];
    fake_tokens(tokens, 200, 2);
    fresh_disk();
    fake_init(&g, true, 4, 300);
    g.o.dir = "/s";
    g.o.io = &disk.io;
    g.o.compress_disk = COMPRESS_NEVER; /* what is changed is what the checks behind seals see */
    g.o.disk_bytes = 1 << 20; /* a segment of the log is small then */
    fake_open(&g);
    HOLDS(!session_create(g.sc, &none, 0, &s, &e));
    sessions[0] = s.id;
    HOLDS(fake_turn(&g, &s.id, tokens, 100, 2) > 0);
    HOLDS(!session_fork(g.sc, &none, &s.id, 50, &s, &e));
    sessions[1] = s.id;
    HOLDS(fake_turn(&g, &s.id, tokens + 100, 30, 2) > 0);
    format = g.sc->format;
    statecache_close(g.sc);
    for (int i = 0; i < disk.n_now; i++) {
        const struct fs_file *x = &disk.files[disk.now[i].file];
        if (strcmp(disk.now[i].path, "/s/key") == 0)
            continue;
        HOLDS(n_image < 64 && x->n_now <= sizeof(image->p));
        struct image *to = &image[n_image++];
        memcpy(to->path, disk.now[i].path, sizeof(to->path));
        memcpy(to->p, x->now, x->n_now);
        to->n = x->n_now;
    }
    fs_fini(&disk);
}

/* The name that a state or a stretch with these bytes has. */
static void rename_file(struct image *x)
{
    uint64_t at, bytes;
    unsigned char name[16];
    memcpy(&at, x->p + CODEC_TABLE + 16, 8);
    memcpy(&bytes, x->p + CODEC_TABLE + 24, 8);
    if (at > x->n || bytes > x->n - at)
        return;
    int32_t *tokens = malloc(bytes + 4);
    memcpy(tokens, x->p + at, bytes);
    codec_name(&format, x->p + 80, x->p + AT_PATH, tokens, (int64_t)bytes / 4, name);
    free(tokens);
    memcpy(x->p + AT_ID, name, sizeof(name));
    char *digits = strrchr(x->path, '/') + 1;
    for (int i = 0; i < 16; i++)
        snprintf(digits + 2 * i, 3, "%02x", name[i]);
}

static void check_directory(const uint8_t *data, size_t n)
{
    static struct image changed;
    const struct image *which = &image[data[1] % n_image];
    changed = *which;
    for (size_t i = 2; i + 3 <= n; i += 3)
        changed.p[(data[i] | (size_t)data[i + 1] << 8) % changed.n] = data[i + 2];
    fresh_disk();
    if (data[0] & 2)
        redigest(&format, changed.p, changed.n);
    if (data[0] & 4 && !strstr(changed.path, "/sessions/"))
        rename_file(&changed);
    codec_sign(&format, changed.p);
    for (int i = 0; i < n_image; i++)
        if (&image[i] != which && strcmp(image[i].path, changed.path) != 0)
            put_file(image[i].path, image[i].p, image[i].n);
    put_file(changed.path, changed.p, changed.n);
    fake_open(&g);
    for (int i = 0; i < 2; i++) {
        struct session_info s;
        struct err e = {0};
        int32_t token = 3;
        if (session_get(g.sc, &none, &sessions[i], &s, &e))
            continue;
        HOLDS(!lives(data[0]) || fake_turn(&g, &s.id, &token, 1, 1) >= -1);
        HOLDS(!session_delete(g.sc, &none, &s.id, NULL, &e));
        statecache_tick(g.sc);
    }
    for (struct tenant *t = g.sc->tenants; t; t = t->next)
        HOLDS(prefix_check(&g.sc->prefix, t->root));
    statecache_close(g.sc);
    g.sc = NULL;
    fs_fini(&disk);
}

/* ---- exported sessions -------------------------------------------------------------------- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static bool ready;
    if (!ready) {
        fake_init(&f, true, 4, 300);
        fake_open(&f);
        memset(f.sc->format.key, 7, sizeof(f.sc->format.key)); /* the same in every process */
        memset(f.sc->format.names, 7, sizeof(f.sc->format.names));
        make(0);
        make(1);
        log_set_level(-1); /* everything is refused, thousands of times */
        make_image();
        ready = true;
    }
    if (n < 2)
        return 0;
    if (data[0] & 8) {
        check_directory(data, n);
        return 0;
    }
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
        redigest(&f.sc->format, p, len);
    if (len >= CODEC_HEAD)
        codec_sign(&f.sc->format, p);
    if (!session_import(f.sc, &none, p, len, &s, &e))
        use(&s, lives(data[0]));
    free(p);
    return 0;
}
