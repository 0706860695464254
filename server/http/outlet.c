/* See outlet.h. Invariant: a thread that is ASLEEP has an empty list, or somebody is in a round
 * that will wake it. It is from when it finds the list empty until somebody puts something there,
 * which is one system call, or it looks again; to put more is none. While it is RESTING what is put
 * waits for the end of the rest, unless it must not wait. */
#define _GNU_SOURCE 1 /* pthread_setname_np */
#include "server/http/outlet.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

/* A thread takes so many streams before the next one gets any: to wake two costs more than to
 * write some in turn. */
#define STREAMS 64
#define EVENTS 64
/* A thread that has something to write again within half of such a rest does rest when that is
 * written: a token that is so late is not missed, and the system calls and wake-ups of several,
 * here and at the reader, are those of one. It rests so many times as long as it wrote, within
 * bounds. Where steps take longer than half of the most it never does. */
#define REST_TIMES 64
static int rest_least_ms = 2, rest_most_ms = 8; /* the test's are an hour */

struct outlet_thread {
    struct outlet *outlet;
    pthread_t thread;
    pthread_mutex_t lock;
    struct outlet_place *first, **last; /* with something to write, in the order of their coming */
    uint64_t since_ns;                  /* that the list is not empty */
    enum { AWAKE, ASLEEP, RESTING } state;
    bool soon;                          /* something in the list must not wait */
    bool stop;
    int streams;                        /* atomic */
    int blocked;                        /* of them, wait for room; the thread's own */
    int epoll, wake;
    bool runs;
};

struct outlet {
    void (*run)(struct outlet_place *p);
    int n;
    struct outlet_thread threads[];
};

static _Thread_local bool in_round;

static struct outlet_place *take_all(struct outlet_thread *t, bool *stop, uint64_t *since)
{
    pthread_mutex_lock(&t->lock);
    struct outlet_place *all = t->first;
    t->first = NULL;
    t->last = &t->first;
    t->state = all ? AWAKE : ASLEEP;
    t->soon = false;
    *stop = t->stop;
    *since = t->since_ns;
    pthread_mutex_unlock(&t->lock);
    return all;
}

/* False: what must not wait, or the end, has come since the list was taken. */
static bool rest(struct outlet_thread *t)
{
    pthread_mutex_lock(&t->lock);
    bool may = !t->soon && !t->stop;
    t->state = may ? RESTING : AWAKE;
    pthread_mutex_unlock(&t->lock);
    return may;
}

static int rest_ms(uint64_t wrote_ns)
{
    uint64_t ms = wrote_ns * REST_TIMES / NS_PER_MS + 1;
    return (int)MIN(MAX(ms, (uint64_t)rest_least_ms), (uint64_t)rest_most_ms);
}

static void *loop(void *arg)
{
    struct outlet_thread *t = arg;
    bool stop = false;
    int ms = rest_least_ms;
    uint64_t last = 0, since;
    for (;;) {
        struct outlet_place *p = take_all(t, &stop, &since), *next;
        if (!p && stop)
            return NULL;
        bool any = p != NULL;
        bool rests = any && since < last + (uint64_t)ms * NS_PER_MS / 2;
        uint64_t now = clock_now_ns();
        for (; p; p = next) {
            next = p->next; /* before it may be put again */
            t->outlet->run(p);
        }
        if (any) {
            last = now;
            ms = rest_ms(clock_now_ns() - now);
        }
        rests = rests && !stop && rest(t);
        if (!rests && any && t->blocked == 0)
            continue;
        struct epoll_event ev[EVENTS];
        int n = epoll_wait(t->epoll, ev, EVENTS, rests ? ms : any ? 0 : -1);
        for (int i = 0; i < n; i++) {
            if (!ev[i].data.ptr)
                continue; /* woken, and the list says by whom */
            t->blocked--;
            t->outlet->run(ev[i].data.ptr);
        }
    }
}

/* The counter is never read: each write is an edge. */
static void wake(struct outlet_thread *t)
{
    uint64_t one = 1;
    ssize_t n = write(t->wake, &one, sizeof one);
    (void)n; /* fails only at the counter's maximum: after 10^11 years */
}

