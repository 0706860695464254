/* The writer thread and its two queues. */
#include "statecache/store/writer.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"

static struct job *take(struct job **head, struct job **tail)
{
    struct job *j = *head;
    *head = j->next;
    if (!*head)
        *tail = NULL;
    j->next = NULL;
    return j;
}

static void append(struct writer *w, struct job **head, struct job **tail, struct job *j)
{
    j->next = NULL;
    if (*tail)
        (*tail)->next = j;
    else
        *head = j;
    *tail = j;
    w->queued++;
    pthread_cond_signal(&w->more);
}

/* Under the lock. */
static void run_one(struct writer *w)
{
    struct job *j = w->reads ? take(&w->reads, &w->reads_tail) : take(&w->head, &w->tail);
    if (j->prepare)
        j->prepare(j);
    pthread_mutex_unlock(w->lock);
    j->run(j);
    pthread_mutex_lock(w->lock);
    j->done(j);
    w->queued--;
}

/* Until there is something to do, or for one beat. */
static void rest(struct writer *w)
{
    if (!w->beat_ms) {
        pthread_cond_wait(&w->more, w->lock);
        return;
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until); /* cannot fail with this clock id */
    until.tv_nsec += (long)w->beat_ms % 1000 * (long)NS_PER_MS;
    until.tv_sec += w->beat_ms / 1000 + until.tv_nsec / (long)NS_PER_S;
    until.tv_nsec %= (long)NS_PER_S;
    if (pthread_cond_timedwait(&w->more, w->lock, &until))
        w->beat(w->arg);
}

static void *thread_main(void *arg)
{
    struct writer *w = arg;
    pthread_mutex_lock(w->lock);
    for (;;) {
        if (w->head || w->reads)
            run_one(w);
        else if (w->stop)
            break;
        else
            rest(w);
    }
    pthread_mutex_unlock(w->lock);
    return NULL;
}

int writer_open(struct writer *w, pthread_mutex_t *lock, bool thread, struct err *e)
{
    *w = (struct writer){.lock = lock};
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* a clock every Linux has */
    pthread_cond_init(&w->more, &attr);
    pthread_condattr_destroy(&attr);
    if (!thread)
        return 0;
    int rc = pthread_create(&w->thread, NULL, thread_main, w);
    if (rc)
        return err_set(e, E_NOMEM, "the writer thread does not start: %s", strerror(rc));
    w->started = true;
    return 0;
}

void writer_beat(struct writer *w, int beat_ms, void (*beat)(void *arg), void *arg)
{
    w->beat_ms = beat_ms;
    w->beat = beat;
    w->arg = arg;
    pthread_cond_signal(&w->more);
}

void writer_close(struct writer *w)
{
    if (!w->lock)
        return;
    pthread_mutex_lock(w->lock);
    w->stop = true;
    pthread_cond_signal(&w->more);
    if (!w->started)
        writer_work(w);
    pthread_mutex_unlock(w->lock);
    if (w->started)
        pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->more);
    w->lock = NULL;
}

void writer_push(struct writer *w, struct job *j)
{
    append(w, &w->head, &w->tail, j);
}

void writer_push_read(struct writer *w, struct job *j)
{
    append(w, &w->reads, &w->reads_tail, j);
}

void writer_work(struct writer *w)
{
    while (w->head || w->reads)
        run_one(w);
}
