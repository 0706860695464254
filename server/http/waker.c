/* The suspend/resume protocol. Invariant: `suspended` is true exactly from a wait until one
 * caller has taken it upon itself to wake whoever waits, and changes only under `lock`. He is woken
 * after the lock is left, because he takes the lock at once. Until then nothing happens to a
 * suspended connection, so its pointer stays good. */
#include "server/http/waker.h"

#include <microhttpd.h>
#include <pthread.h>

#include "base/mem.h"

struct waker {
    pthread_mutex_t lock;
    int refs;
    struct MHD_Connection *mhd; /* NULL once detached */
    int *n_suspended;           /* atomic */
    bool suspended, signalled;
    bool held;                  /* the library has suspended the connection */
    void (*woken)(void *arg);   /* who is told of a signal; NULL = the library */
    void *arg;
    unsigned flags;
};

struct waker *waker_new(struct MHD_Connection *c, int *suspended)
{
    struct waker *w = mem_zalloc(sizeof *w);
    if (!w)
        return NULL;
    if (pthread_mutex_init(&w->lock, NULL)) {
        mem_free(w);
        return NULL;
    }
    w->refs = 1;
    w->mhd = c;
    w->n_suspended = suspended;
    return w;
}

void waker_ref(struct waker *w)
{
    pthread_mutex_lock(&w->lock);
    w->refs++;
    pthread_mutex_unlock(&w->lock);
}

void waker_unref(struct waker *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    bool last = --w->refs == 0;
    pthread_mutex_unlock(&w->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&w->lock);
    mem_free(w);
}

void waker_signal(struct waker *w, unsigned flags)
{
    pthread_mutex_lock(&w->lock);
    w->flags |= flags;
    w->signalled = true;
    struct MHD_Connection *sleeper = w->suspended && !w->woken ? w->mhd : NULL;
    void (*woken)(void *arg) = w->suspended ? w->woken : NULL;
    void *arg = w->arg;
    int *n_suspended = w->suspended ? w->n_suspended : NULL;
    w->suspended = false;
    w->held = w->held && !sleeper;
    pthread_mutex_unlock(&w->lock);
    if (sleeper)
        MHD_resume_connection(sleeper); /* w may be gone when this returns */
    else if (woken)
        woken(arg); /* likewise */
    if (n_suspended)
        __atomic_sub_fetch(n_suspended, 1, __ATOMIC_RELEASE);
}

void waker_divert(struct waker *w, void (*woken)(void *arg), void *arg)
{
    pthread_mutex_lock(&w->lock);
    ASSERT(!w->suspended);
    w->woken = woken;
    w->arg = arg;
    pthread_mutex_unlock(&w->lock);
}

void waker_release(struct waker *w)
{
    pthread_mutex_lock(&w->lock);
    ASSERT(!w->suspended && w->held);
    struct MHD_Connection *sleeper = w->mhd;
    w->woken = NULL;
    w->held = false;
    pthread_mutex_unlock(&w->lock);
    MHD_resume_connection(sleeper); /* w may be gone when this returns */
}

bool waker_wait(struct waker *w)
{
    pthread_mutex_lock(&w->lock);
    bool suspend = !w->signalled;
    w->signalled = false;
    if (suspend) {
        ASSERT(!w->suspended && w->mhd);
        w->suspended = true;
        if (w->n_suspended)
            __atomic_add_fetch(w->n_suspended, 1, __ATOMIC_RELAXED);
        if (!w->held)
            MHD_suspend_connection(w->mhd);
        w->held = true;
    }
    pthread_mutex_unlock(&w->lock);
    return suspend;
}

unsigned waker_take(struct waker *w)
{
    pthread_mutex_lock(&w->lock);
    unsigned flags = w->flags;
    w->flags &= ~(unsigned)WAKER_PING;
    pthread_mutex_unlock(&w->lock);
    return flags;
}

void waker_detach(struct waker *w)
{
    pthread_mutex_lock(&w->lock);
    ASSERT(!w->suspended && !w->held);
    w->mhd = NULL;
    pthread_mutex_unlock(&w->lock);
}

bool waker_is_suspended(struct waker *w)
{
    pthread_mutex_lock(&w->lock);
    bool yes = w->suspended;
    pthread_mutex_unlock(&w->lock);
    return yes;
}
