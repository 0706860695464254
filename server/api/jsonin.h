/* JSON in: strict, bounded, with the field's name in every complaint.
 *
 * A scan of the raw bytes bounds depth and values before the library sees them: parsing costs
 * 20-30 times the text's size in memory, and 2,048 levels overflow a 128 KiB stack (measured
 * with jansson 2.14). Thread: any. */
#ifndef RECURD_JSONIN_H
#define RECURD_JSONIN_H

#include <jansson.h>

#include "base/err.h"

/* Once, before any thread: the library's hash seed and allocator. */
void jsonin_init(void);

/* An object, or E_FORMAT (E_RANGE: too deep, too many values). Duplicate keys, bad UTF-8, numbers
 * out of range and trailing bytes are refused, and zero characters where no text is. Free with
 * json_decref. */
int jsonin_parse(json_t **out, const char *text, size_t n, struct err *e) MUST_USE;

/* The scan alone: fuzzed and tested by itself. *bytes (may be NULL): memory that parsing takes, at
 * most. */
int jsonin_scan(const char *text, size_t n, size_t *bytes, struct err *e) MUST_USE;

/* Each leaves *out alone when key is absent or null. key must be a literal: it becomes the
 * error's param. True = a value was there and fits. The first failure stays in e. */
bool jsonin_int(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *out,
                struct err *e);
bool jsonin_float(const json_t *o, const char *key, double min, double max, float *out,
                  struct err *e);
bool jsonin_bool(const json_t *o, const char *key, bool *out, struct err *e);
/* Borrowed from o; valid UTF-8, without zero bytes but in text (prompt, content …: jsonin.c). */
bool jsonin_str(const json_t *o, const char *key, const char **out, size_t *n, struct err *e);

/* The value, or NULL when absent or null. */
const json_t *jsonin_get(const json_t *o, const char *key);

/* Which fields of an object were asked for: what a parser reads is what it knows, so there is no
 * second list of names. Between jsonin_watch and jsonin_unwatch every call above is noted that is
 * about `o` or an object of the two functions below. One at a time on a thread; it belongs to the
 * caller, the keys are literals. A field that is read must also have its effect: whoever reads what
 * another kind of request means makes it known here. */
#define JSONIN_READS 1024 /* twice the names that a parser knows, at least */
#define JSONIN_OBJECTS 4
#define JSONIN_SET 16 /* fields that one translation sets, at least */
struct jsonin_watch {
    int n_objects, n, n_set;
    const json_t *twin;
    const char *set[JSONIN_SET];
    struct { const json_t *o; const char *path; } objects[JSONIN_OBJECTS]; /* path "" or "name." */
    struct { const json_t *o; const char *key; } reads[JSONIN_READS];
};
void jsonin_watch(struct jsonin_watch *w, const json_t *o);
/* Nothing without a watch. also: one inside o, which is there when the watch is looked at. twin: a
 * copy of o in which some fields were taken out or replaced; what is asked of it counts as asked of
 * o where both have the same value (the same one, not an equal one), or neither has any, and where
 * jsonin_watch_set was not called of it before: there is but one true, one false and one null. */
void jsonin_watch_also(const json_t *o, const char *path);
void jsonin_watch_set(const char *key); /* a literal: what the twin has there is not o's */
void jsonin_watch_twin(const json_t *o);
void jsonin_unwatch(void);

/* "a string", "an array" … for messages. */
const char *jsonin_kind(const json_t *v);

#endif
