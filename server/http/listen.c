/* Addresses and the listening socket. Thread: main. */
#include "server/http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* The kernel caps it at net.core.somaxconn (4096). */
#define BACKLOG 4096
/* Descriptors below this are looked through for epoll sets: those of the start are some dozens. */
#define EARLY_FDS 1024

static int open_socket(int family, const char *spec, struct err *e)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(e, E_IO, "listen %s: no socket: %s", spec, strerror(errno));
    return fd;
}

static int bind_unix(const char *spec, const char *path, struct err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (!*path || strlen(path) >= sizeof a.sun_path)
        return err_set(e, E_RANGE, "listen %.200s: a socket path has 1 … %zu bytes", spec,
                       sizeof a.sun_path - 1);
    memcpy(a.sun_path, path, strlen(path) + 1);
    int fd = open_socket(AF_UNIX, spec, e);
    if (fd < 0)
        return fd;
    /* A socket nobody listens on is left over from a crash; one in use is not ours to remove. */
    struct stat st;
    if (stat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        int probe = open_socket(AF_UNIX, spec, NULL);
        bool dead = probe >= 0 && connect(probe, (struct sockaddr *)&a, sizeof a) < 0 &&
                    errno == ECONNREFUSED;
        if (probe >= 0)
            close(probe);
        if (dead)
            unlink(path);
    }
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        int rc = err_set(e, E_IO, "listen %s: %s", spec, strerror(errno));
        close(fd);
        return rc;
    }
    return fd;
}

/* Splits at the last ':'; strips the brackets of an IPv6 address. */
static int split(const char *spec, char host[256], char port[8], struct err *e)
{
    const char *colon = strrchr(spec, ':');
    if (!colon || !colon[1] || strlen(colon + 1) > 5 ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        strtol(colon + 1, NULL, 10) > 65535 || colon - spec > 255)
        return err_set(e, E_FORMAT, "listen %.200s: not of the form ADDR:PORT or unix:/path",
                       spec);
    size_t n = (size_t)(colon - spec);
    memcpy(host, spec, n);
    host[n] = '\0';
    if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
        memmove(host, host + 1, n - 2);
        host[n - 2] = '\0';
    }
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return 0;
}

int listen_bind(const char *spec, struct err *e)
{
    if (strncmp(spec, "unix:", 5) == 0)
        return bind_unix(spec, spec + 5, e);
    char host[256], port[8];
    int rc = split(spec, host, port, e);
    if (rc)
        return rc;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int gai = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (gai)
        return err_set(e, E_RANGE, "listen %s: %s", spec, gai_strerror(gai));
    int fd = open_socket(list->ai_family, spec, e);
    if (fd >= 0) {
        int on = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(fd, list->ai_addr, list->ai_addrlen) < 0) {
            rc = err_set(e, E_IO, "listen %s: %s", spec, strerror(errno));
            close(fd);
            fd = rc;
        }
    }
    freeaddrinfo(list);
    return fd;
}

int listen_start(int fd, const char *spec, struct err *e)
{
    if (listen(fd, BACKLOG) < 0)
        return err_set(e, E_IO, "listen %s: %s", spec, strerror(errno));
    return 0;
}

void listen_describe(int fd, char *out, size_t size)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    char host[INET6_ADDRSTRLEN];
    if (getsockname(fd, (struct sockaddr *)&a, &n) < 0) {
        snprintf(out, size, "unknown");
    } else if (a.ss_family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)&a;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(out, size, "http://%s:%u", host, ntohs(in->sin_port));
    } else if (a.ss_family == AF_INET6) {
        struct sockaddr_in6 *in = (struct sockaddr_in6 *)&a;
        inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host);
        snprintf(out, size, "http://[%s]:%u", host, ntohs(in->sin6_port));
    } else {
        snprintf(out, size, "unix:%s", ((struct sockaddr_un *)&a)->sun_path);
    }
}

bool listen_is_local(int fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n) < 0)
        return false;
    if (a.ss_family == AF_INET)
        return (ntohl(((struct sockaddr_in *)&a)->sin_addr.s_addr) >> 24) == 127;
    if (a.ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)&a)->sin6_addr);
    return true;
}

bool listen_is_loopback(int fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    return getsockname(fd, (struct sockaddr *)&a, &n) == 0 && a.ss_family != AF_UNIX &&
           listen_is_local(fd);
}

int listen_nowhere(struct err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = open_socket(AF_UNIX, "nowhere", e);
    if (fd < 0)
        return fd;
    /* Without a path the kernel draws a name that nobody knows. */
    if (bind(fd, (struct sockaddr *)&a, sizeof a.sun_family) < 0 || listen(fd, 1) < 0) {
        int rc = err_set(e, E_IO, "listen nowhere: %s", strerror(errno));
        close(fd);
        return rc;
    }
    return fd;
}

void listen_stop(int fd, int nowhere)
{
    /* A socket that others hold stays in the epoll sets it is in: there it must fall silent. */
    struct epoll_event nothing = {0};
    for (int set = 0; set < EARLY_FDS; set++)
        if (set != fd)
            (void)epoll_ctl(set, EPOLL_CTL_MOD, fd, &nothing); /* most are no epoll sets */
    while (dup2(nowhere, fd) < 0 && errno == EINTR)
        ;
    close(nowhere);
}
