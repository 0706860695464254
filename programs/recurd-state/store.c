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

static int load_keys(const struct key_files *keys, struct format *f, struct err *e)
{
    if (!keys->key)
        return err_set(e, E_CONFLICT, "a shared store's states are sealed with the replicas' key: "
                       "give it with --state-key");
    int rc = file_check_mode(keys->key, 0077, e);
    return rc ? rc : installkey_load(f, &fsio_real, keys->key, keys->old, e);
}

int look_at_store(const struct store_command *c, const struct key_files *keys, bool *bad,
                  struct err *e)
{
    struct shared_address to = {0};
    struct upkeep u = {.prune = c->prune, .grace_s = c->older_min * 60, .tell = tell};
    int rc = load_keys(keys, &u.format, e);
    if (!rc)
        rc = dial(c, &to, &u.wire, e);
    if (!rc)
        rc = upkeep_run(&u, e);
    if (!rc)
        print(rows, ARRAY_LEN(rows), &u.counts, c->json);
    if (!rc && !c->json && u.prune && u.blind)
        printf("No chunk was removed: what this program does not know may name it.\n");
    *bad = !c->prune && u.counts.broken > 0;
    wire_close(u.wire);
    sodium_memzero(&to, sizeof to);
    sodium_memzero(&u.format, sizeof u.format);
    return rc;
}

/* Both stores, connected. */
static int open_both(const struct store_command *c, struct kv *s[2], struct err *e)
{
    char text[4096], *copy = NULL;
    struct kv_options all = {.url = text, .password = getenv("RECURD_SHARED_PASSWORD"),
                             .ca = c->ca, .endpoint = c->endpoint, .region = c->region,
                             .credentials = c->credentials};
    struct kv_options o[KV_STORES];
    int n = 0, rc;
    if ((size_t)snprintf(text, sizeof text, "%s,%s", c->url, c->to) >= sizeof text)
        return err_set(e, E_RANGE, "the two addresses have more than %zu bytes", sizeof text - 2);
    rc = kv_list(&all, o, &n, &copy, e);
    if (!rc && n != 2)
        rc = err_set(e, E_FORMAT, "copy takes two addresses of stores, as --shared has them");
    for (int i = 0; i < n && !rc; i++)
        rc = kv_open(&s[i], &o[i], e);
    for (int i = 0; i < n && !rc; i++)
        rc = s[i]->ops->connect(s[i], CONNECT_MS, CONNECT_MS, e);
    mem_free(copy);
    sodium_memzero(text, sizeof text);
    return rc;
}

int copy_store(const struct store_command *c, const struct key_files *keys, bool *bad,
               struct err *e)
{
    struct kv *s[2] = {NULL, NULL};
    struct copy x = {.compress = COMPRESS_PAYING, .ttl_s = c->ttl_s, .tell = tell};
    int rc = load_keys(keys, &x.format, e);
    if (!rc && c->credentials)
        rc = file_check_mode(c->credentials, 0077, e);
    if (!rc)
        rc = open_both(c, s, e);
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
