/* Proof that a SentencePiece normaliser table stays inside itself. Thread: any. */
#ifndef RECURD_SPM_CHARSMAP_H
#define RECURD_SPM_CHARSMAP_H

#include "base/err.h"

/* Checks a compiled table (a double-array trie and the strings its values point at): every walk
 * the library can make through its n bytes stays inside them, whatever text it is given.
 * E_FORMAT, naming the place. */
int spm_charsmap_check(const unsigned char *map, size_t n, const char *name,
                       struct err *e) MUST_USE;

#endif
