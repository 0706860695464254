/* OpenAI's responses: the request's translation and what is kept of answers. Thread: any. */
#ifndef RECURD_RESPONSES_H
#define RECURD_RESPONSES_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "statecache/statecache.h"

struct fsio;
struct served;
struct waker;

/* ---- responses_store.c: answers by id ---- */

/* At most LIMIT_RESPONSES of LIMIT_RESPONSES_BYTES together; when there is no room, the tenant that
 * has most loses what it has not used for longest. In memory, and with a state folder in files,
 * too: then all that is there at the start is read. Owner: the handlers. */
struct responses;

/* served: its cache's folder and key, if there are any. */
int responses_open(struct responses **out, const struct served *served, struct err *e) MUST_USE;
/* That folder, key [16], the key of before (NULL = none) and file system (NULL = the real one). */
int responses_open_in(struct responses **out, const char *state_dir, const unsigned char key[16],
                      const unsigned char *old, const struct fsio *io, struct err *e) MUST_USE;
void responses_close(struct responses *s); /* writes what is queued; NULL allowed */
/* Copies. object: the answer as it was sent; messages: the conversation with it, a JSON array in
 * our own form, without instructions. What cannot be kept is not. Found from now on. Until the
 * saving is done (NULL: it is) a crash may lose it; w (NULL = none) is signalled then. */
struct saving *responses_put(struct responses *s, const struct tenant_tag *tenant, const char *id,
                             const struct buf *object, const struct buf *messages,
                             struct waker *w);
bool saving_done(const struct saving *v); /* written, or it failed and the log says so */
void saving_unref(struct saving *v);      /* NULL allowed */
/* Either out may be NULL. False: there is none of this id, for this tenant. */
bool responses_get(struct responses *s, const struct tenant_tag *tenant, const char *id,
                   struct buf *object, struct buf *messages);
/* Gone, also after a crash. Waits for the disk; e: the file is still there. */
bool responses_delete(struct responses *s, const struct tenant_tag *tenant, const char *id,
                      struct err *e);

/* ---- responses_disk.c: their files ---- */

/* state_dir/responses/ID: "RECURDRS", version 1 and zero (4, 4), tenant (16), number in the order
 * of making (8), bytes of object and messages (4, 4), id (48, zeros behind it), seal (32: BLAKE2b
 * of all the rest, keyed with the install key's), object, messages. Integers little-endian. One
 * writer thread; what the functions below ask for is done in their order. */
struct response_files;
struct response_file {
    struct tenant_tag tenant;
    uint64_t number;
    char id[48];
    const char *object, *messages; /* borrowed */
    size_t n_object, n_messages;
};
/* each: every file that checks, in no order; others are removed, with a line in the log. */
int response_files_open(struct response_files **out, const char *state_dir,
                        const unsigned char key[16], const unsigned char *old,
                        const struct fsio *io,
                        int (*each)(void *arg, const struct response_file *f), void *arg,
                        struct err *e) MUST_USE;
void response_files_close(struct response_files *d); /* NULL allowed */
/* NULL: no memory. The caller has one reference. */
struct saving *response_files_put(struct response_files *d, const struct response_file *f,
                                  struct waker *w);
/* wait: until it is done. E_IO, E_NOMEM: it is still there. */
int response_files_drop(struct response_files *d, const char *id, bool wait, struct err *e);

/* What the seal's key is called: statecache_secret. */
#define RESPONSES_KEY_ID "seal of responses"

/* All files of a folder, read only, also beside a daemon. each: one file; wrong: what it is not, a
 * literal; NULL: its seal, its name, and both texts are as they must be (f is set). No folder: no
 * calls. E_IO, E_NOMEM. */
int response_files_check(const char *state_dir, const unsigned char key[16],
                         const unsigned char *old, const struct fsio *io,
                         void (*each)(void *arg, const char *name, uint64_t bytes,
                                      const char *wrong, const struct response_file *f),
                         void *arg, struct err *e) MUST_USE;

/* Seals all files that `old` sealed with `key`: each is replaced when the new one is on the medium.
 * each: one file, and why it is BAD or LEFT (needs the old key). While nobody serves from them.
 * E_IO, E_NOMEM. */
enum response_rekey { RESPONSE_SEALED, RESPONSE_ALREADY, RESPONSE_BAD, RESPONSE_LEFT };
int response_files_rekey(const char *state_dir, const unsigned char key[16],
                         const unsigned char old[16], const struct fsio *io,
                         void (*each)(void *arg, const char *name, uint64_t bytes,
                                      enum response_rekey what, const char *why),
                         void *arg, struct err *e) MUST_USE;

/* ---- responses_request.c ---- */

struct gather;

/* The request in our own form, new; NULL: e tells why. before: the conversation that it goes on
 * with, or NULL. *keep becomes what the reply needs: {"echo": text, "messages": text or absent}:
 * members of the response object that repeat the request, and the conversation so far, where the
 * answer shall be kept. */
json_t *responses_request(const json_t *in, const json_t *before, json_t **keep,
                          struct err *e) MUST_USE;
/* Items of an input, or of an answer, gathered as messages. */
int responses_items(struct gather *g, const json_t *items, struct err *e) MUST_USE;

#endif
