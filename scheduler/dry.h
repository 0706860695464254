/* DRY ("don't repeat yourself"): what would continue a repetition of the text's end is made less
 * likely, the longer the repetition the more. Meanings are llama.cpp's:
 *   of the last `window` tokens, token i + 1 would repeat what followed before if the tokens up to
 *   i end as the whole does, over n >= allowed tokens; the longest n counts. multiplier *
 *   base^(n - allowed) is subtracted from its logit. A repetition does not reach back over a
 *   sequence breaker (a token in which one ends), and a token that contains one is not made less
 *   likely.
 * Breakers are looked for in the text, so how it was cut into tokens does not matter.
 *
 * A step costs O(window). Owner: the sequence. Thread: engine. */
#ifndef RECURD_DRY_H
#define RECURD_DRY_H

#include "kernels/sample.h"
#include "scheduler/pieces.h"
#include "scheduler/request.h"

struct dry {
    const struct sampling *p;      /* NULL = off; outlives it, as pieces does */
    const struct piece_source *pieces; /* NULL = no text, no breakers */
    int32_t window, vocab;
    int32_t *ids;                  /* [2 * window], the first n */
    int32_t n;
    int64_t since;                 /* tokens after the last in which a breaker ended */
    int32_t *same;                 /* [window] scratch of the comparison */
    int32_t *place;                /* [vocab] 1 + index into edits, 0 = none; between calls all 0 */
    struct sample_edit *edits;     /* [window] */
    char tail[LIMIT_DRY_BREAKER_BYTES];
    size_t n_tail;                 /* the text's end */
};

/* Off if p does not ask for it. E_NOMEM. */
int dry_init(struct dry *d, const struct sampling *p, int32_t vocab,
             const struct piece_source *pieces, struct err *e) MUST_USE;
void dry_fini(struct dry *d);
void dry_clear(struct dry *d); /* as after dry_init */
void dry_see(struct dry *d, const int32_t *ids, int64_t n);
/* What is subtracted now, in d->edits. Returns their number. */
int32_t dry_repeats(struct dry *d);

#endif
