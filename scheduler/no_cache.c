/* An engine without a state cache: what every hook that a cache leaves out does. */
#include "scheduler/engine.h"

static int begin(void *arg, struct seq *q, struct err *e)
{
    (void)arg;
    (void)q;
    (void)e;
    return 0; /* from the first token */
}

static int restore(void *arg, struct seq *q, struct err *e)
{
    (void)arg;
    return err_set(e, E_CLOSED, "there is no state for position %lld", (long long)q->pos);
}

static int64_t cut(void *arg, struct seq *q)
{
    (void)arg;
    (void)q;
    return INT64_MAX;
}

static int reached(void *arg, struct seq *q, const float *logits, struct err *e)
{
    (void)arg;
    (void)q;
    (void)logits;
    (void)e;
    return 0;
}

static bool swap(void *arg, struct seq *q)
{
    (void)arg;
    (void)q;
    return false;
}

static bool end(void *arg, struct seq *q, enum finish finish)
{
    (void)arg;
    (void)q;
    (void)finish;
    return false;
}

static bool defer(void *arg, struct seq *q, const struct delivery *last)
{
    (void)arg;
    (void)q;
    (void)last;
    return false;
}

static void tick(void *arg) { (void)arg; }

static bool reclaim_slot(void *arg)
{
    (void)arg;
    return false;
}

static bool reclaim_pages(void *arg, int32_t n)
{
    (void)arg;
    (void)n;
    return false;
}

void engine_use_cache(struct engine *en, const struct engine_cache *c)
{
    static const struct engine_cache none;
    c = c ? c : &none;
#define HOOK(name) .name = c->name ? c->name : name
    en->cache = (struct engine_cache){
        .arg = c->arg, HOOK(begin), HOOK(restore), HOOK(cut), HOOK(reached), HOOK(swap), HOOK(end),
        HOOK(defer), HOOK(tick), HOOK(reclaim_slot), HOOK(reclaim_pages),
    };
#undef HOOK
}
