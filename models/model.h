/* A loaded model: configuration, plan, tokenizer, chat format.
 *
 * model_open reads every header and builds the plan without touching a device; model_load then
 * streams the weights to one. Owner: main. Thread: read-only after model_load, so every thread
 * may read it. */
#ifndef RECURD_MODEL_H
#define RECURD_MODEL_H

#include "base/arena.h"
#include "base/err.h"
#include "base/progress.h"
#include "kernels/backend.h"
#include "models/generation.h"
#include "models/source.h"

struct tokenizer;
struct chat;

#define MODEL_EOS_MAX 8

/* What becomes of matrices in full precision while they are loaded: blocks of 8 bits (Q8_0), or
 * of 4 (Q4_K; Q6_K for embeddings and logits; Q8_0 for low-rank pairs). Small matrices and vectors
 * stay. */
enum quantize { QUANTIZE_NONE, QUANTIZE_Q8, QUANTIZE_Q4 };
/* "none", "q8" or "q4"; false: another name. */
bool quantize_parse(const char *name, enum quantize *out);

/* How the matrix states of DECAY and DELTA are kept (section_may_be_f16); others are float32. */
enum states { STATES_F32, STATES_F16 };
/* "float32" or "float16"; false: another name. */
bool states_parse(const char *name, enum states *out);

struct model {
    char name[128];         /* last component of the path: the API's model id */
    char arch[64];          /* model_type */
    struct plan plan;
    int64_t parameters;     /* elements of all weights; a tied matrix counts once */
    int64_t weight_bytes;   /* their storage on the device */
    int64_t context_max;    /* positions the model accepts; 0 = no limit but the pages */
    int64_t context_made;   /* positions it was made for, as its files say; 0 = they do not */
    int32_t bos, eos[MODEL_EOS_MAX], n_eos; /* bos -1 = none */
    struct generation_defaults defaults;
    struct tokenizer *tok;  /* NULL: requests carry token ids */
    struct chat *chat;      /* NULL: no chat endpoint */
    unsigned char fingerprint[32]; /* SHA-256 of config, tokenizer and, once loaded, weights */
    struct model_source source;          /* open as long as files are */
    struct checkpoint *files;      /* open until model_load has read them; then NULL */
    struct binding *bindings;      /* weight -> tensors of the files (build.h); freed with them */
    enum quantize quantize;
    enum states states;
    uint64_t dummy_seed;           /* of random weights; 0 = real ones */
    int threads;                   /* that load, as in the options */
    struct progress *progress;     /* of opening and loading; NULL = nobody asks */
    char left_aside[200];          /* keys and tensors that change nothing here: "a, b" … */
    int32_t n_left_aside;          /* … and how many they are in all */
    struct arena arena;            /* names, programs and tables of the plan */
};

struct model_options {
    const char *dir;        /* a directory with safetensors, or a GGUF file */
    bool dummy;             /* --load-format dummy: seeded random weights, the config alone */
    uint64_t dummy_seed;
    enum quantize quantize;
    enum states states;     /* F16: E_UNSUPPORTED where no state of the model can be */
    const char *chat_format;   /* a built-in format instead of the model's template; or NULL */
    const char *chat_template; /* a file instead of the model's template; or NULL */
    int threads;               /* that load; 0 = one for each CPU this process may use */
    struct progress *progress; /* outlives the model's loading; NULL = nobody asks */
};

/* E_NOENT, E_FORMAT, E_RANGE or E_UNSUPPORTED, naming file, tensor or key and both numbers. */
int model_open(struct model **out, const struct model_options *o, struct err *e) MUST_USE;

/* Lays the plan out for c, loads it on d and streams the weights in pieces, on several threads:
 * what is loaded, and the fingerprint, do not depend on how many (load.c). E_CLOSED: stopped
 * through the progress. Of several faults in the files the first in the plan's order is told. */
int model_load(struct model *m, struct device *d, const struct capacity *c,
               struct err *e) MUST_USE;

void model_close(struct model *m);
/* Files and bindings, once nothing more is read. */
void model_close_files(struct model *m);

/* True if id ends a generation. */
bool model_is_eos(const struct model *m, int32_t id);

#endif
