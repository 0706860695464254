/* Counters of owners and flows. Any thread.
 *
 * Invariants: an entry with a request anywhere, or with children, is never given away; there is
 * always one to give away, because the table has two entries for every request there can be. */
#include "scheduler/fair.h"

#include <pthread.h>
#include <string.h>

#include "base/mem.h"

/* Counters are tokens x SCALE / weight. */
#define SCALE FAIR_WEIGHT_MAX
/* Entries beyond those in use: who left a moment ago is still known. */
#define REMEMBERED 1024
#define NONE (-1)

struct entry {
    bool taken;
    struct fair_id id;
    int32_t parent;   /* NONE: an owner */
    int32_t children; /* of an owner: entries */
    int32_t weight;
    int32_t n[FAIR_PLACES];
    int64_t used;
    int64_t floor;    /* of an owner's flows: the counter of the one that left last */
};

struct fair {
    pthread_mutex_t lock;
    int64_t floor; /* of the owners */
    int32_t total[FAIR_PLACES];
    int32_t n;
    struct entry *entries;
};

int fair_open(struct fair **out, int32_t live, struct err *e)
{
    *out = NULL;
    struct fair *f = mem_zalloc(sizeof *f);
    if (!f)
        return err_set(e, E_NOMEM, "no memory for fair turns");
    f->n = 2 * live + REMEMBERED;
    f->entries = mem_array((size_t)f->n, sizeof *f->entries);
    if (!f->entries || pthread_mutex_init(&f->lock, NULL)) {
        mem_free(f->entries);
        mem_free(f);
        return err_set(e, E_NOMEM, "no memory for fair turns among %d requests", (int)live);
    }
    *out = f;
    return 0;
}

void fair_close(struct fair *f)
{
    if (!f)
        return;
    pthread_mutex_destroy(&f->lock);
    mem_free(f->entries);
    mem_free(f);
}

static bool is_active(const struct entry *x)
{
    return x->n[FAIR_WAITING] + x->n[FAIR_RUNNING] + x->n[FAIR_PARKED] > 0;
}

/* The counter of the least that an active sibling has used; of the last that left, if none is. */
static int64_t level(const struct fair *f, int32_t parent)
{
    int64_t least = INT64_MAX;
    for (int32_t i = 0; i < f->n; i++) {
        const struct entry *x = &f->entries[i];
        if (x->taken && x->parent == parent && is_active(x))
            least = MIN(least, x->used);
    }
    if (least < INT64_MAX)
        return least;
    return parent == NONE ? f->floor : f->entries[parent].floor;
}

static int32_t find(struct fair *f, int32_t parent, const struct fair_id *id)
{
    int32_t free = NONE;
    for (int32_t i = 0; i < f->n; i++) {
        struct entry *x = &f->entries[i];
        if (x->taken && x->parent == parent && memcmp(x->id.b, id->b, sizeof id->b) == 0)
            return i;
        if (x->taken && (is_active(x) || x->children > 0))
            continue;
        /* The one with the smallest debt is forgotten first. */
        const struct entry *best = free == NONE ? NULL : &f->entries[free];
        if (!best || (best->taken && (!x->taken || x->used < best->used)))
            free = i;
    }
    ASSERT(free != NONE);
    struct entry *x = &f->entries[free];
    if (x->taken && x->parent != NONE)
        f->entries[x->parent].children--;
    *x = (struct entry){.taken = true, .id = *id, .parent = parent, .weight = 1};
    if (parent != NONE)
        f->entries[parent].children++;
    return free;
}

int32_t fair_enter(struct fair *f, const struct fair_id *owner, const struct fair_id *session,
                   int32_t weight)
{
    pthread_mutex_lock(&f->lock);
    int32_t o = find(f, NONE, owner);
    struct entry *x = &f->entries[o];
    x->weight = MAX(MIN(weight, FAIR_WEIGHT_MAX), 1);
    if (!is_active(x))
        x->used = MAX(x->used, level(f, NONE));
    x->n[FAIR_WAITING]++; /* before the flow is looked for: its entry must not go */
    int32_t i = find(f, o, session);
    struct entry *y = &f->entries[i];
    if (!is_active(y))
        y->used = MAX(y->used, level(f, o));
    y->n[FAIR_WAITING]++;
    f->total[FAIR_WAITING]++;
    pthread_mutex_unlock(&f->lock);
    return i;
}

