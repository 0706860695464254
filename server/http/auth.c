/* The header with the secret: Authorization: Bearer SECRET, or as other clients send it. A wrong
 * secret and a removed key get the same answer after the same work. Thread: HTTP worker. */
#include "server/http/auth.h"

#include <microhttpd.h>
#include <string.h>
#include <strings.h>

#include "server/process/keys.h"

/* Where clients put it: OpenAI's, Anthropic's, Azure's. */
static const struct { const char *name, *scheme; } places[] = {
    {"Authorization", "Bearer "}, {"x-api-key", ""}, {"api-key", ""},
};

struct credentials {
    const char *secret; /* NULL = no header is of its form */
    size_t n;
    int headers;        /* of each place at most one, and all of the same secret; otherwise -1 */
    unsigned seen;      /* places, a bit each */
};

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static void take(struct credentials *c, const char *secret, size_t n)
{
    while (n && *secret == ' ') {
        secret++;
        n--;
    }
    while (n && is_blank(secret[n - 1]))
        n--;
    if (!n || (c->secret && (c->n != n || memcmp(c->secret, secret, n) != 0)))
        c->headers = -1;
    c->secret = secret;
    c->n = n;
}

static enum MHD_Result on_header(void *arg, enum MHD_ValueKind kind, const char *name,
                                 size_t name_n, const char *value, size_t n)
{
    (void)kind;
    struct credentials *c = arg;
    for (unsigned i = 0; i < ARRAY_LEN(places) && c->headers >= 0; i++) {
        size_t scheme = strlen(places[i].scheme);
        if (name_n != strlen(places[i].name) || strncasecmp(name, places[i].name, name_n) != 0)
            continue;
        c->headers++;
        if (c->seen & 1U << i || !value || n < scheme ||
            strncasecmp(value, places[i].scheme, scheme) != 0)
            c->headers = -1;
        else
            take(c, value + scheme, n - scheme);
        c->seen |= 1U << i;
    }
    return MHD_YES;
}

enum auth auth_check(struct MHD_Connection *c, struct keys *keys, bool metrics, struct key **key,
                     const char **why)
{
    struct credentials b = {0};
    MHD_get_connection_values_n(c, MHD_HEADER_KIND, on_header, &b);
    /* Two secrets: a proxy may have looked at the other one. */
    if (b.headers < 1) {
        *why = "an API key is needed: send one header Authorization: Bearer KEY (or x-api-key)";
        return AUTH_NO_KEY;
    }
    *key = keys_find(keys, b.secret, b.n);
    if (!*key) {
        *why = "this API key is not known";
        return AUTH_NO_KEY;
    }
    if (metrics && !__atomic_load_n(&(*key)->metrics, __ATOMIC_RELAXED)) {
        *why = "this API key may not read the metrics";
        return AUTH_DENIED;
    }
    return AUTH_YES;
}
