/* Merges of one rank, which vocabularies without merges have for every cut of a word, become one:
 * a word merges by ranks below its own, alone as anywhere in a text, until two parts are left, and
 * no other cut of it ever comes up. A word of which more than two are left is never merged to; only
 * tokenizers that look a piece up before they merge (ignore_merges) know it. */
#include "models/text/bpe_export.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "models/text/bpe.h"

#define TEXT_MAX (4 * LIMIT_TOKEN_BYTES + 2)

struct bpe_export {
    const struct tokenizer *t;
    const struct bpe *b;
    const struct gguf_pre *pre;
    struct merge *merges;
    size_t n;
    char text[TEXT_MAX];
};

static int by_rank(const void *a, const void *b)
{
    const struct merge *x = a, *y = b;
    return x->rank != y->rank ? (x->rank < y->rank ? -1 : 1)
           : x->left != y->left ? (x->left < y->left ? -1 : 1)
                                : (x->right > y->right) - (x->right < y->right);
}

/* Bytes as the vocabulary writes them, two each at most. */
static size_t write_bytes(const char *p, size_t n, char *out)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t c = step_char_of_byte((unsigned char)p[i]);
        if (c >= 0x80)
            out[k++] = (char)(0xc0 | c >> 6);
        out[k++] = (char)(c >= 0x80 ? 0x80 | (c & 0x3f) : c);
    }
    return k;
}

/* The two parts that word id has merged to by ranks below its own; false: there are more. */
static bool last_cut(const struct bpe_export *x, uint32_t id, uint32_t rank, struct merge *out)
{
    uint32_t s[LIMIT_TOKEN_BYTES];
    const struct token *w = &x->t->tokens[id];
    size_t n = 0;
    for (; n < w->n; n++) {
        char text[2];
        size_t k = write_bytes(w->text + n, 1, text);
        int32_t byte = trie_get(&x->b->vocab, text, k);
        if (byte < 0)
            return false;
        s[n] = (uint32_t)byte;
    }
    while (n > 2) {
        const struct merge *best = NULL;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const struct merge *m = bpe_merge_get(x->b, s[i], s[i + 1]);
            if (m && m->rank < rank && (!best || m->rank < best->rank)) {
                best = m;
                at = i;
            }
        }
        if (!best)
            return false;
        s[at] = best->id;
        n--;
        memmove(s + at + 1, s + at + 2, (n - at - 1) * sizeof *s);
    }
    const struct merge *m = n == 2 ? bpe_merge_get(x->b, s[0], s[1]) : NULL;
    if (!m || m->rank != rank)
        return false;
    *out = *m;
    return true;
}

/* Of each rank one merge, or none. */
static void keep_one_of_a_rank(struct bpe_export *x)
{
    size_t kept = 0;
    for (size_t i = 0, end; i < x->n; i = end) {
        struct merge m = x->merges[i];
        for (end = i + 1; end < x->n && x->merges[end].rank == m.rank;)
            end++;
        if (end - i == 1 || last_cut(x, m.id, m.rank, &m))
            x->merges[kept++] = m;
    }
    x->n = kept;
}

/* Every word must read as what it is when its bytes are written as the format writes them. */
static int check_words(struct bpe_export *x, struct err *e)
{
    const char *text;
    size_t n;
    for (int32_t id = 0; id < x->t->n; id++)
        if (bpe_export_token(x, id, &text, &n) == BPE_WORD &&
            trie_get(&x->b->vocab, text, n) != id)
            return err_set(e, E_UNSUPPORTED, "%s: token %d is no word made of bytes, as GGUF has "
                           "them", x->t->path, id);
    return 0;
}

static int collect(struct bpe_export *x, struct err *e)
{
    const struct bpe *b = x->b;
    x->merges = mem_array(b->cap_merges + 1, sizeof *x->merges);
    if (!x->merges)
        return err_set(e, E_NOMEM, "%s: out of memory for its merges", x->t->path);
    for (size_t i = 0; i < b->cap_merges; i++)
        if (b->merges[i].id != UINT32_MAX && b->merges[i].rank != UINT32_MAX)
            x->merges[x->n++] = b->merges[i];
    qsort(x->merges, x->n, sizeof *x->merges, by_rank);
    keep_one_of_a_rank(x);
    return check_words(x, e);
}

int bpe_export_open(struct bpe_export **out, const struct tokenizer *t, struct err *e)
{
    const struct bpe *b = bpe_of(t);
    *out = NULL;
    if (!b)
        return 0;
    if (!b->pre)
        return err_set(e, E_UNSUPPORTED, "%s: GGUF has no name for how it cuts texts", t->path);
    struct bpe_export *x = mem_zalloc(sizeof *x);
    if (!x)
        return err_set(e, E_NOMEM, "%s: out of memory", t->path);
    *x = (struct bpe_export){.t = t, .b = b, .pre = b->pre};
    int rc = collect(x, e);
    if (rc < 0)
        bpe_export_close(x);
    else
        *out = x;
    return rc;
}

void bpe_export_close(struct bpe_export *x)
{
    if (x)
        mem_free(x->merges);
    mem_free(x);
}

const struct gguf_pre *bpe_export_pre(const struct bpe_export *x)
{
    return x->pre;
}

enum bpe_kind bpe_export_token(struct bpe_export *x, int32_t id, const char **text, size_t *n)
{
    const struct token *w = id < x->t->n ? &x->t->tokens[id] : NULL;
    *text = "";
    *n = 0;
    if (!w || !(w->flags & TOKEN_KNOWN))
        return BPE_NONE;
    bool plain = !w->added && !(w->flags & TOKEN_SPECIAL);
    *text = plain ? x->text : w->text;
    *n = plain ? write_bytes(w->text, w->n, x->text) : w->n;
    return plain ? BPE_WORD : w->flags & TOKEN_SPECIAL ? BPE_SPECIAL : BPE_ADDED;
}

bool bpe_export_strips(const struct bpe_export *x, int32_t id, bool behind)
{
    uint32_t at = id < x->t->n ? x->t->tokens[id].added : 0;
    return at && (behind ? x->t->added[at - 1].rstrip : x->t->added[at - 1].lstrip);
}

size_t bpe_export_merges(const struct bpe_export *x)
{
    return x->n;
}

const char *bpe_export_merge(struct bpe_export *x, size_t i, size_t *n)
{
    const struct token *left = &x->t->tokens[x->merges[i].left];
    const struct token *right = &x->t->tokens[x->merges[i].right];
    *n = write_bytes(left->text, left->n, x->text);
    x->text[(*n)++] = ' ';
    *n += write_bytes(right->text, right->n, x->text + *n);
    return x->text;
}
