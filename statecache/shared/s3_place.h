/* Where a bucket is: --shared s3://bucket/prefix, --shared-endpoint and --shared-region. Pure. */
#ifndef RECURD_SHARED_S3_PLACE_H
#define RECURD_SHARED_S3_PLACE_H

#include "statecache/shared/address.h"

#define S3_BUCKET 64  /* 63 characters, as the service has it */
#define S3_PREFIX 256
#define S3_REGION 40

struct s3_place {
    bool tls;
    char host[SHARED_HOST + 8]; /* as a URL and the header Host have it: IPv6 in brackets, the port
                                   where it is not the scheme's own */
    char root[S3_BUCKET + S3_PREFIX + 2]; /* of every path: "/", "/prefix/", "/bucket/prefix/" */
    size_t bucket;              /* bytes of root that are the bucket: "/", "/bucket/" */
    char region[S3_REGION];
    char shown[2 * SHARED_HOST + S3_BUCKET + S3_PREFIX];
};

/* endpoint: http[s]://host[:port], NULL = Amazon's of that region; region NULL = us-east-1. The
 * bucket stands before the host's name at Amazon, unless it has dots (no certificate is for that);
 * with an endpoint in the path, unless its host's name begins with the bucket's. E_FORMAT,
 * E_RANGE. */
int s3_place_parse(const char *url, const char *endpoint, const char *region,
                   struct s3_place *out, struct err *e) MUST_USE;

#endif
