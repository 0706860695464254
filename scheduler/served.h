/* What is served: a model on a device with its scheduler and its state cache, under one name.
 *
 * The noun between the server and everything below it. The server reads the facts and talks to
 * `sched` and `cache`; the model and the device stay closed to it. Owner: main, which opens,
 * loads and closes. Thread: read-only after served_load, so every thread may read it. */
#ifndef RECURD_SERVED_H
#define RECURD_SERVED_H

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "kernels/plan.h"
#include "models/generation.h"

struct chat;
struct device;
struct model;
struct progress;
struct sched;
struct statecache;
struct tokenizer;

#define SERVED_NAMES 16 /* aliases that clients may use */

struct served {
    /* Facts of the model, from served_open on. */
    const char *name;             /* the API's model id: the first of its names */
    char names[SERVED_NAMES][128]; /* all that clients may call it */
    int n_names;
    char arch[64];                /* model_type */
    const struct tokenizer *tok;  /* NULL: requests carry token ids */
    const struct chat *chat;      /* NULL: no chat endpoint */
    bool request_templates;       /* requests may bring a chat template */
    struct chat_rules *rules;     /* of system messages; NULL = none */
    bool strict_fields;           /* fields that nobody reads are refused */
    struct generation_defaults defaults;
    int32_t vocab;
    int32_t bos;                  /* -1 = none */
    int64_t context_max;          /* positions a sequence may have; 0 = no limit */
    int64_t parameters;           /* elements of all weights; a tied matrix counts once */
    int64_t weight_bytes;         /* on the device; from served_load on exact */
    int64_t state_bytes;          /* of one session's fixed state */
    const char *device_name;      /* "cpu, 2 threads, avx512 kernels" */
    struct capacity cap;
    /* From served_load on. */
    unsigned char fingerprint[32]; /* of config, tokenizer and weights */
    const char *numerics;          /* which arithmetic computes: backend.numerics() */
    struct sched *sched;
    struct statecache *cache;      /* NULL = none */
    const char *state_dir;         /* its folder, as in the options; NULL = none */
    /* Closed to the server. */
    struct tracefile *trace;
    struct model *model;
    struct device *device;
};

struct served_options {
    const char *dir;         /* of the model */
    const char *alias;       /* names instead of the folder's, with commas; NULL = none */
    bool dummy;              /* random weights from config.json alone */
    const char *quantize;    /* "none", "q8" or "q4"; NULL = none */
    const char *states;      /* "float32" or "float16"; NULL = float32 */
    const char *chat_format, *chat_template; /* as in struct model_options */
    bool request_templates;
    bool strict_fields;
    const char *prompt_rules; /* as chat_rules_open takes it; NULL = "none" */
    const char *device, *kernels, *cache_dir; /* as in struct device_options */
    int threads;
    int32_t slots;           /* <= 0: as capacity_choose finds */
    int32_t queue, queue_share, step_tokens, logit_rows;
    uint64_t stall_ns;       /* as in struct sched_options */
    bool paced;              /* as there */
    uint64_t gap_ns;
    int64_t context;         /* positions a sequence may have; 0 = what the model says */
    uint64_t kv_bytes;       /* of pages, at most; 0: as capacity_choose finds */
    const char *state_dir, *state_key, *state_key_old; /* as in struct statecache_options */
    uint64_t state_ram_bytes;  /* 0 = no state cache */
    uint64_t state_disk_bytes;
    const char *shared_url, *shared_password, *shared_ca; /* as there */
    const char *shared_endpoint, *shared_region, *shared_credentials; /* likewise */
    int shared_wait_ms, shared_cold_wait_ms;
    int64_t shared_cold_after_s, shared_ttl_s;
    uint64_t shared_bytes_s;
    bool compress_disk, compress_shared; /* states there, where it pays */
    int64_t session_ttl_s, sessions; /* of one key */
    const char *trace;       /* file, NULL = none; see tracefile.h */
    bool trace_digests;
    struct progress *progress; /* of opening and loading; NULL = nobody asks */
};

enum served_fault { SERVED_OK, SERVED_MODEL, SERVED_DEVICE };

/* Reads headers, builds the plan, opens the device; loads nothing. What failed says whose fault
 * it was; *out may be set then, too, and must be closed. */
enum served_fault served_open(struct served **out, const struct served_options *o,
                              struct err *e) MUST_USE;
/* Streams the weights and starts the engine. o as given to served_open. */
enum served_fault served_load(struct served *s, const struct served_options *o,
                              struct err *e) MUST_USE;
/* Facts, one "name: value" a line; before or after served_load. */
void served_describe(const struct served *s, FILE *f);
static inline bool served_is_named(const struct served *s, const char *name)
{
    for (int i = 0; i < s->n_names; i++)
        if (strcmp(s->names[i], name) == 0)
            return true;
    return false;
}
/* Bytes the device holds now; -1 = it does not say. */
int64_t served_device_bytes(const struct served *s);
/* Ends the engine, closes device and model. s may be NULL. */
void served_close(struct served *s);

#endif
