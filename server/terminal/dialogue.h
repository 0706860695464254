/* What was said, as the messages of a request: several branches, one of them current.
 * Thread: one. */
#ifndef RECURD_TERMINAL_DIALOGUE_H
#define RECURD_TERMINAL_DIALOGUE_H

#include <jansson.h>

#include "base/err.h"

#define DIALOGUE_BRANCHES 1000

struct dialogue {
    json_t *branches; /* an array of arrays of {role, content}; [now] is current */
    size_t now;
};

int dialogue_open(struct dialogue *d, struct err *e) MUST_USE;
void dialogue_close(struct dialogue *d);

json_t *dialogue_messages(const struct dialogue *d); /* borrowed: of the current branch */
/* text: n bytes of UTF-8; what is not is E_FORMAT. */
int dialogue_add(struct dialogue *d, const char *role, const char *text, size_t n,
                 struct err *e) MUST_USE;
/* Another branch with what was said so far becomes current; its number, from 1, or E_RANGE. */
int dialogue_fork(struct dialogue *d, struct err *e) MUST_USE;
int dialogue_switch(struct dialogue *d, long number, struct err *e) MUST_USE;
/* Takes back the last n questions with what followed them. E_RANGE: there are not so many. */
int dialogue_rewind(struct dialogue *d, long n, struct err *e) MUST_USE;
/* {"model", "messages"}, which a request may be made of, into a file that is not there yet. */
int dialogue_save(const struct dialogue *d, const char *model, const char *path,
                  struct err *e) MUST_USE;

#endif
