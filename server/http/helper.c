/* The helper: lanes, each a queue and its threads. */
#include "server/http/helper.h"

#include <pthread.h>
#include <stddef.h>

#include "base/mem.h"
#include "server/http/client.h"
#include "server/http/exchange.h"

/* One thread computes: the engine needs the other cores. Those that wait for the disk cost
 * nothing meanwhile, and the store commits what they ask for together. */
static const int lane_threads[HELPER_LANES] = {[HELPER_COMPUTES] = 1, [HELPER_WAITS] = 8,
                                             [HELPER_ASKS] = 8};
#define LANE_THREADS_MAX 8
/* What a request costs besides its bytes. */
#define REQUEST_COST KIB(16)

struct lane {
    struct helper *helper;
    pthread_cond_t some;
    struct turns turns;
    pthread_t threads[LANE_THREADS_MAX];
    int n_threads;
};

struct helper {
    pthread_mutex_t lock;
    void (*run)(struct exchange *x);
    bool stop;
    struct lane lanes[HELPER_LANES];
};

static void *loop(void *arg)
{
    struct lane *l = arg;
    struct helper *h = l->helper;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        struct turn *t = turns_take(&l->turns);
        if (!t && h->stop)
            break;
        if (!t) {
            pthread_cond_wait(&l->some, &h->lock);
            continue;
        }
        pthread_mutex_unlock(&h->lock);
        h->run((struct exchange *)(void *)((char *)t - offsetof(struct exchange, turn)));
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
        return err_set(e, E_NOMEM, "no memory for the helper threads");
    h->run = run;
    pthread_mutex_init(&h->lock, NULL);
    for (int k = 0; k < HELPER_LANES; k++) {
        h->lanes[k].helper = h;
        pthread_cond_init(&h->lanes[k].some, NULL);
    }
    for (int k = 0; k < HELPER_LANES; k++) {
        struct lane *l = &h->lanes[k];
        for (; l->n_threads < lane_threads[k]; l->n_threads++) {
            if (pthread_create(&l->threads[l->n_threads], NULL, loop, l) == 0)
                continue;
            helper_close(h);
            return err_set(e, E_NOMEM, "a helper thread could not be started");
        }
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
    for (int k = 0; k < HELPER_LANES; k++)
        pthread_cond_broadcast(&h->lanes[k].some);
    pthread_mutex_unlock(&h->lock);
    for (int k = 0; k < HELPER_LANES; k++) {
        for (int i = 0; i < h->lanes[k].n_threads; i++)
            pthread_join(h->lanes[k].threads[i], NULL);
        pthread_cond_destroy(&h->lanes[k].some);
    }
    pthread_mutex_destroy(&h->lock);
    mem_free(h);
}

void helper_put(struct helper *h, enum helper_lane lane, struct exchange *x)
{
    struct fair_id client = client_of(x->mhd, x->key ? x->key->name : NULL);
    pthread_mutex_lock(&h->lock);
    turns_put(&h->lanes[lane].turns, &x->turn, &client, x->body.len + REQUEST_COST);
    pthread_cond_signal(&h->lanes[lane].some);
    pthread_mutex_unlock(&h->lock);
}
