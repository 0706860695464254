/* What a model wrote -> text, reasoning and tool calls.
 *
 * Every family writes calls in its own dialect (dialects.c); which one a model was taught is told
 * by its template. The reader is fed bytes as they come and its events do not depend on how they
 * were cut. What only looks like a call (never completed, malformed, of a function nobody offered)
 * stays text. White space between reasoning, calls and what follows them is dropped; nothing else
 * is. A call's events come when it is complete; with `early` they come as it is written.
 *
 * Memory: what may still become a call is held back, at most LIMIT_CALL_BYTES and a few bytes.
 * Thread: one at a time for each reader; the rest any. */
#ifndef RECURD_TOOLCALL_H
#define RECURD_TOOLCALL_H

#include "base/buf.h"
#include "base/err.h"

struct json_t; /* jansson's */
struct toolcall_dialect;

/* The dialect that a template writes; NULL = none that is known. */
const struct toolcall_dialect *toolcall_detect(const char *template_text);
const struct toolcall_dialect *toolcall_find(const char *name); /* NULL = unknown */
const char *toolcall_name(const struct toolcall_dialect *d);
/* Marker i, NULL behind the last: in some vocabularies a special token, which is no text unless
 * the reader's owner asks for it. */
const char *toolcall_marker(const struct toolcall_dialect *d, int i);

/* The functions a request offers: names, and which arguments are strings. Refcounted, read-only;
 * outlives its readers. toolset_free gives a reference back. tools: an array that has been through
 * chat_check, only read. NULL = no memory. */
struct toolset;
struct toolset *toolset_new(const struct json_t *tools) MUST_USE;
void toolset_ref(struct toolset *s);
void toolset_free(struct toolset *s); /* NULL allowed */
bool toolset_has(const struct toolset *s, const char *name);

/* What one call must be, as a structure (models/text/constrain/structure.h): the arguments follow
 * the function's schema. */
struct toolcall_demand {
    const struct toolcall_dialect *dialect;
    const struct json_t *tools; /* as for toolset_new */
    const char *name;           /* of the function; NULL = any */
    bool wish;                  /* not demanded: what follows where the model opens calls by itself,
                                   behind that marker; of functions that say "strict": true the
                                   arguments follow the schema, of others they are any */
};
/* Whether a function says "strict": true. */
bool toolcall_strict(const struct json_t *tools);
/* The marker that opens calls, "" where the whole text is one; *closes: another ends them. */
const char *toolcall_open(const struct toolcall_dialect *d, bool *closes);
/* *out: free with mem_free. E_UNSUPPORTED: what a function's schema asks for cannot be enforced in
 * this dialect. */
int toolcall_structure(char **out, const struct toolcall_demand *d, struct err *e) MUST_USE;

enum toolcall_kind {
    TOOLCALL_TEXT,      /* p[n]: more of the answer */
    TOOLCALL_REASONING, /* p[n]: more of what was thought */
    TOOLCALL_BEGIN,     /* p[n]: the function; id: as the model wrote it, or empty */
    TOOLCALL_ARGUMENTS, /* p[n]: more of a JSON object as text */
    TOOLCALL_END,
    TOOLCALL_CUT,       /* instead of END, with `early`: the call was not written to its end */
};
struct toolcall_event {
    enum toolcall_kind kind;
    const char *p, *id; /* borrowed, for the call alone */
    size_t n;
};

struct toolcall_options {
    const struct toolcall_dialect *dialect; /* NULL: no calls are looked for */
    const struct toolset *tools;            /* NULL likewise */
    bool reasoning;                         /* <think> … </think> is reasoning, not text */
    bool thinking;                          /* the prompt has opened it already */
    bool single;                            /* the text ends behind the first call, or the first
                                               list of them, of which the first counts */
    bool early;                             /* masks let no call be written that is none (as
                                               toolcall_structure says), so that its arguments may
                                               leave at once: nothing can turn out to be text. The
                                               text may end within it, which cuts it; so does
                                               whatever no mask would have allowed */
    void (*emit)(void *arg, const struct toolcall_event *ev);
    void *arg;
};

struct toolcall; /* a reader */
/* NULL = no memory. */
struct toolcall *toolcall_new(const struct toolcall_options *o) MUST_USE;
void toolcall_free(struct toolcall *t); /* NULL allowed */
/* Another one that has read as much, with the same options but for arg. NULL = no memory. */
struct toolcall *toolcall_clone(const struct toolcall *t, void *arg) MUST_USE;
/* More bytes, whole UTF-8 characters where events shall be that. E_NOMEM. */
int toolcall_feed(struct toolcall *t, const char *p, size_t n, struct err *e) MUST_USE;
/* The text has ended: what was held back is what it is. */
int toolcall_finish(struct toolcall *t, struct err *e) MUST_USE;

#endif
