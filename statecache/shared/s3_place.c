/* The address of a bucket, taken apart: what is left needs no escaping anywhere. */
#include "statecache/shared/s3_place.h"

#include <stdio.h>
#include <string.h>

#define SCHEME "s3://"

static bool lower(char c) { return c >= 'a' && c <= 'z'; }
static bool upper(char c) { return c >= 'A' && c <= 'Z'; }
static bool digit(char c) { return c >= '0' && c <= '9'; }

static int read_bucket(const char *text, size_t n, char out[S3_BUCKET], struct err *e)
{
    if (n < 3 || n >= S3_BUCKET)
        return err_set(e, E_RANGE, "shared: the bucket's name has %zu characters, 3 to %d are "
                       "possible", n, S3_BUCKET - 1);
    for (size_t i = 0; i < n; i++) {
        bool inner = i > 0 && i + 1 < n && (text[i] == '-' || (text[i] == '.' &&
                                                                text[i - 1] != '.'));
        if (!lower(text[i]) && !digit(text[i]) && !inner)
            return err_set(e, E_FORMAT, "shared: byte %zu of the bucket's name is no small letter, "
                           "digit, or dot or hyphen between such", i);
    }
    memcpy(out, text, n);
    out[n] = '\0';
    return 0;
}

/* "a/b" or "a/b/" -> "a/b/"; nothing stays nothing. */
static int read_prefix(const char *text, char out[S3_PREFIX + 1], struct err *e)
{
    size_t n = strlen(text), from = 0;
    if (n >= S3_PREFIX)
        return err_set(e, E_RANGE, "shared: the prefix has %zu bytes, at most %d are possible", n,
                       S3_PREFIX - 1);
    for (size_t i = 0; i <= n; i++) {
        char c = text[i];
        if (c == '/' || c == '\0') {
            size_t part = i - from;
            bool dots = part > 0 && part <= 2 && strspn(text + from, ".") >= part;
            if (dots || (part == 0 && n > 0 && i < n))
                return err_set(e, E_FORMAT, "shared: the prefix has an empty part, or one of "
                               "dots, before byte %zu", i);
            from = i + 1;
        } else if (!lower(c) && !upper(c) && !digit(c) && !strchr("-_.", c)) {
            return err_set(e, E_FORMAT, "shared: byte %zu of the prefix is none of letters, "
                           "digits, - _ . and /", i);
        }
    }
    bool open = n > 0 && text[n - 1] != '/';
    memcpy(out, text, n);
    memcpy(out + n, open ? "/" : "", 1 + open);
    return 0;
}

static int read_region(const char *text, char out[S3_REGION], struct err *e)
{
    size_t n = strlen(text);
    if (n == 0 || n >= S3_REGION)
        return err_set(e, E_RANGE, "shared-region: %zu characters, 1 to %d are possible", n,
                       S3_REGION - 1);
    for (size_t i = 0; i < n; i++)
        if (!lower(text[i]) && !upper(text[i]) && !digit(text[i]) && !strchr("-_", text[i]))
            return err_set(e, E_FORMAT, "shared-region: byte %zu is no letter, digit, - or _", i);
    memcpy(out, text, n + 1);
    return 0;
}

/* An endpoint's scheme and host, as they stand in URLs. */
static int read_endpoint(const char *text, struct s3_place *p, struct err *e)
{
    char host[SHARED_HOST];
    int port;
    p->tls = strncmp(text, "https://", 8) == 0;
    if (!p->tls && strncmp(text, "http://", 7) != 0)
        return err_set(e, E_FORMAT, "shared-endpoint: it begins with neither https:// nor http://");
    text += p->tls ? 8 : 7;
    size_t n = strlen(text);
    n -= n > 0 && text[n - 1] == '/';
    if (memchr(text, '@', n))
        return err_set(e, E_FORMAT, "shared-endpoint: credentials do not stand there, but in the "
                       "environment or in a file");
    int own = p->tls ? 443 : 80, rc = shared_host_parse(text, n, own, host, &port, e);
    if (rc)
        return err_wrap(e, "shared-endpoint");
    bool v6 = strchr(host, ':') != NULL;
    int at = snprintf(p->host, sizeof(p->host), "%s%s%s", v6 ? "[" : "", host, v6 ? "]" : "");
    if (port != own)
        snprintf(p->host + at, sizeof(p->host) - (size_t)at, ":%d", port);
    return 0;
}

static void amazons_host(struct s3_place *p, const char *bucket, bool in_host)
{
    p->tls = true;
    snprintf(p->host, sizeof(p->host), "%s%ss3.%s.amazonaws.com%s", in_host ? bucket : "",
             in_host ? "." : "", p->region, strncmp(p->region, "cn-", 3) == 0 ? ".cn" : "");
}

int s3_place_parse(const char *url, const char *endpoint, const char *region,
                   struct s3_place *out, struct err *e)
{
    char bucket[S3_BUCKET], prefix[S3_PREFIX + 1];
    memset(out, 0, sizeof(*out));
    if (strncmp(url, SCHEME, strlen(SCHEME)) != 0)
        return err_set(e, E_FORMAT, "shared: the address does not begin with " SCHEME);
    url += strlen(SCHEME);
    size_t n = strcspn(url, "/");
    int rc = read_bucket(url, n, bucket, e);
    if (!rc)
        rc = read_prefix(url[n] ? url + n + 1 : "", prefix, e);
    if (!rc)
        rc = read_region(region ? region : "us-east-1", out->region, e);
    if (!rc && endpoint)
        rc = read_endpoint(endpoint, out, e);
    if (rc)
        return rc;
    bool in_host = endpoint ? strncmp(out->host, bucket, n) == 0 && out->host[n] == '.'
                            : !strchr(bucket, '.');
    if (!endpoint)
        amazons_host(out, bucket, in_host);
    snprintf(out->root, sizeof(out->root), "/%s%s%s", in_host ? "" : bucket, in_host ? "" : "/",
             prefix);
    out->bucket = in_host ? 1 : n + 2;
    snprintf(out->shown, sizeof(out->shown), "s3://%s/%s at http%s://%s", bucket, prefix,
             out->tls ? "s" : "", out->host);
    return 0;
}
