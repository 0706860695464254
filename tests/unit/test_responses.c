/* Kept responses: found again after a restart, by their tenant alone; what does not check goes; a
 * medium that fails costs durability and nothing else. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/api/responses.h"
#include "statecache/store/fsio.h"

static const unsigned char key[16] = "a key of sixteen", other_key[16] = "another of these";
static const struct tenant_tag alice = {{1}}, bob = {{2}};
static char dir[64];

static void open_dir(void)
{
    snprintf(dir, sizeof dir, "/tmp/recurd-responses-XXXXXX");
    cr_assert(mkdtemp(dir));
}

static void remove_dir(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", dir);
    cr_assert_eq(system(command), 0);
}

static struct responses *open_with(const unsigned char *k, const struct fsio *io)
{
    struct responses *s;
    struct err e = {0};
    cr_assert_eq(responses_open_in(&s, dir, k, NULL, io, &e), 0, "%s", e.text);
    return s;
}

static void put(struct responses *s, const struct tenant_tag *t, const char *id, const char *object,
                const char *messages)
{
    struct buf a, b;
    buf_init(&a, MIB(80));
    buf_init(&b, MIB(80));
    buf_str(&a, object);
    buf_str(&b, messages);
    struct saving *v = responses_put(s, t, id, &a, &b, NULL);
    for (int i = 0; v && !saving_done(v); i++)
        usleep(1000);
    saving_unref(v);
    buf_free(&a);
    buf_free(&b);
}

/* The two texts, joined; NULL = it is not there. */
static const char *get(struct responses *s, const struct tenant_tag *t, const char *id)
{
    static char out[256];
    struct buf a, b;
    buf_init(&a, KIB(4));
    buf_init(&b, KIB(4));
    bool found = responses_get(s, t, id, &a, &b);
    snprintf(out, sizeof out, "%s|%s", a.p ? a.p : "", b.p ? b.p : "");
    buf_free(&a);
    buf_free(&b);
    return found ? out : NULL;
}

static int files(void)
{
    char path[96];
    int n = 0;
    snprintf(path, sizeof path, "%s/responses", dir);
    DIR *d = opendir(path);
    cr_assert(d);
    for (struct dirent *x; (x = readdir(d));)
        n += x->d_name[0] != '.';
    closedir(d);
    return n;
}

Test(responses, they_are_there_again_and_stay_deleted)
{
    struct err e = {0};
    open_dir();
    struct responses *s = open_with(key, NULL);
    put(s, &alice, "resp_a", "{1}", "[1]");
    put(s, &alice, "resp_b", "{2}", "[2]");
    put(s, &bob, "resp_c", "{3}", "[3]");
    cr_assert(responses_delete(s, &alice, "resp_b", &e) && !e.code);
    cr_assert(!responses_delete(s, &alice, "resp_c", &e));
    responses_close(s);
    cr_assert_eq(files(), 2);
    s = open_with(key, NULL);
    cr_assert_str_eq(get(s, &alice, "resp_a"), "{1}|[1]");
    cr_assert_str_eq(get(s, &bob, "resp_c"), "{3}|[3]");
    cr_assert(!get(s, &bob, "resp_a") && !get(s, &alice, "resp_c") && !get(s, &alice, "resp_b"));
    responses_close(s);
    remove_dir();
}

/* Every byte of a file counts, and so do its length, its name and the key. */
Test(responses, what_does_not_check_is_removed)
{
    static const char *const names[] = {"resp_a", "resp_b"};
    char path[128], to[128], bytes[160];
    log_set_level(LOG_ERROR); /* a line for each */
    open_dir();
    struct responses *s = open_with(key, NULL);
    put(s, &alice, "resp_a", "{1}", "[1]");
    responses_close(s);
    snprintf(path, sizeof path, "%s/responses/resp_a", dir);
    FILE *f = fopen(path, "rb");
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    cr_assert_eq(n, 134);
    for (size_t i = 0; i < n + 4; i++) {
        const char *name = names[i == n + 2];
        snprintf(to, sizeof to, "%s/responses/%s", dir, name);
        f = fopen(to, "wb");
        if (i < n)
            bytes[i] ^= 4;
        fwrite(bytes, 1, i == n ? n - 1 : i == n + 1 ? n + 1 : n, f);
        if (i < n)
            bytes[i] ^= 4;
        fclose(f);
        s = open_with(i == n + 3 ? other_key : key, NULL);
        cr_assert(!get(s, &alice, "resp_a") && !get(s, &alice, "resp_b"), "%zu", i);
        responses_close(s);
        cr_assert_eq(files(), 0, "%zu", i);
    }
    remove_dir();
}

