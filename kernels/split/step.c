/* A step over several devices. Pieces of its rows follow each other through the parts; at time t
 * part k works on piece t - k. Backends return while they work, so the parts of one t work at the
 * same time; each then gives what crosses to the host, where every row has its own place.
 *
 * A sequence may be cut between pieces: they come in order, and how a prompt is cut changes no bit.
 * What is on rows of logits comes last, once, for all pieces together. */
#include <string.h>

#include "base/mem.h"
#include "kernels/split/split_int.h"

#define CALL(s, k, f, ...) (s)->devices[k]->backend->f((s)->devices[k], __VA_ARGS__)

/* ---- what crosses ------------------------------------------------------------------------- */

static void note_tail(struct view *v, bool writes, void *arg)
{
    struct split *s = arg;
    const struct act *a = &s->parts[s->n - 1].plan.acts[v->act];
    if (writes || a->rows != ROWS_TOKENS)
        return;
    for (int32_t i = 0; i < s->tail.n; i++)
        if (s->tail.acts[i] == v->act)
            return;
    s->tail.acts[s->tail.n++] = v->act;
}

static void find_tail(struct split *s)
{
    const struct plan *p = &s->parts[s->n - 1].plan;
    bool logits = false;
    s->apart = true;
    for (int32_t i = 0; i < p->n_ops; i++) {
        if (p->ops[i].rows == ROWS_LOGITS)
            op_views(&p->ops[i], note_tail, s);
        s->apart = s->apart && (!logits || p->ops[i].rows == ROWS_LOGITS);
        logits = logits || p->ops[i].rows == ROWS_LOGITS;
    }
}

static bool make_rows(struct split *s, const struct part *x, const struct crossing *c)
{
    for (int32_t i = 0; i < c->n; i++) {
        float **to = &s->rows[c->acts[i]];
        size_t stride = (size_t)x->plan.acts[c->acts[i]].stride;
        if (!*to && !(*to = mem_array((size_t)s->cap.tokens * stride, sizeof **to)))
            return false;
    }
    return true;
}

int split_step_init(struct split *s, struct err *e)
{
    const struct part *last = &s->parts[s->n - 1];
    size_t seqs = (size_t)s->cap.seqs + 1;
    s->n_rows = last->plan.n_acts;
    s->rows = mem_array((size_t)s->n_rows + 1, sizeof *s->rows);
    s->tail.acts = mem_array((size_t)s->n_rows + 1, sizeof *s->tail.acts);
    s->cu_seqlens = mem_array(seqs, sizeof *s->cu_seqlens);
    s->pos = mem_array(seqs, sizeof *s->pos);
    bool fine = s->rows && s->tail.acts && s->cu_seqlens && s->pos;
    if (fine)
        find_tail(s);
    for (int k = 0; k < s->n && fine; k++)
        fine = make_rows(s, &s->parts[k], &s->parts[k].in) &&
               make_rows(s, &s->parts[k], &s->parts[k].out);
    fine = fine && make_rows(s, last, &s->tail);
    return fine ? 0 : err_set(e, E_NOMEM, "no memory for the rows that go from device to device");
}

void split_step_free(struct split *s)
{
    for (int32_t i = 0; s->rows && i < s->n_rows; i++)
        mem_free(s->rows[i]);
    mem_free(s->rows);
    mem_free(s->tail.acts);
    mem_free(s->cu_seqlens);
    mem_free(s->pos);
    s->rows = NULL;
    s->tail = (struct crossing){0};
    s->cu_seqlens = NULL;
    s->pos = NULL;
}

/* Rows [from, from + n) of the step, of every activation of c: from part k, or to it. */
static int move(struct split *s, int k, const struct crossing *c, bool out, int32_t from,
                int32_t n, struct err *e)
{
    int rc = 0;
    for (int32_t i = 0; i < c->n && !rc; i++) {
        int32_t act = c->acts[i];
        float *row = s->rows[act] + (size_t)from * (size_t)s->parts[k].plan.acts[act].stride;
        rc = out ? CALL(s, k, rows_read, act, n, row, e) : CALL(s, k, rows_write, act, n, row, e);
    }
    return rc;
}

/* ---- pieces ------------------------------------------------------------------------------- */

struct pieces { int32_t n, rows; }; /* rows: of each but the last */

static struct pieces cut_rows(const struct split *s, const struct batch *b)
{
    int32_t n = s->apart ? (b->n_tokens + s->piece - 1) / s->piece : 1;
    n = MAX(n, 1);
    return (struct pieces){n, (b->n_tokens + n - 1) / n};
}

/* Rows [from, end) of b, without logits. */
static struct batch piece_of(struct split *s, const struct batch *b, int32_t from, int32_t end)
{
    int32_t first = 0, n = 0;
    while (b->cu_seqlens[first + 1] <= from)
        first++;
    for (int32_t q = first; q < b->n_seqs && b->cu_seqlens[q] < end; q++, n++) {
        int32_t begin = MAX(b->cu_seqlens[q], from);
        s->cu_seqlens[n] = begin - from;
        s->pos[n] = b->pos[q] + (begin - b->cu_seqlens[q]);
    }
    s->cu_seqlens[n] = end - from;
    struct batch x = *b;
    x.n_seqs = n;
    x.n_tokens = end - from;
    x.n_logits = 0;
    x.tokens += from;
    x.cu_seqlens = s->cu_seqlens;
    x.slots += first;
    x.pos = s->pos;
    if (b->pages_per_seq)
        x.pages += (int64_t)first * b->pages_per_seq;
    x.ops = STEP_TOKENS;
    return x;
}

static int begin(struct split *s, int k, const struct batch *b, struct pieces p, int32_t i,
                 struct err *e)
{
    int32_t from = i * p.rows, end = MIN(from + p.rows, b->n_tokens);
    struct batch x = p.n > 1 ? piece_of(s, b, from, end) : *b;
    int rc = move(s, k, &s->parts[k].in, false, from, end - from, e);
    return rc ? rc : CALL(s, k, run, &x, e);
}

static int finish(struct split *s, int k, const struct batch *b, struct pieces p, int32_t i,
                  struct err *e)
{
    int32_t from = i * p.rows, end = MIN(from + p.rows, b->n_tokens);
    const struct crossing *c = k + 1 < s->n ? &s->parts[k].out : &s->tail;
    return k + 1 < s->n || p.n > 1 ? move(s, k, c, true, from, end - from, e) : 0;
}

/* The ops on rows of logits, for all pieces. */
static int run_tail(struct split *s, const struct batch *b, struct err *e)
{
    struct batch x = *b;
    x.ops = STEP_LOGITS;
    if (b->n_logits == 0)
        return 0;
    int rc = move(s, s->n - 1, &s->tail, false, 0, b->n_tokens, e);
    return rc ? rc : CALL(s, s->n - 1, run, &x, e);
}

int split_step(struct split *s, const struct batch *b, struct err *e)
{
    struct pieces p = cut_rows(s, b);
    int rc = 0;
    if (b->n_tokens < 1)
        return 0;
    for (int32_t t = 0; t < p.n + s->n - 1 && !rc; t++) {
        int from = MAX(0, t - p.n + 1), end = MIN(t + 1, s->n); /* parts that have a piece */
        for (int k = from; k < end && !rc; k++)
            rc = begin(s, k, b, p, t - k, e);
        for (int k = from; k < end && !rc; k++)
            rc = finish(s, k, b, p, t - k, e);
    }
    return rc || p.n == 1 ? rc : run_tail(s, b, e);
}
