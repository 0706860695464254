/* A GGUF file, or a split set of them: its metadata and its table of tensors, every count, offset
 * and string checked against the bytes that are there before it is used.
 *
 * Format (versions 2 and 3, little endian): "GGUF", u32 version, u64 tensors, u64 values; values
 * as string key, u32 kind, value; tensors as string name, u32 dimensions, u64 sizes (innermost
 * first), u32 type, u64 offset; then, aligned, the data. Strings are u64 length and bytes.
 * Thread: one at a time while opening, read-only afterwards. */
#ifndef RECURD_GGUF_H
#define RECURD_GGUF_H

#include "base/err.h"
#include "base/limits.h"
#include "kernels/plan.h"

enum gguf_kind { /* as the format numbers them */
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING,
    GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64, GGUF_KINDS,
};

struct gguf_string {
    const char *p; /* not terminated; lives as long as the file is open */
    size_t n;
};

struct gguf_value {
    struct gguf_string key;
    enum gguf_kind kind;
    enum gguf_kind of; /* of an array's elements, never GGUF_ARRAY; else = kind */
    uint64_t n;        /* elements; 1 unless an array */
    const unsigned char *p;
};

struct gguf_tensor {
    char name[LIMIT_TENSOR_NAME];
    enum dtype dtype;
    int32_t n_dims, file;
    int64_t shape[LIMIT_ST_DIMS]; /* outermost first, as other files have it: rows, columns */
    int64_t elems;
    uint64_t offset, bytes;       /* in its file */
};

struct gguf;

/* Opens a file; of a split set the first, the others lie beside it. */
int gguf_open(struct gguf **out, const char *path, struct err *e) MUST_USE;
/* A whole file in memory instead, its tensors' data left out or not; the fuzzer's entry. size =
 * what the file's length would be, at least n. */
int gguf_parse(struct gguf **out, const void *bytes, size_t n, uint64_t size, const char *path,
               struct err *e) MUST_USE;
void gguf_close(struct gguf *g);

const char *gguf_path(const struct gguf *g); /* for messages: the file's last components */
size_t gguf_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor(const struct gguf *g, size_t i);
const struct gguf_tensor *gguf_find(const struct gguf *g, const char *name); /* NULL = absent */
/* Bytes [at, at + n) of a tensor's data. */
int gguf_read(const struct gguf *g, const struct gguf_tensor *t, uint64_t at, size_t n, void *dst,
              struct err *e) MUST_USE;

/* Descriptor of the i-th file of the set; -1 past the last, or of a file in memory. */
int gguf_file(const struct gguf *g, size_t i);

/* ---- metadata (of the first file of a set) ---- */
size_t gguf_values(const struct gguf *g);
const struct gguf_value *gguf_value(const struct gguf *g, size_t i); /* sorted by key */
const struct gguf_value *gguf_get(const struct gguf *g, const char *key); /* NULL = absent */

/* Element i of a value as a number; false where it is none, is absent or does not fit. */
bool gguf_int(const struct gguf_value *v, uint64_t i, int64_t *out);
bool gguf_num(const struct gguf_value *v, uint64_t i, double *out);
bool gguf_bool(const struct gguf_value *v, bool dflt);
/* A single string; {NULL, 0} for anything else. */
struct gguf_string gguf_text(const struct gguf_value *v);
bool gguf_text_is(const struct gguf_value *v, const char *text);

/* The strings of an array in turn. Start with {v}; false after the last, and at once where v is
 * no array of strings. */
struct gguf_walk {
    const struct gguf_value *v;
    uint64_t i;
    size_t at;
};
bool gguf_next(struct gguf_walk *w, struct gguf_string *out);

/* SHA-256 over the metadata and the tensor tables of all files. */
void gguf_digest(const struct gguf *g, unsigned char out[32]);

#endif
