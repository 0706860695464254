/* Segments and frames. */
#include "statecache/store/turnlog.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"

static const char magic[8] = {'R', 'E', 'C', 'U', 'R', 'D', 'L', 'G'};

enum { AT_MAGIC = 0, AT_VERSION = 8, AT_HEAD = 10, AT_RECORDS = 12, AT_SEGMENT = 16,
       AT_OFFSET = 24, AT_FRAME = 32, AT_BYTES = 40, AT_DIGEST = 48, AT_HMAC = 80 };
enum { VERSION = 1, DIGEST = 32 };
_Static_assert(AT_DIGEST + DIGEST == AT_HMAC &&
               AT_HMAC + crypto_auth_hmacsha256_BYTES == TURNLOG_HEAD, "the frame's layout");

#define SHARE_OF 16                      /* of the disk budget; but */
#define SHARE_LEAST (UINT64_C(16) << 10) /* of no budget below twice this, and */
#define SHARE_MOST (UINT64_C(64) << 20)
#define USUAL_OF 8 /* segments in a share: the oldest must go before the share is full */
#define USUAL_LEAST (UINT64_C(2) << 10)
#define USUAL_MOST (UINT64_C(1) << 20)

static uint64_t padded(uint64_t n)
{
    return (n + TURNLOG_BLOCK - 1) / TURNLOG_BLOCK * TURNLOG_BLOCK;
}

uint64_t turnlog_share(uint64_t disk_bytes)
{
    if (disk_bytes < 2 * SHARE_LEAST)
        return 0;
    return MIN(MAX(disk_bytes / SHARE_OF, SHARE_LEAST), SHARE_MOST);
}

struct path { char p[STORE_PATH]; };

static struct path path_of(const struct turnlog *l, uint64_t number)
{
    struct path x;
    snprintf(x.p, sizeof(x.p), "%s/log/%016" PRIx64, l->dir, number);
    return x;
}

static struct path folder(const struct turnlog *l)
{
    struct path x;
    snprintf(x.p, sizeof(x.p), "%s/log", l->dir);
    return x;
}

/* ---- reading ------------------------------------------------------------------------------ */

static void seal(const struct turnlog *l, unsigned char *frame, size_t n, uint32_t n_records,
                 uint64_t segment, uint64_t offset)
{
    memset(frame, 0, TURNLOG_HEAD);
    memcpy(frame + AT_MAGIC, magic, sizeof(magic));
    bytes_put(frame + AT_VERSION, VERSION, 2);
    bytes_put(frame + AT_HEAD, TURNLOG_HEAD, 2);
    bytes_put(frame + AT_RECORDS, n_records, 4);
    bytes_put(frame + AT_SEGMENT, segment, 8);
    bytes_put(frame + AT_OFFSET, offset, 8);
    bytes_put(frame + AT_FRAME, l->next_frame, 8);
    bytes_put(frame + AT_BYTES, n, 8);
    crypto_generichash(frame + AT_DIGEST, DIGEST, frame + TURNLOG_HEAD, n, NULL, 0);
    crypto_auth_hmacsha256(frame + AT_HMAC, frame, AT_HMAC, l->format->key);
}

/* Is there a frame of ours at p, with `left` bytes to the file's end? Nothing its head says is
 * believed before the seal is checked. */
static int check_frame(const struct turnlog *l, const unsigned char *p, uint64_t left,
                       uint64_t segment, uint64_t offset, struct err *e)
{
    unsigned char digest[DIGEST];
    const struct format *f = l->format;
    if (crypto_auth_hmacsha256_verify(p + AT_HMAC, p, AT_HMAC, f->key) != 0 &&
        (!f->two || crypto_auth_hmacsha256_verify(p + AT_HMAC, p, AT_HMAC, f->old) != 0))
        return err_set(e, E_DENIED, "the seal does not match: torn, altered, or of another "
                       "install key");
    if (bytes_get(p + AT_VERSION, 2) != VERSION || bytes_get(p + AT_HEAD, 2) != TURNLOG_HEAD)
        return err_set(e, E_UNSUPPORTED, "log format version %u, this build reads %d",
                       (unsigned)bytes_get(p + AT_VERSION, 2), VERSION);
    if (bytes_get(p + AT_SEGMENT, 8) != segment || bytes_get(p + AT_OFFSET, 8) != offset)
        return err_set(e, E_FORMAT, "it was written to segment %" PRIx64 " at %" PRIu64,
                       bytes_get(p + AT_SEGMENT, 8), bytes_get(p + AT_OFFSET, 8));
    uint64_t n = bytes_get(p + AT_BYTES, 8);
    if (n > left - TURNLOG_HEAD)
        return err_set(e, E_FORMAT, "it has %" PRIu64 " bytes, %" PRIu64 " are there", n,
                       left - TURNLOG_HEAD);
    crypto_generichash(digest, sizeof(digest), p + TURNLOG_HEAD, n, NULL, 0);
    if (sodium_memcmp(digest, p + AT_DIGEST, sizeof(digest)) != 0)
        return err_set(e, E_FORMAT, "its %" PRIu64 " bytes have another digest", n);
    return 0;
}

