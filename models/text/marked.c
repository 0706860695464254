/* Encoding a text of mixed origin: what the client wrote never becomes a special token, and is
 * otherwise encoded as if nobody had asked where it came from. Thread: any. */
#include <string.h>

#include "base/utf8.h"
#include "models/text/added.h"

struct marked {
    const struct tokenizer *t;
    const char *text;
    size_t n;
    const struct token_span *spans;
    size_t n_spans;
    bool started;      /* something was encoded */
    struct ids *out, *starts;
    struct err *e;
};

/* The span that covers a byte. */
static size_t span_at(const struct marked *m, size_t byte)
{
    size_t low = 0, high = m->n_spans - 1;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (byte < m->spans[mid].end)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

/* Whether all bytes of [from, to) are of this trust. */
static bool all(const struct marked *m, size_t from, size_t to, bool trusted)
{
    for (size_t i = span_at(m, from); i < m->n_spans; i++) {
        if (m->spans[i].trusted != trusted)
            return false;
        if (m->spans[i].end >= to)
            return true;
    }
    return true;
}

/* Offsets of a search are those of its text: a part of the whole. */
struct part { const struct marked *m; size_t from; };

static bool is_ours(const void *arg, const struct added *a, size_t begin, size_t end)
{
    const struct part *p = arg;
    return !a->special || all(p->m, p->from + begin, p->from + end, true);
}

/* Where the ids from `first` on begin: their pieces laid one after the other. */
static int add_starts(struct marked *m, size_t first, size_t at, size_t end)
{
    int rc = 0;
    for (size_t i = first; m->starts && i < m->out->len && rc == 0; i++) {
        size_t len;
        rc = ids_add(m->starts, (int32_t)at);
        tokenizer_piece_shown(m->t, m->out->p[i], &len);
        at = MIN(at + len, end);
    }
    return rc < 0 ? err_set(m->e, rc, "out of memory for %zu tokens", m->out->len) : 0;
}

static int between(struct marked *m, size_t from, size_t to, int special)
{
    size_t first = m->out->len;
    if (from >= to)
        return 0;
    int rc = tokenizer_encode_between(m->t, m->text + from, to - from,
                                      special | (m->started ? TOKENIZE_CONTINUE : 0), m->out,
                                      m->e);
    m->started = true;
    return rc < 0 ? rc : add_starts(m, first, from, to);
}

static int add_token(struct marked *m, const struct added *found, size_t from)
{
    size_t first = m->out->len;
    int rc = ids_add(m->out, found->id);
    m->started = true;
    if (rc == E_RANGE)
        return err_set(m->e, rc, "the text has more than the %zu tokens allowed", m->out->max);
    return rc < 0 ? err_set(m->e, rc, "out of memory for %zu tokens", first)
                  : add_starts(m, first, from, from);
}

/* [from, to) with the added tokens of one kind cut out. Text of one trust needs no second search:
 * what is encoded then looks for them itself, after normalising. Of the normalised ones only those
 * are searched here whose origin matters: special ones. */
static int split(struct marked *m, size_t from, size_t to, bool normalized)
{
    const struct part part = {m, from};
    struct added_search s = {.t = m->t, .text = m->text + from, .n = to - from, .may = is_ours,
                             .arg = &part,
                             .tokens = normalized ? &m->t->turned : &m->t->search[0]};
    if (normalized && all(m, from, to, true))
        return between(m, from, to, TOKENIZE_SPECIAL);
    for (const struct added *found;;) {
        size_t at = s.done, begin = s.n, end;
        found = added_next(&s, &begin, &end);
        int rc = begin <= at ? 0 : normalized ? between(m, from + at, from + begin, 0)
                                              : split(m, from + at, from + begin, true);
        if (rc == 0 && found)
            rc = add_token(m, found, from + s.match);
        if (rc < 0 || !found)
            return rc;
    }
}

int tokenizer_encode_marked(const struct tokenizer *t, const char *text, size_t n,
                            const struct token_span *spans, size_t n_spans, struct ids *out,
                            struct ids *starts, struct err *e)
{
    struct marked m = {.t = t, .text = text, .n = n, .spans = spans, .n_spans = n_spans,
                       .out = out, .starts = starts, .e = e};
    if (!utf8_valid(text, n) || n > INT32_MAX)
        return err_set(e, E_FORMAT, "the text of %zu bytes is not valid UTF-8", n);
    if (n == 0)
        return 0;
    ASSERT(n_spans > 0 && spans[n_spans - 1].end == n);
    return split(&m, 0, n, false);
}
