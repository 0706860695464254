/* AWS Signature Version 4 of one request to S3 (docs.aws.amazon.com, "Authenticating Requests:
 * Using the Authorization Header"). Pure; any thread. libcurl signs, too, but from version to
 * version not the same headers and bodies; this does not depend on which one is there. */
#ifndef RECURD_SHARED_S3_SIGN_H
#define RECURD_SHARED_S3_SIGN_H

#include "base/base.h"

#define S3_HEX 65      /* of SHA-256, with its NUL */
#define S3_UNSIGNED "UNSIGNED-PAYLOAD" /* instead of a body's hash, over TLS */
#define S3_TIME 17     /* 20130524T000000Z */
#define S3_AUTH 1024   /* the value of Authorization, with its NUL */
#define S3_KEY_ID 129  /* of credentials, each with its NUL */
#define S3_SECRET 257
#define S3_TOKEN 4097

struct s3_keys {
    char id[S3_KEY_ID], secret[S3_SECRET];
    char token[S3_TOKEN]; /* of a session; "" = these are long-lived */
};

struct s3_header { const char *name, *value; };

void s3_hash(const void *p, size_t n, char out[S3_HEX]); /* SHA-256 in hex */
void s3_time(uint64_t unix_s, char out[S3_TIME]);

/* path and query as they are sent: nothing in them needs escaping, parameters are in order.
 * headers: all that are signed, host and x-amz-date among them; names in small letters and in
 * order, values without white space at their ends. hash: of the body. */
void s3_sign(const struct s3_keys *keys, const char *region, const char *method, const char *path,
             const char *query, const struct s3_header *headers, int n, const char *hash,
             const char *time, char out[S3_AUTH]);

#endif
