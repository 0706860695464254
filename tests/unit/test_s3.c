#define _GNU_SOURCE /* strcasestr */
/* The shared store in a bucket: addresses, signatures, credentials, refusals; and states through a
 * service of our own in this process, which misbehaves when told to. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "statecache/shared/kv.h"
#include "statecache/shared/s3_listing.h"
#include "statecache/shared/s3_login.h"
#include "statecache/shared/s3_refusal.h"
#include "statecache/shared/shared.h"
#include "tests/unit/fake_cache.h"

/* ---- lists ------------------------------------------------------------------------------- */

/* Of ListObjectsV2's answer. */
static void count_name(void *arg, const struct kv_key *key)
{
    (void)key;
    ++*(int *)arg;
}

#define HEX16 "0123456789abcdef0123456789abcde"

Test(s3_listing, pages_go_on_behind_the_last_name)
{
    int n = 0;
    struct err e = {0};
    struct s3_place p;
    struct kv_page page = {.each = count_name, .arg = &n};
    char query[S3_QUERY];
    static const char one[] = "<ListBucketResult><IsTruncated>true</IsTruncated>"
                              "<Key>a/s/" HEX16 "0</Key><Key>a/s/" HEX16 "1</Key>";
    static const char two[] = "<ListBucketResult><Key>a/s/" HEX16 "2</Key><Key>a/s/short</Key>";
    cr_assert_eq(s3_place_parse("s3://states/a", "http://h", NULL, &p, &e), 0);
    s3_listing_query(&p, KV_STATE, &page, query);
    cr_expect_str_eq(query, "list-type=2&max-keys=1000&prefix=a%2Fs%2F");
    cr_expect_eq(s3_listing_read(&p, KV_STATE, 16, one, strlen(one), &page, &e), 0);
    cr_expect(n == 2 && !page.last);
    s3_listing_query(&p, KV_STATE, &page, query);
    cr_expect_str_eq(query, "list-type=2&max-keys=1000&prefix=a%2Fs%2F&start-after=a%2Fs%2F"
                     HEX16 "1");
    cr_expect_eq(s3_listing_read(&p, KV_STATE, 16, one, strlen(one), &page, &e), E_FORMAT,
                 "the same page for ever");
    cr_expect_eq(s3_listing_read(&p, KV_STATE, 16, two, strlen(two), &page, &e), 0);
    cr_expect(n == 3 && page.last, "what is no name of ours is passed over");
    static const char *const bad[] = {
        "", "<Error/>", "<ListBucketResult><Key>b/s/1</Key>", "<ListBucketResult><Key>a/s/",
        "<ListBucketResult><Key>a/s/../x<"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        page.at[0] = '\0';
        cr_expect_eq(s3_listing_read(&p, KV_STATE, 16, bad[i], strlen(bad[i]), &page, &e), E_FORMAT,
                     "%s", bad[i]);
    }
}

/* Every second byte of it a slash, which takes three bytes. */
Test(s3_listing, the_longest_prefix_has_room)
{
    char url[8 + S3_PREFIX + 16] = "s3://states/", query[S3_QUERY];
    struct err e = {0};
    struct s3_place p;
    struct kv_page page = {0};
    for (size_t n = strlen(url), i = 0; i + 2 < S3_PREFIX; i++)
        url[n + i] = i % 2 ? '/' : 'a';
    cr_assert_eq(s3_place_parse(url, "http://h", NULL, &p, &e), 0, "%s", e.text);
    memset(page.at, 'f', sizeof(page.at) - 1);
    s3_listing_query(&p, KV_STATE, &page, query);
    size_t n = strlen(query), m = strlen(page.at);
    cr_expect(n > m && strcmp(query + n - m, page.at) == 0, "%s", query);
}

