/* The vocabulary as a trie. See the header. */
#include "models/text/constrain/token_trie.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "models/text/constrain/regex.h"

const int32_t token_slice_chars[SLICE_COUNT] = {2, 4, 8, 16, 32};

struct entry { const char *p; uint32_t n; int32_t id; };

static int by_bytes(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    int c = memcmp(a->p, b->p, MIN(a->n, b->n));
    if (c == 0)
        c = (a->n > b->n) - (a->n < b->n);
    return c ? c : (a->id > b->id) - (a->id < b->id);
}

/* The slice of a token, by its plain characters. */
static uint8_t slice_of(const char *p, uint32_t n)
{
    int32_t chars = 0;
    size_t used;
    for (size_t at = 0; at < n; at += used, chars++)
        if (!char_is_plain(regex_decode(p + at, n - at, &used)))
            return SLICE_NONE;
    for (uint8_t i = 0; i < SLICE_COUNT; i++)
        if (chars <= token_slice_chars[i])
            return i;
    return SLICE_NONE;
}

static uint32_t common(const struct entry *a, const struct entry *b)
{
    uint32_t n = 0, most = MIN(a->n, b->n);
    while (n < most && a->p[n] == b->p[n])
        n++;
    return n;
}

static void mark(struct token_trie *t, int32_t id, uint8_t slice)
{
    for (uint8_t i = slice; i < SLICE_COUNT; i++)
        t->slices[i][id / 32] |= 1u << (id % 32);
}

/* Nodes of sorted entries, depth first. open: [LIMIT_TOKEN_BYTES] the path to the last. */
static void fill(struct token_trie *t, const struct entry *v, int32_t n, uint32_t *open)
{
    uint32_t depth = 0;
    for (int32_t i = 0; i < n; i++) {
        uint32_t shared = i ? common(&v[i - 1], &v[i]) : 0;
        uint8_t slice = slice_of(v[i].p, v[i].n);
        while (depth > shared)
            t->nodes[open[--depth]].next = t->n_nodes;
        for (; depth < v[i].n; depth++) {
            open[depth] = t->n_nodes;
            t->nodes[t->n_nodes++] = (struct trie_node){.token = -1, .depth = (uint16_t)(depth + 1),
                                                        .byte = (uint8_t)v[i].p[depth]};
        }
        struct trie_node *end = &t->nodes[open[depth - 1]];
        t->same[v[i].id] = end->token;
        end->token = v[i].id;
        for (uint32_t d = 0; d < depth; d++)
            t->nodes[open[d]].slice = MAX(t->nodes[open[d]].slice, slice);
        mark(t, v[i].id, slice);
    }
    while (depth > 0)
        t->nodes[open[--depth]].next = t->n_nodes;
}

static bool allocate(struct token_trie *t, size_t n_nodes)
{
    size_t vocab = (size_t)t->vocab;
    t->nodes = mem_array(MAX(n_nodes, 1), sizeof *t->nodes);
    t->same = mem_array(vocab, sizeof *t->same);
    bool ok = t->nodes && t->same;
    for (int i = 0; i < SLICE_COUNT; i++) {
        t->slices[i] = mem_array(t->words, sizeof **t->slices);
        ok = ok && t->slices[i];
    }
    return ok;
}

static int build(struct token_trie *t, struct entry *v, int32_t n, struct err *e)
{
    uint32_t open[LIMIT_TOKEN_BYTES];
    size_t n_nodes = 0;
    qsort(v, (size_t)n, sizeof *v, by_bytes);
    for (int32_t i = 0; i < n; i++)
        n_nodes += v[i].n - (i ? common(&v[i - 1], &v[i]) : 0);
    if (!allocate(t, n_nodes))
        return err_set(e, E_NOMEM, "no memory for a trie of %zu nodes", n_nodes);
    for (int32_t i = 0; i < t->vocab; i++)
        t->same[i] = -1;
    fill(t, v, n, open);
    ASSERT(t->n_nodes == n_nodes);
    return 0;
}

