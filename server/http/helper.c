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

/* Each sleeps on a condition of its own: where several wait for one, the C library loses a signal
 * now and then (glibc before 2.41, its bug 25847), and a request would wait for the next one. */
struct worker {
    struct lane *lane;
    pthread_t thread;
    pthread_cond_t called;
    struct worker *next; /* of those that sleep; the last to fall asleep is called first */
    bool sleeps;
};

struct lane {
    struct helper *helper;
    struct turns turns;
    struct worker workers[LANE_THREADS_MAX], *asleep;
    int n_threads;
};

struct helper {
    pthread_mutex_t lock;
    void (*run)(struct exchange *x);
    bool stop;
    struct lane lanes[HELPER_LANES];
};

/* These are under the lock. */
static void sleep_until_called(struct worker *w)
{
    w->sleeps = true;
    w->next = w->lane->asleep;
    w->lane->asleep = w;
    while (w->sleeps)
        pthread_cond_wait(&w->called, &w->lane->helper->lock);
}

static bool call_one(struct lane *l)
{
    struct worker *w = l->asleep;
    if (!w)
        return false;
    l->asleep = w->next;
    w->sleeps = false;
    pthread_cond_signal(&w->called);
    return true;
}

static void *loop(void *arg)
{
    struct worker *w = arg;
    struct lane *l = w->lane;
    struct helper *h = l->helper;
    pthread_mutex_lock(&h->lock);
    for (;;) {
        struct turn *t = turns_take(&l->turns);
        if (!t && h->stop)
            break;
        if (!t) {
            sleep_until_called(w);
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
    for (int k = 0; k < HELPER_LANES; k++)
        h->lanes[k].helper = h;
    for (int k = 0; k < HELPER_LANES; k++) {
        struct lane *l = &h->lanes[k];
        for (; l->n_threads < lane_threads[k]; l->n_threads++) {
            struct worker *w = &l->workers[l->n_threads];
            w->lane = l;
            pthread_cond_init(&w->called, NULL);
            if (pthread_create(&w->thread, NULL, loop, w) == 0)
                continue;
            pthread_cond_destroy(&w->called);
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
        while (call_one(&h->lanes[k]))
            ;
    pthread_mutex_unlock(&h->lock);
    for (int k = 0; k < HELPER_LANES; k++)
        for (int i = 0; i < h->lanes[k].n_threads; i++) {
            pthread_join(h->lanes[k].workers[i].thread, NULL);
            pthread_cond_destroy(&h->lanes[k].workers[i].called);
        }
    pthread_mutex_destroy(&h->lock);
    mem_free(h);
}

void helper_put(struct helper *h, enum helper_lane lane, struct exchange *x)
{
    struct fair_id client = client_of(x->mhd, x->key ? x->key->name : NULL);
    pthread_mutex_lock(&h->lock);
    turns_put(&h->lanes[lane].turns, &x->turn, &client, x->body.len + REQUEST_COST);
    (void)call_one(&h->lanes[lane]); /* or all are at work, and look again */
    pthread_mutex_unlock(&h->lock);
}
