/* Where the bytes of a token come from: the seam to the tokenizer. */
#ifndef RECURD_PIECES_H
#define RECURD_PIECES_H

#include "base/base.h"

/* piece NULL = the model has no text. Any thread. */
struct piece_source {
    const char *(*piece)(const void *arg, int32_t id, size_t *len);
    const void *arg;
    /* The same with the text of special tokens; NULL = they have none. */
    const char *(*shown)(const void *arg, int32_t id, size_t *len);
};

#endif
