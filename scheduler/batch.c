/* The choice of rows of one step. Pure; engine thread.
 *
 * Invariant: of what those that come first leave, half of the rows and a row of logits per sequence
 * are never given to one because of its length, so no sequence waits for the length of a
 * neighbour's prompt. */
#include "scheduler/batch.h"

int32_t batch_logits(const struct batch_want *w, int32_t n)
{
    int32_t scored = MAX(MIN(n, w->score_to) - MAX(w->score_from, 0), 0);
    bool last_scored = w->left - 1 >= w->score_from && w->left - 1 < w->score_to;
    return scored + (n == w->left && w->draws && !last_scored);
}

/* The most rows of w, at most n, that need at most `logits` rows of logits. */
static int32_t fit(const struct batch_want *w, int32_t n, int32_t logits)
{
    n = MIN(n, MIN(w->left, w->most));
    for (int32_t over; n > 0 && (over = batch_logits(w, n) - logits) > 0;)
        n -= over; /* a row needs one row of logits at most */
    return MAX(n, 0);
}

static int32_t rows_now(const struct batch_want *w) { return MIN(w->left, w->most); }

static bool may_be_first(const struct batch_want *w)
{
    bool newcomer = w->had <= BATCH_NEW || w->whole <= BATCH_SHORT;
    return !w->decode && newcomer && batch_logits(w, rows_now(w)) <= 1;
}

int32_t batch_first(struct batch_want *w, int32_t n_want, int32_t rows, int32_t *n_others)
{
    int32_t sum = 0, best;
    *n_others = 0;
    for (int32_t i = 0; i < n_want; i++) {
        w[i].first = false;
        sum += w[i].decode;
        *n_others += !w[i].decode;
    }
    do {
        best = -1;
        for (int32_t i = 0; i < n_want; i++)
            if (may_be_first(&w[i]) && !w[i].first && w[i].left <= rows - sum &&
                (best < 0 || w[i].left < w[best].left))
                best = i;
        if (best >= 0) {
            w[best].first = true;
            sum += rows_now(&w[best]);
            --*n_others;
        }
    } while (best >= 0);
    return sum;
}

/* The prompt with the fewest rows left of those that could take one more, the oldest of equals;
 * -1 = none. */
static int32_t least_left(const struct batch_want *w, const int32_t *rows, int32_t n_want,
                          int32_t tokens, int32_t logits)
{
    int32_t best = -1;
    for (int32_t i = 0; i < n_want; i++) {
        if (w[i].decode || (best >= 0 && w[i].left >= w[best].left))
            continue;
        if (fit(&w[i], rows[i] + tokens, batch_logits(&w[i], rows[i]) + logits) > rows[i])
            best = i;
    }
    return best;
}

/* Equal shares of half the rows, at least one row each: then not all get one, but the next `n` from
 * the prompt *turn on, and the others in the next steps. */
static void share_out(const struct batch_want *w, int32_t n_want, int32_t n_prompts,
                      int32_t *tokens, int32_t *logits, uint32_t *turn, int32_t *rows)
{
    int32_t half = (*tokens + 1) / 2, n = MIN(n_prompts, half), at = 0;
    int32_t share = half / n, share_logits = MAX(*logits / 2 / n_prompts, 1);
    int32_t first = (int32_t)(*turn % (uint32_t)n_prompts);
    for (int32_t i = 0; i < n_want; i++) {
        if (w[i].decode || w[i].first)
            continue;
        int32_t place = (at++ - first + n_prompts) % n_prompts;
        if (place >= n)
            continue;
        rows[i] = fit(&w[i], share, share_logits);
        *tokens -= rows[i];
        *logits -= batch_logits(&w[i], rows[i]);
    }
    if (n < n_prompts)
        *turn = (uint32_t)(first + n) % (uint32_t)n_prompts;
}

int32_t batch_pick(const struct batch_want *w, int32_t n_want, int32_t tokens, int32_t logits,
                   uint32_t *turn, int32_t *rows)
{
    int32_t n_prompts = 0, all = tokens;
    ASSERT(n_want <= logits);
    for (int32_t i = 0; i < n_want; i++) {
        ASSERT(w[i].left >= 1 && w[i].whole >= w[i].left && w[i].most >= 1);
        rows[i] = w[i].decode ? 1 : w[i].first ? rows_now(&w[i]) : 0;
        tokens -= rows[i];
        logits -= batch_logits(&w[i], rows[i]);
        n_prompts += !w[i].decode && !w[i].first;
    }
    ASSERT(tokens >= 0);
    if (n_prompts == 0 || tokens == 0)
        return all - tokens;
    share_out(w, n_want, n_prompts, &tokens, &logits, turn, rows);
    for (int32_t i; tokens > 0 && (i = least_left(w, rows, n_want, tokens, logits)) >= 0;) {
        int32_t used = batch_logits(&w[i], rows[i]);
        int32_t n = fit(&w[i], rows[i] + tokens, used + logits);
        tokens -= n - rows[i];
        logits -= batch_logits(&w[i], n) - used;
        rows[i] = n;
    }
    return all - tokens;
}