static int start(struct outlet_thread *t, struct err *e)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
    pthread_mutex_init(&t->lock, NULL);
    t->last = &t->first;
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    t->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (t->epoll < 0 || t->wake < 0 || epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->wake, &ev))
        return err_set(e, E_IO, "streams: epoll: %s", strerror(errno));
    t->runs = pthread_create(&t->thread, NULL, loop, t) == 0;
    if (t->runs)
        (void)pthread_setname_np(t->thread, "streams"); /* for tools that show threads */
    return t->runs ? 0 : err_set(e, E_NOMEM, "a thread that writes streams could not be started");
}

int outlet_open(struct outlet **out, int n_threads, void (*run)(struct outlet_place *p),
                struct err *e)
{
    *out = NULL;
    struct outlet *o = mem_zalloc(sizeof *o + (size_t)n_threads * sizeof *o->threads);
    if (!o)
        return err_set(e, E_NOMEM, "no memory for %d threads that write streams", n_threads);
    o->run = run;
    for (; o->n < n_threads; o->n++) {
        struct outlet_thread *t = &o->threads[o->n];
        t->outlet = o;
        if (start(t, e)) {
            o->n++;
            outlet_close(o);
            return e->code;
        }
    }
    *out = o;
    return 0;
}

void outlet_close(struct outlet *o)
{
    for (int i = 0; o && i < o->n; i++) {
        struct outlet_thread *t = &o->threads[i];
        pthread_mutex_lock(&t->lock);
        t->stop = true;
        pthread_mutex_unlock(&t->lock);
        if (t->runs) {
            wake(t);
            pthread_join(t->thread, NULL);
        }
        if (t->epoll >= 0)
            close(t->epoll);
        if (t->wake >= 0)
            close(t->wake);
        pthread_mutex_destroy(&t->lock);
    }
    mem_free(o);
}

void outlet_enter(struct outlet *o, struct outlet_place *p)
{
    struct outlet_thread *least = NULL;
    int fewest = 0;
    for (int i = 0; i < o->n && (!least || fewest >= STREAMS); i++) {
        int n = __atomic_load_n(&o->threads[i].streams, __ATOMIC_RELAXED);
        if (!least || n < fewest) {
            least = &o->threads[i];
            fewest = n;
        }
    }
    __atomic_add_fetch(&least->streams, 1, __ATOMIC_RELAXED);
    *p = (struct outlet_place){.thread = least};
}

void outlet_leave(struct outlet_place *p, int fd)
{
    struct outlet_thread *t = p->thread;
    if (p->polled)
        (void)epoll_ctl(t->epoll, EPOLL_CTL_DEL, fd, NULL); /* or it is gone with its close */
    __atomic_sub_fetch(&t->streams, 1, __ATOMIC_RELAXED);
    *p = (struct outlet_place){0};
}

void outlet_put(struct outlet_place *p)
{
    struct outlet_thread *t = p->thread;
    pthread_mutex_lock(&t->lock);
    p->next = NULL;
    if (!t->first)
        t->since_ns = clock_now_ns();
    *t->last = p;
    t->last = &p->next;
    t->soon = t->soon || !in_round;
    bool sleeps = t->state != AWAKE && !in_round;
    t->state = sleeps ? AWAKE : t->state;
    pthread_mutex_unlock(&t->lock);
    if (sleeps)
        wake(t);
}

void outlet_round(void *outlet, bool begins, bool soon)
{
    struct outlet *o = outlet;
    in_round = begins;
    for (int i = 0; i < o->n && !begins; i++) {
        struct outlet_thread *t = &o->threads[i];
        pthread_mutex_lock(&t->lock);
        t->soon = t->soon || (t->first && soon);
        bool sleeps = t->first && (t->state == ASLEEP || (t->state == RESTING && soon));
        t->state = sleeps ? AWAKE : t->state;
        pthread_mutex_unlock(&t->lock);
        if (sleeps)
            wake(t);
    }
}

bool outlet_room(struct outlet_place *p, int fd)
{
    struct epoll_event ev = {.events = EPOLLOUT | EPOLLONESHOT, .data.ptr = p};
    int how = p->polled ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(p->thread->epoll, how, fd, &ev))
        return false;
    p->thread->blocked++;
    p->polled = true;
    return true;
}
