/* ListObjectsV2: its query, and two elements of its answer. */
#include "statecache/shared/s3_listing.h"

#include <stdio.h>
#include <string.h>

/* Text with / as it stands in a query; all other characters of ours need no escaping. */
static void add_escaped(char *out, const char *text)
{
    size_t at = strlen(out);
    for (; *text && at + 4 < S3_QUERY; text++) {
        if (*text != '/') {
            out[at++] = *text;
            continue;
        }
        memcpy(out + at, "%2F", 3);
        at += 3;
    }
    out[at] = '\0';
}

/* "prefix/s/": what the names of a kind begin with, in the bucket. */
struct head { char text[S3_PREFIX + 8]; };

static struct head head_of(const struct s3_place *place, enum kv_kind kind)
{
    struct head h;
    snprintf(h.text, sizeof(h.text), "%s%c/", place->root + place->bucket, (char)kind);
    return h;
}

void s3_listing_query(const struct s3_place *place, enum kv_kind kind, const struct kv_page *page,
                      char out[S3_QUERY])
{
    struct head h = head_of(place, kind);
    snprintf(out, S3_QUERY, "list-type=2&max-keys=1000&prefix=");
    add_escaped(out, h.text);
    if (!*page->at)
        return;
    add_escaped(out, "&start-after=");
    add_escaped(out, h.text);
    add_escaped(out, page->at);
}

/* Behind the next `word` of p[0, n); NULL: there is none. */
static const char *behind(const char *p, size_t n, const char *word)
{
    size_t len = strlen(word);
    for (const char *end = p + n; (size_t)(end - p) >= len; p++)
        if (memcmp(p, word, len) == 0)
            return p + len;
    return NULL;
}

static bool plain(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!((p[i] >= '0' && p[i] <= '9') || ((p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'z')))
            return false;
    return n > 0 && n <= 2 * KV_NAME;
}

int s3_listing_read(const struct s3_place *place, enum kv_kind kind, size_t n, const char *xml,
                    size_t n_xml, struct kv_page *page, struct err *e)
{
    struct head h = head_of(place, kind);
    size_t len = strlen(h.text);
    const char *end = xml + n_xml, *p = behind(xml, n_xml, "<ListBucketResult");
    if (!p)
        return err_set(e, E_FORMAT, "%s: it answers a list of names with something else",
                       place->shown);
    bool more = behind(p, (size_t)(end - p), "<IsTruncated>true<") != NULL, any = false;
    while ((p = behind(p, (size_t)(end - p), "<Key>"))) {
        const char *stop = memchr(p, '<', (size_t)(end - p));
        size_t m = stop ? (size_t)(stop - p) : 0;
        if (m <= len || memcmp(p, h.text, len) != 0 || !plain(p + len, m - len))
            return err_set(e, E_FORMAT, "%s: below %s lies something that no replica put there",
                           place->shown, h.text);
        char name[sizeof(page->at)] = "";
        struct kv_key key;
        memcpy(name, p + len, m - len);
        if (strcmp(name, page->at) <= 0) /* it would never end */
            return err_set(e, E_FORMAT, "%s: a list of names that does not go on: \"%s\" after "
                           "\"%s\"", place->shown, name, page->at);
        memcpy(page->at, name, sizeof(name));
        if (kv_key_read(kind, name, m - len, n, &key))
            page->each(page->arg, &key);
        any = true;
    }
    page->last = !more || !any;
    return 0;
}

void s3_listing_kinds_query(const struct s3_place *place, char out[S3_QUERY])
{
    snprintf(out, S3_QUERY, "delimiter=%%2F&list-type=2&max-keys=1000&prefix=");
    add_escaped(out, place->root + place->bucket);
}

int s3_listing_kinds(const struct s3_place *place, const char *xml, size_t n_xml, uint64_t *n,
                     struct err *e)
{
    const char *root = place->root + place->bucket, *end = xml + n_xml;
    const char *p = behind(xml, n_xml, "<ListBucketResult");
    size_t len = strlen(root);
    if (!p)
        return err_set(e, E_FORMAT, "%s: it answers a list of names with something else",
                       place->shown);
    *n += behind(p, (size_t)(end - p), "<IsTruncated>true<") != NULL; /* the rest may be kinds */
    while ((p = behind(p, (size_t)(end - p), "<CommonPrefixes>")) &&
           (p = behind(p, (size_t)(end - p), "<Prefix>"))) {
        const char *stop = memchr(p, '<', (size_t)(end - p));
        size_t m = stop ? (size_t)(stop - p) : 0;
        /* A kind is a letter. */
        if (m == len + 2 && memcmp(p, root, len) == 0 && p[len + 1] == '/')
            *n += !memchr("scigr", p[len], 5);
    }
    return 0;
}
