/* One request's record: everything that is measured, kept until the reports are written.
 *
 * Times are nanoseconds since the start of the run; 0 = it never happened. Thread: one. */
#ifndef RECURD_LOAD_RECORD_H
#define RECURD_LOAD_RECORD_H

#include "base/base.h"
#include "programs/recurd-bench/outcome.h"

enum tag { TAG_FIRST, TAG_TURN, TAG_FORK, TAG_RESUME, TAGS };

struct capture;

struct record {
    uint64_t conv;
    uint32_t turn;
    enum tag tag;
    enum outcome outcome;
    bool measured;       /* outside of the warm-up */
    bool has_usage;
    int status;
    uint32_t in_flight;  /* open requests when it was sent, itself included */
    int32_t asked_in, asked_out; /* asked_in 0: unknown */
    int32_t prompt_tokens, completion_tokens, cached_tokens; /* as the server counts */
    int32_t named_tokens; /* tokens named by ids or logprobs in the stream */
    uint64_t t_sched, t_send, t_first_byte, t_first, t_last, t_end;
    uint32_t *gaps_us;   /* between outputs; n_outputs - 1 of them */
    uint32_t n_outputs, cap;
    char finish[16];
    char *error;         /* NULL without one */
    struct capture *cap_text; /* only with --verify */
};

/* Growing array; records move when it grows. Owner: the run. */
struct records {
    struct record *p;
    size_t n, cap;
};

/* Index of a new zeroed record, or SIZE_MAX without memory. */
size_t record_new(struct records *rs);
/* One more output at this time; false = no memory. */
bool record_output(struct record *r, uint64_t t);
void record_free_all(struct records *rs);

const char *record_tag_name(enum tag t);

/* Milliseconds; negative when not defined for this record. */
double record_ttft(const struct record *r);
double record_ttst(const struct record *r); /* first output to second */
double record_tpot(const struct record *r); /* (E2E - TTFT) / (tokens - 1) */
double record_e2e(const struct record *r);  /* send to last output; no stream: to the end */
double record_late(const struct record *r); /* how long after its schedule it was sent */
/* Output tokens: the server's count, else tokens named, else outputs seen. */
int32_t record_tokens(const struct record *r);

#endif
