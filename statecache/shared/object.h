/* States in the shared store: put whole, found by the longest prefix, fetched and proved.
 *
 *   s:<name>   the manifest of one state: its sealed head, and the ids of its chunks
 *   c:<id>     a chunk of at most 1 MiB; its id is of what is stored: as it is, or compressed
 *   i:<name>   64 bits: after which tokens of a block of 64 a state was put (a hint: what is not
 *              there is a miss, and what should not be there costs a few questions)
 *   g:<name>   64 bits, in stores where questions cost: in which of the 64 blocks after a place any
 *              path through there has a state (a hint likewise)
 *
 * The order of writing is chunks, manifest, bit, so a state is there whole or not at all; whatever
 * the store drops of it later makes it a miss. Called by one thread for each connection. */
#ifndef RECURD_SHARED_OBJECT_H
#define RECURD_SHARED_OBJECT_H

#include "statecache/shared/kv.h"
#include "statecache/shared/seal.h"
#include "statecache/store/compress.h"

#define SHARED_GAIN 32 /* tokens that a state must save to be asked for */

struct objects {
    struct kv *kv;
    const struct seal_keys *keys;
    const struct format *format;
    struct compressor *compressor; /* of the thread */
    enum compress_rule compress;   /* of what is put */
    struct compress_count count;   /* what was compressed, or taken apart */
    int64_t ttl_s;       /* of what is put; 0 = as long as the store likes */
    bool mark_first;     /* a manifest that is there says that its marks are, too */
    uint64_t deadline_ns;
    uint64_t bytes;      /* sent, or received, of chunks */
    uint64_t refused;    /* things found under our names that did not check */
};

/* The state of n tokens in parts (codec.h; all tokens of the path among them). h: kind, tenant,
 * position and point are given. E_DENIED: the store would not, in its words. As kv.h. */
int objects_put(struct objects *o, const int32_t *tokens, struct head *h,
                const struct part part[PARTS], struct err *e) MUST_USE;

/* The deepest state of a prefix of tokens[0, n) beyond `above`; one of all n counts only if it has
 * logits. 0 and m->n_chunks == 0: there is none. What does not check is counted, removed from the
 * store and described in `odd`. As kv.h, E_NOMEM. */
int objects_find(struct objects *o, const unsigned char tenant[16], const int32_t *tokens,
                 int64_t n, int64_t above, struct manifest *m, struct err *odd,
                 struct err *e) MUST_USE;
/* Its parts, into memory of those sizes, checked. E_NOENT: a chunk is gone. E_FORMAT, E_DENIED:
 * what is there is not that state. As kv.h. */
int objects_read(struct objects *o, const struct manifest *m, const struct part part[PARTS],
                 struct err *e) MUST_USE;
/* The same of these very tokens; what is gone or not that state loses its manifest. */
int objects_fetch(struct objects *o, const int32_t *tokens, const struct manifest *m,
                  const struct part part[PARTS], struct err *e) MUST_USE;

#endif
