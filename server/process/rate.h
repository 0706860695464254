/* So many a minute: a bucket that drains evenly. Pure: the time is handed in.
 *
 * `limit` fit into an empty bucket at once; a sixtieth of them drains every second. Whoever finds
 * room may put in more than that: what stands over is waited for. Not synchronised. */
#ifndef RECURD_RATE_H
#define RECURD_RATE_H

#include "base/base.h"

struct rate {
    int64_t level;  /* in the bucket, times RATE_UNIT */
    uint64_t at_ns; /* when that was so */
};

struct rate_view {
    int64_t limit, remaining; /* a minute; now, not below 0 */
    uint64_t reset_ns;        /* until the bucket is empty */
    uint64_t wait_ns;         /* until one more fits, 0 = now */
};

/* What there is at now_ns; limit > 0 a minute. */
struct rate_view rate_look(struct rate *r, int64_t limit, uint64_t now_ns);
/* n go in, room or not; n < 0 takes some out again. After rate_look at the same time. */
void rate_add(struct rate *r, int64_t n);

#endif
