/* Encoding and reading, whatever the format: added tokens are searched, what lies between goes to
 * the format. Read-only after tokenizer_open.c has filled it, so any thread may encode.
 *
 * Invariant: a special token's id leaves tokenizer_encode only where TOKENIZE_SPECIAL was given
 * (or as bos): formats never produce one from text, the search below alone does. */
#include "models/text/tokenizer.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "models/text/added.h"

/* ---- encoding --------------------------------------------------------------------------- */

static int add_id(struct ids *out, int32_t id, struct err *e)
{
    int rc = ids_add(out, id);
    if (rc == E_RANGE)
        return err_set(e, rc, "the text has more than the %zu tokens allowed", out->max);
    return rc == 0 ? 0 : err_set(e, rc, "out of memory for %zu tokens", out->len);
}

struct pass {
    const struct tokenizer *t;
    int flags;
    struct ids *out;
    bool start; /* nothing was encoded yet */
    struct err *e;
};

static int encode_plain(struct pass *p, const char *text, size_t n);
static int encode_normalized(struct pass *p, const char *text, size_t n);

static bool is_plain(const void *arg, const struct added *a, size_t begin, size_t end)
{
    (void)arg, (void)begin, (void)end;
    return !a->special;
}

/* Text with the added tokens of one kind cut out; what lies between goes to `next`. */
static int encode_split(struct pass *p, const char *text, size_t n, bool normalized,
                        int (*next)(struct pass *, const char *, size_t))
{
    struct added_search s = {.t = p->t, .tokens = &p->t->search[normalized], .text = text, .n = n,
                             .may = p->flags & TOKENIZE_SPECIAL ? NULL : is_plain};
    for (const struct added *found;;) {
        size_t at = s.done, begin = n, end;
        found = added_next(&s, &begin, &end);
        int rc = begin > at ? next(p, text + at, begin - at) : 0;
        p->start = false;
        if (rc == 0 && found)
            rc = add_id(p->out, found->id, p->e);
        if (rc < 0 || !found)
            return rc;
    }
}

static int encode_plain(struct pass *p, const char *text, size_t n)
{
    return p->t->format->encode(p->t->impl, text, n, p->start || p->t->every_start, p->out, p->e);
}

static int encode_normalized(struct pass *p, const char *text, size_t n)
{
    const struct tokenizer *t = p->t;
    if (!t->format->normalize)
        return encode_split(p, text, n, true, encode_plain);
    struct buf b;
    buf_init(&b, n < SIZE_MAX / 32 ? 32 * n + 64 : n); /* NFC and NFKC grow a text up to 18 fold */
    int rc = t->format->normalize(t->impl, text, n, p->start || t->every_start, &b, p->e);
    if (rc == 0 && b.len)
        rc = encode_split(p, b.p, b.len, true, encode_plain);
    buf_free(&b);
    return rc;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, int flags,
                     struct ids *out, struct err *e)
{
    struct pass p = {
        .t = t, .flags = flags, .out = out, .start = !(flags & TOKENIZE_CONTINUE), .e = e};
    if (!utf8_valid(text, n))
        return err_set(e, E_FORMAT, "the text of %zu bytes is not valid UTF-8", n);
    if ((flags & TOKENIZE_BOS) && t->adds_bos && t->bos >= 0) {
        int rc = add_id(out, t->bos, e);
        if (rc < 0)
            return rc;
    }
    return encode_split(&p, text, n, false, encode_normalized);
}

int tokenizer_encode_between(const struct tokenizer *t, const char *text, size_t n, int flags,
                             struct ids *out, struct err *e)
{
    struct pass p = {
        .t = t, .flags = flags, .out = out, .start = !(flags & TOKENIZE_CONTINUE), .e = e};
    return encode_normalized(&p, text, n);
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    if (t->format && t->impl)
        t->format->close(t->impl);
    trie_free(&t->search[0]);
    trie_free(&t->search[1]);
    trie_free(&t->turned);
    trie_free(&t->names);
    arena_free(&t->arena);
    mem_free(t->tokens);
    mem_free(t->added);
    mem_free(t->path);
    mem_free(t);
}

/* ---- reading ---------------------------------------------------------------------------- */

const char *tokenizer_piece_shown(const struct tokenizer *t, int32_t id, size_t *len)
{
    *len = 0;
    if (id < 0 || id >= t->n || !t->tokens[id].text)
        return "";
    *len = t->tokens[id].n;
    return t->tokens[id].text;
}

const char *tokenizer_piece(const struct tokenizer *t, int32_t id, size_t *len)
{
    *len = 0;
    return tokenizer_is_special(t, id) ? "" : tokenizer_piece_shown(t, id, len);
}

const char *tokenizer_source(const struct tokenizer *t)
{
    return t->file;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->eos;
}

bool tokenizer_adds_bos(const struct tokenizer *t)
{
    return t->adds_bos && t->bos >= 0;
}

int32_t tokenizer_size(const struct tokenizer *t)
{
    return t->n;
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->n && (t->tokens[id].flags & TOKEN_SPECIAL);
}
