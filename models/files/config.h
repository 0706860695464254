/* config.json and its siblings: strict JSON that also accepts Infinity, NaN (as published
 * checkpoints write them), nulls and unknown keys. A null value reads as absent.
 *
 * Thread: one at a time. The only jansson user under models/ together with safetensors.c and
 * the tokenizers. */
#ifndef RECURD_CONFIG_H
#define RECURD_CONFIG_H

#include "base/err.h"

struct config; /* an owned JSON object, or a borrowed nested one */

int config_read(struct config **out, const char *path, struct err *e) MUST_USE;
/* The same from memory; `name` stands in messages for the file. */
int config_parse(struct config **out, const char *text, size_t n, const char *name,
                 struct err *e) MUST_USE;
void config_free(struct config *c); /* the root only; nested ones go with it */
/* The root as JSON text, every number as it was read; free() it. NULL = no memory. */
char *config_text(const struct config *c) MUST_USE;

bool config_has(const struct config *c, const char *key); /* present and not null */

/* Value of key, or dflt when absent. A wrong type or a value outside [min, max] is recorded in e
 * (first one wins) and dflt returned, so that a series of reads is checked once. */
int64_t config_int(const struct config *c, const char *key, int64_t dflt, int64_t min,
                   int64_t max, struct err *e);
double config_num(const struct config *c, const char *key, double dflt, struct err *e);
bool config_bool(const struct config *c, const char *key, bool dflt, struct err *e);
const char *config_str(const struct config *c, const char *key, const char *dflt,
                       struct err *e);
/* Nested object, or NULL when absent. Borrowed. */
const struct config *config_obj(const struct config *c, const char *key, struct err *e);
/* i-th object of an array of objects (an object reads as an array of one); NULL past the end. */
const struct config *config_obj_at(const struct config *c, const char *key, int i,
                                   struct err *e);

/* Array length, or -1 when absent or not an array. */
int64_t config_len(const struct config *c, const char *key);
int64_t config_int_at(const struct config *c, const char *key, int64_t i, int64_t dflt,
                      struct err *e);
double config_num_at(const struct config *c, const char *key, int64_t i, double dflt,
                     struct err *e);
const char *config_str_at(const struct config *c, const char *key, int64_t i, struct err *e);

/* Iterates the keys of an object: NULL starts; returns NULL after the last. */
const char *config_next_key(const struct config *c, const char *key);
/* Keys that no config_* call has asked for so far: what the reader would silently ignore. */
const char *config_next_unread(const struct config *c, const char *key);
/* Both without asking for the key: whether its value says nothing (absent, null, false, 0, an
 * empty string, list or object), and its number, if it is one. */
bool config_is_nothing(const struct config *c, const char *key);
bool config_peek(const struct config *c, const char *key, double *x);

#endif
