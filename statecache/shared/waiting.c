/* What answers took, and what follows from it. */
#include "statecache/shared/waiting.h"

#include <string.h>

#include "base/clock.h"

void waiting_init(struct waiting *w, uint64_t limit_ns)
{
    *w = (struct waiting){.limit_ns = MAX(limit_ns, (uint64_t)1), .need = WAITING_TIMELY};
}

void waiting_asked(struct waiting *w, uint64_t now) { w->asked_ns = now; }

void waiting_broken(struct waiting *w) { w->asked_ns = 0; }

void waiting_answered(struct waiting *w, uint64_t took_ns, bool typical, uint64_t now)
{
    bool late = took_ns > w->limit_ns;
    if (typical || late)
        w->took_ns[w->n++ % WAITING_KEPT] = took_ns;
    w->asked_ns = 0;
    w->heard_ns = now;
    w->late = late ? w->late + 1 : 0;
    w->timely = late ? w->timely - MIN(w->timely, (uint64_t)WAITING_SETBACK) : w->timely + 1;
}

void waiting_given_up(struct waiting *w, uint64_t took_ns, uint64_t now)
{
    if (took_ns >= w->limit_ns)
        waiting_answered(w, MAX(took_ns, w->limit_ns + 1), true, now);
    else
        waiting_broken(w);
}

void waiting_fetched(struct waiting *w, uint64_t bytes, uint64_t ns)
{
    if (!bytes)
        return;
    double byte_ns = (double)ns / (double)bytes;
    w->byte_ns = w->byte_ns > 0 ? w->byte_ns * 0.75 + byte_ns * 0.25 : byte_ns;
}

static uint64_t age(const struct waiting *w, uint64_t now)
{
    return w->asked_ns && now > w->asked_ns ? now - w->asked_ns : 0;
}

bool waiting_look(struct waiting *w, uint64_t now)
{
    uint64_t late = w->late + age(w, now) / w->limit_ns;
    if (!w->off && late >= WAITING_LATE) {
        bool relapse = w->on_ns && now - w->on_ns < WAITING_RELAPSE_NS;
        w->need = relapse ? MIN(w->need * 2, (uint64_t)WAITING_TIMELY_MAX) : WAITING_TIMELY;
        w->timely = 0;
        w->off = true;
        return true;
    }
    if (!w->off || late || w->timely < w->need)
        return false;
    uint64_t last = w->n ? w->took_ns[(w->n - 1) % WAITING_KEPT] : 0;
    w->took_ns[0] = last; /* those of before say nothing about the store as it is now */
    w->n = 1;
    w->on_ns = now;
    w->off = false;
    return true;
}

uint64_t waiting_lacks(const struct waiting *w)
{
    return w->off ? MAX(w->need, w->timely + 1) - w->timely : 0;
}

uint64_t waiting_expected(const struct waiting *w, int rounds, uint64_t now)
{
    uint64_t kept[WAITING_KEPT] = {0};
    uint32_t n = MIN(w->n, (uint32_t)WAITING_KEPT);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = i;
        for (; at > 0 && kept[at - 1] > w->took_ns[i]; at--)
            kept[at] = kept[at - 1];
        kept[at] = w->took_ns[i];
    }
    return MAX(n ? kept[n / 2] * (uint64_t)rounds : 0, age(w, now));
}

uint64_t waiting_fetch(const struct waiting *w, uint64_t bytes, uint64_t now)
{
    return MAX(waiting_expected(w, 1, now), (uint64_t)(w->byte_ns * (double)bytes));
}

uint64_t waiting_worth(const struct waiting *w, int64_t tokens, uint64_t token_ns)
{
    double worth = token_ns ? (double)MAX(tokens, 0) * (double)token_ns : (double)w->limit_ns;
    if (worth >= (double)w->limit_ns)
        return w->limit_ns;
    return MAX((uint64_t)worth, w->limit_ns / WAITING_FLOOR);
}

bool waiting_pays(const struct waiting *w, uint64_t worth_ns, int rounds, uint64_t now)
{
    return !w->off && !w->late && age(w, now) <= w->limit_ns &&
           waiting_expected(w, rounds, now) <= worth_ns;
}
