/* A redis-server of a test's own on a Unix socket, and caches that share states through it. */
#ifndef TESTS_REDIS_RIG_H
#define TESTS_REDIS_RIG_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "statecache/shared/shared.h"
#include "statecache/shared/wire.h"
#include "tests/unit/fake_cache.h"

extern char **environ;

#define DIR_BYTES 64
struct rig {
    char dir[DIR_BYTES], socket[DIR_BYTES + 16], url[DIR_BYTES + 32], key[DIR_BYTES + 16];
    pid_t redis;
};

static inline void nap(void) { nanosleep(&(struct timespec){0, 20000000}, NULL); }

/* It takes connections. */
static inline bool answers(const struct rig *r)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(to.sun_path, sizeof(to.sun_path), "%s", r->socket);
    bool ok = fd >= 0 && connect(fd, (const struct sockaddr *)(const void *)&to, sizeof(to)) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

/* False: there is no redis-server here, or this is built without hiredis. */
static inline bool rig_open(struct rig *r)
{
    struct wire *w;
    struct shared_address a;
    if (shared_address_parse("redis://h", &a, NULL) || wire_open(&w, &a, NULL, NULL))
        return false;
    wire_close(w);
    snprintf(r->dir, sizeof(r->dir), "/tmp/recurd-shared-XXXXXX");
    cr_assert_not_null(mkdtemp(r->dir));
    snprintf(r->socket, sizeof(r->socket), "%s/s", r->dir);
    snprintf(r->url, sizeof(r->url), "redis+unix://%s", r->socket);
    snprintf(r->key, sizeof(r->key), "%s/key", r->dir);
    unsigned char key[CODEC_KEY] = {3};
    int fd = open(r->key, O_CREAT | O_WRONLY, 0600);
    cr_assert(fd >= 0 && write(fd, key, sizeof(key)) == sizeof(key) && close(fd) == 0);
    const char *argv[] = {"redis-server", "--port", "0", "--unixsocket", r->socket, "--save", "",
                          "--dir", r->dir, "--logfile", "/dev/null", NULL};
    if (posix_spawnp(&r->redis, argv[0], NULL, NULL, (char **)(uintptr_t)argv, environ))
        return false;
    for (int i = 0; i < 1500 && !answers(r); i++) {
        int status;
        if (waitpid(r->redis, &status, WNOHANG) == r->redis)
            return false;
        nap();
    }
    return answers(r);
}

static inline void rig_close(struct rig *r)
{
    char text[DIR_BYTES + 16];
    kill(r->redis, SIGKILL);
    waitpid(r->redis, NULL, 0);
    snprintf(text, sizeof(text), "%s/s", r->dir);
    (void)unlink(text);
    (void)unlink(r->key);
    (void)rmdir(r->dir);
}

/* o.shared_url is set. */
static inline void cache_join(struct fake *f, struct rig *r)
{
    f->o.key_file = r->key;
    f->o.shared_wait_ms = 10000;
    fake_open(f);
    for (int i = 0; i < 500 && !fake_shared_stats(f).up; i++) {
        statecache_tick(f->sc);
        nap();
    }
    cr_assert(fake_shared_stats(f).up);
}

static inline void cache_reach(struct fake *f, struct rig *r)
{
    f->o.shared_url = r->url;
    cache_join(f, r);
}

static inline void cache_open(struct fake *f, struct rig *r, bool paged)
{
    fake_init(f, paged, 4, 512);
    cache_reach(f, r);
}

#endif