/* No more than there is room for, also in the folder; the latest stay. */
Test(responses, there_is_a_bound)
{
    char id[32], *big = mem_zalloc(MIB(8) + 1);
    open_dir();
    memset(big, 'x', MIB(8));
    struct responses *s = open_with(key, NULL);
    put(s, &bob, "resp_bob", "{1}", "[1]");
    for (int i = 0; i < 12; i++) {
        snprintf(id, sizeof id, "resp_%d", i);
        put(s, &alice, id, big, "[]");
    }
    cr_assert(!responses_get(s, &alice, "resp_0", NULL, NULL));
    cr_assert(responses_get(s, &alice, "resp_11", NULL, NULL));
    cr_assert_str_eq(get(s, &bob, "resp_bob"), "{1}|[1]"); /* another's flood is not his loss */
    responses_close(s);
    cr_assert_eq(files(), 8); /* 7 of 8 MiB, and bob's */
    s = open_with(key, NULL);
    cr_assert(responses_get(s, &alice, "resp_11", NULL, NULL));
    put(s, &alice, "resp_x", big, "[]"); /* in the order of making: the oldest goes */
    cr_assert(!responses_get(s, &alice, "resp_5", NULL, NULL));
    cr_assert(responses_get(s, &alice, "resp_6", NULL, NULL));
    responses_close(s);
    mem_free(big);
    remove_dir();
}

static int broken_fsync(void *ctx, int fd)
{
    (void)fd;
    return *(bool *)ctx ? -EIO : 0;
}

Test(responses, a_medium_that_fails)
{
    bool broken = true;
    struct fsio io = fsio_real;
    io.ctx = &broken;
    io.fsync = broken_fsync;
    open_dir();
    struct responses *s = open_with(key, &io);
    put(s, &alice, "resp_a", "{1}", "[1]");
    cr_assert_str_eq(get(s, &alice, "resp_a"), "{1}|[1]"); /* memory has it */
    cr_assert_eq(files(), 0);
    broken = false;
    put(s, &alice, "resp_b", "{2}", "[2]");
    cr_assert_eq(files(), 1);
    responses_close(s);
    s = open_with(key, NULL);
    cr_assert(!get(s, &alice, "resp_a"));
    cr_assert_str_eq(get(s, &alice, "resp_b"), "{2}|[2]");
    responses_close(s);
    remove_dir();
}

Test(responses, memory_alone)
{
    struct responses *s;
    struct err e = {0};
    cr_assert_eq(responses_open_in(&s, NULL, key, NULL, NULL, &e), 0);
    put(s, &alice, "resp_a", "{1}", "[1]");
    cr_assert_str_eq(get(s, &alice, "resp_a"), "{1}|[1]");
    cr_assert(responses_delete(s, &alice, "resp_a", &e));
    cr_assert(!get(s, &alice, "resp_a"));
    responses_close(s);
}

struct seen {
    int good, bad;
    char names[64], wrong[128];
};

static void see(void *arg, const char *name, uint64_t bytes, const char *wrong,
                const struct response_file *f)
{
    struct seen *x = arg;
    cr_assert_gt(bytes, 0);
    x->good += !wrong;
    x->bad += wrong != NULL;
    if (wrong)
        snprintf(x->wrong, sizeof x->wrong, "%s", wrong);
    else
        snprintf(x->names, sizeof x->names, "%s of %d", name, f->tenant.b[0]);
}

static struct seen check(const unsigned char *k)
{
    struct seen x = {0};
    struct err e = {0};
    cr_assert_eq(response_files_check(dir, k, NULL, NULL, see, &x, &e), 0, "%s", e.text);
    return x;
}

Test(responses, files_are_checked_and_nothing_is_written)
{
    char path[128];
    open_dir();
    struct seen x = check(key); /* no folder yet */
    cr_assert(x.good == 0 && x.bad == 0);
    struct responses *s = open_with(key, NULL);
    put(s, &bob, "resp_a", "{\"id\":\"resp_a\"}", "[]");
    responses_close(s);
    x = check(key);
    cr_assert(x.good == 1 && x.bad == 0 && !strcmp(x.names, "resp_a of 2"), "%s", x.names);
    x = check(other_key);
    cr_assert(x.good == 0 && x.bad == 1 && strstr(x.wrong, "another key"), "%s", x.wrong);
    s = open_with(key, NULL);
    put(s, &bob, "resp_b", "{\"id\":\"resp_a\"}", "[]");
    put(s, &bob, "resp_c", "{\"id\":\"resp_c\"}", "{}");
    responses_close(s);
    x = check(key);
    cr_assert(x.good == 1 && x.bad == 2);
    snprintf(path, sizeof path, "%s/responses/resp_b.new", dir);
    FILE *f = fopen(path, "w");
    cr_assert(f);
    fclose(f);
    int n = files();
    x = check(key);
    cr_assert(x.good == 1 && x.bad == 2 && files() == n);
    remove_dir();
}
