/* A reply that is a stream. Its first bytes go through the library; from then on, whenever there is
 * nothing to say, the library's connection stays suspended, and what comes is written to the socket
 * by an outlet's thread, one write for all that a step brought. The library gets it back for the
 * end. A suspended connection is the application's: the library neither reads nor writes it.
 *
 * Thread: the connection's HTTP worker, or between waker_divert and waker_release the outlet's. */
#ifndef RECURD_STREAM_H
#define RECURD_STREAM_H

#include <sys/types.h>

#include "base/buf.h"
#include "server/http/outlet.h"

struct exchange;

struct stream {
    struct buf out;  /* bytes on their way, behind room for a chunk's size, */
    size_t sent;     /* … of which so many are gone; */
    bool begun;      /* the library has had some; */
    bool ended;      /* the last are in out; */
    bool broken;     /* the peer is gone, or there was no memory for an end */
    int fd;
    struct outlet_place place;
};

void stream_init(struct exchange *x);
void stream_free(struct exchange *x);
/* The library's reader of x's reply; arg: x. */
ssize_t stream_read(void *arg, uint64_t pos, char *to, size_t max);
/* The outlet's run. */
void stream_turn(struct outlet_place *p);

#endif
