/* Relaxed atomics: a reader may see a stage's name a moment before its numbers. */
#include "base/progress.h"

#include "base/clock.h"

void progress_stage(struct progress *p, const char *what, uint64_t total)
{
    if (!p)
        return;
    __atomic_store_n(&p->total, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&p->done, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&p->since_ns, clock_now_ns(), __ATOMIC_RELAXED);
    __atomic_store_n(&p->what, what, __ATOMIC_RELEASE);
    __atomic_store_n(&p->total, total, __ATOMIC_RELEASE);
}

void progress_add(struct progress *p, uint64_t n)
{
    if (p)
        __atomic_add_fetch(&p->done, n, __ATOMIC_RELAXED);
}

void progress_stop(struct progress *p)
{
    if (p)
        __atomic_store_n(&p->stopped, 1, __ATOMIC_RELAXED);
}

bool progress_is_stopped(const struct progress *p)
{
    return p && __atomic_load_n(&p->stopped, __ATOMIC_RELAXED);
}

int progress_check(const struct progress *p, struct err *e)
{
    return progress_is_stopped(p) ? err_set(e, E_CLOSED, "it was stopped while it was loaded") : 0;
}

void progress_view(const struct progress *p, struct progress_view *out)
{
    const char *what = __atomic_load_n(&p->what, __ATOMIC_ACQUIRE);
    uint64_t total = __atomic_load_n(&p->total, __ATOMIC_ACQUIRE);
    uint64_t done = __atomic_load_n(&p->done, __ATOMIC_RELAXED);
    done = MIN(done, total);
    *out = (struct progress_view){what ? what : "starting",
                                  total ? (double)done / (double)total : 0, total > 0, done,
                                  total, 0};
    uint64_t since = __atomic_load_n(&p->since_ns, __ATOMIC_RELAXED), now = clock_now_ns();
    if (done && since && now > since)
        out->left_s = (uint64_t)((double)(now - since) / (double)NS_PER_S *
                                 (double)(total - done) / (double)done) + 1;
}
