/* A shared store, looked after beside the replicas that use it. */
#include "programs/recurd-state/store.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "statecache/shared/upkeep.h"
#include "statecache/store/installkey.h"

#define CONNECT_MS 5000

static void tell(void *arg, const char *key, const char *why)
{
    (void)arg;
    fprintf(stderr, "BAD     %s: %s\n", key, why);
}

static const struct {
    const char *name, *text;
    size_t at;
} rows[] = {
#define COUNT(field, text) {#field, text, offsetof(struct upkeep_counts, field)}
    COUNT(states, "states, whole"), COUNT(bytes, "bytes of them"),
    COUNT(broken, "broken states"), COUNT(newer, "states of another version"),
    COUNT(sessions, "records of sessions"),
    COUNT(chunks, "chunks that they name"), COUNT(orphans, "chunks that none names"),
    COUNT(young, "of these used lately, or nobody knows when"),
    COUNT(foreign, "states of no key of ours"), COUNT(foreign_chunks, "chunks of no key of ours"),
    COUNT(unknown, "things of a kind that this program does not know"),
    COUNT(removed, "removed"),
#undef COUNT
};

static void print(const struct upkeep *u, bool json)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t n;
        memcpy(&n, (const char *)&u->counts + rows[i].at, sizeof n);
        if (json)
            printf("%s\"%s\": %" PRIu64, i ? ", " : "{", rows[i].name, n);
        else
            printf("%15" PRIu64 " %s\n", n, rows[i].text);
    }
    if (json)
        printf("}\n");
    else if (u->prune && u->blind)
        printf("No chunk was removed: what this program does not know may name it.\n");
}

static int dial(const struct store_command *c, struct shared_address *to, struct wire **w,
                struct err *e)
{
    const char *password = getenv("RECURD_SHARED_PASSWORD");
    int rc = shared_address_parse(c->url, to, e);
    if (!rc && password && !*to->password &&
        (size_t)snprintf(to->password, SHARED_WORD, "%s", password) >= SHARED_WORD)
        rc = err_set(e, E_RANGE, "the password has %zu bytes, at most %d are possible",
                     strlen(password), SHARED_WORD - 1);
    if (!rc)
        rc = wire_open(w, to, c->ca, e);
    return rc ? rc : wire_connect(*w, CONNECT_MS, CONNECT_MS, e);
}

int look_at_store(const struct store_command *c, const struct key_files *keys, bool *bad,
                  struct err *e)
{
    struct shared_address to = {0};
    struct upkeep u = {.prune = c->prune, .grace_s = c->older_min * 60, .tell = tell};
    if (!keys->key)
        return err_set(e, E_CONFLICT, "a shared store's states are sealed with the replicas' key: "
                       "give it with --state-key");
    int rc = file_check_mode(keys->key, 0077, e);
    if (!rc)
        rc = installkey_load(&u.format, &fsio_real, keys->key, keys->old, e);
    if (!rc)
        rc = dial(c, &to, &u.wire, e);
    if (!rc)
        rc = upkeep_run(&u, e);
    if (!rc)
        print(&u, c->json);
    *bad = !c->prune && u.counts.broken > 0;
    wire_close(u.wire);
    sodium_memzero(&to, sizeof to);
    sodium_memzero(&u.format, sizeof u.format);
    return rc;
}
