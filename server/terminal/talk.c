/* A client of one daemon. */
#include "server/terminal/talk.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/response.h"

#define REQUEST_BYTES MIB(64)
#define PIECE KIB(16)

static int open_unix(struct talk *t, const char *path, struct err *e)
{
    struct sockaddr_un *a = (struct sockaddr_un *)&t->addr;
    if (!*path || strlen(path) >= sizeof a->sun_path)
        return err_set(e, E_RANGE, "listen %.200s: a socket path has 1 … %zu bytes", path,
                       sizeof a->sun_path - 1);
    a->sun_family = AF_UNIX;
    memcpy(a->sun_path, path, strlen(path) + 1);
    t->addr_len = sizeof *a;
    return 0;
}

int talk_open(struct talk *t, const char *where, struct err *e)
{
    char host[256];
    const char *colon = strrchr(where, ':');
    if (strncmp(where, "unix:", 5) == 0)
        return open_unix(t, where + 5, e);
    size_t n = colon ? (size_t)(colon - where) : 0;
    if (!colon || n >= sizeof host)
        return err_set(e, E_FORMAT, "listen %.200s: not of the form ADDR:PORT or unix:/path",
                       where);
    bool brackets = n >= 2 && where[0] == '[' && where[n - 1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(brackets ? n - 2 : n), where + brackets);
    struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int rc = getaddrinfo(*host ? host : NULL, colon + 1, &want, &found);
    if (rc || !found)
        return err_set(e, E_NOENT, "listen %.200s: %s", where, gai_strerror(rc));
    memcpy(&t->addr, found->ai_addr, MIN(found->ai_addrlen, sizeof t->addr));
    t->addr_len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

int talk_wait(const struct talk *t, int fd, struct err *e)
{
    fd_set set;
    sigset_t open;
    if (fd >= FD_SETSIZE)
        return err_set(e, E_RANGE, "descriptor %d is above %d", fd, FD_SETSIZE - 1);
    FD_ZERO(&set);
    FD_SET(fd, &set);
    sigprocmask(SIG_SETMASK, NULL, &open);
    sigdelset(&open, SIGINT);
    /* Only in here can the signal come, so that none is lost before the wait. */
    int n = pselect(fd + 1, &set, NULL, NULL, NULL, &open);
    if (*t->stop)
        return err_set(e, E_CLOSED, "stopped");
    if (n < 0 && errno != EINTR)
        return err_set(e, E_IO, "cannot wait: %s", strerror(errno));
    return 0;
}

static int dial(const struct talk *t, struct err *e)
{
    int fd = socket(t->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&t->addr, t->addr_len) == 0)
        return fd;
    int rc = err_set(e, E_IO, "no daemon answers: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

static int send_all(int fd, const struct buf *b, struct err *e)
{
    for (size_t at = 0; at < b->len;) {
        ssize_t n = send(fd, b->p + at, b->len - at, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return err_set(e, E_IO, "the request could not be sent: %s", strerror(errno));
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

struct reading {
    struct response r;
    struct sse sse;
    sse_fn *event;
    void *arg;
    struct buf *out;
};

static int on_body(void *arg, const char *p, size_t n)
{
    struct reading *x = arg;
    if (x->r.event_stream && x->event)
        return sse_feed(&x->sse, p, n, x->event, x->arg);
    return buf_add(x->out, p, n);
}

/* 0 when the reply is whole. */
static int receive(const struct talk *t, int fd, struct reading *x, struct err *e)
{
    char piece[PIECE];
    for (;;) {
        int rc = talk_wait(t, fd, e);
        if (rc)
            return rc;
        ssize_t n = recv(fd, piece, sizeof piece, MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0) {
            if (n == 0 && response_eof(&x->r))
                return 0;
            return err_set(e, E_IO, "the daemon closed the connection within its reply");
        }
        size_t used;
        rc = response_feed(&x->r, piece, (size_t)n, &used, on_body, x, e);
        if (rc == 1)
            return 0;
        if (!e->code && (rc == E_NOMEM || rc == E_RANGE))
            err_set(e, rc, "the reply is longer than there is room for");
        if (rc)
            return rc;
    }
}

int talk_ask(const struct talk *t, const char *method, const char *path, const char *body,
             sse_fn *event, void *arg, struct buf *out, struct err *e)
{
    struct buf request;
    struct reading x = {.event = event, .arg = arg, .out = out};
    int fd = dial(t, e);
    if (fd < 0)
        return fd;
    buf_init(&request, REQUEST_BYTES);
    response_init(&x.r);
    sse_init(&x.sse);
    buf_fmt(&request, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", method, path);
    if (t->key)
        buf_fmt(&request, "Authorization: Bearer %s\r\n", t->key);
    if (body)
        buf_fmt(&request, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
                strlen(body));
    buf_str(&request, "\r\n");
    buf_str(&request, body ? body : "");
    int rc = request.failed ? err_set(e, E_RANGE, "the request is larger than %d MiB", 64)
                            : send_all(fd, &request, e);
    if (!rc)
        rc = receive(t, fd, &x, e);
    int status = x.r.status;
    close(fd);
    buf_free(&request);
    response_free(&x.r);
    sse_free(&x.sse);
    return rc ? rc : status;
}
