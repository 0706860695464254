/* recurd-state's commands for shared stores: check URL, prune URL, copy URL URL. */
#ifndef RECURD_STATE_STORE_H
#define RECURD_STATE_STORE_H

#include "programs/recurd-state/rekey.h"

struct store_command {
    const char *url, *to, *ca;
    const char *endpoint, *region, *credentials; /* of s3:// */
    bool prune, json;
    int64_t ttl_s;     /* of what is copied */
    int64_t older_min; /* orphans used later than so many minutes ago stay */
};

/* Told on stdout. *bad: something broken is there still. */
int look_at_store(const struct store_command *c, const struct key_files *keys, bool *bad,
                  struct err *e) MUST_USE;
int copy_store(const struct store_command *c, const struct key_files *keys, bool *bad,
               struct err *e) MUST_USE;

#endif
