/* Receipts, the engine's half: rows of logits are copied for the threads that digest them. Who
 * finds no room for one sits the step out; nobody waits for it. Engine thread. */
#include <string.h>

#include "base/clock.h"
#include "scheduler/deliver.h"
#include "scheduler/engine.h"

/* What rows that wait for their digests may take: five steps of 64 streams with 50,000 tokens each,
 * and less than what a model takes that has such rows. */
#define ROW_BYTES MIB(64)

int engine_receipts_open(struct engine *en, void (*poke)(void *arg), void *arg, struct err *e)
{
    int64_t fit = (int64_t)ROW_BYTES / ((int64_t)en->plan->vocab * (int64_t)sizeof(float));
    int64_t rows = en->o.receipt_rows > 0 ? en->o.receipt_rows : MAX(fit, 2);
    struct receipts_options o = {
        .vocab = en->plan->vocab, .threads = MAX(en->o.receipt_threads, 1),
        .rows = (int32_t)MIN(rows, INT32_MAX), .wakes = &en->wakes, .poke = poke, .arg = arg,
    };
    return receipts_open(&en->receipts, &o, e);
}

/* As seq_begin: if it fails, q is empty again and its reference dropped. */
int engine_receipt_begin(struct engine *en, struct seq *q, const int32_t *ends, int32_t n_ends,
                         struct err *e)
{
    const struct request *r = q->r;
    if (!r->wants_receipt || !en->o.origin)
        return 0;
    struct receipt *x = receipt_new(&en->origin, r, ends, n_ends);
    int rc = x ? receipts_begin(en->receipts, x, &q->receipt, e)
               : err_set(e, E_NOMEM, "no memory for the receipt");
    if (rc)
        seq_end(q);
    return rc;
}

/* ---- room --------------------------------------------------------------------------------- */

/* Once for all, so that none is passed over for room that came a moment later. */
void engine_receipts_look(struct engine *en)
{
    en->receipts_full = receipts_room(en->receipts, 1) == 0;
}

bool engine_receipt_waits(const struct engine *en, const struct seq *q)
{
    return q->receipt && q->phase == SEQ_DECODE && en->receipts_full;
}

bool engine_receipt_row(struct engine *en, struct seq *q)
{
    if (!q->receipt)
        return true;
    if (receipts_room(en->receipts, 1) == 0)
        return false;
    q->row = receipts_take(en->receipts, q->receipt); /* NULL: told when it is missed */
    return true;
}

/* The i-th of the picked draws in this step, for a receipt. */
static bool wants_row(const struct engine *en, int32_t i)
{
    const struct seq *q = en->picked[i];
    return q->receipt && q->max_output > 0 && en->rows[i] > 0 && en->rows[i] == seq_left(q);
}

/* How many come before the i-th: those that were given a row longer ago. */
static int32_t before(const struct engine *en, int32_t i)
{
    uint64_t own = receipts_served(en->picked[i]->receipt);
    int32_t n = 0;
    for (int32_t j = 0; j < en->n_picked; j++) {
        uint64_t other = wants_row(en, j) ? receipts_served(en->picked[j]->receipt) : UINT64_MAX;
        n += other < own || (other == own && j < i);
    }
    return n;
}

void engine_receipt_rows(struct engine *en)
{
    int32_t wanted = 0, n = 0;
    for (int32_t i = 0; i < en->n_picked; i++)
        wanted += wants_row(en, i);
    if (wanted == 0)
        return;
    int32_t room = receipts_room(en->receipts, wanted);
    /* The last in order go first, so those that are left have as many before them as they had. */
    for (int32_t i = 0; room < wanted && i < en->n_picked; i++)
        if (wants_row(en, i) && before(en, i) >= room)
            en->rows[i] = 0;
    for (int32_t i = 0; i < en->n_picked; i++) {
        struct seq *q = en->picked[i];
        if (en->rows[i] == 0)
            continue;
        if (wants_row(en, i))
            q->row = receipts_take(en->receipts, q->receipt);
        en->picked[n] = q;
        en->want[n] = en->want[i];
        en->rows[n++] = en->rows[i];
    }
    en->n_picked = n;
}

/* ---- a draw, and the end ------------------------------------------------------------------ */

int engine_receipt_note(struct engine *en, struct seq *q, int32_t id, const float *logits,
                        int32_t row, struct err *e)
{
    uint64_t from = clock_now_ns();
    struct receipt_row *to = q->row;
    int rc = to ? 0 : err_set(e, E_NOMEM, "no memory for a row of logits of the receipt");
    if (!rc && !logits)
        rc = en->device->backend->logits(en->device, row, &logits, e);
    if (!rc) {
        memcpy(to->logits, logits, (size_t)en->plan->vocab * sizeof *logits);
        to->id = id;
        q->row = NULL;
        rc = receipts_push(en->receipts, q->receipt, to, e);
    }
    en->stats.receipt_copy_ns += clock_now_ns() - from;
    return rc;
}

void engine_receipt_end(struct engine *en, struct seq *q, enum finish finish, bool tells)
{
    receipts_put_back(en->receipts, q->row);
    if (finish == FINISH_STOP || finish == FINISH_LENGTH)
        receipts_end(en->receipts, q->receipt, q->r, finish, tells);
    else
        receipts_drop(en->receipts, q->receipt);
    q->row = NULL;
    q->receipt = NULL;
}
