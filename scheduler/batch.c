/* The choice of rows of one step. Pure; engine thread.
 *
 * Invariant: a share of at least one row and one row of logits per sequence is never given to
 * another one, so no sequence waits for the length of a neighbour's prompt. */
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

int32_t batch_pick(const struct batch_want *w, int32_t n_want, int32_t tokens, int32_t logits,
                   int32_t *rows)
{
    ASSERT(n_want <= tokens && n_want <= logits);
    int32_t n_prompts = 0, all = tokens;
    for (int32_t i = 0; i < n_want; i++) {
        ASSERT(w[i].left >= 1 && w[i].most >= 1);
        rows[i] = w[i].decode;
        tokens -= w[i].decode;
        logits -= w[i].decode;
        n_prompts += !w[i].decode;
    }
    if (n_prompts == 0)
        return all - tokens;
    int32_t share = MAX(tokens / 2 / n_prompts, 1), share_logits = MAX(logits / 2 / n_prompts, 1);
    for (int32_t i = 0; i < n_want; i++) {
        if (w[i].decode)
            continue;
        rows[i] = fit(&w[i], share, share_logits);
        tokens -= rows[i];
        logits -= batch_logits(&w[i], rows[i]);
    }
    for (int32_t i; tokens > 0 && (i = least_left(w, rows, n_want, tokens, logits)) >= 0;) {
        int32_t used = batch_logits(&w[i], rows[i]);
        int32_t n = fit(&w[i], rows[i] + tokens, used + logits);
        tokens -= n - rows[i];
        logits -= batch_logits(&w[i], n) - used;
        rows[i] = n;
    }
    return all - tokens;
}
