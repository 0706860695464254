/* Who asks: the one place where a request meets the keys. Thread: HTTP worker. */
#ifndef RECURD_AUTH_H
#define RECURD_AUTH_H

#include "base/base.h"

struct MHD_Connection;
struct key;
struct keys;

enum auth {
    AUTH_YES,
    AUTH_NO_KEY, /* none came, or nobody knows it */
    AUTH_DENIED, /* it may not do this */
};

/* Finds the key that the headers bring. metrics: one that may read them is needed. AUTH_YES: *key
 * is its row. Otherwise *why is a sentence for the client, a literal. */
enum auth auth_check(struct MHD_Connection *c, struct keys *keys, bool metrics, struct key **key,
                     const char **why);

#endif