static void count(struct fair *f, int32_t flow, enum fair_place place, int32_t n)
{
    for (int32_t i = flow; i != NONE; i = f->entries[i].parent) {
        f->entries[i].n[place] += n;
        ASSERT(f->entries[i].n[place] >= 0);
    }
    f->total[place] += n;
}

void fair_move(struct fair *f, int32_t flow, enum fair_place from, enum fair_place to)
{
    pthread_mutex_lock(&f->lock);
    count(f, flow, from, -1);
    count(f, flow, to, 1);
    pthread_mutex_unlock(&f->lock);
}

void fair_leave(struct fair *f, int32_t flow, enum fair_place from)
{
    pthread_mutex_lock(&f->lock);
    count(f, flow, from, -1);
    struct entry *x = &f->entries[flow], *o = &f->entries[x->parent];
    if (!is_active(x))
        o->floor = MAX(o->floor, x->used);
    if (!is_active(o))
        f->floor = MAX(f->floor, o->used);
    pthread_mutex_unlock(&f->lock);
}

void fair_charge(struct fair *f, int32_t flow, int64_t tokens)
{
    pthread_mutex_lock(&f->lock);
    for (int32_t i = flow; i != NONE; i = f->entries[i].parent)
        f->entries[i].used += tokens * SCALE / f->entries[i].weight;
    pthread_mutex_unlock(&f->lock);
}

int32_t fair_count(struct fair *f, int32_t flow, enum fair_place place)
{
    pthread_mutex_lock(&f->lock);
    int32_t n = f->entries[f->entries[flow].parent].n[place];
    pthread_mutex_unlock(&f->lock);
    return n;
}

int32_t fair_total(struct fair *f, enum fair_place place)
{
    pthread_mutex_lock(&f->lock);
    int32_t n = f->total[place];
    pthread_mutex_unlock(&f->lock);
    return n;
}

static int64_t lead(int32_t priority)
{
    int64_t p = MAX(MIN(priority, FAIR_PRIORITY_MAX), -FAIR_PRIORITY_MAX);
    return p * FAIR_PRIORITY_TOKENS * SCALE;
}

static int sign(int64_t x) { return (x > 0) - (x < 0); }

int fair_compare(struct fair *f, int32_t a, int32_t a_priority, int32_t b, int32_t b_priority,
                 bool by_slots)
{
    pthread_mutex_lock(&f->lock);
    const struct entry *x = &f->entries[a], *y = &f->entries[b];
    int64_t ahead = 0;
    if (x->parent != y->parent) {
        x = &f->entries[x->parent];
        y = &f->entries[y->parent];
        ahead = lead(b_priority) - lead(a_priority);
    }
    int order = !by_slots ? 0 : sign((int64_t)x->n[FAIR_RUNNING] * y->weight -
                                     (int64_t)y->n[FAIR_RUNNING] * x->weight);
    if (order == 0)
        order = sign(x->used - y->used - ahead);
    pthread_mutex_unlock(&f->lock);
    return order;
}

bool fair_yields(struct fair *f, int32_t runs, int32_t waits)
{
    pthread_mutex_lock(&f->lock);
    const struct entry *x = &f->entries[runs], *y = &f->entries[waits];
    bool same_flow = runs == waits;
    if (x->parent != y->parent) {
        x = &f->entries[x->parent];
        y = &f->entries[y->parent];
    }
    int64_t has = x->n[FAIR_RUNNING], gets = y->n[FAIR_RUNNING];
    /* Slots over weights, as products. */
    bool more = (has - 1) * y->weight >= (gets + 1) * x->weight;
    bool longer = (gets == 0 || has * y->weight >= (gets + 1) * x->weight) &&
                  x->used - y->used >= (int64_t)FAIR_QUANTUM * SCALE;
    pthread_mutex_unlock(&f->lock);
    return has > 0 && !same_flow && (more || longer);
}
