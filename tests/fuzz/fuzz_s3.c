/* The shared store in a bucket: any bytes are a place that needs no escaping or a sentence,
 * credentials that may stand in a header or a sentence, a refusal of plain words, and a list of
 * names that goes on. */
#include <stdlib.h>
#include <string.h>

#include "statecache/shared/s3_listing.h"
#include "statecache/shared/s3_login.h"
#include "statecache/shared/s3_refusal.h"
#include "tests/fuzz/fuzz.h"

static bool only(const char *text, const char *also)
{
    for (; *text; text++)
        if (!((*text >= '0' && *text <= '9') || ((*text | 0x20) >= 'a' && (*text | 0x20) <= 'z') ||
              strchr(also, *text)))
            return false;
    return true;
}

/* "url\nendpoint\nregion", the latter two if they are there. */
static void place(char *text)
{
    struct s3_place p;
    struct err e = {0};
    char *endpoint = strchr(text, '\n'), *region = endpoint ? strchr(endpoint + 1, '\n') : NULL;
    if (endpoint)
        *endpoint++ = '\0';
    if (region)
        *region++ = '\0';
    if (s3_place_parse(text, endpoint, region, &p, &e)) {
        HOLDS(e.code < 0 && e.text[0]);
        return;
    }
    HOLDS(only(p.host, ".-_:[]") && *p.host && only(p.region, "-_") && *p.region);
    HOLDS(only(p.root, "-_./") && p.root[0] == '/' && p.root[strlen(p.root) - 1] == '/');
    HOLDS(!strstr(p.root, "//") && !strstr(p.root, "/../") && !strstr(p.root, "/./"));
}

static void login(const char *text, size_t n)
{
    struct s3_keys k;
    struct err e = {0};
    if (s3_credentials_parse(text, n, &k, &e)) {
        HOLDS(e.code < 0 && e.text[0] && !k.secret[0] && !k.token[0]);
        return;
    }
    const char *const words[] = {k.id, k.secret, k.token};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        for (const char *c = words[i]; *c; c++)
            HOLDS(*c > ' ' && *c <= '~');
    HOLDS(k.id[0] && k.secret[0] && !strpbrk(k.id, "/,="));
    char out[S3_AUTH];
    struct s3_header host = {"host", "h"};
    s3_sign(&k, "region", "GET", "/", "", &host, 1, "hash", "20130524T000000Z", out);
    HOLDS(strlen(out) < S3_AUTH - 1 && strstr(out, "SignedHeaders=host, Signature="));
}

static void refusal(const char *text, size_t n, int status)
{
    struct s3_refusal r;
    struct err e = {0};
    struct s3_place p = {.shown = "fuzz", .region = "here"};
    s3_refusal_read(text, n, NULL, &r);
    HOLDS(only(r.code, "-") && only(r.region, "-"));
    HOLDS(s3_meaning(status, &r) >= S3_DONE && s3_meaning(status, &r) <= S3_LOST);
    HOLDS(s3_refuse(&p, status, &r, status - 500, &e) == E_DENIED && e.text[0]);
}

static void name(void *arg, const struct kv_key *key)
{
    HOLDS(key->kind == KV_STATE && key->n == 16);
    ++*(int *)arg;
}

static void listing(const char *text, size_t n)
{
    int found = 0;
    struct err e = {0};
    struct s3_place p = {.root = "/b/x/y/", .bucket = 3, .shown = "fuzz"};
    struct kv_page page = {.each = name, .arg = &found};
    char query[S3_QUERY], before[sizeof(page.at)];
    for (int i = 0; i < 3 && !page.last; i++) {
        memcpy(before, page.at, sizeof(before));
        s3_listing_query(&p, KV_STATE, &page, query);
        HOLDS(only(query, "-_.%&=") && strlen(query) < S3_QUERY - 1);
        if (s3_listing_read(&p, KV_STATE, 16, text, n, &page, &e)) {
            HOLDS(e.code == E_FORMAT && e.text[0]);
            return;
        }
        HOLDS(page.last || strcmp(page.at, before) > 0);
        HOLDS(only(page.at, "") && strlen(page.at) < sizeof(page.at));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    char *copy = malloc(n - 1);
    HOLDS(copy);
    memcpy(copy, data + 2, n - 2);
    copy[n - 2] = '\0';
    if (data[0] % 4 == 0)
        place(copy);
    else if (data[0] % 4 == 1)
        login(copy, n - 2);
    else if (data[0] % 4 == 3)
        listing(copy, n - 2);
    else
        refusal(copy, n - 2, data[1] * 4);
    free(copy);
    return 0;
}
