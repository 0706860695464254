/* See part_file.h. The journal is only ever appended to, and is no promise: whatever it says of the
 * file is compared with the file's bytes, so neither has to be synced before the end. */
#include "models/files/part_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "models/files/jsontext.h"

#define SPAN_BYTES MIB(1) /* at least so much lies between two places to go on from */
#define READ_BYTES KIB(256)
#define OPEN_TRIES 8

static const char magic[8] = {'r', 'e', 'c', 'u', 'r', 'd', 'J', '1'};

struct title { /* of the journal */
    char magic[sizeof magic];
    unsigned char what[PART_DIGEST];
};

struct record {
    uint64_t end;
    unsigned char digest[PART_DIGEST]; /* over the one before, `end` and the span's bytes */
};

struct part_file {
    char *path, *part, *journal;
    FILE *file;
    int notes;                 /* the journal's descriptor; -1: none is kept */
    struct err *e;
    uint64_t at, kept, noted;  /* bytes passed, found there at the start, told in the journal */
    crypto_generichash_state span;
    unsigned char last[PART_DIGEST];
    bool whole;
};

static void fail(struct part_file *p, const char *path, const char *what)
{
    err_set(p->e, E_IO, "%s: %s: %s", jsontext_tail(path), what, strerror(errno));
}

/* ---- opening ---------------------------------------------------------------------------- */

/* The .part file, locked; -1 and e. It may have got its name from who held the lock. */
static int open_locked(struct part_file *p)
{
    struct stat is, named;
    for (int i = 0; i < OPEN_TRIES; i++) {
        int fd = open(p->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (fd < 0) {
            fail(p, p->part, "cannot be written");
            return -1;
        }
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            err_set(p->e, errno == EWOULDBLOCK ? E_CONFLICT : E_IO, "%s: %s",
                    jsontext_tail(p->part), errno == EWOULDBLOCK
                    ? "another process is writing it" : "cannot be locked");
            close(fd);
            return -1;
        }
        if (fstat(fd, &is) == 0 && stat(p->part, &named) == 0 && is.st_ino == named.st_ino &&
            is.st_dev == named.st_dev)
            return fd;
        close(fd);
    }
    err_set(p->e, E_CONFLICT, "%s: other processes are writing it", jsontext_tail(p->part));
    return -1;
}

static char *joined(const char *path, const char *tail)
{
    size_t n = strlen(path) + strlen(tail) + 1;
    char *s = mem_zalloc(n);
    if (s)
        snprintf(s, n, "%s%s", path, tail);
    return s;
}

struct part_file *part_open(const char *path, struct err *e)
{
    struct part_file *p = mem_zalloc(sizeof *p);
    if (p) {
        *p = (struct part_file){.path = joined(path, ""), .part = joined(path, ".part"),
                                .journal = joined(path, ".part.journal"), .notes = -1, .e = e};
    }
    if (!p || !p->path || !p->part || !p->journal) {
        err_set(e, E_NOMEM, "%s: out of memory", jsontext_tail(path));
        part_close(p);
        return NULL;
    }
    int fd = open_locked(p);
    p->file = fd >= 0 ? fdopen(fd, "r+b") : NULL;
    if (!p->file) {
        fail(p, path, "cannot be written");
        if (fd >= 0)
            close(fd);
    }
    return p;
}

/* ---- what an earlier run left ----------------------------------------------------------- */

static void start_span(struct part_file *p)
{
    crypto_generichash_init(&p->span, NULL, 0, PART_DIGEST);
    crypto_generichash_update(&p->span, p->last, sizeof p->last);
}

static void end_span(struct part_file *p, struct record *r)
{
    crypto_generichash_update(&p->span, (const unsigned char *)&r->end, sizeof r->end);
    crypto_generichash_final(&p->span, r->digest, sizeof r->digest);
}

static void digest_of(const unsigned char *source, const void *head, size_t n,
                      unsigned char out[PART_DIGEST])
{
    crypto_generichash_state h;
    const char *words[] = {version_number(), version_commit()};
    crypto_generichash_init(&h, NULL, 0, PART_DIGEST);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        crypto_generichash_update(&h, (const unsigned char *)words[i], strlen(words[i]) + 1);
    crypto_generichash_update(&h, source, PART_DIGEST);
    crypto_generichash_update(&h, head, n);
    crypto_generichash_final(&h, out, PART_DIGEST);
}

/* The file's bytes [at, end) into the span; false: they are not there. */
static bool add_bytes(struct part_file *p, uint64_t at, uint64_t end)
{
    unsigned char *b = mem_zalloc(READ_BYTES);
    bool good = b != NULL;
    for (; good && at < end;) {
        size_t want = (size_t)MIN((uint64_t)READ_BYTES, end - at);
        ssize_t got = pread(fileno(p->file), b, want, (off_t)at);
        good = got > 0;
        if (good)
            crypto_generichash_update(&p->span, b, (size_t)got);
        at += good ? (uint64_t)got : 0;
    }
    mem_free(b);
    return good;
}

