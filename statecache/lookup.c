/* How a sequence begins: what is there for its path, whom it waits for, and where states will be
 * taken while it is computed. Engine thread. */
#include "base/mem.h"
#include "statecache/shared/shared.h"
#include "statecache/store/statefile.h"
#include "statecache/store/pathfile.h"

#define WAIT_TOKENS 32      /* less to save is not worth waiting for another sequence */
#define BRANCH_TOKENS 8     /* nor is a state so close behind another one */
#define LAST_MARKS 4        /* of a long chat: the last are edited, older ones have the grid */
#define CHILDREN 16         /* of a branch, looked at for a sequence that computes through it */

/* ---- what is there for a path ------------------------------------------------------------- */

/* A path being looked up. */
struct lookup {
    struct tenant *tenant;
    struct session *session;
    struct node *base;
    struct match match;
    int64_t total;
    bool goes_on; /* the tree goes on differently after match.depth */
    struct snapshot *hit;
};

/* The deepest node wholly on the matched path. */
static struct node *whole(const struct match *m)
{
    return m->inside < m->node->n ? m->node->parent : m->node;
}

/* A sequence that has a place is on its way to n. One that is swapped out keeps its plan, but may
 * be long: nobody waits for it. */
static bool computes(const struct node *n) { return n->planner && !n->planner->swap; }

/* The sequence that is computing the tree beyond the point where this path leaves it. */
static struct node *computed_beyond(const struct lookup *l)
{
    struct node *n = l->match.node;
    if (l->match.inside < n->n) {
        while (n && !computes(n))
            n = n->n_children == 1 ? n->child : NULL;
        return n;
    }
    int looked = 0;
    for (struct node *c = n->child; c && looked < CHILDREN; c = c->next, looked++) {
        struct node *d = c;
        while (d && !computes(d))
            d = d->n_children == 1 ? d->child : NULL;
        if (d)
            return d;
    }
    return NULL;
}

/* The deepest position of this path that another sequence is going to capture; 0 = none. Where the
 * two part it is told to, if that is worth waiting for: from `least` on. */
static int64_t awaited(struct statecache *sc, const struct lookup *l, int64_t least)
{
    int64_t depth = l->match.depth;
    if (depth >= least && depth < l->total && l->goes_on) {
        struct node *beyond = computed_beyond(l);
        if (beyond && beyond->planner->pos < depth) {
            struct track *by = beyond->planner;
            struct node *cut = prefix_at(&sc->prefix, beyond, depth);
            if (cut && !cut->snap && !cut->planner && cut->parent) {
                cut->planner = by;
                cut->planned_kind = POINT_BRANCH;
            }
            if (cut && computes(cut))
                return depth;
        }
    }
    struct node *n = whole(&l->match);
    while (n && !(computes(n) && (n->end < l->total || n->planned_kind == POINT_END)))
        n = n->parent;
    return n ? n->end : 0;
}

static bool may_start_from(const struct lookup *l, const struct snapshot *s)
{
    return s->pos < l->total || s->has_logits; /* a state alone does not say what comes next */
}

/* Finds the state to start from. E_BUSY: it is on its way. A deeper one that there is no room for
 * does not push out the one that is there: the two would be read in turns for ever. */
static int find_hit(struct statecache *sc, struct lookup *l)
{
    struct node *deepest = prefix_snapshot_above(whole(&l->match), l->match.depth), *n = deepest;
    while (n && !(may_start_from(l, n->snap) && snapshot_ready(n->snap)))
        n = prefix_snapshot_above(n->parent, n->end);
    l->hit = n ? n->snap : NULL;
    if (l->hit)
        l->hit->pins++;
    bool coming = false;
    for (n = deepest; n && n->snap != l->hit && !coming;) {
        struct snapshot *s = n->snap;
        n->pins++; /* making room must not prune the node we stand on */
        coming = may_start_from(l, s) && (s->reading || statefile_load(sc, s));
        n->pins--;
        n = prefix_snapshot_above(n->parent, n->end);
    }
    if (l->hit)
        snapshot_unpin(sc, l->hit);
    return coming ? E_BUSY : 0;
}

