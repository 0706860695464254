/* Between the socket and the library. */
#include "server/http/guard.h"

#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"

/* Descriptors beyond this are not guarded, and so not served: 32 MiB of address space. */
#define FDS_MAX (1 << 22)
/* Of what still comes from a refused client so much is read, so that it can read the reply. */
#define DRAIN_BYTES KIB(256)
#define REPLY_BYTES KIB(4)
#define PAGE_BYTES 4096
#define KNOWN "0.9.75" /* its pools, and when it asks for more of a reply, were read */
#define LATELY 512 /* connections answered between two looks for events; more keep their pools */
#define ROUND_EVENTS 128 /* that the library asks for at once; nobody else here asks for as many */

struct guard {
    struct framing framing;
    guard_reply *reply;
    void *arg;
    bool refused;
    uint32_t answered; /* messages */
    void *pool;        /* NULL: it does not look like one */
};

static struct guard **table; /* [room], by descriptor; atomic */
static size_t room;
static int guarded; /* atomic: how many */
static bool known;  /* the library is of that version; since guard_check */
static _Thread_local int lately[LATELY], n_lately; /* answered, of this worker */
static _Thread_local bool filled; /* its last look for events found as many as it asked for */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_table(void)
{
    struct rlimit r;
    size_t n = FDS_MAX;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_max < FDS_MAX)
        n = (size_t)r.rlim_max;
    table = mem_array(n, sizeof *table); /* pages nobody touches cost nothing */
    room = table ? n : 0;
}

static struct guard *guard_of(int fd)
{
    return fd >= 0 && (size_t)fd < room ? __atomic_load_n(&table[fd], __ATOMIC_ACQUIRE) : NULL;
}

bool guard_add(int fd, guard_reply *reply, void *arg)
{
    pthread_once(&once, make_table);
    struct guard *g = fd >= 0 && (size_t)fd < room ? mem_zalloc(sizeof *g) : NULL;
    if (!g)
        return false;
    framing_init(&g->framing);
    g->reply = reply;
    g->arg = arg;
    __atomic_add_fetch(&guarded, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&table[fd], g, __ATOMIC_RELEASE);
    return true;
}

void guard_remove(int fd)
{
    struct guard *g = guard_of(fd);
    if (!g)
        return;
    for (int i = 0; i < n_lately; i++) /* the descriptor may be another worker's next */
        if (lately[i] == fd)
            lately[i--] = lately[--n_lately];
    __atomic_store_n(&table[fd], NULL, __ATOMIC_RELEASE);
    __atomic_sub_fetch(&guarded, 1, __ATOMIC_RELAXED);
    mem_free(g);
}

void guard_next(int fd)
{
    struct guard *g = guard_of(fd);
    if (g)
        g->answered++;
    bool many = __atomic_load_n(&guarded, __ATOMIC_RELAXED) > GUARD_POOLS_KEPT;
    if (g && known && many && n_lately < LATELY)
        lately[n_lately++] = fd;
    /* The library would wait for more bytes; what it finds is the end, in recv() below. */
    if (g && g->framing.fault && !g->refused)
        shutdown(fd, SHUT_RD);
}

/* Says why, and reads what has come already: a reset would take the reply back. */
static void refuse(struct guard *g, int fd)
{
    struct buf out;
    char dropped[4096];
    ssize_t n = 1;
    g->refused = true;
    buf_init(&out, REPLY_BYTES);
    g->reply(g->arg, &g->framing, &out);
    if (!out.failed && out.len)
        (void)!send(fd, out.p, out.len, MSG_NOSIGNAL | MSG_DONTWAIT); /* who does not read… */
    buf_free(&out);
    shutdown(fd, SHUT_WR);
    for (size_t sum = 0; n > 0 && sum < DRAIN_BYTES; sum += (size_t)MAX(n, 0))
        n = recvfrom(fd, dropped, sizeof dropped, MSG_DONTWAIT, NULL, NULL);
}

