/* A shared store, looked after beside the replicas that use it. */
#include "programs/recurd-state/store.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "statecache/shared/copy.h"
#include "statecache/shared/upkeep.h"
#include "statecache/store/installkey.h"

#define CONNECT_MS 5000

static void tell(void *arg, const char *key, const char *why)
{
    (void)arg;
    fprintf(stderr, "BAD     %s: %s\n", key, why);
}

struct row {
    const char *name, *text;
    size_t at;
};

static const struct row rows[] = {
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
}, copied[] = {
#define COUNT(field, text) {#field, text, offsetof(struct copy_counts, field)}
    COUNT(states, "states copied"), COUNT(bytes, "bytes of them"),
    COUNT(sessions, "records of sessions copied"),
    COUNT(already, "of both there already, as new or newer"), COUNT(broken, "broken, left out"),
    COUNT(newer, "of another version, left out"), COUNT(foreign, "of no key of ours, left out"),
#undef COUNT
};

static void print(const struct row *row, size_t n, const void *counts, bool json)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t v;
        memcpy(&v, (const char *)counts + row[i].at, sizeof v);
        if (json)
            printf("%s\"%s\": %" PRIu64, i ? ", " : "{", row[i].name, v);
        else
            printf("%15" PRIu64 " %s\n", v, row[i].text);
    }
    if (json)
        printf("}\n");
}

static int load_keys(const struct key_files *keys, struct format *f, struct err *e)
{
    if (!keys->key)
        return err_set(e, E_CONFLICT, "a shared store's states are sealed with the replicas' key: "
                       "give it with --state-key");
    int rc = file_check_mode(keys->key, 0077, e);
    return rc ? rc : installkey_load(f, &fsio_real, keys->key, keys->old, e);
}

/* The keys, and whether those of a bucket are for nobody else's eyes. */
static int open_keys(const struct store_command *c, const struct key_files *keys, struct format *f,
                     struct err *e)
{
    int rc = load_keys(keys, f, e);
    return rc || !c->credentials ? rc : file_check_mode(c->credentials, 0077, e);
}

/* The n stores that the command names, connected. */
static int open_stores(const struct store_command *c, int wanted, struct kv *s[2], struct err *e)
{
    char text[4096], *copy = NULL;
    struct kv_options all = {.url = text, .password = getenv("RECURD_SHARED_PASSWORD"),
                             .ca = c->ca, .endpoint = c->endpoint, .region = c->region,
                             .credentials = c->credentials};
    struct kv_options o[KV_STORES];
    int n = 0, rc;
    if ((size_t)snprintf(text, sizeof text, "%s%s%s", c->url, wanted > 1 ? "," : "",
                         wanted > 1 ? c->to : "") >= sizeof text)
        return err_set(e, E_RANGE, "the address has more than %zu bytes", sizeof text - 2);
    rc = kv_list(&all, o, &n, &copy, e);
    if (!rc && n != wanted)
        rc = err_set(e, E_FORMAT, wanted > 1 ? "copy takes two addresses, as --shared has them"
                                             : "one store at a time");
    for (int i = 0; i < n && !rc; i++)
        rc = kv_open(&s[i], &o[i], e);
    for (int i = 0; i < n && !rc; i++)
        rc = s[i]->ops->connect(s[i], CONNECT_MS, CONNECT_MS, e);
    mem_free(copy);
    sodium_memzero(text, sizeof text);
    return rc;
}

int look_at_store(const struct store_command *c, const struct key_files *keys, bool *bad,
                  struct err *e)
{
    struct kv *s[2] = {NULL, NULL};
    struct upkeep u = {.prune = c->prune, .grace_s = c->older_min * 60, .tell = tell};
    int rc = open_keys(c, keys, &u.format, e);
    if (!rc)
        rc = open_stores(c, 1, s, e);
    if (!rc) {
        u.kv = s[0];
        rc = upkeep_run(&u, e);
    }
    if (!rc)
        print(rows, ARRAY_LEN(rows), &u.counts, c->json);
    if (!rc && !c->json && u.prune && u.blind)
        printf("No chunk was removed: what this program does not know may name it.\n");
    *bad = !c->prune && u.counts.broken > 0;
    kv_close(s[0]);
    sodium_memzero(&u.format, sizeof u.format);
    return rc;
}

int copy_store(const struct store_command *c, const struct key_files *keys, bool *bad,
               struct err *e)
{
    struct kv *s[2] = {NULL, NULL};
    struct copy x = {.compress = COMPRESS_PAYING, .ttl_s = c->ttl_s, .tell = tell};
    int rc = open_keys(c, keys, &x.format, e);
    if (!rc)
        rc = open_stores(c, 2, s, e);
    if (!rc) {
        x.from = s[0];
        x.to = s[1];
        rc = copy_run(&x, e);
        print(copied, ARRAY_LEN(copied), &x.counts, c->json);
    }
    *bad = x.counts.broken > 0;
    kv_close(s[0]);
    kv_close(s[1]);
    sodium_memzero(&x.format, sizeof x.format);
    return rc;
}
