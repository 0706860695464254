/* What the fuzzers of grammar definitions share: a definition that is taken is followed along a
 * random text, and its masks must be the truth about what may come next. */
#ifndef RECURD_FUZZ_GRAMMAR_H
#define RECURD_FUZZ_GRAMMAR_H

#include "models/text/constrain/grammar.h"
#include "tests/fuzz/fuzz.h"

#define FUZZ_TOKENS 320
#define FUZZ_STEPS 24

/* Every byte, and some longer pieces. */
static inline const char *fuzz_piece(const void *arg, int32_t id, size_t *n)
{
    static char bytes[256];
    static const char *const more[] = {"{\"", "\": ", "\",", "true", "12", "a\"", "ab", "\n  ", "é",
                                       "\xC3", "\xA9\xE2", "\\u00", "}}", "]", "hello world", "xx"};
    (void)arg;
    if (id < 256) {
        bytes[id] = (char)id;
        *n = 1;
        return &bytes[id];
    }
    id = (id - 256) % 32; /* some twice, and some that are special */
    *n = id < (int32_t)ARRAY_LEN(more) ? strlen(more[id]) : 0;
    return *n ? more[id] : NULL;
}

static inline struct token_trie *fuzz_trie(void)
{
    static struct token_trie *trie; /* kept: it is the same for all inputs */
    struct err e = {0};
    if (!trie)
        HOLDS(token_trie_new(&trie, FUZZ_TOKENS, fuzz_piece, NULL, &e) == 0);
    return trie;
}

static inline void fuzz_follow(struct grammar *g, const uint8_t *choices, size_t n)
{
    uint32_t words[FUZZ_TOKENS / 32];
    struct match *m = match_new(g);
    HOLDS(m);
    for (size_t step = 0; step < FUZZ_STEPS; step++) {
        struct match_state s = {0};
        struct err e = {0};
        if (match_mask(m, words, &s, &e))
            break; /* too costly to follow */
        HOLDS(s.whole || s.more);
        int32_t chosen = -1, start = n ? choices[step % n] * 7 % FUZZ_TOKENS : 0;
        for (int32_t i = 0; i < FUZZ_TOKENS; i++) {
            int32_t id = (start + i) % FUZZ_TOKENS;
            bool allowed = words[id / 32] >> (id % 32) & 1;
            if (i < 40 || (allowed && chosen < 0)) {
                struct match *c = match_clone(m);
                struct err why = {0};
                int rc = match_accept(c, id, &why);
                HOLDS(why.code == E_RANGE || allowed == (rc == 0));
                match_free(c);
            }
            if (allowed && chosen < 0)
                chosen = id;
        }
        HOLDS((chosen >= 0) == s.more);
        if (chosen < 0 || match_accept(m, chosen, &e))
            break;
    }
    match_free(m);
}

/* The last 16 bytes of the input choose the text, the first whether there is a trigger. */
static inline int fuzz_definition(enum grammar_kind kind, const uint8_t *data, size_t n)
{
    struct grammar *g = NULL;
    struct err e = {0};
    size_t tail = MIN(n, (size_t)16);
    struct grammar_source s = {.kind = kind, .text = (const char *)data, .n = n - tail,
                               .compact = tail && data[n - 1] & 1,
                               .trigger = tail && data[n - 1] & 2 ? "</t>" : NULL};
    int rc = grammar_new(&g, &s, fuzz_trie(), &e);
    HOLDS((rc == 0) == (g != NULL) && rc == e.code);
    HOLDS(rc == 0 || e.text[0]);
    if (g)
        fuzz_follow(g, data + n - tail, tail);
    grammar_unref(g);
    return 0;
}

#endif
