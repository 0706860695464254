/* Searching added tokens. The rules are the reference's, edges included: a match that may not be
 * hides what it overlaps; white space that one token swallowed is still searched for others. */
#include "models/text/added.h"

#include "models/text/unicode.h"

/* Where the white space begins that ends text[from, at). */
static size_t spaces_before(const char *text, size_t from, size_t at)
{
    int32_t c;
    while (at > from) {
        size_t len = unicode_last(text + from, at - from, &c);
        if (!unicode_is_space(c))
            break;
        at -= len;
    }
    return at;
}

/* Where the white space ends that begins at `at`. Tokens may be white space themselves: a run that
 * was walked once is not walked again. */
static size_t spaces_after(struct added_search *s, size_t at)
{
    int32_t c;
    if (at >= s->run_from && at < s->run_to)
        return s->run_to;
    s->run_from = at;
    while (at < s->n) {
        size_t len = unicode_first(s->text + at, s->n - at, &c);
        if (!unicode_is_space(c))
            break;
        at += len;
    }
    return s->run_to = at;
}

/* Whether text[begin, end) stands by itself. */
static bool is_single_word(const struct added_search *s, size_t begin, size_t end)
{
    int32_t before = ' ', after = ' ';
    if (begin > 0)
        unicode_last(s->text, begin, &before);
    if (end < s->n)
        unicode_first(s->text + end, s->n - end, &after);
    return !unicode_is_word(before) && !unicode_is_word(after);
}

const struct added *added_next(struct added_search *s, size_t *begin, size_t *end)
{
    size_t len = 0;
    for (; s->tokens->cap && s->at < s->n; s->at += len ? len : 1) {
        int32_t found = trie_longest(s->tokens, s->text + s->at, s->n - s->at, &len);
        len = found < 0 ? 0 : len;
        if (found < 0)
            continue;
        const struct added *a = &s->t->added[found];
        size_t from = s->at, to = s->at + len;
        if ((s->may && !s->may(s->arg, a, from, to)) ||
            (a->single_word && !is_single_word(s, from, to)))
            continue;
        s->match = from;
        *begin = a->lstrip ? MAX(spaces_before(s->text, MIN(s->done, from), from), s->done) : from;
        *end = a->rstrip ? spaces_after(s, to) : to;
        s->at = to;
        s->done = *end;
        return a;
    }
    return NULL;
}

/* The text that is searched for a token: normalised as the text will be. */
static int index_one(struct tokenizer *t, size_t i, struct err *e)
{
    const struct added *a = &t->added[i];
    struct buf b;
    buf_init(&b, 64 * LIMIT_TOKEN_BYTES);
    int rc = a->normalized && t->format->normalize
                 ? t->format->normalize(t->impl, a->text, a->n, true, &b, e)
                 : buf_add(&b, a->text, a->n);
    if (rc == 0 && b.len)
        rc = trie_add(&t->search[a->normalized], b.p, b.len, (int32_t)i);
    if (rc == 0 && a->normalized && a->special)
        rc = trie_add(&t->turned, a->text, a->n, (int32_t)i);
    if (rc == 0)
        rc = trie_add(&t->names, a->text, a->n, (int32_t)i);
    buf_free(&b);
    return rc == 0 ? 0 : err_set(e, rc, "%s: out of memory for added token %d", t->path, a->id);
}

int added_index(struct tokenizer *t, struct err *e)
{
    for (size_t i = 0; i < t->n_added; i++) {
        int rc = index_one(t, i, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}
