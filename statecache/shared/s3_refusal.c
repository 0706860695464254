/* Refusals of S3: their codes are a table. */
#include "statecache/shared/s3_refusal.h"

#include <stdio.h>
#include <string.h>

static const struct row {
    const char *code;
    enum s3_meaning meaning;
    const char *sentence; /* NULL: the code says it */
} rows[] = {
    {"NoSuchKey", S3_ABSENT, NULL},
    {"NoSuchBucket", S3_LOST, "there is no such bucket"},
    {"AccessDenied", S3_REFUSED, "these credentials may not do that there (needed are "
     "s3:GetObject, s3:PutObject and s3:DeleteObject below the prefix, and s3:ListBucket)"},
    {"InvalidAccessKeyId", S3_LOST, "it does not know the access key's id"},
    {"SignatureDoesNotMatch", S3_LOST, "the secret access key is another one than it has"},
    {"ExpiredToken", S3_LOST, "the credentials have expired"},
    {"InvalidToken", S3_LOST, "the session token is none of its own"},
    {"TokenRefreshRequired", S3_LOST, "the credentials have expired"},
    {"AllAccessDisabled", S3_LOST, "all access to the bucket is disabled"},
    {"AccountProblem", S3_LOST, "there is a problem with the account"},
    {"RequestTimeTooSkewed", S3_LOST, NULL}, /* with both clocks, see below */
    {"RequestExpired", S3_LOST, NULL},
    {"AuthorizationHeaderMalformed", S3_LOST, NULL}, /* with both regions */
    {"PermanentRedirect", S3_LOST, NULL},
    {"TemporaryRedirect", S3_AGAIN, NULL},
    {"PreconditionFailed", S3_CHANGED, NULL},
    {"ConditionalRequestConflict", S3_CHANGED, NULL},
    {"NotImplemented", S3_CANNOT, NULL},
    {"SlowDown", S3_AGAIN, "it asks to slow down"},
    {"ServiceUnavailable", S3_AGAIN, "it is not available now"},
    {"InternalError", S3_AGAIN, "it had an internal error"},
    {"RequestTimeout", S3_AGAIN, "it waited for more of a request"},
    {"OperationAborted", S3_AGAIN, "something else was done to it at the same time"},
};

static const struct { int from, to; enum s3_meaning meaning; } statuses[] = {
    {200, 299, S3_DONE},    {300, 399, S3_LOST},    {401, 401, S3_LOST},  {403, 403, S3_REFUSED},
    {404, 404, S3_ABSENT},  {409, 409, S3_CHANGED}, {412, 412, S3_CHANGED},
    {429, 429, S3_AGAIN},   {500, 500, S3_AGAIN},   {501, 501, S3_CANNOT}, {502, 504, S3_AGAIN},
};

static const struct row *row_of(const struct s3_refusal *r)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].code, r->code) == 0)
            return &rows[i];
    return NULL;
}

static bool plain(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-';
}

/* A word at text, up to its end or the first character that no word of ours has. */
static void take_word(const char *text, size_t n, char *out, size_t size)
{
    size_t k = 0;
    while (k < n && k + 1 < size && plain(text[k]))
        k++;
    memcpy(out, text, k);
    out[k] = '\0';
}

static void take_element(const char *body, size_t n, const char *tag, char *out, size_t size)
{
    size_t len = strlen(tag);
    for (size_t i = 0; i + len <= n && !*out; i++)
        if (memcmp(body + i, tag, len) == 0)
            take_word(body + i + len, n - i - len, out, size);
}

void s3_refusal_read(const char *body, size_t n, const char *region, struct s3_refusal *out)
{
    memset(out, 0, sizeof(*out));
    if (region)
        take_word(region, strlen(region), out->region, sizeof(out->region));
    if (n == 0)
        return;
    take_element(body, n, "<Code>", out->code, sizeof(out->code));
    take_element(body, n, "<Region>", out->region, sizeof(out->region));
}

enum s3_meaning s3_meaning(int status, const struct s3_refusal *r)
{
    const struct row *known = row_of(r);
    if (known && (status < 200 || status > 299))
        return known->meaning;
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
        if (status >= statuses[i].from && status <= statuses[i].to)
            return statuses[i].meaning;
    return S3_REFUSED;
}

int s3_refuse(const struct s3_place *p, int status, const struct s3_refusal *r, int64_t skew_s,
              struct err *e)
{
    const struct row *known = row_of(r);
    if (strcmp(r->code, "RequestTimeTooSkewed") == 0 || strcmp(r->code, "RequestExpired") == 0)
        return err_set(e, E_DENIED, "%s: its clock is %lld seconds %s ours, at most 900 are "
                       "allowed: check this machine's time", p->shown,
                       (long long)(skew_s < 0 ? -skew_s : skew_s),
                       skew_s < 0 ? "behind" : "before");
    if (*r->region && strcmp(r->region, p->region) != 0)
        return err_set(e, E_DENIED, "%s: the bucket is in region %s, not in %s: give shared-region",
                       p->shown, r->region, p->region);
    if (known && known->sentence)
        return err_set(e, E_DENIED, "%s: %s (%d %s)", p->shown, known->sentence, status, r->code);
    if (status >= 300 && status <= 399)
        return err_set(e, E_DENIED, "%s: it sends us to another place (%d %s), where nothing is "
                       "sent to: check shared-endpoint and shared-region", p->shown, status,
                       r->code);
    return err_set(e, E_DENIED, "%s: it answers %d %s", p->shown, status, r->code);
}