Test(s3_listing, kinds_that_this_build_does_not_know)
{
    struct s3_place p;
    struct err e = {0};
    uint64_t n = 0;
    char query[S3_QUERY];
#define BELOW(name) "<CommonPrefixes><Prefix>" name "</Prefix></CommonPrefixes>"
    static const char ours[] = "<ListBucketResult><Prefix>a/</Prefix>" BELOW("a/c/") BELOW("a/g/")
        BELOW("a/i/") BELOW("a/r/") BELOW("a/s/") "<Contents><Key>a/x</Key></Contents>";
    static const char more[] = "<ListBucketResult>" BELOW("a/q/") BELOW("a/photos/") BELOW("b/q/")
        BELOW("a/s/") BELOW("a/z/") "<CommonPrefixes><Prefix>a/y/";
    cr_assert_eq(s3_place_parse("s3://states/a", "http://h", NULL, &p, &e), 0);
    s3_listing_kinds_query(&p, query);
    cr_expect_str_eq(query, "delimiter=%2F&list-type=2&max-keys=1000&prefix=a%2F");
    cr_expect_eq(s3_listing_kinds(&p, ours, strlen(ours), &n, &e), 0);
    cr_expect_eq(n, 0);
    cr_expect_eq(s3_listing_kinds(&p, more, strlen(more), &n, &e), 0);
    cr_expect_eq(n, 2, "q and z; what is longer, or elsewhere, is not recurd's");
    cr_expect_eq(s3_listing_kinds(&p, "<Error/>", 8, &n, &e), E_FORMAT);
    cr_assert_eq(s3_place_parse("s3://states", "http://h", NULL, &p, &e), 0);
    s3_listing_kinds_query(&p, query);
    cr_expect_str_eq(query, "delimiter=%2F&list-type=2&max-keys=1000&prefix=");
}

/* ---- addresses ---------------------------------------------------------------------------- */

Test(stores, a_list_of_addresses)
{
    static const struct { const char *text, *url[2]; int n, rc; } rows[] = {
        {"redis://h", {"redis://h"}, 1, 0},
        {"redis://:a,b@h", {"redis://:a,b@h"}, 1, 0},
        {"redis://:a,b@h,s3://b/c", {"redis://:a,b@h", "s3://b/c"}, 2, 0},
        {"s3://b,redis+unix:///x", {"s3://b", "redis+unix:///x"}, 2, 0},
        {"redis://h,redis://h", {NULL}, 0, E_CONFLICT},
        {"redis://h,redis://i,s3://b", {NULL}, 0, E_RANGE},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct kv_options all = {.url = rows[i].text, .endpoint = "http://e"}, o[KV_STORES];
        struct err e = {0};
        char *copy;
        int n, rc = kv_list(&all, o, &n, &copy, &e);
        cr_expect_eq(rc, rows[i].rc, "%s: %s", rows[i].text, e.text);
        for (int k = 0; k < rows[i].n && !rc; k++) {
            cr_expect_str_eq(o[k].url, rows[i].url[k]);
            bool bucket = strncmp(o[k].url, "s3:", 3) == 0, any = strstr(rows[i].text, "s3:");
            cr_expect_eq(o[k].endpoint != NULL, bucket || !any, "%s", o[k].url);
        }
        mem_free(copy);
    }
}