/* The library's: it binds to the first recv() that is visible to it. See guard.h. */
__attribute__((visibility("default")))
ssize_t recv(int fd, void *buf, size_t n, int flags)
{
    struct guard *g = guard_of(fd);
    if (g && g->framing.fault) {
        if (!g->refused)
            refuse(g, fd);
        return 0;
    }
    ssize_t got = recvfrom(fd, buf, n, flags, NULL, NULL);
    if (!g || got <= 0 || flags & MSG_PEEK)
        return got;
    /* The buffer of a new request is the first half of the pool (of the KNOWN version). */
    if (n == GUARD_POOL_BYTES / 2 && (uintptr_t)buf % PAGE_BYTES == 0)
        g->pool = buf;
    size_t good = framing_feed(&g->framing, buf, (size_t)got);
    if (!g->framing.fault || good)
        return (ssize_t)good;
    refuse(g, fd);
    return 0;
}

/* Nothing that came is in the pool any more: all of it was whole messages, now answered. */
static bool is_empty(const struct guard *g)
{
    return framing_idle(&g->framing) && !g->framing.fault &&
           g->framing.messages == g->answered;
}

/* The library's as well: a worker that looks for events is done with what it answered, and has
 * filled the pools of connections that stay with zeros. Or it has found as many events as it asked
 * for, and looks for more before it does anything about these: then it must not wait. It would
 * sleep on them, and on a word to stop or to resume, if there were just so many. */
__attribute__((visibility("default")))
int epoll_wait(int epoll, struct epoll_event *events, int n, int timeout)
{
    while (n_lately > 0) {
        struct guard *g = guard_of(lately[--n_lately]);
        if (g && g->pool && is_empty(g))
            (void)madvise(g->pool, GUARD_POOL_BYTES, MADV_DONTNEED); /* or it stays as it is */
    }
    int found = epoll_pwait(epoll, events, n, filled && n == ROUND_EVENTS ? 0 : timeout, NULL);
    filled = found == ROUND_EVENTS;
    return found;
}

/* ---- whether the library is one that comes here --------------------------------------------- */

static void note_refusal(void *told, const struct framing *f, struct buf *out)
{
    (void)f;
    (void)out;
    *(bool *)told = true;
}

static enum MHD_Result no_request(void *arg, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n, void **state)
{
    (void)arg, (void)c, (void)url, (void)method, (void)version, (void)data, (void)n, (void)state;
    return MHD_NO;
}

/* A fault is sent over a connection of a server of its own, which runs here and now. */
static int try(struct MHD_Daemon *d, const int pair[2], bool *told, struct err *e)
{
    static const char fault[] = "GET /\1 HTTP/1.1\r\n\r\n";
    struct sockaddr_un peer = {.sun_family = AF_UNIX};
    bool added = guard_add(pair[0], note_refusal, told);
    if (!added || send(pair[1], fault, sizeof fault - 1, MSG_NOSIGNAL) < 0) {
        int why = errno;
        guard_remove(pair[0]);
        close(pair[0]);
        return added ? err_set(e, E_IO, "the HTTP library could not be tried: %s", strerror(why))
                     : err_set(e, E_NOMEM, "no memory to try the HTTP library");
    }
    /* From here on it is the library's, which closes it, also when it does not take it. */
    if (MHD_add_connection(d, pair[0], (struct sockaddr *)&peer, sizeof peer) == MHD_YES)
        for (int i = 0; i < 4 && !*told; i++)
            (void)MHD_run(d);
    guard_remove(pair[0]);
    return 0;
}

int guard_check(struct err *e)
{
    int pair[2];
    struct MHD_Daemon *d = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL,
                                            no_request, NULL, MHD_OPTION_END);
    if (!d || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) {
        int why = errno;
        if (d)
            MHD_stop_daemon(d);
        return err_set(e, E_IO, "the HTTP library could not be tried: %s", strerror(why));
    }
    bool told = false;
    int rc = try(d, pair, &told, e);
    MHD_stop_daemon(d);
    close(pair[1]);
    known = strcmp(MHD_get_version(), KNOWN) == 0;
    if (told || rc)
        return rc;
    return err_set(e, E_CONFLICT, "libmicrohttpd %s reads through another recv() than this "
                   "program's: its input would not be checked", MHD_get_version());
}

bool guard_knows_library(void) { return known; }
