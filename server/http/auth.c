/* Authorization: Bearer SECRET. A wrong secret and a key that was removed get the same answer
 * after the same work. Thread: HTTP worker. */
#include "server/http/auth.h"

#include <microhttpd.h>
#include <string.h>
#include <strings.h>

#include "server/process/keys.h"

struct bearer {
    const char *secret; /* NULL = the header is not of the form */
    size_t n;
    int headers;
};

static enum MHD_Result on_header(void *arg, enum MHD_ValueKind kind, const char *name,
                                 size_t name_n, const char *value, size_t n)
{
    static const char scheme[] = "Bearer ";
    (void)kind;
    struct bearer *b = arg;
    if (name_n != 13 || strncasecmp(name, "Authorization", 13) != 0)
        return MHD_YES;
    b->headers++;
    if (!value || n < strlen(scheme) || strncasecmp(value, scheme, strlen(scheme)) != 0)
        return MHD_YES;
    b->secret = value + strlen(scheme);
    b->n = n - strlen(scheme);
    while (b->n && *b->secret == ' ') {
        b->secret++;
        b->n--;
    }
    while (b->n && (b->secret[b->n - 1] == ' ' || b->secret[b->n - 1] == '\t'))
        b->n--;
    return MHD_YES;
}

enum auth auth_check(struct MHD_Connection *c, struct keys *keys, bool metrics, struct key **key,
                     const char **why)
{
    struct bearer b = {0};
    MHD_get_connection_values_n(c, MHD_HEADER_KIND, on_header, &b);
    /* Two headers: a proxy may have looked at the other one. */
    if (b.headers != 1 || !b.secret || !b.n) {
        *why = "an API key is needed: send one header Authorization: Bearer KEY";
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
