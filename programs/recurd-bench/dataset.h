/* Prompts from a file: JSON lines, ShareGPT JSON, or text (a line is a prompt).
 *
 * A line of JSON is a string, an array of token ids, or an object with "prompt" (either),
 * "turns" (strings) or "messages" (chat), and optionally "output_tokens" or "max_tokens".
 * Read-only after dataset_open. Thread: any. */
#ifndef RECURD_LOAD_DATASET_H
#define RECURD_LOAD_DATASET_H

#include "base/err.h"

/* One turn's prompt as the fragment that goes into a request: ids joined by commas, text escaped
 * for JSON without quotes, or message objects joined by commas. */
struct entry_turn {
    char *fragment;
    enum { ENTRY_IDS, ENTRY_TEXT, ENTRY_MESSAGES } form;
    int32_t n_in;  /* tokens when known, else 0 */
    int32_t n_out; /* asked output when the file says it, else 0 */
};

struct entry {
    struct entry_turn *turns;
    size_t n_turns;
};

struct dataset {
    struct entry *entries;
    size_t n, cap;
};

int dataset_open(struct dataset *d, const char *path, struct err *e) MUST_USE;
void dataset_free(struct dataset *d);

struct buf;
/* Appends n bytes of text, escaped for the inside of a JSON string. */
int dataset_escape(struct buf *out, const char *s, size_t n);

#endif
