/* Transfers with one bucket: signed, several at once, on connections that are kept.
 *
 * What may come right ("slow down", a connection that broke) is tried again after longer and longer
 * pauses, as long as the deadline lets it. Redirects are not followed, no proxy is used, replies
 * are bounded. One thread at a time. */
#ifndef RECURD_SHARED_S3_HTTP_H
#define RECURD_SHARED_S3_HTTP_H

#include "statecache/shared/s3_login.h"
#include "statecache/shared/s3_refusal.h"

#define S3_AT_ONCE 16 /* transfers, and connections */
#define S3_ETAG 128

enum s3_method { S3_GET, S3_HEAD, S3_PUT, S3_DELETE };

struct s3_request {
    enum s3_method method;
    const char *key;      /* below the place's root; nothing in it needs escaping */
    const char *query;    /* of a GET of the bucket itself, escaped and in order; NULL = none: then
                             key is not looked at */
    const void *body;     /* [n] of a PUT, copied */
    size_t n;
    size_t most;          /* bytes that a GET may answer: more are not read */
    const char *if_match; /* of a PUT: only over the object with this ETag, "" = over none;
                             NULL = over whatever is there */
};

struct s3_reply {
    int failed;             /* 0; E_IO, E_FORMAT, E_NOMEM: there was no reply, or not one of ours */
    char why[256];          /* … and why */
    int status;
    enum s3_meaning meaning;
    struct s3_refusal refusal;
    int64_t skew_s;         /* the store's clock less ours; 0 = it did not say */
    uint64_t modified_s;    /* Last-Modified; 0 = it did not say */
    char etag[S3_ETAG];     /* "" = it did not say */
    const unsigned char *p; /* [n] of a GET, until s3_http_end; NULL: it had more than `most` */
    size_t n;
};

struct s3_http;
/* place and login outlive it. ca: file of certificates to trust, NULL = the system's. E_NOMEM. */
int s3_http_open(struct s3_http **out, const struct s3_place *place, const struct s3_login *login,
                 const char *ca, struct err *e) MUST_USE;
void s3_http_close(struct s3_http *h); /* NULL allowed */

/* A new connection may take so long from now on. */
void s3_http_patience(struct s3_http *h, int connect_ms);
bool s3_http_room(const struct s3_http *h); /* whether one more may be begun */
/* *id: of a transfer that is on its way; there must be room. E_NOMEM. */
int s3_http_begin(struct s3_http *h, const struct s3_request *r, int *id,
                  struct err *e) MUST_USE;
/* Goes on until one more transfer is over. E_TIMEOUT. */
int s3_http_turn(struct s3_http *h, uint64_t deadline_ns, struct err *e) MUST_USE;
const struct s3_reply *s3_http_over(const struct s3_http *h, int id); /* NULL: on its way */
void s3_http_end(struct s3_http *h, int id); /* over or not: its id may be used again */
void s3_http_cancel(struct s3_http *h);      /* … of all */
/* Requests sent since the last call, tries that were repeated among them. */
void s3_http_counts(struct s3_http *h, uint64_t *sent, uint64_t *again);

#endif
