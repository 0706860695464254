/* One HTTP/1.1 response, from bytes that may be cut anywhere. Thread: one. */
#include "base/response.h"

#include <string.h>
#include <strings.h>

#include "base/limits.h"

enum phase {
    STATUS, HEADER, BODY_COUNTED, BODY_TO_CLOSE, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, END
};

#define LINE_BYTES KIB(16) /* what servers commonly accept for one header line */
#define HEAD_BYTES KIB(64) /* all header lines together */

void response_init(struct response *h)
{
    memset(h, 0, sizeof *h);
    buf_init(&h->line, LINE_BYTES);
}

void response_free(struct response *h)
{
    buf_free(&h->line);
}

void response_reset(struct response *h)
{
    struct buf line = h->line;
    memset(h, 0, sizeof *h);
    h->line = line;
    buf_clear(&h->line);
}

static int status_line(struct response *h, const char *s, struct err *e)
{
    if (strncmp(s, "HTTP/1.", 7) || (s[7] != '0' && s[7] != '1') || s[8] != ' ')
        return err_set(e, E_FORMAT, "the reply starts with \"%.40s\", not with HTTP/1.x", s);
    const char *d = s + 9;
    for (int i = 0; i < 3; i++)
        if (d[i] < '0' || d[i] > '9')
            return err_set(e, E_FORMAT, "the status \"%.10s\" is not three digits", d);
    if (d[3] != ' ' && d[3] != 0)
        return err_set(e, E_FORMAT, "the status \"%.10s\" is not three digits", d);
    h->status = (d[0] - '0') * 100 + (d[1] - '0') * 10 + (d[2] - '0');
    if (h->status < 100)
        return err_set(e, E_FORMAT, "status %d is below 100", h->status);
    h->http10 = s[7] == '0';
    h->keep_alive = !h->http10;
    return 0;
}

/* Whether the comma-separated list names the token, ignoring case. */
static bool lists(const char *v, const char *token)
{
    size_t n = strlen(token);
    while (*v) {
        v += strspn(v, " \t,");
        size_t len = strcspn(v, ",; \t");
        if (len == n && !strncasecmp(v, token, n))
            return true;
        v += strcspn(v, ",");
    }
    return false;
}

static int header(struct response *h, char *s, struct err *e)
{
    char *colon = strchr(s, ':');
    if (!colon || colon == s)
        return err_set(e, E_FORMAT, "the header line \"%.40s\" has no name", s);
    *colon = 0;
    const char *v = colon + 1 + strspn(colon + 1, " \t");
    if (!strcasecmp(s, "content-length")) {
        uint64_t n = 0;
        size_t digits = strspn(v, "0123456789");
        if (!digits || digits > 18 || v[digits + strspn(v + digits, " \t")])
            return err_set(e, E_FORMAT, "content-length \"%.40s\" is not a length", v);
        for (size_t i = 0; i < digits; i++)
            n = n * 10 + (uint64_t)(v[i] - '0');
        if (h->counted && h->left != n)
            return err_set(e, E_FORMAT, "two different lengths of the content");
        h->counted = true;
        h->left = n;
    } else if (!strcasecmp(s, "transfer-encoding")) {
        if (!lists(v, "chunked"))
            return err_set(e, E_FORMAT, "transfer-encoding \"%.40s\" is not chunked", v);
        h->chunked = true;
    } else if (!strcasecmp(s, "connection")) {
        if (lists(v, "close"))
            h->keep_alive = false;
        else if (lists(v, "keep-alive"))
            h->keep_alive = true;
    } else if (!strcasecmp(s, "content-type")) {
        h->event_stream = lists(v, "text/event-stream");
        h->json = lists(v, "application/json");
    }
    return 0;
}

