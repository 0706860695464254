/* Writing a GGUF file (version 3): values and tensors are announced first, then the tensors' data
 * follow in the same order. The file appears under its name when it is whole. Thread: one. */
#ifndef RECURD_GGUF_WRITE_H
#define RECURD_GGUF_WRITE_H

#include "base/err.h"
#include "kernels/plan.h"

struct gguf_out;

/* Errors are sticky: the first is kept in e, later calls do nothing. */
struct gguf_out *gguf_out_open(const char *path, struct err *e);
/* Removes what was written unless gguf_out_finish succeeded; see part_close. */
void gguf_out_close(struct gguf_out *o);
/* Before the first data: a digest of what they depend on. With it a run goes on where one of the
 * same source and the same announcements was interrupted (part_file.h). */
void gguf_out_source(struct gguf_out *o, const unsigned char digest[32]);

void gguf_out_int(struct gguf_out *o, const char *key, int64_t x);  /* as u32, 0 to 2^32-1 */
void gguf_out_num(struct gguf_out *o, const char *key, double x);   /* as f32 */
void gguf_out_bool(struct gguf_out *o, const char *key, bool x);
void gguf_out_text(struct gguf_out *o, const char *key, const char *p, size_t n);
/* Lists: opened with the number of elements, which follow. */
void gguf_out_ints(struct gguf_out *o, const char *key, const int32_t *x, size_t n);
void gguf_out_nums(struct gguf_out *o, const char *key, const float *x, size_t n);
void gguf_out_bools(struct gguf_out *o, const char *key, const bool *x, size_t n);
void gguf_out_texts(struct gguf_out *o, const char *key, size_t n);
void gguf_out_element(struct gguf_out *o, const char *p, size_t n);

/* shape: outermost first. dtype must be one that GGUF has. */
void gguf_out_tensor(struct gguf_out *o, const char *name, enum dtype dtype, int n_dims,
                     const int64_t *shape);
/* The next n floats of the tensors, in order, n a multiple of the type's block and all of one
 * tensor; written in its type. */
void gguf_out_data(struct gguf_out *o, const float *x, size_t n);
/* Whether the next n floats are there already: then they count as written. */
bool gguf_out_has(struct gguf_out *o, size_t n);
uint64_t gguf_out_bytes(const struct gguf_out *o); /* data written so far */
int gguf_out_finish(struct gguf_out *o) MUST_USE;

#endif
