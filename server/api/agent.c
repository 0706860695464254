/* One client at a time: an answer is some bytes, which fit in any socket's buffer. */
#define _GNU_SOURCE /* accept4 */
#include "server/api/agent.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "scheduler/sched.h"
#include "server/api/health.h"
#include "server/http/listen.h"

#define QUARTERS 4
#define RETRY_MS 1000 /* when no descriptor is left */

struct agent {
    const struct http *h;
    const char *spec;
    int fd, stop; /* stop: an eventfd, readable when it is time to go */
    pthread_t thread;
};

/* Percent of its weight: three quarters of the queue taken leave one quarter. */
static int weight(const struct http *h)
{
    struct sched_stats s;
    sched_stats(h->served->sched, &s);
    int64_t taken = QUARTERS * (int64_t)s.waiting / MAX(h->o->queue, 1);
    return (int)(100 * (QUARTERS - MIN(taken, QUARTERS - 1)) / QUARTERS);
}

void agent_line(const struct http *h, char out[AGENT_LINE])
{
    struct progress_view v;
    enum standing now = health_standing(h);
    /* Nobody is accepted any more, although who is connected may still ask. */
    if (now == STANDING_OK && http_is_leaving(h))
        now = STANDING_DRAINING;
    switch (now) {
    case STANDING_OK:
        snprintf(out, AGENT_LINE, "up ready %d%%\n", weight(h));
        return;
    case STANDING_LOADING:
        progress_view(h->loading, &v);
        snprintf(out, AGENT_LINE, "down #loading, %.0f of 100\n", 100 * v.share);
        return;
    case STANDING_DRAINING:
        snprintf(out, AGENT_LINE, "drain\n");
        return;
    case STANDING_LOST:
        snprintf(out, AGENT_LINE, "down #the device was lost\n");
        return;
    case STANDING_STUCK:
        snprintf(out, AGENT_LINE, "down #%s\n", STUCK_TEXT);
    }
}

/* A client that has left already is nobody's fault; the line fits in its buffer. */
static void answer(const struct agent *a, int fd)
{
    char line[AGENT_LINE];
    agent_line(a->h, line);
    (void)send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

static void *serve(void *opaque)
{
    struct agent *a = opaque;
    struct pollfd p[2] = {{.fd = a->stop, .events = POLLIN}, {.fd = a->fd, .events = POLLIN}};
    for (;;) {
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (p[0].revents)
            return NULL;
        int fd = accept4(a->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            answer(a, fd);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            (void)poll(p, 1, RETRY_MS);
    }
}

static void forget(struct agent *a)
{
    if (a->stop >= 0)
        close(a->stop);
    if (a->fd >= 0)
        close(a->fd);
    if (a->fd >= 0 && strncmp(a->spec, "unix:", 5) == 0)
        (void)unlink(a->spec + 5); /* it may be gone already */
    mem_free(a);
}

static int begin(struct agent *a, struct err *e)
{
    a->fd = listen_bind(a->spec, e);
    if (a->fd < 0)
        return err_wrap(e, "agent");
    if (listen_start(a->fd, a->spec, e))
        return err_wrap(e, "agent");
    a->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (a->stop < 0)
        return err_set(e, E_IO, "agent-listen %s: no eventfd: %s", a->spec, strerror(errno));
    int rc = pthread_create(&a->thread, NULL, serve, a);
    return rc ? err_set(e, E_NOMEM, "agent-listen %s: no thread: %s", a->spec, strerror(rc)) : 0;
}

int agent_open(struct agent **out, const char *spec, const struct http *h, struct err *e)
{
    char url[160];
    struct agent *a = mem_zalloc(sizeof *a);
    if (!a)
        return err_set(e, E_NOMEM, "no memory for an agent");
    a->h = h;
    a->spec = spec;
    a->fd = a->stop = -1;
    if (begin(a, e)) {
        forget(a);
        return e->code;
    }
    listen_describe(a->fd, url, sizeof url);
    const char *address = strstr(url, "://"); /* no HTTP is spoken there */
    log_info("HAProxy's agent checks are answered at %s", address ? address + 3 : url);
    *out = a;
    return 0;
}

void agent_close(struct agent *a)
{
    if (!a)
        return;
    eventfd_write(a->stop, 1);
    pthread_join(a->thread, NULL);
    forget(a);
}