/* What the caller will ask statecache_tokens for. */
static int find_tokens(struct statecache *sc, const struct statecache_query *q,
                       const struct lookup *l, struct err *e)
{
    int64_t from = l->hit && !q->whole ? l->hit->pos : 0;
    return stretch_ask(sc, l->base, from, l->base->end, e);
}

/* The path had a state behind `pos` that the budget pushed out. */
static bool was_evicted(const struct lookup *l, int64_t pos)
{
    for (const struct node *n = whole(&l->match); n && n->end > pos; n = n->parent)
        if (n->ghost)
            return true;
    return false;
}

static enum miss_reason miss_reason(const struct lookup *l)
{
    if (l->match.depth == l->base->end)
        return l->tenant->other_numerics ? MISS_NUMERICS
               : l->tenant->foreign      ? MISS_FINGERPRINT
                                         : MISS_NO_CHECKPOINT;
    if (was_evicted(l, -1))
        return MISS_EVICTED;
    return l->goes_on                  ? MISS_TOKENS_DIVERGED
           : l->tenant->other_numerics ? MISS_NUMERICS /* of a session, with its tokens alone */
                                       : MISS_NO_CHECKPOINT;
}

/* Why there is nothing deeper than the hit. */
static const char *why(const struct lookup *l, const struct track *t)
{
    if (t->fresh)
        return "fresh";
    if (t->small)
        return miss_reason_name(MISS_TOO_SHORT);
    if (!l->hit)
        return miss_reason_name(miss_reason(l));
    if (l->hit->pos == l->total)
        return "whole";
    if (l->hit->pos < l->match.depth)
        return miss_reason_name(was_evicted(l, l->hit->pos) ? MISS_EVICTED : MISS_NO_CHECKPOINT);
    return l->goes_on ? miss_reason_name(MISS_TOKENS_DIVERGED) : "new_tokens";
}

static void count(struct statecache *sc, const struct lookup *l, const struct track *t)
{
    if (t->fresh)
        return;
    if (t->small) {
        sc->stats.misses[MISS_TOO_SHORT]++;
    } else if (!l->hit) {
        sc->stats.misses[miss_reason(l)]++;
    } else {
        sc->stats.hits++;
        sc->stats.exact_hits += l->hit->pos == l->total;
        sc->stats.cached_tokens += (uint64_t)l->hit->pos;
        sc->stats.replayed_tokens += (uint64_t)(l->match.depth - l->hit->pos);
    }
}

/* ---- the plan of a sequence --------------------------------------------------------------- */

static void plan_at(struct statecache *sc, struct track *t, int64_t pos, enum point kind)
{
    struct node *n =
        pos > t->pos && pos <= t->end->end ? prefix_at(&sc->prefix, t->end, pos) : NULL;
    if (!n || n->snap || computes(n) || !n->parent)
        return;
    n->planner = t;
    n->planned_kind = (uint8_t)kind;
}

static void plan_track(struct statecache *sc, struct track *t, const struct lookup *l,
                       const struct statecache_query *q)
{
    /* The most lasting kinds first: a position keeps the kind it gets first. */
    for (int32_t i = 0; i < q->n_marks; i++)
        if (q->marks[i] > 0 && q->marks[i] < q->n && (i == 0 || i >= q->n_marks - LAST_MARKS))
            plan_at(sc, t, l->base->end + q->marks[i],
                    i == 0 && !l->session ? POINT_SYSTEM : POINT_MARK);
    if (l->goes_on && l->match.depth - t->pos >= BRANCH_TOKENS)
        plan_at(sc, t, l->match.depth, POINT_BRANCH);
    plan_at(sc, t, l->total, POINT_END);
    for (int64_t p = t->pos; (p = planner_next(p, l->total, sc->grid)) < l->total;)
        plan_at(sc, t, p, POINT_GRID);
}

