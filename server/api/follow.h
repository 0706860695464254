/* What an answer must follow while it is written, beside its grammar: thinking that ends after so
 * many tokens, and an end behind the first call. Owner: the request. Thread: as constraints. */
#ifndef RECURD_FOLLOW_H
#define RECURD_FOLLOW_H

#include "models/text/constrain/token_trie.h"
#include "models/text/toolcall/toolcall.h"
#include "scheduler/constrain.h"
#include "scheduler/served.h"

#define THINK_OPEN "<think>"
#define THINK_CLOSE "</think>"
#define FOLLOW_CLOSE 16 /* tokens that spell THINK_CLOSE, at most */

struct follow_setup {
    const struct served *served;   /* outlives it; has a tokenizer */
    struct constraint *inner;      /* taken over, also when it fails; NULL = the text is free */
    /* Thinking: */
    int64_t budget;                /* of tokens between the tags; -1 = as many as it likes */
    bool thinking;                 /* the prompt has opened it; else the answer may */
    int32_t close[FOLLOW_CLOSE], n_close; /* THINK_CLOSE in tokens */
    /* The first call; dialect NULL = there may be more, or none are looked for: */
    const struct toolcall_dialect *dialect;
    struct toolset *tools;         /* a reference is taken */
    bool reasoning;
    const int32_t *shown;          /* [n_shown] special tokens that the reader of calls sees */
    int32_t n_shown;
};

/* NULL = no memory. Where nothing is to be followed: inner. */
struct constraint *follow_new(const struct follow_setup *s) MUST_USE;

#endif