Test(s3_place, what_is_understood)
{
    static const struct {
        const char *url, *endpoint, *region, *host, *root;
        bool tls;
    } rows[] = {
        {"s3://abc", NULL, NULL, "abc.s3.us-east-1.amazonaws.com", "/", true},
        {"s3://abc/", NULL, "eu-west-3", "abc.s3.eu-west-3.amazonaws.com", "/", true},
        {"s3://abc/x/y_Z.1", NULL, NULL, "abc.s3.us-east-1.amazonaws.com", "/x/y_Z.1/", true},
        {"s3://a.b.c/x/", NULL, NULL, "s3.us-east-1.amazonaws.com", "/a.b.c/x/", true},
        {"s3://abc", NULL, "cn-north-1", "abc.s3.cn-north-1.amazonaws.com.cn", "/", true},
        {"s3://abc/x", "http://minio:9000", NULL, "minio:9000", "/abc/x/", false},
        {"s3://abc", "https://s3.example/", "r", "s3.example", "/abc/", true},
        {"s3://abc", "https://s3.example:443", "r", "s3.example", "/abc/", true},
        {"s3://abc/x", "https://abc.s3.example:80", "r", "abc.s3.example:80", "/x/", true},
        {"s3://abc", "http://abcd.example", "r", "abcd.example", "/abc/", false},
        {"s3://abc", "http://[::1]:99", "r", "[::1]:99", "/abc/", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct s3_place p;
        struct err e = {0};
        cr_assert_eq(s3_place_parse(rows[i].url, rows[i].endpoint, rows[i].region, &p, &e), 0,
                     "%s: %s", rows[i].url, e.text);
        cr_expect_str_eq(p.host, rows[i].host);
        cr_expect_str_eq(p.root, rows[i].root);
        cr_expect_eq(p.tls, rows[i].tls);
    }
}

Test(s3_place, what_is_refused)
{
    static const struct { const char *url, *endpoint, *region; } rows[] = {
        {"", NULL, NULL}, {"s3:/abc", NULL, NULL}, {"s3://", NULL, NULL}, {"s3://ab", NULL, NULL},
        {"s3://aBc", NULL, NULL}, {"s3://-abc", NULL, NULL}, {"s3://abc-", NULL, NULL},
        {"s3://a..b", NULL, NULL}, {"s3://abc//", NULL, NULL}, {"s3://abc/a//b", NULL, NULL},
        {"s3://abc/..", NULL, NULL}, {"s3://abc/./a", NULL, NULL}, {"s3://abc/a b", NULL, NULL},
        {"s3://abc/a?b", NULL, NULL}, {"s3://abc/%41", NULL, NULL}, {"s3://abc@x", NULL, NULL},
        {"s3://abc", "", NULL}, {"s3://abc", "x", NULL}, {"s3://abc", "http://", NULL},
        {"s3://abc", "http://h/path", NULL}, {"s3://abc", "http://h:0", NULL},
        {"s3://abc", "http://u:p@h", NULL}, {"s3://abc", "http://h:99999", NULL},
        {"s3://abc", NULL, ""}, {"s3://abc", NULL, "a b"}, {"s3://abc", NULL, "a/b"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct s3_place p;
        struct err e = {0};
        cr_expect_lt(s3_place_parse(rows[i].url, rows[i].endpoint, rows[i].region, &p, &e), 0,
                     "%s %s", rows[i].url, rows[i].endpoint);
        cr_expect_neq(e.text[0], '\0');
        cr_expect_null(strstr(e.text, "u:p"), "%s", e.text);
    }
}

/* ---- signatures --------------------------------------------------------------------------- */

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* The examples of the description, "Signature Calculations for the Authorization Header". */
Test(s3_sign, the_published_examples)
{
    static const struct s3_keys k = {
        "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
    static const char host[] = "examplebucket.s3.amazonaws.com", time[] = "20130524T000000Z";
    char out[S3_AUTH], hash[S3_HEX];
    struct s3_header get[] = {{"host", host}, {"range", "bytes=0-9"},
                              {"x-amz-content-sha256", EMPTY}, {"x-amz-date", time}};
    s3_sign(&k, "us-east-1", "GET", "/test.txt", "", get, 4, EMPTY, time, out);
    cr_expect_str_eq(out, "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/"
                     "aws4_request, SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
                     "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    s3_hash("Welcome to Amazon S3.", 21, hash);
    cr_expect_str_eq(hash, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
    struct s3_header put[] = {{"date", "Fri, 24 May 2013 00:00:00 GMT"}, {"host", host},
                              {"x-amz-content-sha256", hash}, {"x-amz-date", time},
                              {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
    s3_sign(&k, "us-east-1", "PUT", "/test%24file.text", "", put, 5, hash, time, out);
    cr_expect_not_null(strstr(out, "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b597"
                              "1af0ece108bd"), "%s", out);
    struct s3_header list[] = {{"host", host}, {"x-amz-content-sha256", EMPTY},
                               {"x-amz-date", time}};
    s3_sign(&k, "us-east-1", "GET", "/", "max-keys=2&prefix=J", list, 3, EMPTY, time, out);
    cr_expect_not_null(strstr(out, "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5"
                              "711ef69dc6f7"), "%s", out);
    s3_time(1369353600, out);
    cr_expect_str_eq(out, time);
}

/* ---- credentials -------------------------------------------------------------------------- */

Test(s3_login, what_a_file_may_say)
{
    static const struct { const char *text, *id, *secret, *token; } rows[] = {
        {"aws_access_key_id=A\naws_secret_access_key=b/c+d", "A", "b/c+d", ""},
        {"# x\r\n[default]\r\n aws_access_key_id\t= A \r\naws_secret_access_key = b\r\n"
         "aws_session_token = t==\r\nregion = eu\r\n[two]\naws_access_key_id = B\n", "A", "b",
         "t=="},
        {"[other]\naws_access_key_id=B\n; no\n[default]\naws_secret_access_key=b\n\n"
         "aws_access_key_id=A\n", "A", "b", ""},
    };
    static const char *const refused[] = {
        "", "[default]", "aws_access_key_id=A", "aws_access_key_id=A\naws_secret_access_key=",
        "aws_access_key_id=A/B\naws_secret_access_key=b", "[default]\nwhat is this",
        "aws_access_key_id=A B\naws_secret_access_key=b",
        "[other]\naws_access_key_id=A\naws_secret_access_key=b",
        "aws_access_key_id=A\naws_secret_access_key=b\x01c",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct s3_keys k;
        struct err e = {0};
        cr_assert_eq(s3_credentials_parse(rows[i].text, strlen(rows[i].text), &k, &e), 0, "%zu: %s",
                     i, e.text);
        cr_expect_str_eq(k.id, rows[i].id);
        cr_expect_str_eq(k.secret, rows[i].secret);
        cr_expect_str_eq(k.token, rows[i].token);
    }
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct s3_keys k;
        struct err e = {0};
        cr_expect_lt(s3_credentials_parse(refused[i], strlen(refused[i]), &k, &e), 0, "%zu", i);
        cr_expect(e.text[0] && !k.secret[0]);
    }
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    cr_assert_eq(fchmod(fd, mode), 0);
    close(fd);
}

Test(s3_login, a_file_that_changes)
{
    char path[] = "/tmp/recurd-s3-XXXXXX";
    struct s3_login l;
    struct err e = {0};
    close(mkstemp(path));
    write_file(path, "aws_access_key_id=A\naws_secret_access_key=secret", 0640);
    cr_expect_eq(s3_login_open(&l, path, &e), E_DENIED);
    cr_expect_null(strstr(e.text, "secret"), "%s", e.text);
    s3_login_close(&l);
    write_file(path, "aws_access_key_id=A\naws_secret_access_key=secret", 0600);
    cr_assert_eq(s3_login_open(&l, path, NULL), 0);
    cr_expect_str_eq(l.keys.id, "A");
    write_file(path, "aws_access_key_id=Bee\naws_secret_access_key=more", 0600);
    cr_expect_eq(s3_login_renew(&l, NULL), 0);
    cr_expect_str_eq(l.keys.id, "Bee");
    write_file(path, "nothing of use", 0600);
    cr_expect_lt(s3_login_renew(&l, NULL), 0);
    cr_expect_str_eq(l.keys.id, "Bee", "they stay");
    cr_assert_eq(unlink(path), 0);
    cr_expect_eq(s3_login_renew(&l, NULL), E_NOENT);
    s3_login_close(&l);
}

/* ---- refusals ----------------------------------------------------------------------------- */

Test(s3_refusal, what_they_mean)
{
    static const struct {
        int status;
        const char *body, *code;
        enum s3_meaning meaning;
    } rows[] = {
        {200, "", "", S3_DONE}, {204, "<Code>SlowDown</Code>", "SlowDown", S3_DONE},
        {404, "", "", S3_ABSENT}, {404, "<Error><Code>NoSuchKey</Code>", "NoSuchKey", S3_ABSENT},
        {404, "<Code>NoSuchBucket</Code>", "NoSuchBucket", S3_LOST}, {403, "", "", S3_REFUSED},
        {403, "<Code>RequestTimeTooSkewed</Code>", "RequestTimeTooSkewed", S3_LOST},
        {503, "<Code>Sl<owDown", "Sl", S3_AGAIN}, {500, "x", "", S3_AGAIN}, {302, "", "", S3_LOST},
        {412, "", "", S3_CHANGED}, {501, "", "", S3_CANNOT}, {418, "<Code>", "", S3_REFUSED},
        {0, "<Code", "", S3_REFUSED},
    };
    struct s3_place p;
    cr_assert_eq(s3_place_parse("s3://abc", NULL, "eu", &p, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct s3_refusal r;
        struct err e = {0};
        s3_refusal_read(rows[i].body, strlen(rows[i].body), NULL, &r);
        cr_expect_str_eq(r.code, rows[i].code);
        cr_expect_eq(s3_meaning(rows[i].status, &r), rows[i].meaning, "%zu", i);
        cr_expect_eq(s3_refuse(&p, rows[i].status, &r, 7, &e), E_DENIED);
    }
    struct s3_refusal r;
    struct err e = {0};
    s3_refusal_read("<Region>xx-1\n</Region>", 22, NULL, &r);
    cr_expect_eq(s3_refuse(&p, 400, &r, 0, &e), E_DENIED);
    cr_expect_not_null(strstr(e.text, "in region xx-1, not in eu"), "%s", e.text);
}

/* ---- a service of our own ----------------------------------------------------------------- */

#define OBJECTS 512
#define CONNECTIONS 256
#define REQUEST (MIB(1) + KIB(64))

enum fault { NONE, BUSY_ONCE, BUSY, CUT, ENDLESS, SILENT, NO_HTTP, DENIED, NO_CONDITIONS };

struct object { char path[200], etag[24]; unsigned char *p; size_t n; };

struct service {
    pthread_mutex_t lock;
    pthread_t thread, connections[CONNECTIONS];
    int fd, fds[CONNECTIONS], n_connections;
    bool stop;
    enum fault fault;
    int requests;
    char seen[OBJECTS][208]; /* methods and paths that BUSY_ONCE has refused */
    struct object objects[OBJECTS];
    uint64_t n_etags;
    char endpoint[40];
};
struct connection { struct service *s; int fd; };

static void say(int fd, const void *p, size_t n)
{
    for (const char *at = p; n > 0;) {
        ssize_t k = send(fd, at, n, MSG_NOSIGNAL);
        if (k <= 0)
            return;
        at += k;
        n -= (size_t)k;
    }
}

static void answer(int fd, int status, const char *etag, const void *p, size_t n, bool head)
{
    char text[256];
    int k = snprintf(text, sizeof(text), "HTTP/1.1 %d x\r\nContent-Length: %zu\r\n%s%s%s\r\n",
                     status, n, *etag ? "ETag: " : "", etag, *etag ? "\r\n" : "");
    say(fd, text, (size_t)k);
    if (!head)
        say(fd, p, n);
}

static struct object *find_object(struct service *s, const char *path, bool make)
{
    for (int i = 0; i < OBJECTS; i++) {
        struct object *o = &s->objects[i];
        if (!*o->path && make)
            snprintf(o->path, sizeof(o->path), "%s", path);
        if (strcmp(o->path, path) == 0)
            return o->p || make ? o : NULL;
        if (!*o->path)
            return NULL;
    }
    cr_assert_fail("the service of the test is full");
    return NULL;
}

/* The value of a header, "" if there is none. */
static void value_of(const char *head, const char *name, char out[64])
{
    out[0] = '\0';
    const char *at = strcasestr(head, name);
    if (at)
        snprintf(out, 64, "%.*s", (int)strcspn(at + strlen(name), "\r\n"), at + strlen(name));
}

static int put_object(struct service *s, const char *head, const char *path, const char *body,
                      size_t n, char etag[24])
{
    char match[64], none[64];
    value_of(head, "\r\nif-match: ", match);
    value_of(head, "\r\nif-none-match: ", none);
    struct object *o = find_object(s, path, false);
    if (s->fault == NO_CONDITIONS && (*match || *none))
        return 501;
    if ((*none && o) || (*match && (!o || strcmp(o->etag, match) != 0)))
        return 412;
    o = find_object(s, path, true);
    free(o->p);
    o->p = malloc(n + 1);
    memcpy(o->p, body, n);
    o->n = n;
    snprintf(o->etag, sizeof(o->etag), "\"%llu\"", (unsigned long long)++s->n_etags);
    memcpy(etag, o->etag, 24);
    return 200;
}

/* Whether this has been asked before. */
static bool seen(struct service *s, const char *method, const char *path)
{
    char what[208];
    snprintf(what, sizeof(what), "%s %s", method, path);
    int i = 0;
    while (*s->seen[i] && strcmp(s->seen[i], what) != 0)
        i++;
    bool known = *s->seen[i];
    cr_assert(i + 1 < OBJECTS);
    memcpy(s->seen[i], what, sizeof(what));
    return known;
}

/* True: the connection goes on. */
static bool misbehave(struct service *s, int fd, bool put)
{
    static const char endless[] = "HTTP/1.1 200 OK\r\n\r\n", cut[] =
        "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nabc", junk[] = "\x01\xff what?\r\n\r\n";
    char many[4096] = {0};
    switch (s->fault) {
    case BUSY_ONCE:
    case BUSY:
        answer(fd, 503, "", "<Code>SlowDown</Code>", 21, false);
        return true;
    case DENIED:
        answer(fd, put ? 403 : 404, "", "<Code>AccessDenied</Code>", put ? 25 : 0, false);
        return true;
    case CUT:
        say(fd, cut, sizeof(cut) - 1);
        return false;
    case ENDLESS:
        say(fd, endless, sizeof(endless) - 1);
        for (int i = 0; i < 1000; i++)
            say(fd, many, sizeof(many));
        return false;
    case NO_HTTP:
        say(fd, junk, sizeof(junk) - 1);
        return false;
    default:
        return true;
    }
}

static bool serve_request(struct service *s, int fd, const char *head, const char *body, size_t n)
{
    char method[8] = "", path[200] = "", etag[24] = "";
    cr_assert_eq(sscanf(head, "%7s %199s", method, path), 2);
    cr_assert_not_null(strstr(head, "authorization: AWS4-HMAC-SHA256 Credential=A/"));
    bool put = strcmp(method, "PUT") == 0, is_head = strcmp(method, "HEAD") == 0, goes_on = true;
    pthread_mutex_lock(&s->lock);
    s->requests++;
    bool odd = s->fault != NONE && s->fault != NO_CONDITIONS &&
               (s->fault != BUSY_ONCE || !seen(s, method, path));
    struct object *o = find_object(s, path, false);
    if (odd) {
        goes_on = misbehave(s, fd, put);
    } else if (put) {
        int status = put_object(s, head, path, body, n, etag);
        answer(fd, status, etag, "", 0, false);
    } else if (strcmp(method, "DELETE") == 0) {
        if (o)
            free(o->p);
        if (o)
            o->p = NULL;
        answer(fd, 204, "", "", 0, true);
    } else if (o) {
        answer(fd, 200, o->etag, o->p, o->n, is_head);
    } else {
        answer(fd, 404, "", "<Code>NoSuchKey</Code>", 22, is_head);
    }
    pthread_mutex_unlock(&s->lock);
    return goes_on;
}

static void *serve_connection(void *arg)
{
    struct connection c = *(struct connection *)arg;
    char *in = malloc(REQUEST);
    size_t n = 0;
    free(arg);
    for (bool goes_on = true; goes_on;) {
        ssize_t k = recv(c.fd, in + n, REQUEST - 1 - n, 0);
        if (k <= 0)
            break;
        n += (size_t)k;
        in[n] = '\0';
        char *body = strstr(in, "\r\n\r\n"), length[64];
        if (!body)
            continue;
        value_of(in, "\r\ncontent-length: ", length);
        size_t want = (size_t)strtoul(length, NULL, 10);
        body += 4;
        if (n - (size_t)(body - in) < want)
            continue;
        goes_on = serve_request(c.s, c.fd, in, body, want);
        n = 0; /* nobody sends a second request before the first is answered */
    }
    shutdown(c.fd, SHUT_RDWR);
    free(in);
    return NULL;
}

static void *accept_all(void *arg)
{
    struct service *s = arg;
    for (int fd; (fd = accept(s->fd, NULL, NULL)) >= 0;) {
        struct connection *c = malloc(sizeof(*c));
        *c = (struct connection){s, fd};
        pthread_mutex_lock(&s->lock);
        cr_assert(s->n_connections < CONNECTIONS);
        s->fds[s->n_connections] = fd;
        cr_assert_eq(pthread_create(&s->connections[s->n_connections++], NULL, serve_connection,
                                    c), 0);
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

static void service_open(struct service *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(at);
    memset(s, 0, sizeof(*s));
    pthread_mutex_init(&s->lock, NULL);
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(s->fd >= 0 && bind(s->fd, (struct sockaddr *)&at, len) == 0 &&
              listen(s->fd, 64) == 0 && getsockname(s->fd, (struct sockaddr *)&at, &len) == 0);
    snprintf(s->endpoint, sizeof(s->endpoint), "http://127.0.0.1:%d", ntohs(at.sin_port));
    cr_assert_eq(pthread_create(&s->thread, NULL, accept_all, s), 0);
    setenv("AWS_ACCESS_KEY_ID", "A", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "b", 1);
    unsetenv("AWS_SESSION_TOKEN");
    unsetenv("AWS_REGION");
}

static void service_close(struct service *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    for (int i = 0; i < s->n_connections; i++) {
        shutdown(s->fds[i], SHUT_RDWR);
        pthread_join(s->connections[i], NULL);
        close(s->fds[i]);
    }
    close(s->fd);
    for (int i = 0; i < OBJECTS; i++)
        free(s->objects[i].p);
    pthread_mutex_destroy(&s->lock);
}

static void set_fault(struct service *s, enum fault f)
{
    pthread_mutex_lock(&s->lock);
    s->fault = f;
    pthread_mutex_unlock(&s->lock);
}

static int count_of(struct service *s, const int *what)
{
    pthread_mutex_lock(&s->lock);
    int n = *what;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* ---- values ------------------------------------------------------------------------------- */

#define PATIENCE (clock_now_ns() + 60 * NS_PER_S)

static struct kv *kv_at(struct service *s)
{
    struct kv_options o = {.url = "s3://states/cold", .endpoint = s->endpoint, .region = "eu"};
    struct kv *kv;
    struct err e = {0};
    cr_assert_eq(kv_open(&kv, &o, &e), 0, "%s", e.text);
    cr_assert_eq(kv->ops->connect(kv, 60000, 60000, &e), 0, "%s", e.text);
    return kv;
}

static struct kv_key key_at(enum kv_kind kind, unsigned char i)
{
    return (struct kv_key){.kind = kind, .n = 16, .name = {1, 2, 3, i}};
}

static void put_many(struct kv *kv, int n)
{
    static unsigned char p[100000];
    struct err e = {0};
    for (int i = 0; i < n; i++) {
        struct kv_key k = key_at(KV_CHUNK, (unsigned char)i);
        memset(p, i + 1, sizeof(p));
        cr_assert_eq(kv->ops->put(kv, &k, p, sizeof(p) - (size_t)i, 0, PATIENCE, &e), 0, "%s",
                     e.text);
    }
    cr_assert_eq(kv->ops->flush(kv, PATIENCE, &e), 0, "%s", e.text);
}

/* All of them, in order, and one that is not there; `window` at once. */
static void get_many(struct kv *kv, int n)
{
    struct err e = {0};
    struct kv_value v;
    for (int i = 0, asked = 0; i <= n; i++) {
        for (; asked <= n && asked < i + kv->window; asked++) {
            struct kv_key k = key_at(KV_CHUNK, (unsigned char)asked);
            cr_assert_eq(kv->ops->ask(kv, &k, 100000, PATIENCE, &e), 0, "%s", e.text);
        }
        cr_assert_eq(kv->ops->answer(kv, PATIENCE, &v, &e), 0, "%s", e.text);
        cr_assert_eq(v.there, i < n);
        if (i < n)
            cr_assert(v.p && v.n == 100000 - (size_t)i && v.p[0] == i + 1 &&
                      v.p[v.n - 1] == i + 1);
    }
}

Test(s3_values, many_at_once_and_in_order)
{
    static struct service s;
    struct err e = {0};
    bool there;
    service_open(&s);
    struct kv *kv = kv_at(&s);
    put_many(kv, 40);
    get_many(kv, 40);
    struct kv_key k = key_at(KV_CHUNK, 0), none = key_at(KV_STATE, 99);
    cr_expect(kv->ops->keep(kv, &k, 0, PATIENCE, &there, &e) == 0 && there);
    cr_expect(kv->ops->keep(kv, &none, 0, PATIENCE, &there, &e) == 0 && !there);
    cr_expect_eq(kv->ops->remove(kv, &k, PATIENCE, &e), 0);
    cr_expect(kv->ops->keep(kv, &k, 0, PATIENCE, &there, &e) == 0 && !there);
    int n = count_of(&s, &s.n_connections);
    cr_expect(n > 8 && n < 20, "many at once, and they are kept: %d", n);
    set_fault(&s, BUSY_ONCE);
    put_many(kv, 40);
    get_many(kv, 40);
    cr_expect_geq(kv->repeated, 81);
    kv_close(kv);
    service_close(&s);
}

struct marker { struct service *s; int from; };

static void *mark_some(void *arg)
{
    struct marker *m = arg;
    struct kv *kv = kv_at(m->s);
    struct kv_key list = key_at(KV_MARK, 7);
    for (int bit = m->from; bit < KV_MARKS; bit += 2) /* two who contend for one list */
        cr_assert_eq(kv->ops->mark(kv, &list, bit, 0, PATIENCE, NULL), 0);
    kv_close(kv);
    return NULL;
}

static uint64_t marks_in(struct service *s)
{
    struct kv *kv = kv_at(s);
    struct kv_key lists[3] = {key_at(KV_MARK, 1), key_at(KV_MARK, 7), key_at(KV_MARK, 2)};
    uint64_t marks[3];
    cr_assert_eq(kv->ops->marks(kv, lists, 3, marks, PATIENCE, NULL), 0);
    cr_assert(marks[0] == 0 && marks[2] == 0);
    kv_close(kv);
    return marks[1];
}

Test(s3_values, two_who_mark_one_list)
{
    static struct service s;
    pthread_t other;
    service_open(&s);
    struct marker a = {&s, 0}, b = {&s, 1};
    cr_assert_eq(pthread_create(&other, NULL, mark_some, &b), 0);
    mark_some(&a);
    pthread_join(other, NULL);
    /* All tries of one may meet another's change, but that is rare; a lost update is not. */
    cr_expect_geq(__builtin_popcountll(marks_in(&s)), KV_MARKS - 4);
    service_close(&s);
}

Test(s3_values, a_service_without_conditions)
{
    static struct service s;
    service_open(&s);
    set_fault(&s, NO_CONDITIONS);
    struct marker a = {&s, 1};
    mark_some(&a);
    cr_expect_eq(marks_in(&s), UINT64_C(0xaaaaaaaaaaaaaaaa));
    service_close(&s);
}

Test(s3_values, what_goes_wrong)
{
    static const struct { enum fault fault; int get, put; bool stays; } rows[] = {
        {BUSY, E_DENIED, E_DENIED, false}, {CUT, E_IO, E_IO, false},
        {ENDLESS, 0, E_FORMAT, false}, {NO_HTTP, E_FORMAT, E_FORMAT, false},
        {SILENT, E_TIMEOUT, E_TIMEOUT, true}, {DENIED, 0, E_DENIED, true},
    };
    static struct service s;
    service_open(&s);
    struct kv *kv = kv_at(&s);
    put_many(kv, 3);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct kv_key k = key_at(KV_CHUNK, 1);
        struct kv_value v = {0};
        struct err e = {0};
        uint64_t wait = rows[i].fault == SILENT ? 200 * NS_PER_MS : 60 * NS_PER_S;
        set_fault(&s, rows[i].fault);
        int rc = kv->ops->ask(kv, &k, 1000, clock_now_ns() + wait, &e);
        if (!rc)
            rc = kv->ops->answer(kv, clock_now_ns() + wait, &v, &e);
        cr_expect(rc == rows[i].get || (rows[i].fault == NO_HTTP && rc < 0), "%zu: %d %s", i, rc,
                  e.text);
        cr_expect(!v.p && (rc || v.there == (rows[i].fault == ENDLESS)));
        set_fault(&s, NONE);
        if (!kv->ops->connected(kv))
            cr_assert_eq(kv->ops->connect(kv, 60000, 60000, NULL), 0);
        set_fault(&s, rows[i].fault);
        err_clear(&e);
        rc = kv->ops->put(kv, &k, "x", 1, 0, clock_now_ns() + wait, &e);
        if (!rc)
            rc = kv->ops->flush(kv, clock_now_ns() + wait, &e);
        cr_expect(rc == rows[i].put || (rows[i].fault == NO_HTTP && rc < 0), "%zu: %d %s", i, rc,
                  e.text);
        cr_expect_eq(kv->ops->connected(kv), rows[i].stays, "%zu", i);
        set_fault(&s, NONE);
        if (!kv->ops->connected(kv))
            cr_assert_eq(kv->ops->connect(kv, 60000, 60000, NULL), 0);
        put_many(kv, 3);
        get_many(kv, 3);
    }
    kv_close(kv);
    service_close(&s);
}

/* ---- two caches on one bucket ------------------------------------------------------------- */

static void cache_open(struct fake *f, struct service *s, const char *key, bool paged)
{
    fake_init(f, paged, 4, 512);
    f->o.shared_url = "s3://states/cold";
    f->o.shared_endpoint = s->endpoint;
    f->o.key_file = key;
    f->o.shared_wait_ms = 10000;
    fake_open(f);
    f->sc->shared->limits.ns_max = 3600 * NS_PER_S; /* what putting may take is not the question */
    f->sc->shared->store[0].left.cost_ns = (int64_t)(3600 * NS_PER_S);
    for (int i = 0; i < 500 && !fake_shared_stats(f).up; i++) {
        statecache_tick(f->sc);
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    cr_assert(fake_shared_stats(f).up);
}

static void two_caches(bool paged)
{
    static struct service s;
    char key[] = "/tmp/recurd-s3-XXXXXX";
    struct fake a, b;
    static int32_t t[9000];
    service_open(&s);
    close(mkstemp(key));
    write_file(key, "0123456789abcdef0123456789abcdef", 0600);
    fake_tokens(t, 9000, 5);
    cache_open(&a, &s, key, paged);
    cache_open(&b, &s, key, paged);
    cr_expect_eq(fake_asks(&a, t, 1000), 1000);
    cr_expect_gt(fake_shared_stats(&a).writes, 0);
    cr_expect_eq(fake_asks(&b, t, 1000), 0, "the whole prompt, with its logits");
    cr_expect_eq(fake_asks(&b, t, 1100), 100);
    cr_expect_eq(fake_shared_stats(&b).hits, 1);
    cr_expect_eq(fake_asks(&a, t, 8900), 7800, "after what the other had put, and beyond a group");
    cr_expect_eq(fake_asks(&b, t, 9000), 100);
    int before = count_of(&s, &s.requests);
    t[500] = (t[500] + 1) % FAKE_VOCAB; /* parts where nobody put a state */
    cr_expect_eq(fake_asks(&b, t, 700), 700);
    cr_expect_eq(fake_shared_stats(&b).errors, 0);
    cr_expect_eq(fake_shared_stats(&a).dropped, 0);
    /* Lists of the group and of blocks that others' paths have states in, and one more put. */
    int asked = count_of(&s, &s.requests) - before;
    cr_expect(asked > 0 && asked < 40, "%d requests", asked);
    fake_fini(&a);
    fake_fini(&b);
    unlink(key);
    service_close(&s);
}

Test(s3_store, what_one_computed_the_other_finds) { two_caches(false); }
Test(s3_store, with_pages_too) { two_caches(true); }
