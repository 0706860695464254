/* The repetitions that end where the text ends, by the Z function of the reversed window. */
#define _GNU_SOURCE /* memmem */
#include "scheduler/dry.h"

#include <string.h>

#include "base/mem.h"

/* No penalty is larger: the logit stays finite. */
#define PENALTY_MAX 1e30

int dry_init(struct dry *d, const struct sampling *p, int32_t vocab,
             const struct piece_source *pieces, struct err *e)
{
    *d = (struct dry){0};
    if (!(p->dry_multiplier > 0) || p->dry_penalty_last_n == 0)
        return 0;
    int32_t window = p->dry_penalty_last_n;
    window = window < 0 || window > LIMIT_DRY_TOKENS ? LIMIT_DRY_TOKENS : window;
    *d = (struct dry){.p = p, .pieces = pieces && pieces->piece ? pieces : NULL, .vocab = vocab,
                      .window = window};
    d->ids = mem_array(2 * (size_t)window, sizeof *d->ids);
    d->same = mem_array((size_t)window, sizeof *d->same);
    d->place = mem_array((size_t)vocab, sizeof *d->place);
    d->edits = mem_array((size_t)window, sizeof *d->edits);
    if (d->ids && d->same && d->place && d->edits)
        return 0;
    dry_fini(d);
    return err_set(e, E_NOMEM, "no memory to look for repetitions in %d tokens", (int)window);
}

void dry_fini(struct dry *d)
{
    mem_free(d->ids);
    mem_free(d->same);
    mem_free(d->place);
    mem_free(d->edits);
    *d = (struct dry){0};
}

void dry_clear(struct dry *d)
{
    d->n = 0;
    d->since = 0;
    d->n_tail = 0;
}

/* ---- breakers ----------------------------------------------------------------------------- */

/* Whether one of the breakers ends within the last n bytes of `text`, which has n_text. */
static bool breaks(const struct dry *d, const char *text, size_t n_text, size_t n)
{
    for (int32_t i = 0; i < d->p->n_breakers; i++) {
        const struct dry_breaker *b = &d->p->breakers[i];
        size_t reach = MIN(n + b->n - 1, n_text);
        if (memmem(text + n_text - reach, reach, b->bytes, b->n))
            return true;
    }
    return false;
}

/* The token's text after the tail; the tail becomes its end. */
static bool ends_breaker(struct dry *d, int32_t id)
{
    char text[LIMIT_DRY_BREAKER_BYTES + LIMIT_TOKEN_BYTES];
    size_t n = 0, keep = sizeof d->tail;
    const char *bytes = d->pieces->piece(d->pieces->arg, id, &n);
    if (n == 0 || n > LIMIT_TOKEN_BYTES)
        return false;
    memcpy(text, d->tail, d->n_tail);
    memcpy(text + d->n_tail, bytes, n);
    size_t all = d->n_tail + n;
    bool broke = breaks(d, text, all, n);
    d->n_tail = MIN(all, keep);
    memcpy(d->tail, text + all - d->n_tail, d->n_tail);
    return broke;
}

static bool contains_breaker(const struct dry *d, int32_t id)
{
    size_t n = 0;
    const char *bytes = d->pieces ? d->pieces->piece(d->pieces->arg, id, &n) : NULL;
    return n > 0 && breaks(d, bytes, n, n);
}

void dry_see(struct dry *d, const int32_t *ids, int64_t n)
{
    for (int64_t i = 0; d->p && i < n; i++) {
        ASSERT(ids[i] >= 0 && ids[i] < d->vocab);
        if (d->n == 2 * d->window) {
            memmove(d->ids, d->ids + d->window + 1, (size_t)(d->window - 1) * sizeof *d->ids);
            d->n = d->window - 1;
        }
        d->ids[d->n++] = ids[i];
        d->since = d->pieces && ends_breaker(d, ids[i]) ? 0 : d->since + 1;
    }
}

/* ---- repetitions -------------------------------------------------------------------------- */

/* same[i] = how many of the last tokens equal those that end i before the end. */
static void find_same(int32_t *same, const int32_t *last, int32_t n)
{
    same[0] = n;
    for (int32_t i = 1, from = 0, to = 0; i < n; i++) {
        int32_t k = i < to ? MIN(to - i, same[i - from]) : 0;
        while (i + k < n && last[-k] == last[-(i + k)])
            k++;
        same[i] = k;
        if (i + k > to) {
            from = i;
            to = i + k;
        }
    }
}

static float penalty(const struct sampling *p, int32_t n)
{
    double x = (double)p->dry_multiplier;
    for (int32_t k = p->dry_allowed_length; k < n && x < PENALTY_MAX && p->dry_base > 1; k++)
        x *= (double)p->dry_base;
    return (float)MIN(x, PENALTY_MAX);
}

int32_t dry_repeats(struct dry *d)
{
    if (!d->p || d->n < 2 || d->since < d->p->dry_allowed_length)
        return 0;
    int32_t n = MIN(d->n, d->window), found = 0, kept = 0;
    const int32_t *last = d->ids + d->n - 1;
    find_same(d->same, last, n);
    for (int32_t i = 1; i < n; i++) {
        int32_t length = (int32_t)MIN((int64_t)d->same[i], d->since), id = last[-(i - 1)];
        if (length < d->p->dry_allowed_length)
            continue;
        if (!d->place[id]) {
            d->edits[found] = (struct sample_edit){.id = id};
            d->place[id] = ++found;
        }
        struct sample_edit *x = &d->edits[d->place[id] - 1];
        x->x = MAX(x->x, (float)length); /* exact: a window has fewer than 2^24 tokens */
    }
    for (int32_t i = 0; i < found; i++) {
        struct sample_edit x = d->edits[i];
        d->place[x.id] = 0;
        if (!contains_breaker(d, x.id))
            d->edits[kept++] = (struct sample_edit){x.id, penalty(d->p, (int32_t)x.x)};
    }
    return kept;
}