static bool has_head(const struct part_file *p, const void *head, size_t n)
{
    char *b = mem_zalloc(n);
    bool same = b && pread(fileno(p->file), b, n, 0) == (ssize_t)n && memcmp(b, head, n) == 0;
    mem_free(b);
    return same;
}

/* Follows the journal as far as the file has what it says; returns the journal's good bytes. */
static uint64_t follow(struct part_file *p, const struct title *t, const void *head, size_t n)
{
    struct title is;
    struct record r, has;
    uint64_t at = sizeof is;
    if (pread(p->notes, &is, sizeof is, 0) != sizeof is || memcmp(&is, t, sizeof is) != 0 ||
        !has_head(p, head, n))
        return 0;
    for (p->kept = n; pread(p->notes, &has, sizeof has, (off_t)at) == sizeof has; at += sizeof r) {
        start_span(p);
        r.end = has.end;
        if (has.end <= p->kept || has.end > INT64_MAX || !add_bytes(p, p->kept, has.end))
            break;
        end_span(p, &r);
        if (memcmp(&r, &has, sizeof r) != 0)
            break;
        memcpy(p->last, r.digest, sizeof p->last);
        p->kept = r.end;
    }
    return at;
}

void part_begin(struct part_file *p, const unsigned char source[PART_DIGEST], const void *head,
                size_t n)
{
    struct title t;
    uint64_t good = 0;
    if (p->e->code)
        return;
    memcpy(t.magic, magic, sizeof magic);
    if (source) {
        digest_of(source, head, n, t.what);
        memcpy(p->last, t.what, sizeof p->last);
        p->notes = open(p->journal, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (p->notes < 0)
            fail(p, p->journal, "cannot be written");
        else
            good = follow(p, &t, head, n);
    }
    if (p->kept > n)
        log_info("%s: goes on behind %" PRIu64 " MB that an interrupted run wrote",
                 jsontext_tail(p->part), p->kept / 1000000);
    if (p->e->code == 0 && (ftruncate(fileno(p->file), (off_t)p->kept) != 0 ||
                            fseeko(p->file, (off_t)p->kept, SEEK_SET) != 0 ||
                            (p->kept == 0 && fwrite(head, 1, n, p->file) != n)))
        fail(p, p->part, "cannot be written");
    if (p->notes >= 0 && (ftruncate(p->notes, (off_t)good) != 0 ||
                          (good == 0 && write(p->notes, &t, sizeof t) != sizeof t)))
        fail(p, p->journal, "cannot be written");
    p->at = n;
    p->noted = MAX(p->kept, (uint64_t)n);
    start_span(p);
}

/* ---- writing ---------------------------------------------------------------------------- */

bool part_has(struct part_file *p, uint64_t n)
{
    if (p->e->code || p->at + n > p->kept) {
        if (p->e->code == 0 && p->at < p->kept)
            err_set(p->e, E_CONFLICT, "%s: was begun by another build of this program; remove it",
                    jsontext_tail(p->part));
        return false;
    }
    p->at += n;
    return true;
}

void part_put(struct part_file *p, const void *bytes, size_t n)
{
    if (p->e->code || n == 0)
        return;
    if (fwrite(bytes, 1, n, p->file) != n)
        fail(p, p->path, "cannot be written");
    if (p->notes >= 0)
        crypto_generichash_update(&p->span, bytes, n);
    p->at += n;
}

void part_unit(struct part_file *p)
{
    struct record r = {.end = p->at};
    if (p->e->code || p->notes < 0 || p->at < p->noted + SPAN_BYTES)
        return;
    end_span(p, &r);
    memcpy(p->last, r.digest, sizeof p->last);
    if (fflush(p->file) != 0)
        fail(p, p->path, "cannot be written");
    else if (write(p->notes, &r, sizeof r) != sizeof r)
        fail(p, p->journal, "cannot be written");
    p->noted = p->at;
    start_span(p);
}

int part_finish(struct part_file *p)
{
    if (p->e->code)
        return p->e->code;
    if (fflush(p->file) != 0 || fsync(fileno(p->file)) != 0)
        fail(p, p->path, "cannot be written");
    else if (rename(p->part, p->path) != 0)
        fail(p, p->path, "cannot be put in its place");
    else
        p->whole = true;
    return p->e->code;
}

void part_close(struct part_file *p)
{
    if (!p)
        return;
    bool goes_on = p->notes >= 0 && (p->e->code == E_IO || p->e->code == E_NOMEM);
    if (p->file && !p->whole && !goes_on)
        unlink(p->part);
    if (p->file && !goes_on)
        unlink(p->journal);
    if (p->notes >= 0)
        close(p->notes);
    if (p->file)
        fclose(p->file);
    mem_free(p->path);
    mem_free(p->part);
    mem_free(p->journal);
    mem_free(p);
}
