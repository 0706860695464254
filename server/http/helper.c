/* The helper: a queue and a thread. */
#include "server/http/helper.h"

#include <pthread.h>

#include "base/mem.h"
#include "server/http/exchange.h"

struct helper {
    pthread_mutex_t lock;
    pthread_cond_t some;
    pthread_t thread;
    struct exchange *head, **tail;
    void (*run)(struct exchange *x);
    bool stop;
};

static void *loop(void *arg)
{
    struct helper *h = arg;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        while (!h->head && !h->stop)
            pthread_cond_wait(&h->some, &h->lock);
        if (!h->head)
            break;
        struct exchange *x = h->head;
        h->head = x->next;
        if (!h->head)
            h->tail = &h->head;
        pthread_mutex_unlock(&h->lock);
        h->run(x);
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

int helper_open(struct helper **out, void (*run)(struct exchange *x), struct err *e)
{
    *out = NULL;
    struct helper *h = mem_zalloc(sizeof *h);
    if (!h)
        return err_set(e, E_NOMEM, "no memory for the helper thread");
    h->run = run;
    h->tail = &h->head;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->some, NULL);
    if (pthread_create(&h->thread, NULL, loop, h)) {
        mem_free(h);
        return err_set(e, E_NOMEM, "the helper thread could not be started");
    }
    *out = h;
    return 0;
}

void helper_close(struct helper *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->stop = true;
    pthread_cond_signal(&h->some);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    pthread_cond_destroy(&h->some);
    pthread_mutex_destroy(&h->lock);
    mem_free(h);
}

void helper_put(struct helper *h, struct exchange *x)
{
    pthread_mutex_lock(&h->lock);
    x->next = NULL;
    *h->tail = x;
    h->tail = &x->next;
    pthread_cond_signal(&h->some);
    pthread_mutex_unlock(&h->lock);
}
