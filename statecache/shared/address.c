/* The address of the shared store, taken apart. */
#include "statecache/shared/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REDIS_PORT 6379
#define DB_MAX 65535

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* text[0, n) with %XX undone. Zero bytes are refused: what comes of it is a C string. */
static int unescape(const char *text, size_t n, char *out, size_t size, const char *what,
                    struct err *e)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)text[i];
        if (c == '%') {
            int hi = i + 2 < n ? hex_digit(text[i + 1]) : -1;
            int lo = i + 2 < n ? hex_digit(text[i + 2]) : -1;
            if (hi < 0 || lo < 0 || hi + lo == 0)
                return err_set(e, E_FORMAT, "shared: %%XX in the %s lacks two hex digits, or is 0",
                               what);
            c = hi * 16 + lo;
            i += 2;
        }
        if (k + 1 >= size)
            return err_set(e, E_RANGE, "shared: the %s has more than %zu bytes", what, size - 1);
        out[k++] = (char)c;
    }
    out[k] = '\0';
    return 0;
}

static int number(const char *text, size_t n, int most, const char *what, int *out, struct err *e)
{
    long v = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9' || i > 9)
            return err_set(e, E_FORMAT, "shared: the %s is no number", what);
        v = v * 10 + (text[i] - '0');
    }
    if (n == 0 || v > most)
        return err_set(e, E_RANGE, "shared: the %s is %ld, 0 to %d are possible", what, v, most);
    *out = (int)v;
    return 0;
}

/* user:password@ at the start of text[0, n); *used: its length. */
static int credentials(const char *text, size_t n, struct shared_address *a, size_t *used,
                       struct err *e)
{
    *used = 0;
    const char *at = NULL;
    for (size_t i = 0; i < n; i++)
        if (text[i] == '@')
            at = text + i;
    if (!at)
        return 0;
    const char *colon = memchr(text, ':', (size_t)(at - text));
    if (!colon)
        return err_set(e, E_FORMAT, "shared: before the @ belongs user:password, or :password");
    int rc = unescape(text, (size_t)(colon - text), a->user, sizeof(a->user), "user", e);
    if (!rc)
        rc = unescape(colon + 1, (size_t)(at - colon - 1), a->password, sizeof(a->password),
                      "password", e);
    *used = (size_t)(at - text) + 1;
    return rc;
}

static bool host_char(char c, bool v6)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '.' ||
           (v6 ? c == ':' : c == '-' || c == '_');
}

int shared_host_parse(const char *text, size_t n, int default_port, char host[SHARED_HOST],
                      int *port, struct err *e)
{
    bool v6 = n > 0 && text[0] == '[';
    const char *end = v6 ? memchr(text, ']', n) : memchr(text, ':', n);
    if (v6 && !end)
        return err_set(e, E_FORMAT, "shared: the address lacks its ]");
    const char *name = text + v6;
    size_t len = end ? (size_t)(end - name) : n - v6;
    const char *rest = end ? end + v6 : text + n;
    if (len == 0 || len >= SHARED_HOST)
        return err_set(e, E_RANGE, "shared: the host's name has %zu bytes, 1 to %d are possible",
                       len, SHARED_HOST - 1);
    for (size_t i = 0; i < len; i++)
        if (!host_char(name[i], v6))
            return err_set(e, E_FORMAT, "shared: byte %zu of the host's name is no letter, digit, "
                           "dot or hyphen", i);
    memcpy(host, name, len);
    host[len] = '\0';
    *port = default_port;
    if (rest == text + n)
        return 0;
    if (*rest != ':')
        return err_set(e, E_FORMAT, "shared: after the host belongs :port");
    int rc = number(rest + 1, (size_t)(text + n - rest - 1), 65535, "port", port, e);
    return !rc && *port == 0 ? err_set(e, E_RANGE, "shared: port 0 is none") : rc;
}

static int at_host(const char *text, struct shared_address *a, struct err *e)
{
    const char *slash = strrchr(text, '/'), *at = strrchr(text, '@');
    if (slash && at && slash < at)
        slash = NULL; /* of the password */
    size_t n = slash ? (size_t)(slash - text) : strlen(text), used;
    int rc = credentials(text, n, a, &used, e);
    if (!rc)
        rc = shared_host_parse(text + used, n - used, REDIS_PORT, a->host, &a->port, e);
    if (!rc && slash && slash[1])
        rc = number(slash + 1, strlen(slash + 1), DB_MAX, "database", &a->db, e);
    bool v6 = strchr(a->host, ':') != NULL;
    snprintf(a->shown, sizeof(a->shown), "redis%s://%s%s%s:%d", a->tls ? "s" : "", v6 ? "[" : "",
             a->host, v6 ? "]" : "", a->port);
    return rc;
}

static int at_path(const char *text, struct shared_address *a, struct err *e)
{
    const char *query = strrchr(text, '?');
    size_t n = query ? (size_t)(query - text) : strlen(text), used;
    int rc = credentials(text, n, a, &used, e);
    if (!rc && (used == n || text[used] != '/'))
        rc = err_set(e, E_FORMAT, "shared: redis+unix:// needs an absolute path");
    if (!rc)
        rc = unescape(text + used, n - used, a->path, sizeof(a->path), "path", e);
    if (!rc && query && strncmp(query, "?db=", 4) != 0)
        rc = err_set(e, E_FORMAT, "shared: after the path may only follow ?db=N");
    if (!rc && query)
        rc = number(query + 4, strlen(query + 4), DB_MAX, "database", &a->db, e);
    snprintf(a->shown, sizeof(a->shown), "redis+unix://%s", a->path);
    return rc;
}

int shared_address_parse(const char *url, struct shared_address *out, struct err *e)
{
    static const struct {
        const char *scheme;
        bool tls;
        int (*read)(const char *text, struct shared_address *a, struct err *e);
    } schemes[] = {
        {"redis://", false, at_host}, {"rediss://", true, at_host},
        {"redis+unix://", false, at_path},
    };
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t n = strlen(schemes[i].scheme);
        if (strncmp(url, schemes[i].scheme, n) != 0)
            continue;
        out->tls = schemes[i].tls;
        return schemes[i].read(url + n, out, e);
    }
    return err_set(e, E_FORMAT, "shared: the address begins with none of redis://, rediss:// and "
                   "redis+unix://");
}
