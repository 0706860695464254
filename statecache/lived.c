/* The count of seconds lived. */
#include "statecache/lived.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "statecache/store/fsio.h"

#define FILE_BYTES 16         /* the count, and its complement */
#define MOST (UINT64_C(1) << 40) /* 35,000 years: a file that says more is damaged */
#define PATH_BYTES 4200

static bool path_of(const char *dir, const char *name, char out[PATH_BYTES])
{
    return dir && (size_t)snprintf(out, PATH_BYTES, "%s/%s", dir, name) < PATH_BYTES;
}

void lived_open(struct lived *l, const struct fsio *io, const char *dir)
{
    char path[PATH_BYTES];
    uint64_t size = 0, words[2] = {0};
    *l = (struct lived){.base_s = 1, .start_ns = clock_now_ns()};
    int fd = path_of(dir, "lived", path) ? io->open(io->ctx, path, &size) : -1;
    if (fd < 0)
        return;
    if (size == FILE_BYTES && io->pread(io->ctx, fd, words, FILE_BYTES, 0) == FILE_BYTES &&
        words[0] == ~words[1] && words[0] < MOST)
        l->base_s = MAX(words[0], 1);
    else
        log_warn("%s is damaged: the age of sessions counts from the youngest one", path);
    io->close(io->ctx, fd);
}

uint64_t lived_now(const struct lived *l)
{
    return l->base_s + (clock_now_ns() - l->start_ns) / NS_PER_S;
}

void lived_seen(struct lived *l, uint64_t stamp_s)
{
    uint64_t now = lived_now(l);
    if (stamp_s > now && stamp_s < MOST)
        l->base_s += stamp_s - now;
}

uint64_t lived_since(const struct lived *l, uint64_t stamp_s)
{
    uint64_t now = lived_now(l);
    return stamp_s == 0 || stamp_s > now ? 0 : now - stamp_s;
}

void lived_close(const struct lived *l, const struct fsio *io, const char *dir)
{
    char path[PATH_BYTES], tmp[PATH_BYTES];
    uint64_t words[2] = {lived_now(l), ~lived_now(l)};
    if (!path_of(dir, "lived", path) || !path_of(dir, "lived.tmp", tmp))
        return;
    (void)io->unlink(io->ctx, tmp); /* of a run that was killed just here */
    int fd = io->create(io->ctx, tmp);
    if (fd < 0)
        return;
    words[1] = ~words[0];
    bool good = io->write(io->ctx, fd, words, FILE_BYTES) == FILE_BYTES;
    good = io->close(io->ctx, fd) == 0 && good;
    if (!good || io->rename(io->ctx, tmp, path))
        (void)io->unlink(io->ctx, tmp);
}
