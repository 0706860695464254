/* Hashed n-grams, the parameters of op NGRAM: head j reads row first[j] + h_n % modulus[j] of the
 * table, h_n the hash of the last n tokens, n = 2 + j / (heads / (size - 1)):
 *   h_n = x_0 m_0 ^ x_1 m_1 ^ ... ^ x_{n-1} m_{n-1}
 * x_0 is this token, x_s the token s before it; from the first s on where that token is `eos`, or
 * would stand before token 0, x_s is eos: what an end of text parts is never hashed together.
 * Products of a token id and a multiplier stay below 2^63 (validate_ops.c). */
#ifndef RECURD_NGRAM_H
#define RECURD_NGRAM_H

#include "base/base.h"
#include "base/limits.h"

/* Owner: the plan. */
struct ngram {
    int32_t size, heads, eos; /* size: the longest n; heads: of all n, each as many */
    int64_t multiplier[LIMIT_NGRAM];
    int32_t modulus[LIMIT_NGRAM_HEADS], first[LIMIT_NGRAM_HEADS];
};

/* Tokens that head j hashes. */
static inline int32_t ngram_length(const struct ngram *g, int32_t j)
{
    return 2 + j / (g->heads / (g->size - 1));
}

/* A token id as its section keeps it, id + 1, so that zeroed memory means no token. What is no id
 * (a state from a damaged file) is none either: -1. */
static inline int32_t ngram_kept(float kept)
{
    return kept >= 1 && kept <= LIMIT_VOCAB ? (int32_t)kept - 1 : -1;
}

/* Head j's row for tokens[back] of a sequence's rows in a step, tokens[0] the first; kept: the
 * size - 1 tokens before that one, oldest first. */
static inline int64_t ngram_row(const struct ngram *g, int32_t j, const int32_t *tokens,
                                int32_t back, const float *kept)
{
    uint64_t h = (uint64_t)tokens[back] * (uint64_t)g->multiplier[0];
    bool parted = false;
    for (int32_t s = 1; s < ngram_length(g, j); s++) {
        int32_t id = s <= back ? tokens[back - s] : ngram_kept(kept[g->size - 1 - (s - back)]);
        parted |= id < 0 || id == g->eos;
        h ^= (uint64_t)(parted ? g->eos : id) * (uint64_t)g->multiplier[s];
    }
    return g->first[j] + (int64_t)(h % (uint64_t)g->modulus[j]);
}

/* The section after n more tokens. */
static inline void ngram_keep(const struct ngram *g, const int32_t *tokens, int32_t n, float *kept)
{
    for (int32_t i = 0; i < g->size - 1; i++) { /* ascending: only later entries are read */
        int32_t ago = g->size - 2 - i;
        kept[i] = ago < n ? (float)(tokens[n - 1 - ago] + 1) : kept[i + n];
    }
}

#endif
