/* Tokens seen and written by one sequence. Engine thread.
 *
 * Invariant: an id is in ids[0..n) exactly if its mark is not 0. Both arrays are as long as the
 * vocabulary; the system gives the pages only as they are touched. */
#include "scheduler/tally.h"

#include "base/mem.h"

int tally_init(struct tally *t, int32_t vocab, struct err *e)
{
    *t = (struct tally){.vocab = vocab};
    t->marks = mem_array((size_t)vocab, sizeof *t->marks);
    t->ids = mem_array((size_t)vocab, sizeof *t->ids);
    if (t->marks && t->ids)
        return 0;
    tally_fini(t);
    return err_set(e, E_NOMEM, "no memory to count %d tokens for the penalties", (int)vocab);
}

void tally_fini(struct tally *t)
{
    mem_free(t->marks);
    mem_free(t->ids);
    *t = (struct tally){0};
}

static uint32_t *mark(struct tally *t, int32_t id)
{
    ASSERT(id >= 0 && id < t->vocab);
    if (t->marks[id] == 0)
        t->ids[t->n++] = id;
    return &t->marks[id];
}

void tally_prompt(struct tally *t, const int32_t *ids, int64_t n)
{
    for (int64_t i = 0; t->marks && i < n; i++)
        *mark(t, ids[i]) |= TALLY_PROMPT;
}

void tally_output(struct tally *t, int32_t id)
{
    if (!t->marks)
        return;
    uint32_t *m = mark(t, id);
    if ((*m & TALLY_COUNT) < TALLY_COUNT)
        ++*m;
}
