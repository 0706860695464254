/* The writer thread and its two queues. */
#include "statecache/store/writer.h"

#include <string.h>

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
            pthread_cond_wait(&w->more, w->lock);
    }
    pthread_mutex_unlock(w->lock);
    return NULL;
}

int writer_open(struct writer *w, pthread_mutex_t *lock, bool thread, struct err *e)
{
    *w = (struct writer){.lock = lock};
    pthread_cond_init(&w->more, NULL);
    if (!thread)
        return 0;
    int rc = pthread_create(&w->thread, NULL, thread_main, w);
    if (rc)
        return err_set(e, E_NOMEM, "the writer thread does not start: %s", strerror(rc));
    w->started = true;
    return 0;
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
