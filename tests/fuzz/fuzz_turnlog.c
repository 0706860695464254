/* The log of turns. The first byte chooses: a file of any bytes; frames that were written and then
 * changed, of which only those come back that are as they were; or any records in a frame with a
 * good seal, which end in sessions that make sense, or in none. */
#include <errno.h>

#include "base/bytes.h"
#include "base/log.h"
#include "statecache/store/change.h"
#include "statecache/store/turnlog.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/fake_cache.h"

/* ---- a folder in memory ------------------------------------------------------------------- */

#define FILES 64
static struct file { char path[96]; unsigned char *p; size_t n, at; } files[FILES];

static struct file *file_of(const char *path)
{
    for (int i = 0; i < FILES; i++)
        if (strcmp(files[i].path, path) == 0)
            return &files[i];
    return NULL;
}
static int mem_ok(void *ctx, const char *path)
{
    (void)ctx;
    (void)path;
    return 0;
}
static int mem_create(void *ctx, const char *path)
{
    (void)ctx;
    struct file *f = file_of(path) ? NULL : file_of("");
    if (!f)
        return -ENOSPC;
    free(f->p); /* of one that was removed */
    *f = (struct file){0};
    snprintf(f->path, sizeof f->path, "%s", path);
    return (int)(f - files);
}
static int mem_open(void *ctx, const char *path, uint64_t *size)
{
    (void)ctx;
    struct file *f = file_of(path);
    if (!f)
        return -ENOENT;
    *size = f->n;
    return (int)(f - files);
}
static int mem_size(void *ctx, int fd, uint64_t n)
{
    (void)ctx;
    struct file *f = &files[fd];
    if (n < f->n)
        return 0;
    HOLDS((f->p = realloc(f->p, n + 1)));
    memset(f->p + f->n, 0, n - f->n);
    f->n = n;
    return 0;
}
static ssize_t mem_write(void *ctx, int fd, const void *p, size_t n)
{
    struct file *f = &files[fd];
    (void)mem_size(ctx, fd, f->at + n);
    memcpy(f->p + f->at, p, n);
    f->at += n;
    return (ssize_t)n;
}
static ssize_t mem_pread(void *ctx, int fd, void *p, size_t n, uint64_t at)
{
    (void)ctx;
    const struct file *f = &files[fd];
    n = at < f->n ? MIN(n, f->n - at) : 0;
    if (n)
        memcpy(p, f->p + at, n);
    return (ssize_t)n;
}
static int mem_fd(void *ctx, int fd)
{
    (void)ctx;
    (void)fd;
    return 0;
}
static int mem_rename(void *ctx, const char *from, const char *to)
{
    (void)ctx;
    struct file *f = file_of(from), *old = file_of(to);
    if (old)
        old->path[0] = 0;
    if (f)
        snprintf(f->path, sizeof f->path, "%s", to);
    return f ? 0 : -ENOENT;
}
static int mem_unlink(void *ctx, const char *path)
{
    (void)ctx;
    struct file *f = file_of(path);
    if (f)
        f->path[0] = 0;
    return f ? 0 : -ENOENT;
}
static int mem_list(void *ctx, const char *path, void (*each)(void *arg, const char *name),
                    void *arg)
{
    (void)ctx;
    size_t n = strlen(path);
    for (int i = 0; i < FILES; i++)
        if (strncmp(files[i].path, path, n) == 0 && files[i].path[n] == '/' &&
            !strchr(files[i].path + n + 1, '/')) {
            char name[96];
            snprintf(name, sizeof name, "%s", files[i].path + n + 1);
            each(arg, name);
        }
    return 0;
}
static const struct fsio io = {
    .mkdir = mem_ok, .create = mem_create, .open = mem_open, .allocate = mem_size,
    .write = mem_write, .pread = mem_pread, .fsync = mem_fd, .close = mem_fd,
    .rename = mem_rename, .unlink = mem_unlink, .sync_dir = mem_ok, .list = mem_list,
    .lock = mem_ok,
};
static void clear(void)
{
    for (int i = 0; i < FILES; i++) {
        free(files[i].p);
        files[i] = (struct file){0};
    }
}
static struct file *put(const char *path, const void *p, size_t n)
{
    int fd = mem_create(NULL, path);
    HOLDS(fd >= 0 && mem_write(NULL, fd, p, n) == (ssize_t)n);
    return &files[fd];
}

/* ---- the properties ----------------------------------------------------------------------- */

static struct format format;
static unsigned char written[3][4096];
static size_t n_written[3];

