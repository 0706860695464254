/* SigV4: a digest of the request, signed with a key made of the secret, the day and the region. */
#include "statecache/shared/s3_sign.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAY 8 /* of a time: 20130524 */
#define MAC crypto_auth_hmacsha256_BYTES

_Static_assert(S3_HEX == 2 * crypto_hash_sha256_BYTES + 1, "a digest in hex");

static void add(crypto_hash_sha256_state *s, const char *text)
{
    crypto_hash_sha256_update(s, (const unsigned char *)text, strlen(text));
}

static void finish(crypto_hash_sha256_state *s, char out[S3_HEX])
{
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_final(s, digest);
    sodium_bin2hex(out, S3_HEX, digest, sizeof(digest));
}

void s3_hash(const void *p, size_t n, char out[S3_HEX])
{
    crypto_hash_sha256_state s;
    crypto_hash_sha256_init(&s);
    crypto_hash_sha256_update(&s, p, n);
    finish(&s, out);
}

void s3_time(uint64_t unix_s, char out[S3_TIME])
{
    time_t t = (time_t)unix_s;
    struct tm day;
    if (!gmtime_r(&t, &day) || !strftime(out, S3_TIME, "%Y%m%dT%H%M%SZ", &day))
        memcpy(out, "19700101T000000Z", S3_TIME);
}

static void mac(const unsigned char *key, size_t key_n, const char *text, size_t n,
                unsigned char out[MAC])
{
    crypto_auth_hmacsha256_state s;
    crypto_auth_hmacsha256_init(&s, key, key_n);
    crypto_auth_hmacsha256_update(&s, (const unsigned char *)text, n);
    crypto_auth_hmacsha256_final(&s, out);
    sodium_memzero(&s, sizeof(s));
}

/* The names of the headers with ; between, to a digest or, where s is NULL, to out. */
static void add_names(crypto_hash_sha256_state *s, const struct s3_header *headers, int n,
                      char *out, size_t size)
{
    for (int i = 0; i < n; i++) {
        if (s && i)
            add(s, ";");
        if (s)
            add(s, headers[i].name);
        else
            snprintf(out + strlen(out), size - strlen(out), "%s%s", i ? ";" : "", headers[i].name);
    }
}

static void request_digest(const char *method, const char *path, const char *query,
                           const struct s3_header *headers, int n, const char *hash,
                           char out[S3_HEX])
{
    crypto_hash_sha256_state s;
    crypto_hash_sha256_init(&s);
    const char *const lines[] = {method, "\n", path, "\n", query, "\n"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        add(&s, lines[i]);
    for (int i = 0; i < n; i++) {
        add(&s, headers[i].name);
        add(&s, ":");
        add(&s, headers[i].value);
        add(&s, "\n");
    }
    add(&s, "\n");
    add_names(&s, headers, n, NULL, 0);
    add(&s, "\n");
    add(&s, hash);
    finish(&s, out);
}

void s3_sign(const struct s3_keys *keys, const char *region, const char *method, const char *path,
             const char *query, const struct s3_header *headers, int n, const char *hash,
             const char *time, char out[S3_AUTH])
{
    char digest[S3_HEX], text[256], secret[S3_SECRET + 4], signature[2 * MAC + 1];
    unsigned char key[MAC];
    request_digest(method, path, query, headers, n, hash, digest);
    snprintf(secret, sizeof(secret), "AWS4%s", keys->secret);
    mac((const unsigned char *)secret, strlen(secret), time, DAY, key);
    mac(key, sizeof(key), region, strlen(region), key);
    mac(key, sizeof(key), "s3", 2, key);
    mac(key, sizeof(key), "aws4_request", 12, key);
    snprintf(text, sizeof(text), "AWS4-HMAC-SHA256\n%s\n%.*s/%s/s3/aws4_request\n%s", time, DAY,
             time, region, digest);
    mac(key, sizeof(key), text, strlen(text), key);
    sodium_bin2hex(signature, sizeof(signature), key, sizeof(key));
    snprintf(out, S3_AUTH, "AWS4-HMAC-SHA256 Credential=%s/%.*s/%s/s3/aws4_request, SignedHeaders=",
             keys->id, DAY, time, region);
    add_names(NULL, headers, n, out, S3_AUTH);
    snprintf(out + strlen(out), S3_AUTH - strlen(out), ", Signature=%s", signature);
    sodium_memzero(secret, sizeof(secret));
    sodium_memzero(key, sizeof(key));
}
