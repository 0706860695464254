/* Byte-pair encoding of a word: of all neighbours that may merge, the pair of the lowest rank
 * does, the leftmost among equals, until none may. A heap with lazy deletion keeps that at
 * n log n: some vocabularies treat a whole prompt as one word. Any thread. */
#include "models/text/bpe.h"

#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

/* A longer word is cut, at a U+2581 in its second half if there is one: merging costs 40 bytes of
 * memory a byte, and some vocabularies take a whole prompt as one word. The reference would rarely
 * find another token at the cut. */
#define WORD_MAX KIB(64)

#define NONE UINT32_MAX
#define DROPPED UINT32_MAX /* rank of a merge that must not happen */

/* ---- merge table ------------------------------------------------------------------------ */

static struct merge *slot_of(const struct bpe *b, uint32_t left, uint32_t right)
{
    /* splitmix64's finaliser */
    uint64_t h = ((uint64_t)left << 32 | right) ^ b->seed;
    h = (h ^ h >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    h = (h ^ h >> 27) * UINT64_C(0x94D049BB133111EB);
    size_t i = (size_t)(h ^ h >> 31) & (b->cap_merges - 1);
    while (b->merges[i].id != NONE &&
           (b->merges[i].left != left || b->merges[i].right != right))
        i = (i + 1) & (b->cap_merges - 1);
    return &b->merges[i];
}

int bpe_merges_init(struct bpe *b, size_t n)
{
    size_t cap = 16;
    while (cap < 2 * n)
        cap *= 2;
    b->merges = mem_array(cap, sizeof *b->merges);
    if (!b->merges)
        return E_NOMEM;
    b->cap_merges = cap;
    for (size_t i = 0; i < cap; i++)
        b->merges[i].id = NONE;
    rng_system(&b->seed, sizeof b->seed);
    return 0;
}

const struct merge *bpe_merge_get(const struct bpe *b, uint32_t left, uint32_t right)
{
    const struct merge *m = b->cap_merges ? slot_of(b, left, right) : NULL;
    return m && m->id != NONE && m->rank != DROPPED ? m : NULL;
}

void bpe_merge_add(struct bpe *b, uint32_t left, uint32_t right, uint32_t rank, uint32_t id)
{
    *slot_of(b, left, right) = (struct merge){left, right, rank, id};
}

static bool is_special(const struct bpe *b, int32_t id)
{
    return b->tokens[id].flags & TOKEN_SPECIAL;
}

void bpe_seal(struct bpe *b, const struct tokenizer *t)
{
    b->tokens = t->tokens;
    for (size_t i = 0; i < b->cap_merges; i++)
        if (b->merges[i].id != NONE && is_special(b, (int32_t)b->merges[i].id))
            b->merges[i].rank = DROPPED;
}

void bpe_free(struct bpe *b)
{
    trie_free(&b->vocab);
    mem_free(b->merges);
    steps_free(&b->normalizer);
    steps_free(&b->splitter);
    mem_free(b);
}

/* ---- one word --------------------------------------------------------------------------- */

struct symbol {
    uint32_t id, prev, next; /* neighbours' indices; id NONE = merged into its left neighbour */
};

struct word {
    struct symbol *s;
    uint64_t *heap; /* rank << 32 | index of the left symbol; smallest first */
    size_t n, cap, heap_n;
};

static int word_reserve(struct word *w, size_t n, struct err *e)
{
    if (n <= w->cap)
        return 0;
    size_t cap = MAX(n, MAX(w->cap * 2, (size_t)64));
    mem_free(w->s);
    mem_free(w->heap);
    w->s = mem_array(cap, sizeof *w->s);
    w->heap = mem_array(cap, 3 * sizeof *w->heap); /* a merge takes one out and puts two in */
    w->cap = w->s && w->heap ? cap : 0;
    return w->cap ? 0 : err_set(e, E_NOMEM, "out of memory for a word of %zu bytes", n);
}

static void push(struct word *w, uint64_t x)
{
    size_t i = w->heap_n++;
    for (; i && w->heap[(i - 1) / 2] > x; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = x;
}

static uint64_t pop(struct word *w)
{
    uint64_t top = w->heap[0], x = w->heap[--w->heap_n];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < w->heap_n) {
        child += child + 1 < w->heap_n && w->heap[child + 1] < w->heap[child];
        if (w->heap[child] >= x)
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = x;
    return top;
}

/* Queues the pair that begins at i, if it may merge. */
static void consider(const struct bpe *b, struct word *w, uint32_t i)
{
    uint32_t next = i == NONE ? NONE : w->s[i].next;
    if (next == NONE)
        return;
    const struct merge *m = slot_of(b, w->s[i].id, w->s[next].id);
    if (m->id != NONE && m->rank != DROPPED)
        push(w, (uint64_t)m->rank << 32 | i);
}

static void merge_all(const struct bpe *b, struct word *w)
{
    w->heap_n = 0;
    for (uint32_t i = 0; i + 1 < w->n; i++)
        consider(b, w, i);
    while (w->heap_n) {
        uint64_t top = pop(w);
        uint32_t i = (uint32_t)top, next = w->s[i].next;
        if (w->s[i].id == NONE || next == NONE)
            continue;
        const struct merge *m = slot_of(b, w->s[i].id, w->s[next].id);
        if (m->id == NONE || m->rank != top >> 32) /* the pair changed meanwhile */
            continue;
        w->s[i].id = m->id;
        w->s[i].next = w->s[next].next;
        if (w->s[i].next != NONE)
            w->s[w->s[i].next].prev = i;
        w->s[next].id = NONE;
        consider(b, w, w->s[i].prev);
        consider(b, w, i);
    }
}

static void add_symbol(struct word *w, uint32_t id)
{
    uint32_t i = (uint32_t)w->n++;
    w->s[i] = (struct symbol){id, i ? i - 1 : NONE, NONE};
    if (i)
        w->s[i - 1].next = i;
}

static size_t char_bytes(unsigned char lead)
{
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* A character that the vocabulary lacks: its bytes, the unknown token, or nothing. */
static void add_unknown(const struct bpe *b, struct word *w, const char *p, size_t n,
                        bool *after_unk)
{
    bool bytes = b->byte_fallback;
    for (size_t i = 0; i < n && bytes; i++)
        bytes = b->byte_ids[(unsigned char)p[i]] >= 0;
    if (bytes) {
        for (size_t i = 0; i < n; i++)
            add_symbol(w, (uint32_t)b->byte_ids[(unsigned char)p[i]]);
    } else if (b->unk >= 0 && !(*after_unk && b->fuse_unk)) {
        add_symbol(w, (uint32_t)b->unk);
    }
    *after_unk = !bytes;
}

/* Where to cut a word of n > WORD_MAX bytes. */
static size_t cut_at(const char *text)
{
    static const char mark[] = "\xe2\x96\x81";
    size_t at = WORD_MAX;
    for (size_t i = WORD_MAX; i > WORD_MAX / 2; i--)
        if (memcmp(text + i - 3, mark, 3) != 0 && memcmp(text + i, mark, 3) == 0)
            return i;
    while ((text[at] & 0xc0) == 0x80) /* not inside a character */
        at--;
    return at;
}

static int encode_word(const struct bpe *b, struct word *w, const char *text, size_t n,
                       struct ids *out, struct err *e)
{
    int32_t whole = b->ignore_merges ? trie_get(&b->vocab, text, n) : -1;
    if (whole >= 0 && is_special(b, whole))
        whole = -1;
    int rc = whole >= 0 ? 0 : word_reserve(w, n, e);
    bool after_unk = false;
    w->n = 0;
    if (rc == 0 && whole >= 0)
        rc = ids_add(out, whole);
    for (size_t at = 0, len; rc == 0 && whole < 0 && at < n; at += len) {
        len = MIN(char_bytes((unsigned char)text[at]), n - at);
        int32_t id = trie_get(&b->vocab, text + at, len);
        if (id >= 0 && is_special(b, id))
            id = -1;
        if (id < 0)
            add_unknown(b, w, text + at, len, &after_unk);
        else
            add_symbol(w, (uint32_t)id);
        after_unk = after_unk && id < 0;
    }
    if (rc == 0 && w->n)
        merge_all(b, w);
    for (uint32_t i = 0; rc == 0 && w->n && i != NONE; i = w->s[i].next)
        rc = ids_add(out, (int32_t)w->s[i].id);
    if (rc == E_RANGE)
        return err_set(e, rc, "the text has more than the %zu tokens allowed", out->max);
    return rc == 0 ? 0 : err_set(e, rc, "out of memory for %zu tokens", out->len);
}

int bpe_encode_text(const struct bpe *b, const char *text, size_t n, bool start,
                    struct ids *out, struct err *e)
{
    struct pieces pieces;
    struct word w = {0};
    int rc = pieces_init(&pieces, text, n, e);
    if (rc == 0)
        rc = steps_run(&b->splitter, &pieces, start, e);
    for (size_t i = 0; i < pieces.n && rc == 0; i++) {
        const char *word = pieces.text.p + pieces.p[i].begin;
        size_t left = pieces.p[i].end - pieces.p[i].begin;
        for (size_t len; left && rc == 0; word += len, left -= len) {
            len = left > WORD_MAX ? cut_at(word) : left;
            rc = encode_word(b, &w, word, len, out, e);
        }
    }
    pieces_free(&pieces);
    mem_free(w.s);
    mem_free(w.heap);
    return rc;
}
