/* States as files: the jobs between RAM and disk, and the index at start. Under the lock, but for
 * what the writer thread does. */
#ifndef RECURD_STATEFILE_H
#define RECURD_STATEFILE_H

#include "statecache/value/snapshot.h"

/* Queues s for the disk, and before it what is missing of its path. False: no disk tier, no
 * memory. Needs ENGINE unless s is on the host. durable: done only when the medium has it. */
bool statefile_save(struct statecache *sc, struct snapshot *s, bool durable);
/* Queues s to be read back; s->reading tells until when. False: no room. */
bool statefile_load(struct statecache *sc, struct snapshot *s);
/* Removes the file of s, later. */
void statefile_remove(struct statecache *sc, struct snapshot *s);
/* Likewise the oldest state that waits for its model or arithmetic. False: there is none. */
bool statefile_remove_foreign(struct statecache *sc);
/* But for those that are held, each as often as it is let go: while a session's record names it. */
void statefile_hold_foreign(struct statecache *sc, const unsigned char name[16], bool hold);
/* Lets it go, and removes it when nobody else holds it. */
void statefile_delete_foreign(struct statecache *sc, const unsigned char name[16]);

/* Where the bytes of s, which is on the host, lie: part[] points into piece (tokens, which the
 * caller fills in, slab, logits) and *pages, which is the caller's (mem_free). *head: kind
 * CODEC_STATE, position, point and tenant. False: no memory. */
bool statefile_parts(const struct statecache *sc, const struct snapshot *s, struct piece piece[3],
                     struct piece **pages, struct part part[PARTS], struct head *head);

/* At start, after the paths: the index from the heads of the files. The writer waits. */
int statefile_scan(struct statecache *sc, struct err *e) MUST_USE;
/* The scanned snapshot with this name, or NULL; valid between scan and scan_end. */
struct snapshot *statefile_scanned(struct statecache *sc, const unsigned char name[16]);
void statefile_scan_end(struct statecache *sc);

#endif
