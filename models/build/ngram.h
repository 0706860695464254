/* Layers that look up hashed n-grams. Part of build.h. Thread: loading. */
#ifndef RECURD_BUILD_NGRAM_H
#define RECURD_BUILD_NGRAM_H

/* The table under the current prefix: ngram_embedding.weight, or its rows in order as
 * ngram_embedding.shard_<i>.weight. Every n from 2 to size has `heads` heads of `width` columns;
 * each reads as many rows as the next prime from `base` on says, `index` counts the model's tables:
 * the primes of a later one follow those of the earlier ones, which are asked for first. `prime`
 * is that memory, 0 at first. Rows in all are a multiple of `divisor`. Where the file keeps the
 * hash's numbers (layer_multipliers, ngram_heads_vocab_sizes, ngram_heads_offsets) they must be
 * these. */
struct ngram_args { int vocab, eos, size, heads, width, shards, divisor, index;
                    int64_t base, seed, prime; };
val b_ngram(struct build *b, struct ngram_args *a); /* [(size - 1) * heads * width] */

#endif
