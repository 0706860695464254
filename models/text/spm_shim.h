/* The SentencePiece library, which is C++, behind four C functions. No exception crosses them.
 *
 * The library calls exit() where its own checks fail and crashes on a damaged normaliser table:
 * open it only on bytes that spm_proto_check accepted, first in a child process. Thread: any,
 * after open. */
#ifndef RECURD_SPM_SHIM_H
#define RECURD_SPM_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct spm_shim;

/* A serialised ModelProto -> a processor; NULL if the library refuses it. The bytes are copied. */
struct spm_shim *spm_shim_open(const void *model, size_t n);
void spm_shim_close(struct spm_shim *s);
int spm_shim_size(const struct spm_shim *s);

/* Ids of the text, malloc'ed (free), in *ids and *count. 0, or -1 when the library or memory
 * failed. */
int spm_shim_encode(const struct spm_shim *s, const char *text, size_t n, int32_t **ids,
                    size_t *count);

#ifdef __cplusplus
}
#endif
#endif