static int look_up(struct statecache *sc, const struct statecache_query *q, struct lookup *l,
                   struct err *e)
{
    l->tenant = core_tenant(sc, q->tenant.b);
    if (!l->tenant)
        return err_set(e, E_NOMEM, "no memory for a key's states");
    l->base = l->tenant->root;
    if (q->session) {
        l->session = session_of(sc, &q->tenant, q->session);
        if (!l->session || !l->session->busy || l->session->running ||
            l->session->ticket != q->ticket)
            return err_field(e, E_NOENT, "session", "there is no such session");
        l->base = l->session->node;
    }
    l->total = l->base->end + q->n;
    if (l->total == 0)
        return err_field(e, E_RANGE, "prompt", "a session without tokens needs a prompt");
    l->match = prefix_match(&sc->prefix, l->base, q->tokens, q->n);
    if (l->match.cold)
        return stretch_ask_below(sc, l->base, q->tokens, q->n, e);
    const struct match *m = &l->match;
    l->goes_on = m->depth < l->total && (m->inside < m->node->n || m->node->n_children > 0);
    return 0;
}

static int start_track(struct statecache *sc, const struct statecache_query *q,
                       const struct lookup *l, struct track **out, struct err *e)
{
    struct track *t = mem_zalloc(sizeof(*t));
    struct node *end = t ? prefix_insert(&sc->prefix, l->base, q->tokens, q->n) : NULL;
    if (!end) {
        mem_free(t);
        return err_set(e, E_NOMEM, "no memory for the index of a prompt of %d tokens", q->n);
    }
    *t = (struct track){.sc = sc, .tenant = l->tenant, .session = l->session, .end = end,
                        .start = l->hit, .prompt_end = l->total, .turn_end = -1,
                        .pin_s = q->pin_s, .fresh = q->fresh,
                        .small = l->total < SMALL_TOKENS && !l->session};
    end->pins++;
    if (t->start) {
        /* The one promise that must not break: the state is of this very path. */
        ASSERT(prefix_at(&sc->prefix, end, t->start->pos) == t->start->node);
        t->start->pins++;
        t->start->uses++;
        snapshot_touch(sc, t->start);
        t->pos = t->start->pos;
    }
    /* Nobody waits for one that computes everything: its reader takes an event for every token of
     * the prompt, and may take its time. */
    if (!t->small && !t->fresh)
        plan_track(sc, t, l, q);
    if (t->session)
        t->session->running = true;
    sc->tracks++;
    *out = t;
    return 0;
}

int statecache_begin(struct statecache *sc, const struct statecache_query *q, struct track **out,
                     struct statecache_start *start, struct err *e)
{
    struct lookup l = {0};
    *out = NULL;
    core_enter(sc);
    int rc = look_up(sc, q, &l, e);
    if (!rc && !q->fresh && (l.total >= SMALL_TOKENS || l.session)) {
        struct node *best = prefix_snapshot_above(whole(&l.match), l.match.depth);
        int64_t least = (best ? best->end : 0) + WAIT_TOKENS;
        if (awaited(sc, &l, least) >= least) {
            sc->stats.waits += !q->again;
            rc = E_BUSY;
        } else {
            rc = look_up(sc, q, &l, e); /* a cut may have split the node the match ended in */
            if (!rc)
                rc = find_hit(sc, &l);
            struct shared_query s = {l.tenant, l.base, q->tokens, q->n, l.hit ? l.hit->pos : 0,
                                     q->token_ns, q->before, q->others};
            if (!rc && shared_wait(sc, &s, q->ask))
                rc = E_BUSY;
        }
    }
    if (!rc)
        rc = find_tokens(sc, q, &l, e);
    if (rc == E_BUSY)
        err_set(e, rc, "a state of this prompt is being computed or read");
    if (!rc)
        rc = look_up(sc, q, &l, e); /* waiting for room and cuts may have changed the tree */
    if (!rc)
        rc = start_track(sc, q, &l, out, e);
    if (!rc) {
        count(sc, &l, *out);
        const struct snapshot *s = l.hit;
        *start = (struct statecache_start){
            .position = s ? s->pos : 0,
            .base = l.base->end,
            .end = l.total,
            .matched = l.match.depth,
            .why = why(&l, *out),
            .logits = s && s->pos == l.total ? s->logits : NULL,
        };
    }
    core_leave(sc);
    return rc;
}
