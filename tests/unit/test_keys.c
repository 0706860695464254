/* The keys in force: who is found, what a reload keeps, how a share is counted. */
#include "server/process/keys.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "server/process/options.h"
#include "tests/unit/fake_cache.h"

static char path[] = "/tmp/recurd-keys-XXXXXX";

static void put(const char *text)
{
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
}

static struct keys *opened(const char *text)
{
    struct options o = {.api_keys = path};
    struct err e = {0};
    struct keys *k;
    log_set_level(LOG_ERROR);
    close(mkstemp(path));
    put(text);
    cr_assert_eq(keys_open(&k, &o, &e), 0, "%s", e.text);
    return k;
}

static void done(struct keys *k)
{
    keys_close(k);
    unlink(path);
}

static const char *who(struct keys *k, const char *secret)
{
    struct key *key = keys_find(k, secret, strlen(secret));
    return key ? key->name : "nobody";
}

Test(keys, each_secret_is_somebodys_and_every_other_nobodys)
{
    struct keys *k = opened("alice alice-secret-1234,alice-other-1234\nbob bob-secret-123456\n");
    static const char *const wrong[] = {
        "", "a", "alice", "alice-secret-123", "alice-secret-12345", "Alice-secret-1234",
        "alice-secret-1234,alice-other-1234", "bob-secret-12345\xff", "sha256:",
    };
    cr_assert_eq(keys_count(k), 2);
    cr_assert_str_eq(who(k, "alice-secret-1234"), "alice");
    cr_assert_str_eq(who(k, "alice-other-1234"), "alice");
    cr_assert_str_eq(who(k, "bob-secret-123456"), "bob");
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        cr_assert_str_eq(who(k, wrong[i]), "nobody");
    cr_assert_null(keys_find(k, "bob-secret-123456\0", 18));
    done(k);
}

Test(keys, without_a_source_there_are_none)
{
    struct options o = {0};
    struct err e = {0};
    struct keys *k;
    unsetenv("RECURD_API_KEY");
    unsetenv("CREDENTIALS_DIRECTORY");
    cr_assert_eq(keys_open(&k, &o, &e), 0);
    cr_assert_null(k);
    setenv("CREDENTIALS_DIRECTORY", "/nonexistent", 1);
    cr_assert_eq(keys_open(&k, &o, &e), 0);
    cr_assert_null(k);
}

Test(keys, one_key_may_stand_in_the_environment_and_is_wiped_there)
{
    struct options o = {0};
    struct err e = {0};
    struct keys *k;
    log_set_level(LOG_ERROR);
    setenv("RECURD_API_KEY", "a-secret-in-the-environment", 1);
    cr_assert_eq(keys_open(&k, &o, &e), 0, "%s", e.text);
    cr_assert_str_eq(who(k, "a-secret-in-the-environment"), "default");
    cr_assert_str_eq(getenv("RECURD_API_KEY"), "");
    cr_assert_eq(keys_reload(k, &e), E_UNSUPPORTED);
    cr_assert_str_eq(who(k, "a-secret-in-the-environment"), "default");
    keys_close(k);
}

Test(keys, a_file_and_the_environment_contradict_each_other)
{
    struct options o = {.api_keys = path};
    struct err e = {0};
    struct keys *k;
    setenv("RECURD_API_KEY", "short", 1);
    cr_assert_eq(keys_open(&k, &o, &e), E_CONFLICT);
    o.api_keys = NULL;
    err_clear(&e);
    cr_assert_eq(keys_open(&k, &o, &e), E_RANGE);
    cr_assert_null(k);
    cr_assert_null(strstr(e.text, "short"));
}

Test(keys, a_credential_of_the_service_manager_is_found)
{
    char dir[] = "/tmp/recurd-credentials-XXXXXX", file[100];
    struct options o = {0};
    struct err e = {0};
    struct keys *k;
    log_set_level(LOG_ERROR);
    cr_assert_not_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/recurd.api-keys", dir);
    FILE *f = fopen(file, "w");
    fputs("carol carol-secret-1234\n", f);
    fclose(f);
    chmod(file, 0400);
    setenv("CREDENTIALS_DIRECTORY", dir, 1);
    cr_assert_eq(keys_open(&k, &o, &e), 0, "%s", e.text);
    cr_assert_str_eq(who(k, "carol-secret-1234"), "carol");
    cr_assert_str_eq(keys_source(k), file);
    keys_close(k);
    unlink(file);
    rmdir(dir);
}

