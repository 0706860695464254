#include "statecache/store/carry.h"

#include <string.h>

#include "base/mem.h"
#include "statecache/store/pathfile.h"

void carry_begin(struct carry *c, const struct statecache *sc, const struct head *h)
{
    c->format = sc->format;
    memcpy(c->format.numerics, h->numerics, sizeof(c->format.numerics));
    c->format.any_state = true; /* only their tokens are read */
    c->store = sc->store;
    c->store.format = &c->format;
}

/* The tokens of one file, which end at `end`, to their place in `tokens`; *end = where they begin,
 * path = the name of the stretch before them. */
static int read_one(struct carry *c, enum store_kind kind, const struct tenant *t,
                    unsigned char path[16], int32_t *tokens, int64_t *end, struct err *e)
{
    struct head h;
    int fd = -1;
    int rc = store_get(&c->store, kind, path, &fd, &h, e);
    int64_t n = rc ? 0 : (int64_t)(h.bytes[PART_TOKENS] / sizeof(*tokens));
    bool fits = h.position == *end && n <= *end && (kind == STORE_STATES || n > 0) &&
                memcmp(h.tenant, t->tag.b, sizeof(h.tenant)) == 0;
    if (!rc && !fits)
        rc = err_set(e, E_FORMAT, "its path has a file of %lld tokens to %lld, not to %lld",
                     (long long)n, (long long)h.position, (long long)*end);
    if (!rc) {
        struct piece piece = {tokens + (*end - n), (size_t)n * sizeof(*tokens)};
        struct part part = {&piece, 1};
        rc = store_part(&c->store, fd, &h, PART_TOKENS, &part, e);
    }
    store_done(&c->store, fd);
    if (rc)
        return rc;
    *end -= n;
    memcpy(path, h.path, sizeof(h.path));
    return 0;
}

static int read_path(struct carry *c, const struct tenant *t, const unsigned char state[16],
                     int32_t *tokens, int64_t n, struct err *e)
{
    unsigned char name[16];
    memcpy(name, state, sizeof(name));
    int rc = read_one(c, STORE_STATES, t, name, tokens, &n, e);
    while (!rc && n > 0)
        rc = read_one(c, STORE_PATHS, t, name, tokens, &n, e);
    return rc;
}

/* The path waits on disk for its session's turn, as ours do: what is not there is written. */
static void leave_memory(struct statecache *sc, struct tenant *t, struct node *at)
{
    for (struct node *n = at; n; n = n->parent)
        stretch_cool(sc, n);
    (void)stretch_save(sc, t, at); /* if not, it stays in memory */
}

int carry_path(struct statecache *sc, struct carry *c, struct tenant *t,
               const unsigned char state[16], int64_t state_position, int64_t position,
               struct node **out, struct err *e)
{
    int32_t *tokens = mem_array((size_t)state_position, sizeof(*tokens));
    if (!tokens)
        return err_set(e, E_NOMEM, "no memory for %lld tokens", (long long)state_position);
    int rc = read_path(c, t, state, tokens, state_position, e);
    if (!rc)
        rc = stretch_open_below(sc, t->root, tokens, position, e);
    if (!rc && !(*out = prefix_insert(&sc->prefix, t->root, tokens, position)))
        rc = err_set(e, E_NOMEM, "no memory for a session");
    if (!rc)
        leave_memory(sc, t, *out);
    mem_free(tokens);
    return rc;
}
