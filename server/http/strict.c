/* Strict header checks. Thread: HTTP worker.
 *
 * 0.9.75 parses the header block in place and leaves it there: CR, LF, the colon and the spaces
 * of the request line are overwritten by zero bytes. Walking it again shows what the parsed
 * values no longer tell: bare LF, folded lines, zero bytes inside a value.
 *
 *   method\0uri\0version\0\0 key\0 value\0\0 key\0 value\0\0 … \0\0
 *
 * A malformed Content-Length never gets here: the library itself answers 400 or 413 and closes
 * (and repeats its header block inside that reply's body, which is its own affair). Its strict
 * mode stays off: it would take more of the cases below away from us in the same manner. */
#include "server/http/strict.h"

#include <microhttpd.h>
#include <string.h>
#include <strings.h>

#include "server/http/origin.h"

bool strict_knows_library(void) { return strncmp(MHD_get_version(), "0.9.75", 6) == 0; }

struct walk {
    const char *next, *end; /* where the next line must start; the end of the block */
    const char *fault;      /* first thing found, or NULL */
    int hosts, lengths, encodings;
    bool layout;
};

static bool token_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static const char *bad_name(const char *key, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!token_char((unsigned char)key[i]))
            return "a header name has a byte that names may not have";
    return n ? NULL : "a header has no name";
}

static const char *bad_value(const char *value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)value[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return "a header value has a control byte";
    }
    return NULL;
}

/* Optional white space, value, CR LF, and nothing else, between this key and the next. */
static const char *bad_layout(struct walk *w, const char *key, size_t key_n, const char *value,
                              size_t value_n)
{
    static const char fault[] = "a header line is folded, ends in a bare LF or has a zero byte";
    if (key != w->next || value <= key + key_n || value + value_n + 2 > w->end)
        return fault;
    for (const char *p = key + key_n + 1; p < value; p++)
        if (*p != ' ' && *p != '\t')
            return fault;
    if (value[value_n] || value[value_n + 1])
        return fault;
    w->next = value + value_n + 2;
    return NULL;
}

static const char *bad_meaning(struct walk *w, const char *key, const char *value, size_t n)
{
    if (strcasecmp(key, "Host") == 0)
        return ++w->hosts > 1                 ? "two Host headers"
               : !host_is_well_formed(value) ? "Host is not a name or address, and a port"
                                              : NULL;
    if (strcasecmp(key, "Content-Length") == 0) {
        if (++w->lengths > 1)
            return "two Content-Length headers";
        return n == 0 || n > 19 || strspn(value, "0123456789") != n
                   ? "Content-Length is not a number"
                   : NULL;
    }
    if (strcasecmp(key, "Transfer-Encoding") == 0) {
        if (++w->encodings > 1)
            return "two Transfer-Encoding headers";
        return strcasecmp(value, "chunked") ? "Transfer-Encoding is not exactly \"chunked\""
                                            : NULL;
    }
    return NULL;
}

static enum MHD_Result on_header(void *arg, enum MHD_ValueKind kind, const char *key,
                                 size_t key_n, const char *value, size_t value_n)
{
    (void)kind;
    struct walk *w = arg;
    if (!value) {
        value = "";
        value_n = 0;
    }
    if (!w->fault)
        w->fault = bad_name(key, key_n);
    if (!w->fault && w->layout)
        w->fault = bad_layout(w, key, key_n, value, value_n);
    if (!w->fault)
        w->fault = bad_value(value, value_n);
    if (!w->fault)
        w->fault = bad_meaning(w, key, value, value_n);
    return w->fault ? MHD_NO : MHD_YES;
}

/* method SP uri SP version CR LF, single spaces; sets w->next to the first header line. */
static const char *bad_request_line(struct walk *w, const struct strict_request *r)
{
    const char *uri = r->method + strlen(r->method) + 1;
    if (r->url != uri || r->version != uri + r->uri_bytes + 1)
        return "the request line is malformed";
    for (const char *p = uri; *p; p++)
        if ((unsigned char)*p <= 0x20 || *p == 0x7f)
            return "the path has a space or a control byte";
    const char *after = r->version + strlen(r->version);
    if (after + 2 > w->end || after[1])
        return "the request line is malformed";
    w->next = after + 2;
    return NULL;
}

int strict_check(struct MHD_Connection *c, const struct strict_request *r, struct err *e)
{
    struct walk w = {.layout = strict_knows_library()};
    bool http11 = strcmp(r->version, "HTTP/1.1") == 0;
    if (!http11 && strcmp(r->version, "HTTP/1.0") != 0)
        return err_set(e, E_FORMAT, "the protocol is neither HTTP/1.1 nor HTTP/1.0");
    if (r->url[0] != '/' && strcmp(r->url, "*") != 0)
        return err_set(e, E_FORMAT, "the request line does not name a path");
    if (w.layout) {
        const union MHD_ConnectionInfo *size =
            MHD_get_connection_info(c, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
        if (!size || size->header_size < 2)
            return err_set(e, E_FORMAT, "the header block is malformed");
        w.end = r->method + size->header_size;
        w.fault = bad_request_line(&w, r);
    }
    if (!w.fault)
        MHD_get_connection_values_n(c, MHD_HEADER_KIND, on_header, &w);
    if (!w.fault && w.layout && w.next + 2 != w.end)
        w.fault = "a header line is folded, ends in a bare LF or has a zero byte";
    if (!w.fault && w.lengths && w.encodings)
        w.fault = "both Content-Length and Transfer-Encoding";
    if (!w.fault && w.encodings && !http11)
        w.fault = "Transfer-Encoding in HTTP/1.0";
    if (!w.fault && http11 && w.hosts == 0)
        w.fault = "HTTP/1.1 without a Host header";
    if (w.fault)
        return err_set(e, E_FORMAT, "%s", w.fault);
    return 0;
}
