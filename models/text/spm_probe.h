/* A SentencePiece model tried in a process of its own. */
#ifndef RECURD_SPM_PROBE_H
#define RECURD_SPM_PROBE_H

#include <stddef.h>

struct err;

/* Lets a child load the n bytes of a serialised model and encode a sweep of Unicode with it: what
 * crashes, exits or hangs there ends the loading with a sentence, not this process months later.
 * 0, or E_FORMAT (the model, called name, is damaged), E_IO. Thread: any; waits for the child,
 * which takes half a second for a vocabulary of 256k. */
int spm_probe(const char *model, size_t n, const char *name, struct err *e);

#endif