int token_trie_new(struct token_trie **out, int32_t vocab,
                   const char *(*piece)(const void *arg, int32_t id, size_t *n), const void *arg,
                   struct err *e)
{
    ASSERT(vocab > 0 && vocab <= LIMIT_VOCAB);
    struct token_trie *t = mem_zalloc(sizeof *t);
    struct entry *v = mem_array((size_t)vocab, sizeof *v);
    int rc = 0;
    int32_t n = 0;
    if (t) {
        t->refs = 1;
        t->vocab = vocab;
        t->words = ((size_t)vocab + 31) / 32;
        t->bytes = mem_array((size_t)vocab, sizeof *t->bytes);
        t->lengths = mem_array((size_t)vocab, sizeof *t->lengths);
        t->codes = mem_array((size_t)vocab, TOKEN_CODE);
    }
    if (!t || !v || !t->bytes || !t->lengths || !t->codes)
        rc = err_set(e, E_NOMEM, "no memory for a trie of %d tokens", (int)vocab);
    for (int32_t i = 0; i < vocab && !rc; i++) {
        size_t len = 0;
        const char *p = piece(arg, i, &len);
        char *code = t->codes + (size_t)i * TOKEN_CODE;
        code[0] = (char)0xFF;
        for (int k = 1; k < TOKEN_CODE; k++)
            code[k] = (char)(i >> (8 * (TOKEN_CODE - 1 - k)));
        if (!p || len == 0 || len > LIMIT_TOKEN_BYTES) {
            v[n++] = (struct entry){code, TOKEN_CODE, i};
            continue;
        }
        t->bytes[i] = p;
        t->lengths[i] = (uint32_t)len;
        v[n++] = (struct entry){p, (uint32_t)len, i};
    }
    if (!rc)
        rc = build(t, v, n, e);
    mem_free(v);
    if (rc) {
        token_trie_unref(t);
        t = NULL;
    }
    *out = t;
    return rc;
}

void token_trie_ref(struct token_trie *t) { __atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED); }

void token_trie_unref(struct token_trie *t)
{
    if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    mem_free(t->nodes);
    mem_free(t->same);
    mem_free(t->bytes);
    mem_free(t->lengths);
    mem_free(t->codes);
    for (int i = 0; i < SLICE_COUNT; i++)
        mem_free(t->slices[i]);
    mem_free(t);
}

static const char *piece_of(const void *tok, int32_t id, size_t *n)
{
    if (id >= tokenizer_size(tok) || tokenizer_is_special(tok, id)) {
        *n = 0;
        return NULL;
    }
    return tokenizer_piece(tok, id, n);
}

int token_trie_of(struct token_trie **out, const struct tokenizer *tok, int32_t vocab,
                  struct err *e)
{
    int rc = token_trie_new(out, vocab, piece_of, tok, e);
    if (!rc)
        (*out)->tok = tok;
    return rc;
}

int32_t token_trie_special(const struct token_trie *t, const char *text)
{
    int32_t id = t->tok ? tokenizer_find(t->tok, text) : -1;
    return id >= 0 && id < t->vocab && t->lengths[id] == 0 ? id : -1;
}

/* The longest token that text begins with; -1 = none. */
static int32_t longest(const struct token_trie *t, const char *text, uint32_t *n)
{
    uint32_t at = 0, end = t->n_nodes, depth = 0;
    int32_t best = -1;
    while (at < end && text[depth]) {
        const struct trie_node *x = &t->nodes[at];
        if (x->byte != (uint8_t)text[depth]) {
            at = x->next;
            continue;
        }
        depth++;
        if (x->token >= 0) {
            best = x->token;
            *n = depth;
        }
        end = x->next;
        at++;
    }
    return best;
}

int32_t token_trie_spell(const struct token_trie *t, const char *text, int32_t *ids, int32_t cap)
{
    int32_t n = 0, id = token_trie_special(t, text);
    if (id >= 0 && cap > 0) {
        ids[0] = id;
        return 1;
    }
    for (uint32_t len = 0; *text; text += len) {
        id = longest(t, text, &len);
        if (id < 0 || n == cap)
            return 0;
        ids[n++] = id;
    }
    return n;
}
