/* Words with ranks -> a byte-pair tokenizer. Such files have no merges: every pair of words that
 * is a word itself may merge, which the table of merges then has for each place where a word can
 * be cut into two. */
#include <sodium.h>
#include <string.h>

#include "models/text/bpe_load.h"
#include "models/text/gguf_vocab.h"

#define WORD_TEXT (2 * LIMIT_TOKEN_BYTES) /* as the vocabulary writes it: a byte may take two */
/* Bytes looked at while words are cut into two: 160,000 words of 7 bytes take 10 million. */
#define WORK_MAX 400000000

int bpe_ranks_init(struct bpe_ranks *r, struct tokenizer *t, int64_t first,
                   const char *const *patterns, size_t n, struct err *e)
{
    *r = (struct bpe_ranks){.t = t, .b = bpe_new(t, e), .first = first, .e = e};
    if (!r->b)
        return e->code;
    r->b->ignore_merges = true; /* a piece that is a word is not cut */
    r->b->pre = gguf_pre_like(patterns, n, true, false);
    for (size_t i = 0; i < n && patterns[i]; i++) {
        struct step *s = steps_add(&r->b->splitter, STEP_SPLIT, t->path, e);
        if (!s || step_compile(s, patterns[i], false, t->path, e) < 0)
            return e->code;
        s->behavior = SPLIT_ISOLATED;
    }
    return steps_add(&r->b->splitter, STEP_BYTES, t->path, e) ? 0 : e->code;
}

/* A word as the vocabulary writes it; at[i]: where byte i begins. */
static size_t write_word(const char *p, size_t n, char *text, uint16_t *at)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t c = step_char_of_byte((unsigned char)p[i]);
        at[i] = (uint16_t)k;
        if (c >= 0x80)
            text[k++] = (char)(0xc0 | c >> 6);
        text[k++] = (char)(c >= 0x80 ? 0x80 | (c & 0x3f) : c);
    }
    at[n] = (uint16_t)k;
    return k;
}

int bpe_ranks_add(struct bpe_ranks *r, int64_t rank, const char *base64, size_t n)
{
    char word[LIMIT_TOKEN_BYTES], text[WORD_TEXT];
    uint16_t at[LIMIT_TOKEN_BYTES + 1];
    size_t len = 0;
    int64_t id = rank + r->first;
    if (rank < 0 || rank >= LIMIT_VOCAB || id >= LIMIT_VOCAB)
        return err_set(r->e, E_RANGE, "%s: rank %lld is outside 0 to %lld", r->t->path,
                       (long long)rank, (long long)(LIMIT_VOCAB - r->first - 1));
    if (sodium_base642bin((unsigned char *)word, sizeof word, base64, n, NULL, &len, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0 || len == 0)
        return err_set(r->e, E_FORMAT, "%s: rank %lld is no base64 of 1 to %d bytes", r->t->path,
                       (long long)rank, LIMIT_TOKEN_BYTES);
    size_t k = write_word(word, len, text, at);
    if (id < r->t->n && (r->t->tokens[id].flags & TOKEN_KNOWN))
        return err_set(r->e, E_CONFLICT, "%s: two words have rank %lld", r->t->path,
                       (long long)rank);
    if (trie_get(&r->b->vocab, text, k) >= 0)
        return err_set(r->e, E_CONFLICT, "%s: the word of rank %lld has rank %lld, too",
                       r->t->path, (long long)rank,
                       (long long)(trie_get(&r->b->vocab, text, k) - r->first));
    if (trie_add(&r->b->vocab, text, k, (int32_t)id) < 0)
        return err_set(r->e, E_NOMEM, "%s: out of memory for rank %lld", r->t->path,
                       (long long)rank);
    return tokenizer_set(r->t, id, word, len, 0, r->e);
}

/* Ways to cut word id into two words: counted, and added to the merges if `add`. */
static size_t cuts_of(const struct bpe_ranks *r, int32_t id, bool add, size_t *work)
{
    char text[WORD_TEXT];
    uint16_t at[LIMIT_TOKEN_BYTES + 1];
    const struct token *w = &r->t->tokens[id];
    size_t found = 0, len, k = write_word(w->text, w->n, text, at);
    for (size_t i = 1; i < w->n; i++) {
        int32_t left = trie_get(&r->b->vocab, text, at[i]), right;
        *work += at[i];
        if (left < 0)
            continue;
        len = k - at[i];
        *work += len;
        right = trie_get(&r->b->vocab, text + at[i], len);
        found += right >= 0;
        if (right >= 0 && add)
            bpe_merge_add(r->b, (uint32_t)left, (uint32_t)right, (uint32_t)id, (uint32_t)id);
    }
    return found;
}

static bool is_word(const struct bpe_ranks *r, int32_t id)
{
    return (r->t->tokens[id].flags & (TOKEN_KNOWN | TOKEN_SPECIAL)) == TOKEN_KNOWN;
}

int bpe_ranks_finish(struct bpe_ranks *r)
{
    size_t n = 0, work = 0;
    for (int b = 0; b < 256; b++) {
        char byte = (char)b, text[2];
        uint16_t at[2];
        size_t k = write_word(&byte, 1, text, at);
        if (trie_get(&r->b->vocab, text, k) < 0)
            return err_set(r->e, E_FORMAT, "%s: there is no word for byte 0x%02x", r->t->path,
                           (unsigned)b);
    }
    for (int32_t id = 0; id < r->t->n && work <= WORK_MAX; id++)
        n += is_word(r, id) ? cuts_of(r, id, false, &work) : 0;
    if (work > WORK_MAX)
        return err_set(r->e, E_RANGE, "%s: finding the merges of its %d words takes more than %d "
                       "steps", r->t->path, r->t->n, WORK_MAX);
    if (bpe_merges_init(r->b, n) < 0)
        return err_set(r->e, E_NOMEM, "%s: out of memory for %zu merges", r->t->path, n);
    for (int32_t id = 0; id < r->t->n; id++)
        if (is_word(r, id))
            cuts_of(r, id, true, &work);
    return 0;
}
