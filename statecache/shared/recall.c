/* What is called for, as this replica has heard it. */
#include "statecache/shared/recall.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "statecache/shared/shared.h"

static int by_name(const void *a, const void *b) { return memcmp(a, b, SHARED_NAME); }

/* A list with the same names as the last one is another where that one has ended: it lives for two
 * calls' time after the last call (claim.c), which was heard no earlier. */
static bool is_new(const struct shared *h, const struct errand *a, uint64_t now)
{
    return a->answer.len > 0 && (a->answer.len != h->n_called * SHARED_NAME ||
                                 memcmp(a->answer.p, h->called, a->answer.len) != 0 ||
                                 now > h->called_ns + 2 * CLAIM_CALL_MS * NS_PER_MS);
}

/* The list is kept as it came: sorted, in a copy that is compared with nothing. */
static void keep_calls(struct shared *h, const struct errand *a, uint64_t now)
{
    size_t n = a->answer.len / SHARED_NAME;
    struct link_name *called = mem_array(n, sizeof(*called));
    struct link_name *sorted = mem_array(n, sizeof(*sorted));
    if (!called || !sorted) { /* the next one that is heard */
        mem_free(called);
        mem_free(sorted);
        return;
    }
    memcpy(called, a->answer.p, n * sizeof(*called));
    memcpy(sorted, a->answer.p, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), by_name);
    mem_free(h->called);
    mem_free(h->called_sorted);
    h->called = called;
    h->called_sorted = sorted;
    h->n_called = n;
    h->calls++;
    h->called_ns = now;
}

static void heard(struct errand *a)
{
    struct shared *h = a->sc->shared;
    uint64_t now = clock_now_ns();
    h->hearing = false;
    if (!a->rc && !a->skip) {
        if (h->knows_epoch && memcmp(h->epoch, a->epoch, sizeof(h->epoch)) != 0) {
            log_warn("shared store: it has begun anew: what this replica knows of its sessions is "
                     "put there again");
            h->all_calls = ++h->calls;
            h->called_ns = now;
            h->n_called = 0; /* that list was another store's */
        }
        h->knows_epoch = true;
        memcpy(h->epoch, a->epoch, sizeof(h->epoch));
        if (is_new(h, a, now))
            keep_calls(h, a, now);
    }
    errand_free(a);
}

void recall_hear(struct statecache *sc, uint64_t now)
{
    struct shared *h = sc->shared;
    if (h->hearing || now < h->heard_ns + CLAIM_HEAR_MS * NS_PER_MS)
        return;
    struct errand *a = errand_new(sc, ERRAND_HEAR, NULL, NULL);
    if (!a)
        return;
    h->heard_ns = now;
    h->hearing = true;
    a->finish = heard;
    errand_push(a);
}

bool recall_is_due(const struct statecache *sc, const struct session *x)
{
    const struct shared *h = sc->shared;
    struct link_name name;
    if (!x->stored.seen || x->stored.heard == h->calls)
        return false;
    if (x->stored.heard < h->all_calls)
        return true;
    shared_record_name(&sc->format, x->tenant->tag.b, x->id.b, &name);
    return h->n_called && bsearch(&name, h->called_sorted, h->n_called, sizeof(name), by_name);
}

bool recall_news(const struct statecache *sc)
{
    const struct shared *h = sc->shared;
    return h->called_ns && clock_now_ns() < h->called_ns + CLAIM_CALL_MS * NS_PER_MS;
}

void recall_done(struct statecache *sc, struct session *x) { x->stored.heard = sc->shared->calls; }