/* The empty line after the headers: what kind of body follows. Returns 1 when there is none. */
static int head_end(struct response *h)
{
    if (h->status < 200) { /* interim: the real response follows */
        response_reset(h);
        return 0;
    }
    h->head_done = true;
    if (h->status == 204 || h->status == 304) {
        h->phase = END;
        return 1;
    }
    if (h->chunked) {
        h->counted = false;
        h->phase = CHUNK_SIZE;
    } else if (h->counted) {
        h->phase = h->left ? BODY_COUNTED : END;
    } else {
        h->keep_alive = false;
        h->phase = BODY_TO_CLOSE;
    }
    return h->phase == END;
}

static int chunk_size(struct response *h, const char *s, struct err *e)
{
    uint64_t n = 0;
    size_t digits = strspn(s, "0123456789abcdefABCDEF");
    if (!digits || digits > 15 || !strchr("; \t", s[digits]))
        return err_set(e, E_FORMAT, "chunk size \"%.40s\" is not hexadecimal", s);
    for (size_t i = 0; i < digits; i++) {
        char c = s[i];
        n = n * 16 + (uint64_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    h->left = n;
    h->phase = n ? CHUNK_DATA : TRAILER;
    return 0;
}

static int take_line(struct response *h, char *s, struct err *e)
{
    switch (h->phase) {
    case STATUS: {
        int rc = status_line(h, s, e);
        h->phase = HEADER;
        return rc;
    }
    case HEADER:
        return *s ? header(h, s, e) : head_end(h);
    case CHUNK_SIZE:
        return chunk_size(h, s, e);
    case CHUNK_END:
        if (*s)
            return err_set(e, E_FORMAT, "a chunk is longer than its size says");
        h->phase = CHUNK_SIZE;
        return 0;
    default: /* TRAILER */
        if (*s)
            return 0;
        h->phase = END;
        return 1;
    }
}

/* Moves bytes up to and including the end of a line; 1 when h->line holds a whole one. */
static int gather_line(struct response *h, const char *p, size_t n, size_t *used, struct err *e)
{
    const char *lf = memchr(p, '\n', n);
    size_t take = lf ? (size_t)(lf - p) + 1 : n;
    h->head_bytes += h->head_done ? 0 : take;
    if (h->head_bytes > HEAD_BYTES || buf_add(&h->line, p, take))
        return err_set(e, E_FORMAT, "a header of the reply exceeds %zu bytes",
                       h->head_bytes > HEAD_BYTES ? HEAD_BYTES : LINE_BYTES);
    *used += take;
    if (!lf)
        return 0;
    if (memchr(h->line.p, 0, h->line.len))
        return err_set(e, E_FORMAT, "a header line of the reply contains a NUL byte");
    h->line.p[--h->line.len] = 0;
    if (h->line.len && h->line.p[h->line.len - 1] == '\r')
        h->line.p[--h->line.len] = 0;
    return 1;
}

int response_feed(struct response *h, const char *p, size_t n, size_t *used,
                  response_body_fn *fn, void *arg, struct err *e)
{
    *used = 0;
    while (*used < n) {
        const char *at = p + *used;
        size_t have = n - *used;
        if (h->phase == END)
            return 1;
        if (h->phase == BODY_COUNTED || h->phase == CHUNK_DATA || h->phase == BODY_TO_CLOSE) {
            size_t take = h->phase == BODY_TO_CLOSE ? have : (size_t)MIN(h->left, have);
            *used += take;
            h->left -= h->phase == BODY_TO_CLOSE ? 0 : take;
            int phase = h->phase;
            if (phase != BODY_TO_CLOSE && !h->left)
                h->phase = phase == CHUNK_DATA ? CHUNK_END : END;
            int rc = fn(arg, at, take);
            if (rc)
                return rc;
            continue;
        }
        int rc = gather_line(h, at, have, used, e);
        if (rc <= 0)
            return rc;
        rc = take_line(h, h->line.p, e);
        buf_clear(&h->line);
        if (rc)
            return rc;
    }
    return h->phase == END;
}

bool response_eof(const struct response *h)
{
    return h->phase == BODY_TO_CLOSE || h->phase == END;
}