static void any_frame(void *arg, const unsigned char *records, size_t n)
{
    (void)arg;
    struct change c;
    struct err e = {0};
    size_t used = 0;
    for (size_t at = 0; at < n; at += used) {
        e.code = 0;
        int rc = change_decode(records + at, n - at, &c, &used, &e);
        HOLDS(rc == e.code && (rc == 0 || e.text[0]));
        if (rc)
            return;
        HOLDS(used > 0 && used <= n - at);
        struct buf b;
        buf_init(&b, 1 << 20);
        HOLDS(!change_encode(&b, &c) && b.len == used);
        buf_free(&b);
    }
}
static void one_of_those(void *arg, const unsigned char *records, size_t n)
{
    (void)arg;
    bool same = false;
    for (int i = 0; i < 3; i++)
        same |= n == n_written[i] && memcmp(records, written[i], n) == 0;
    HOLDS(same);
}
static void write_frames(const uint8_t *data, size_t n, int frames)
{
    struct turnlog l;
    struct err e = {0};
    struct buf b;
    uint64_t segment;
    buf_init(&b, 1 << 20);
    HOLDS(!turnlog_open(&l, &io, "/d", &format, 1 << 16, any_frame, NULL, &e));
    for (int i = 0; i < frames; i++) {
        static const char head[TURNLOG_HEAD];
        n_written[i] = MIN(n, sizeof written[i]) / (size_t)frames;
        memcpy(written[i], data + (size_t)i * n_written[i], n_written[i]);
        buf_clear(&b);
        HOLDS(!buf_add(&b, head, sizeof head) && !buf_add(&b, written[i], n_written[i]));
        HOLDS(!turnlog_append(&l, &b, 1, &segment, &e));
    }
    turnlog_close(&l);
    buf_free(&b);
}
static void open_log(void (*each)(void *arg, const unsigned char *records, size_t n))
{
    struct turnlog l;
    struct err e = {0};
    int rc = turnlog_open(&l, &io, "/d", &format, 1 << 16, each, NULL, &e);
    HOLDS(rc == e.code && (rc == 0 || e.text[0]));
    turnlog_close(&l);
}
/* A whole cache over records of any bytes, but for the model's tag of the first. */
static void open_cache(const uint8_t *data, size_t n)
{
    struct fake f;
    struct err e = {0};
    struct session_info s[8];
    bool more;
    static const struct tenant_tag none;
    fake_init(&f, false, 2, 8);
    f.o.dir = "/d";
    f.o.io = &io;
    f.o.disk_bytes = 1 << 20;
    codec_layout(&format, &f.plan, f.o.stretch);
    codec_numerics(f.o.numerics, format.numerics);
    uint8_t *copy = malloc(n + 64);
    memcpy(copy, data, n);
    if (n >= 24)
        change_model(&format, copy + 8);
    write_frames(copy, n, 1);
    free(copy);
    if (!statecache_open(&f.sc, &f.o, &e)) {
        int k = session_list(f.sc, &none, NULL, s, 8, &more);
        for (int i = 0; i < k; i++) {
            int32_t *ids = malloc(((size_t)s[i].position + 1) * sizeof *ids);
            int64_t count = s[i].position;
            HOLDS(!session_tokens(f.sc, &none, &s[i].id, 0, ids, &count, &e));
            for (int64_t j = 0; j < count; j++)
                HOLDS(ids[j] >= 0 && ids[j] < FAKE_VOCAB);
            free(ids);
            (void)fake_turn(&f, &s[i].id, (const int32_t[]){1, 2}, 2, 1);
        }
    } else {
        HOLDS(e.text[0]);
        f.sc = NULL;
    }
    fake_fini(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 4)
        return 0;
    log_set_level(-1);
    memset(&format, 0, sizeof format);
    put("/d/key", format.key, CODEC_KEY);
    if (data[0] % 3 == 0) {
        put("/d/log/0000000000000001", data + 1, n - 1);
        open_log(any_frame);
        any_frame(NULL, data + 1, n - 1);
    } else if (data[0] % 3 == 1) {
        write_frames(data + 4, n - 4, 1 + data[1] % 3);
        struct file *f = file_of("/d/log/0000000000000001");
        for (size_t i = 4; f && i + 2 < MIN(n, 16); i += 3)
            f->p[(data[i] << 8 | data[i + 1]) % f->n] ^= data[i + 2];
        open_log(one_of_those);
    } else {
        open_cache(data + 1, n - 1);
    }
    clear();
    return 0;
}
