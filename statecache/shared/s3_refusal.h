/* What a reply of S3 means that is no success: status, and of its XML two words. Pure. */
#ifndef RECURD_SHARED_S3_REFUSAL_H
#define RECURD_SHARED_S3_REFUSAL_H

#include "base/err.h"
#include "statecache/shared/s3_place.h"

#define S3_CODE 64

struct s3_refusal {
    char code[S3_CODE];     /* "NoSuchKey"; "" = none was said */
    char region[S3_REGION]; /* where the bucket is instead; "" = not said */
};

/* <Code> and <Region> (or, in a header, `region`, NULL = none) out of body[0, n), whatever that is:
 * only letters, digits and hyphens, and of those at most what fits, are ever taken. */
void s3_refusal_read(const char *body, size_t n, const char *region, struct s3_refusal *out);

enum s3_meaning {
    S3_DONE,    /* 2xx */
    S3_ABSENT,  /* there is no such object */
    S3_CHANGED, /* the condition of a put did not hold */
    S3_CANNOT,  /* this store knows no such conditions */
    S3_AGAIN,   /* it may come right: slow down, internal error */
    S3_REFUSED, /* this request, and others may do */
    S3_LOST,    /* every request: credentials, region, bucket, clock */
};
enum s3_meaning s3_meaning(int status, const struct s3_refusal *r);

/* One sentence for the log, of what is not DONE. skew_s: how far the store's clock is before ours,
 * 0 = not known. Returns E_DENIED. */
int s3_refuse(const struct s3_place *p, int status, const struct s3_refusal *r, int64_t skew_s,
              struct err *e);

#endif
