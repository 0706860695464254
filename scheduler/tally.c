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

void tally_fini(struct tally *t)
{
    mem_free(t->edits);
    mem_free(t->times);
    mem_free(t->place);
    *t = (struct tally){0};
}

static int32_t see(struct tally *t, int32_t id)
{
    ASSERT(id >= 0 && id < t->vocab);
    if (t->place[id] == 0) {
        t->edits[t->n] = (struct sample_edit){.id = id};
        t->place[id] = ++t->n;
    }
    return t->place[id] - 1;
}

void tally_prompt(struct tally *t, const int32_t *ids, int64_t n)
{
    for (int64_t i = 0; t->place && i < n; i++)
        (void)see(t, ids[i]);
}

void tally_output(struct tally *t, int32_t id)
{
    if (!t->place)
        return;
    int32_t i = see(t, id);
    if (t->times[i] < UINT32_MAX)
        t->times[i]++;
    t->edits[i].x = (float)t->times[i] * t->frequency + t->presence;
}