Test(keys, a_reload_is_all_or_nothing)
{
    struct keys *k = opened("alice alice-secret-1234 requests=5\nbob bob-secret-123456\n");
    struct err e = {0};
    struct key *alice = keys_find(k, "alice-secret-1234", 17);
    cr_assert_eq(key_take(alice, 2, &e), 0);
    put("alice a-new-secret-1234 requests=4 metrics\ncarol carol-secret-1234\nwhat is this\n");
    cr_assert_neq(keys_reload(k, &e), 0);
    cr_assert_not_null(strstr(e.text, "line 3"));
    cr_assert_str_eq(who(k, "alice-secret-1234"), "alice");
    cr_assert_str_eq(who(k, "bob-secret-123456"), "bob");
    cr_assert_str_eq(who(k, "carol-secret-1234"), "nobody");
    cr_assert_eq(alice->limit[KEY_REQUESTS], 5);

    put("alice a-new-secret-1234 requests=4 metrics\ncarol carol-secret-1234\n");
    err_clear(&e);
    cr_assert_eq(keys_reload(k, &e), 0, "%s", e.text);
    cr_assert_str_eq(who(k, "alice-secret-1234"), "nobody");
    cr_assert_str_eq(who(k, "bob-secret-123456"), "nobody");
    cr_assert_str_eq(who(k, "carol-secret-1234"), "carol");
    cr_assert_eq(keys_find(k, "a-new-secret-1234", 17), alice, "the same key, by its name");
    cr_assert_eq(alice->requests, 2);
    cr_assert_eq(alice->limit[KEY_REQUESTS], 4);
    cr_assert(alice->metrics);
    done(k);
}

Test(keys, a_share_is_taken_whole_and_given_back)
{
    struct keys *k = opened("a secret-of-a-123456 requests=4\nb secret-of-b-123456\n"
                            "c secret-of-c-123456 requests=0\n");
    struct err e = {0};
    struct key *a = keys_find(k, "secret-of-a-123456", 18);
    cr_assert_eq(key_take(a, 3, &e), 0);
    cr_assert_eq(key_take(a, 2, &e), E_BUSY);
    cr_assert_eq(a->requests, 3);
    cr_assert_eq(key_take(a, 1, &e), 0);
    cr_assert_eq(key_take(a, 1, &e), E_BUSY);
    err_clear(&e);
    cr_assert_eq(key_take(a, 5, &e), E_DENIED, "never, however long it waits");
    key_give(a, 4);
    cr_assert_eq(key_take(a, 4, &e), 0);
    cr_assert_eq(a->refused, 2 + 1 + 5);
    cr_assert_eq(a->admitted, 3 + 1 + 4);
    cr_assert_eq(key_take(keys_find(k, "secret-of-b-123456", 18), 1000000, &e), 0);
    cr_assert_eq(key_take(keys_find(k, "secret-of-c-123456", 18), 1, &e), E_DENIED);
    done(k);
}

Test(keys, a_name_is_a_tenant_and_its_limits_reach_the_state_cache)
{
    static struct fake f;
    struct err e = {0};
    struct session_info s;
    struct tenant_tag want;
    struct tenant_usage u;
    fake_init(&f, false, 2, 0);
    fake_open(&f);
    struct keys *k = opened("alice alice-secret-1234 sessions=2\nbob bob-secret-123456\n");
    cr_assert_eq(keys_bind(k, f.sc, &e), 0);
    struct key *alice = keys_find(k, "alice-secret-1234", 17);
    struct key *bob = keys_find(k, "bob-secret-123456", 17);
    statecache_tenant(f.sc, "alice", &want);
    cr_assert_arr_eq(alice->tenant.b, want.b, sizeof want.b);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(session_create(f.sc, &alice->tenant, 0, &s, &e), i < 2 ? 0 : E_BUSY);
        cr_assert_eq(session_create(f.sc, &bob->tenant, 0, &s, &e), 0);
    }
    cr_assert_str_eq(e.param, "sessions");
    statecache_usage(f.sc, &alice->tenant, &u);
    cr_assert_eq(u.sessions, 2);
    put("alice a-new-secret-1234 sessions=3\n");
    err_clear(&e);
    cr_assert_eq(keys_reload(k, &e), 0, "%s", e.text);
    cr_assert_eq(session_create(f.sc, &alice->tenant, 0, &s, &e), 0, "%s", e.text);
    cr_assert_eq(session_create(f.sc, &alice->tenant, 0, &s, &e), E_BUSY);
    done(k);
    fake_fini(&f);
}
