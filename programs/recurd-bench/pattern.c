/* See pattern.h. Invariant: whatever plain text stands between before and after, the whole is JSON,
 * that text is what the event says, and it says nothing else. */
#include "programs/recurd-bench/pattern.h"

#include <string.h>

#include "base/err.h"
#include "base/limits.h"

#define EVENT_BYTES KIB(16) /* around a text; with logprobs there is no pattern anyway */
/* A stream whose events differ in more than their texts is parsed. */
#define TRIES 8

void pattern_init(struct pattern *p)
{
    *p = (struct pattern){0};
    buf_init(&p->before, EVENT_BYTES);
    buf_init(&p->after, EVENT_BYTES);
}

void pattern_free(struct pattern *p)
{
    buf_free(&p->before);
    buf_free(&p->after);
}

static void forget(struct pattern *p)
{
    buf_clear(&p->before);
    buf_clear(&p->after);
}

void pattern_begin(struct pattern *p) { p->tries = 0; }

/* How many bytes from s on mean themselves in a JSON string. */
static size_t plain(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n && s[i] >= 0x20 && s[i] < 0x7f && s[i] != '"' && s[i] != '\\')
        i++;
    return i;
}

/* Where the only text of an event begins: the one place where such a key has a string. 0 = none. A
 * string has no bare quotes in it, so what is found is a key. */
static size_t find_text(const char *data, size_t n)
{
    static const char *const keys[] = {"\"text\":\"", "\"text\": \"", "\"content\":\"",
                                       "\"content\": \"", "\"reasoning_content\":\"",
                                       "\"reasoning_content\": \""};
    size_t found = 0;
    for (const char *at = data; (at = memchr(at, '"', n - (size_t)(at - data))); at++)
        for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
            size_t len = strlen(keys[k]), left = n - (size_t)(at - data);
            if (left < len || memcmp(at, keys[k], len))
                continue;
            if (found)
                return 0;
            found = n - left + len;
        }
    return found;
}

/* Whether the pattern with this text in it says this text and nothing else. */
static bool says(const struct pattern *p, const char *text)
{
    struct buf whole;
    struct capture said;
    struct reply r;
    buf_init(&whole, 3 * EVENT_BYTES);
    capture_init(&said);
    buf_add(&whole, p->before.p, p->before.len);
    buf_str(&whole, text);
    buf_add(&whole, p->after.p, p->after.len);
    bool does = !whole.failed && !reply_parse(whole.p, whole.len, &r, &said) &&
                r.output == (*text != 0) && !r.n_tokens && !r.has_usage && !r.is_error &&
                !r.finish[0] && strcmp(said.text.p ? said.text.p : "", text) == 0;
    capture_free(&said);
    buf_free(&whole);
    return does;
}

static void learn(struct pattern *p, const char *data, size_t n)
{
    size_t from = find_text(data, n), len = from ? plain(data + from, n - from) : 0;
    if (!from || from + len == n || data[from + len] != '"')
        return;
    forget(p);
    buf_add(&p->before, data, from);
    buf_add(&p->after, data + from + len, n - from - len);
    if (p->before.failed || p->after.failed || !says(p, "") || !says(p, "x"))
        forget(p);
}

static bool matches(const struct pattern *p, const char *data, size_t n, struct reply *out)
{
    size_t before = p->before.len, after = p->after.len;
    if (!before || n < before + after || memcmp(data, p->before.p, before) ||
        memcmp(data + n - after, p->after.p, after))
        return false;
    size_t len = n - before - after;
    if (plain(data + before, len) < len)
        return false;
    *out = (struct reply){.output = len > 0};
    return true;
}

int pattern_parse(struct pattern *p, const char *data, size_t n, struct reply *out)
{
    if (matches(p, data, n, out))
        return 0;
    int rc = reply_parse(data, n, out, NULL);
    if (!rc && p->tries < TRIES) {
        p->tries++;
        learn(p, data, n);
    }
    return rc;
}
