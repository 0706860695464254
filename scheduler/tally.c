/* Tokens seen and written by one sequence. Engine thread.
 *
 * Invariant: edits[place[id] - 1].id == id for every id seen. The arrays are as long as the
 * vocabulary; the system gives the pages only as they are touched. */
#include "scheduler/tally.h"

#include "base/mem.h"

int tally_init(struct tally *t, int32_t vocab, float presence, float frequency, struct err *e)
{
    *t = (struct tally){.vocab = vocab, .presence = presence, .frequency = frequency};
    t->edits = mem_array((size_t)vocab, sizeof *t->edits);
    t->times = mem_array((size_t)vocab, sizeof *t->times);
    t->place = mem_array((size_t)vocab, sizeof *t->place);
    if (t->edits && t->times && t->place)
        return 0;
    tally_fini(t);
    return err_set(e, E_NOMEM, "no memory to count %d tokens for the penalties", (int)vocab);
}

int tally_limit(struct tally *t, int32_t window, struct err *e)
{
    ASSERT(t->place && t->fed == 0 && window > 0);
    t->last = mem_array((size_t)window, sizeof *t->last);
    t->all = mem_array((size_t)t->vocab, sizeof *t->all);
    if (!t->last || !t->all)
        return err_set(e, E_NOMEM, "no memory to count the last %d tokens", (int)window);
    t->window = window;
    return 0;
}

void tally_fini(struct tally *t)
{
    mem_free(t->edits);
    mem_free(t->times);
    mem_free(t->place);
    mem_free(t->last);
    mem_free(t->all);
    *t = (struct tally){0};
}

void tally_clear(struct tally *t)
{
    for (int32_t i = 0; i < t->n; i++) {
        t->place[t->edits[i].id] = 0;
        t->times[i] = 0;
        if (t->window)
            t->all[i] = 0;
    }
    t->n = 0;
    t->fed = 0;
}

static void weigh(struct tally *t, int32_t i)
{
    t->edits[i].x = t->times[i] ? (float)t->times[i] * t->frequency + t->presence : 0;
}

/* One of a token's times leaves the window, and with the last the token. */
static void forget(struct tally *t, int32_t entry)
{
    bool written = entry >= 0;
    int32_t i = t->place[written ? entry : ~entry] - 1, last = t->n - 1;
    t->times[i] -= written;
    weigh(t, i);
    if (--t->all[i] > 0)
        return;
    t->place[t->edits[i].id] = 0;
    if (i != last) {
        t->edits[i] = t->edits[last];
        t->times[i] = t->times[last];
        t->all[i] = t->all[last];
        t->place[t->edits[i].id] = i + 1;
    }
    t->times[last] = t->all[last] = 0;
    t->n = last;
}

static void see(struct tally *t, int32_t id, bool written)
{
    ASSERT(id >= 0 && id < t->vocab);
    int32_t *slot = t->window ? &t->last[t->fed % t->window] : NULL;
    if (slot && t->fed >= t->window)
        forget(t, *slot);
    if (t->place[id] == 0) {
        t->edits[t->n] = (struct sample_edit){.id = id};
        t->place[id] = ++t->n;
    }
    int32_t i = t->place[id] - 1;
    if (slot) {
        *slot = written ? id : ~id;
        t->all[i]++;
    }
    t->fed++;
    if (written && t->times[i] < UINT32_MAX)
        t->times[i]++;
    weigh(t, i);
}

void tally_prompt(struct tally *t, const int32_t *ids, int64_t n)
{
    for (int64_t i = 0; t->place && i < n; i++)
        see(t, ids[i], false);
}

void tally_output(struct tally *t, int32_t id)
{
    if (t->place)
        see(t, id, true);
}
