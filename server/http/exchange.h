/* One HTTP request and its reply.
 *
 * Owner: the library's connection, from the request line to the completed callback. Thread: the
 * connection's HTTP worker; while `helping`, a helper thread's; a stream's, stream.h. */
#ifndef RECURD_EXCHANGE_H
#define RECURD_EXCHANGE_H

#include <microhttpd.h>

#include "server/http/apierr.h"
#include "server/http/http.h"
#include "server/http/pending.h"
#include "server/http/stream.h"
#include "server/http/turns.h"
#include "server/http/watch.h"
#include "server/otlp/traceparent.h"

#define REQUEST_ID_BYTES 64
#define EXCHANGE_NOTES 6

enum exchange_phase {
    EXCHANGE_HEAD,   /* the request line is known */
    EXCHANGE_BODY,   /* headers are checked, the body comes in */
    EXCHANGE_HELPED, /* a helper thread runs the handler; the connection is suspended */
    EXCHANGE_WAIT,   /* a whole reply is being generated */
    EXCHANGE_REPLY,  /* the response is with the library */
};

/* What an exchange holds of the memory that all share. */
enum exchange_memory {
    HELD_BODY,
    HELD_JSON,  /* what is made of it by parsing, at most */
    HELD_REPLY, /* whole, or so far: what is not with its reader yet */
    HELD_KINDS,
};

struct exchange_header {
    const char *name, *value;
};

struct exchange {
    struct http *http;
    struct MHD_Connection *mhd;
    struct conn *conn;         /* NULL above the hard connection limit */
    struct waker *waker;
    enum exchange_phase phase;
    int route;                 /* row of http->routes, or ROUTE_UNKNOWN */
    const char *method;        /* a literal */
    struct key *key;           /* who asks; NULL on an open route, and without keys */
    struct tenant_tag tenant;  /* whose states it may see: all zero without keys */
    const char *rest;          /* of the path; lives as long as the request */
    char id[REQUEST_ID_BYTES + 1];
    bool http10;
    bool later, may_wait;      /* its handler runs again where it may wait for the network; does */
    struct buf body;
    size_t discarded;          /* bytes of a body nobody wants, */
    size_t discard_max;        /* … read so that the reply can be */
    size_t held[HELD_KINDS];   /* of http.budget */
    int helping;               /* atomic: the helper owns the exchange */
    struct turn turn;          /* in the helper's lane */

    int status;                /* 0 = no answer yet */
    struct buf reply;
    const char *type;          /* Content-Type */
    const struct exchange_header *headers; /* more of them, up to a NULL name; NULL = none */
    char allow[48];            /* Allow, with 405 and OPTIONS */
    bool close, retry, retry_known;
    bool rated;                /* a generation: the reply says what the key has left */
    int32_t retry_s;           /* when to try again; 0 = when a place is likely to be free */
    int n_notes;               /* further headers of the reply */
    struct { const char *name; char value[LIMIT_NOTE_BYTES]; } notes[EXCHANGE_NOTES];
    const char *origin;        /* of a page that may read the reply; the request's header */
    uint64_t begun_ns;
    bool traced;               /* its spans will be told, */
    struct trace_context trace; /* … as part of this */
    struct request_facts facts; /* of its generation, once that has ended */
    const struct error_form *errors; /* of the API that the path belongs to */
    struct pending *pending;   /* what a handler started: a stream, or a whole reply to wait for */
    struct stream stream;      /* its reply, if that is one */
};

struct exchange *exchange_new(struct http *h, struct MHD_Connection *c);
void exchange_free(struct exchange *x);

/* The headers are there: checks them and the route. Library's callback contract. */
enum MHD_Result exchange_head(struct exchange *x, const char *url, const char *method,
                              const char *version);
enum MHD_Result exchange_data(struct exchange *x, const char *data, size_t *n);
/* The body is complete, or a suspended exchange was resumed. */
enum MHD_Result exchange_go_on(struct exchange *x);

/* Runs the route's handler. Without memory for a part of its work the whole is refused: what a
 * library left out, or took for a client's mistake, must not be answered for. */
void exchange_handle(struct exchange *x);

/* A new request id. */
void exchange_make_id(char id[REQUEST_ID_BYTES + 1]);

/* ---- for handlers ---- */

/* A handler either answers, at once or with an error, or sets x->pending. */

/* x holds so many bytes of this kind from now on. False: others hold too much for that, which is
 * what to answer (exchange_full), and it holds what it did. */
bool exchange_hold(struct exchange *x, enum exchange_memory what, size_t bytes) MUST_USE;
void exchange_full(struct exchange *x);
/* … of a reply, what has been read of it and is not with its reader yet. */
bool exchange_hold_reply(struct exchange *x) MUST_USE;
/* The handler must wait for the network: false = it may, here; true = it returns at once, leaving x
 * as it was, and is run again where it may. */
bool exchange_later(struct exchange *x) MUST_USE;

/* Answers with what is in x->reply. */
void exchange_answer(struct exchange *x, int status, const char *type);
void exchange_error(struct exchange *x, enum apierr a, const char *param, const char *message);
/* What is served is not there yet: how far it is, and when to try again. */
void exchange_loading(struct exchange *x);
void exchange_fail(struct exchange *x, const struct err *e);
/* A header of the reply to come. name: a literal; value: harmless characters, "" = no header. */
void exchange_note(struct exchange *x, const char *name, const char *value);
/* Failure of a body that was read: without a field it is the JSON itself. */
void exchange_fail_params(struct exchange *x, const struct err *e);

#endif