int turnlog_reseal(const struct format *f, unsigned char *p, uint64_t n, uint64_t segment,
                   unsigned *anew, struct err *e)
{
    const struct turnlog l = {.format = f};
    struct err why = {0};
    *anew = 0;
    for (uint64_t at = 0; at + TURNLOG_HEAD <= n;) {
        unsigned char *x = p + at;
        bool ours = memcmp(x, magic, sizeof(magic)) == 0;
        int rc = ours ? check_frame(&l, x, n - at, segment, at, &why) : E_FORMAT;
        if (rc == E_UNSUPPORTED)
            return err_set(e, rc, "%s", why.text);
        if (!rc && crypto_auth_hmacsha256_verify(x + AT_HMAC, x, AT_HMAC, f->key) != 0) {
            crypto_auth_hmacsha256(x + AT_HMAC, x, AT_HMAC, f->key);
            ++*anew;
        }
        at += rc ? TURNLOG_BLOCK : padded(TURNLOG_HEAD + bytes_get(x + AT_BYTES, 8));
    }
    return 0;
}

/* What one reading of the log has seen. */
struct scan {
    struct turnlog *l;
    void (*each)(void *arg, const unsigned char *records, size_t n);
    void *arg;
    uint64_t last_frame; /* 0: none yet; they count from 1 */
    bool gap;
    int rc;
    struct err *e;
};

static void scan_bytes(struct scan *s, struct turnlog_segment *x, const unsigned char *p)
{
    uint64_t at = 0;
    struct err why = {0};
    while (!s->rc && at + TURNLOG_HEAD <= x->bytes) {
        if (memcmp(p + at, magic, sizeof(magic)) != 0) { /* never written, or torn */
            at += TURNLOG_BLOCK;
            continue;
        }
        int rc = check_frame(s->l, p + at, x->bytes - at, x->number, at, &why);
        if (rc == E_UNSUPPORTED) {
            s->rc = err_set(s->e, rc, "%s", why.text);
        } else if (rc) {
            x->bad = true;
            at += TURNLOG_BLOCK;
        } else {
            uint64_t n = bytes_get(p + at + AT_BYTES, 8), frame = bytes_get(p + at + AT_FRAME, 8);
            if (s->last_frame && frame > s->last_frame + 1) {
                log_error("the log of turns lacks frames %" PRIu64 " to %" PRIu64 ": the medium "
                          "lost or damaged them, and sessions may come back as before those turns",
                          s->last_frame + 1, frame - 1);
                s->gap = true;
            }
            s->last_frame = MAX(s->last_frame, frame);
            x->good++;
            s->each(s->arg, p + at + TURNLOG_HEAD, n);
            at += padded(TURNLOG_HEAD + n);
        }
    }
    if (x->bad && !x->good)
        log_warn("segment %" PRIx64 " of the log of turns has no frame that checks: %s", x->number,
                 why.text);
}

static void scan_segment(struct scan *s, struct turnlog_segment *x)
{
    struct turnlog *l = s->l;
    struct path path = path_of(l, x->number);
    unsigned char *p = NULL;
    int fd = l->io->open(l->io->ctx, path.p, &x->bytes);
    if (fd < 0) {
        s->rc = fsio_failed(s->e, fd, "cannot open", path.p);
        return;
    }
    if (x->bytes > TURNLOG_FILE_MAX) {
        log_warn("%s is no segment of a log: it has %" PRIu64 " bytes, at most %" PRIu64
                 " are possible", path.p, x->bytes, TURNLOG_FILE_MAX);
        x->bad = true;
    } else if (!(p = mem_array(1, x->bytes + 1))) {
        s->rc = err_set(s->e, E_NOMEM, "no memory for %" PRIu64 " bytes of %s", x->bytes, path.p);
    } else {
        int rc = fsio_read_all(l->io, fd, p, x->bytes, 0);
        if (rc)
            s->rc = fsio_failed(s->e, rc, "cannot read", path.p);
        else
            scan_bytes(s, x, p);
    }
    mem_free(p);
    (void)l->io->close(l->io->ctx, fd); /* read-only */
    l->bytes += x->bytes;
}

