/* From a record to a session. */
#include "statecache/shared/adopt.h"

#include <string.h>

#include "base/mem.h"
#include "statecache/shared/shared.h"
#include "statecache/store/fields.h"
#include "statecache/store/pathfile.h"

/* What the record says, but for its path, in a session of no table. */
static int decode(const struct errand *a, struct session *out, struct err *e)
{
    const struct change *c = &a->r.c;
    unsigned char fields[SESSION_RECORD];
    int64_t position, state;
    int64_t *turns = mem_array(c->n_turns, sizeof(*turns));
    if (!turns)
        return err_set(e, E_NOMEM, "no memory for %u turns", c->n_turns);
    if (c->n_turns)
        memcpy(turns, c->turns, (size_t)c->n_turns * sizeof(*turns));
    memcpy(fields, c->fields, sizeof(fields));
    bytes_put(fields + FIELD_STATE_POSITION, (uint64_t)errand_tokens(a), 8);
    buf_init(&out->answer, LIMIT_ANSWER_BYTES);
    int rc = record_decode(out, fields, turns, c->n_turns, &position, &state, e);
    mem_free(turns);
    if (!rc && c->n_answer && buf_add(&out->answer, c->answer, c->n_answer))
        rc = err_set(e, E_NOMEM, "no memory for an answer");
    return rc;
}

static int find_node(struct statecache *sc, struct tenant *t, const struct errand *a,
                     struct node **out, struct err *e)
{
    struct timespec until = stretch_deadline();
    int64_t n = errand_tokens(a);
    int rc;
    do
        rc = stretch_ask_below(sc, t->root, a->path, n, e);
    while (rc == E_BUSY && stretch_wait(sc, &until, e));
    if (rc)
        return rc;
    *out = n ? prefix_insert(&sc->prefix, t->root, a->path, n) : t->root;
    return *out ? 0 : err_set(e, E_NOMEM, "no memory for %lld tokens", (long long)n);
}

/* It exists elsewhere already: the limit of how many may be made does not count it. */
static struct session *newcomer(struct statecache *sc, struct tenant *t, const struct errand *a,
                                struct err *e)
{
    bool opening = sc->opening;
    sc->opening = true;
    struct session *x = session_new(sc, t, t->root, e);
    sc->opening = opening;
    if (!x)
        return NULL;
    x->id = a->id;
    x->busy = true;
    x->ticket = ++sc->n_tickets;
    session_enter(sc, x);
    return x;
}

int adopt(struct statecache *sc, const struct tenant_tag *tenant, struct errand *a,
          struct session **x, struct err *e)
{
    struct session n = {0};
    struct node *node = NULL;
    struct tenant *t = core_tenant(sc, tenant->b);
    unsigned char *ids = mem_array((size_t)a->r.n_ids + 1, SHARED_ID);
    bool was_busy = *x && (*x)->busy;
    if (*x)
        (*x)->busy = true;
    int rc = t && ids ? decode(a, &n, e) : err_set(e, E_NOMEM, "no memory for a session");
    if (!rc)
        rc = find_node(sc, t, a, &node, e);
    if (!rc && !*x) {
        node->pins++;
        *x = newcomer(sc, t, a, e);
        node->pins--;
        if (!*x)
            prefix_prune(&sc->prefix, node);
        rc = *x ? 0 : E_NOMEM;
    }
    if (rc) {
        if (*x)
            (*x)->busy = was_busy;
        mem_free(n.turns);
        buf_free(&n.answer);
        mem_free(ids);
        return rc;
    }
    struct session *s = *x;
    session_move(sc, s, node, node->snap);
    mem_free(s->turns);
    buf_free(&s->answer);
    s->turns = n.turns;
    s->cap_turns = n.cap_turns;
    s->n_turns = n.n_turns;
    s->lo_turn = n.lo_turn;
    s->answer = n.answer;
    memcpy(s->turn_id, n.turn_id, sizeof(s->turn_id));
    s->created_s = n.created_s;
    s->used_s = n.used_s;
    s->ttl_s = n.ttl_s;
    s->lived_s = lived_now(&sc->lived);
    /* What is on this disk is of an earlier time; the next change is logged whole. */
    s->keep = s->keep_next = (struct keep){0, 0};
    s->generation = MAX(a->r.c.generation, s->generation);
    s->failed_generation = s->generation;
    if (a->r.n_ids)
        memcpy(ids, a->r.ids, (size_t)a->r.n_ids * SHARED_ID);
    mem_free(s->stored.ids);
    s->stored.ids = ids;
    s->stored.n_ids = a->old ? 0 : a->r.n_ids; /* those of the key of before are put again */
    s->stored.fence = a->r.fence;
    s->stored.seen = a->next.fence;
    memcpy(s->stored.nonce, a->next.nonce, sizeof(s->stored.nonce));
    s->stored.generation = s->generation;
    sc->stats.shared[sc->shared->records.store].session_reads++;
    return 0;
}
