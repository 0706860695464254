/* UTF-8 and stop-string hold-back of one sequence. Engine thread.
 *
 * Invariant between calls: raw is the beginning of one character (0 to 3 bytes); held is the
 * longest end of the text so far that is a proper beginning of some stop string. */
#include "scheduler/stop.h"

#include <string.h>

#include "base/utf8.h"

int stop_init(struct stop *s, const char (*strings)[LIMIT_STOP_BYTES + 1], int32_t n,
              struct err *e)
{
    ASSERT(n >= 0 && n <= LIMIT_STOPS);
    *s = (struct stop){.strings = strings, .n = n};
    for (int32_t i = 0; i < n; i++)
        s->lengths[i] = strnlen(strings[i], LIMIT_STOP_BYTES);
    buf_init(&s->held, STOP_HELD_BYTES);
    /* Take the memory now: feeding allocates nothing. */
    static const char zeros[STOP_HELD_BYTES];
    if (buf_add(&s->held, zeros, sizeof zeros))
        return err_set(e, E_NOMEM, "no memory for %zu bytes of held-back text", sizeof zeros);
    buf_clear(&s->held);
    return 0;
}

void stop_fini(struct stop *s)
{
    buf_free(&s->held);
}

/* Appends the whole characters of raw to held. Cannot fail: held has room for the worst case. */
static void decode(struct stop *s, size_t n)
{
    int rc = buf_sanitize(&s->held, s->raw, n);
    ASSERT(rc == 0);
    memmove(s->raw, s->raw + n, s->n_raw - n);
    s->n_raw -= n;
}

/* The length of the stop string that ends exactly at `end`, the longest one, s->met; 0 = none. */
static size_t match_at(struct stop *s, size_t end)
{
    size_t best = 0;
    for (int32_t i = 0; i < s->n; i++) {
        size_t n = s->lengths[i];
        if (n > best && n <= end && !memcmp(s->held.p + end - n, s->strings[i], n)) {
            best = n;
            s->met = i;
        }
    }
    return best;
}

/* How many bytes at the end of held begin a stop string without completing it. */
static size_t overlap(const struct stop *s)
{
    size_t best = 0;
    for (int32_t i = 0; i < s->n; i++)
        for (size_t n = MIN(s->lengths[i], s->held.len + 1); n-- > best + 1;)
            if (!memcmp(s->held.p + s->held.len - n, s->strings[i], n))
                best = n;
    return best;
}

bool stop_feed(struct stop *s, const char *bytes, size_t n, bool armed, size_t *ready)
{
    ASSERT(n <= LIMIT_TOKEN_BYTES && s->n_raw + n <= sizeof s->raw);
    if (n)
        memcpy(s->raw + s->n_raw, bytes, n);
    s->n_raw += n;
    size_t known = s->held.len; /* looked at before: no stop string ends there */
    decode(s, utf8_complete(s->raw, s->n_raw));
    *ready = s->held.len;
    if (!armed || s->held.len == 0)
        return false;
    for (size_t end = known + 1; end <= s->held.len; end++) {
        size_t match = match_at(s, end);
        if (match) {
            *ready = end - match;
            return true;
        }
    }
    *ready = s->held.len - overlap(s);
    return false;
}

size_t stop_flush(struct stop *s)
{
    decode(s, s->n_raw);
    return s->held.len;
}

void stop_take(struct stop *s, size_t n)
{
    buf_drop_front(&s->held, n);
}