struct listing {
    struct turnlog *l;
    bool many;
};

static void note(void *arg, const char *text)
{
    struct listing *x = arg;
    struct turnlog *l = x->l;
    unsigned char b[8];
    size_t n = 0;
    if (strlen(text) != 16 || sodium_hex2bin(b, sizeof(b), text, 16, NULL, &n, NULL) || n != 8)
        return;
    if (l->n_segments == TURNLOG_SEGMENTS) {
        x->many = true;
        return;
    }
    uint64_t number = 0;
    for (int i = 0; i < 8; i++)
        number = number << 8 | b[i];
    if (number > 0 && number < UINT64_MAX / 2) /* others are not ours */
        l->segment[l->n_segments++] = (struct turnlog_segment){.number = number};
}

static int by_number(const void *a, const void *b)
{
    const struct turnlog_segment *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

int turnlog_open(struct turnlog *l, const struct fsio *io, const char *dir,
                 const struct format *f, uint64_t share,
                 void (*each)(void *arg, const unsigned char *records, size_t n), void *arg,
                 struct err *e)
{
    *l = (struct turnlog){.format = f, .limit = share, .next_segment = 1, .next_frame = 1,
                          .fd = -1};
    l->usual = MIN(MAX(padded(share / USUAL_OF), USUAL_LEAST), USUAL_MOST);
    if (strlen(dir) >= sizeof(l->dir))
        return err_set(e, E_RANGE, "state directory: its path has %zu bytes, at most %zu fit",
                       strlen(dir), sizeof(l->dir) - 1);
    memcpy(l->dir, dir, strlen(dir) + 1);
    struct path in = folder(l);
    int rc = io->mkdir(io->ctx, in.p);
    if (rc && rc != -EEXIST)
        return fsio_failed(e, rc, "cannot make", in.p);
    rc = io->sync_dir(io->ctx, dir); /* the folder must not vanish from under durable files */
    if (rc)
        return fsio_failed(e, rc, "cannot sync", dir);
    struct listing found = {.l = l};
    rc = io->list(io->ctx, in.p, note, &found);
    if (rc)
        return fsio_failed(e, rc, "cannot list", in.p);
    if (found.many)
        return err_set(e, E_RANGE, "%s has more than %d segments", in.p, TURNLOG_SEGMENTS);
    qsort(l->segment, (size_t)l->n_segments, sizeof(*l->segment), by_number);
    struct scan s = {.l = l, .each = each, .arg = arg, .e = e};
    l->io = io;
    for (int i = 0; i < l->n_segments && !s.rc; i++)
        scan_segment(&s, &l->segment[i]);
    for (int i = 0; i < l->n_segments; i++) /* else it is what a crash tore */
        l->segment[i].bad = l->segment[i].bad && (s.gap || !l->segment[i].good);
    if (l->n_segments)
        l->next_segment = l->segment[l->n_segments - 1].number + 1;
    l->next_frame = s.last_frame + 1;
    return s.rc;
}

void turnlog_steady(struct turnlog *l, uint64_t share) { l->limit = share / 2; }

void turnlog_close(struct turnlog *l)
{
    if (l->io)
        turnlog_seal(l);
    l->io = NULL;
}

/* ---- writing ------------------------------------------------------------------------------ */

void turnlog_seal(struct turnlog *l)
{
    if (l->fd >= 0)
        (void)l->io->close(l->io->ctx, l->fd); /* what counts was synced */
    l->fd = -1;
}

static int begin_segment(struct turnlog *l, uint64_t frame, struct err *e)
{
    uint64_t bytes = MAX(l->usual, frame);
    turnlog_seal(l);
    if (l->bytes + bytes > l->limit || l->n_segments == TURNLOG_SEGMENTS)
        return err_set(e, E_NOMEM, "the log of turns has %" PRIu64 " bytes in %d segments, %" PRIu64
                       " and %d are the limits", l->bytes, l->n_segments, l->limit,
                       TURNLOG_SEGMENTS);
    uint64_t number = l->next_segment++;
    struct path path = path_of(l, number);
    int fd = l->io->create(l->io->ctx, path.p);
    if (fd < 0)
        return fsio_failed(e, fd, "cannot make", path.p);
    int rc = l->io->allocate(l->io->ctx, fd, bytes);
    if (rc) {
        (void)l->io->close(l->io->ctx, fd);
        if (!l->io->unlink(l->io->ctx, path.p))
            return fsio_failed(e, rc, "no space for", path.p);
    } else {
        l->fd = fd;
        l->used = 0;
        l->named = false;
    }
    l->segment[l->n_segments++] = (struct turnlog_segment){.number = number, .bytes = bytes};
    l->bytes += bytes;
    return rc ? fsio_failed(e, rc, "no space for", path.p) : 0;
}

static int append_once(struct turnlog *l, struct buf *frame, size_t n, uint32_t n_records,
                       uint64_t *segment, struct err *e)
{
    const struct turnlog_segment *x = l->n_segments ? &l->segment[l->n_segments - 1] : NULL;
    if (l->fd < 0 || !x || frame->len > x->bytes - l->used) {
        int rc = begin_segment(l, frame->len, e);
        if (rc)
            return rc;
        x = &l->segment[l->n_segments - 1];
    }
    struct path path = path_of(l, x->number);
    seal(l, (unsigned char *)frame->p, n, n_records, x->number, l->used);
    const char *what = "cannot write";
    int rc = fsio_write_all(l->io, l->fd, frame->p, frame->len);
    if (!rc) {
        uint64_t start = clock_now_ns();
        what = "cannot sync";
        rc = l->io->fsync(l->io->ctx, l->fd);
        latency_add(&l->health.fsync, clock_now_ns() - start);
    }
    if (!rc && !l->named) {
        what = "cannot sync the folder of";
        rc = l->io->sync_dir(l->io->ctx, folder(l).p);
    }
    if (rc) {
        turnlog_seal(l); /* the kernel may have dropped what it could not write: never again here */
        return fsio_failed(e, rc, what, path.p);
    }
    l->named = true;
    l->used += frame->len;
    l->next_frame++;
    *segment = x->number;
    return 0;
}

int turnlog_append(struct turnlog *l, struct buf *frame, uint32_t n_records, uint64_t *segment,
                   struct err *e)
{
    static const char zeros[TURNLOG_BLOCK];
    size_t n = frame->len - TURNLOG_HEAD;
    struct err first = {0};
    if (!store_may_write(&l->health))
        return err_set(e, E_IO, "the log of turns failed a moment ago; it is tried again later");
    if (buf_add(frame, zeros, padded(frame->len) - frame->len))
        return err_set(e, E_NOMEM, "no memory for a frame of %zu bytes", n);
    int rc = append_once(l, frame, n, n_records, segment, &first);
    if (rc && rc != E_NOMEM) {
        l->health.write_errors++;
        log_warn("log of turns: %s; trying a new segment", first.text);
        err_clear(&first);
        rc = append_once(l, frame, n, n_records, segment, &first);
    }
    if (!rc) {
        if (l->health.sick)
            log_info("log of turns: it takes frames again");
        l->health.sick = false;
        return 0;
    }
    l->health.write_errors++;
    if (rc != E_NOMEM) {
        if (!l->health.sick)
            log_error("log of turns: %s; turns wait for their states meanwhile, one frame a minute "
                      "is tried", first.text);
        l->health.sick = true;
        l->health.retry_ns = clock_now_ns() + STORE_RETRY_NS;
    }
    return err_set(e, rc, "%s", first.text);
}

int turnlog_drop(struct turnlog *l, uint64_t below, struct err *e)
{
    while (l->n_segments > 0) {
        const struct turnlog_segment x = l->segment[0];
        if (x.number >= below || (l->n_segments == 1 && l->fd >= 0))
            return 0;
        struct path path = path_of(l, x.number), to;
        snprintf(to.p, sizeof(to.p), "%s/quarantine/log-%" PRIx64 ".%" PRIx64, l->dir, x.number,
                 clock_unix_s());
        int rc = x.bad ? l->io->rename(l->io->ctx, path.p, to.p)
                       : l->io->unlink(l->io->ctx, path.p);
        if (!rc || rc == -ENOENT)
            rc = l->io->sync_dir(l->io->ctx, folder(l).p);
        if (rc)
            return fsio_failed(e, rc, "cannot remove", path.p);
        if (x.bad)
            log_warn("log of turns: segment %" PRIx64 " is moved to quarantine", x.number);
        l->quarantined += x.bad ? x.bytes : 0;
        l->bytes -= x.bytes;
        l->n_segments--;
        memmove(&l->segment[0], &l->segment[1], (size_t)l->n_segments * sizeof(*l->segment));
    }
    return 0;
}
