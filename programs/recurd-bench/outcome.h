/* How a request ended. Every request ends in exactly one class. */
#ifndef RECURD_LOAD_OUTCOME_H
#define RECURD_LOAD_OUTCOME_H

enum outcome {
    OUTCOME_OK,
    OUTCOME_CANCELLED,  /* this client cut it off, as asked by --cancel */
    OUTCOME_UNFINISHED, /* still open when the run ended or was interrupted */
    OUTCOME_CONNECT,    /* no connection */
    OUTCOME_RESET,      /* the connection broke */
    OUTCOME_CLOSED,     /* the server closed before the reply was complete */
    OUTCOME_TRUNCATED,  /* a complete HTTP reply whose stream lacks [DONE] */
    OUTCOME_TIMEOUT,
    OUTCOME_HTTP_429,
    OUTCOME_HTTP_4XX,
    OUTCOME_HTTP_5XX,
    OUTCOME_BAD_HTTP,   /* not HTTP, or a status that is neither success nor an error */
    OUTCOME_BAD_EVENT,  /* not an event stream, or an event that is not JSON of this API */
    OUTCOME_API_ERROR,  /* an error event inside a stream */
    OUTCOME_CLIENT,     /* this client's own: no descriptors or no memory */
    OUTCOMES
};

const char *outcome_name(enum outcome o);

/* Neither good nor the client's own decision. */
static inline int outcome_failed(enum outcome o) { return o >= OUTCOME_CONNECT; }

#endif
