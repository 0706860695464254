/* The tensors of a checkpoint: one or several .safetensors files, every extent checked against
 * the file before anything is read.
 *
 * Format: u64 LE header length, JSON {name: {dtype, shape, data_offsets}}, data. Rejected by
 * name: overlaps, holes, trailing bytes, unknown dtypes, products that overflow, duplicate
 * names, shards that miss or repeat a tensor. Thread: one at a time. */
#ifndef RECURD_CHECKPOINT_H
#define RECURD_CHECKPOINT_H

#include "base/err.h"
#include "kernels/plan.h"

struct tensor {
    char name[LIMIT_TENSOR_NAME];
    enum dtype dtype;
    int32_t n_dims;
    int64_t shape[LIMIT_ST_DIMS];
    int64_t elems;
    uint64_t offset; /* of the first byte in its file */
    int32_t file;
    bool used;       /* a binding refers to it */
};

struct checkpoint;

/* Opens dir/model.safetensors or the shards of dir/model.safetensors.index.json. */
int checkpoint_open(struct checkpoint **out, const char *dir, struct err *e) MUST_USE;
/* One file, for golden results (also dtypes I32 and I64; see checkpoint_read_int). */
int checkpoint_open_file(struct checkpoint **out, const char *path, struct err *e) MUST_USE;
void checkpoint_close(struct checkpoint *c);

size_t checkpoint_count(const struct checkpoint *c);
const struct tensor *checkpoint_at(const struct checkpoint *c, size_t i);
struct tensor *checkpoint_find(struct checkpoint *c, const char *name); /* NULL = absent */

/* Elements [first, first + n) of t into dst, in t's own dtype. */
int checkpoint_read(struct checkpoint *c, const struct tensor *t, int64_t first, int64_t n,
                    void *dst, struct err *e) MUST_USE;

/* The same for an I32 or I64 tensor of checkpoint_open_file; E_RANGE for a value beyond int32. Its
 * tensor's dtype means nothing. */
int checkpoint_read_int(struct checkpoint *c, const struct tensor *t, int64_t first, int64_t n,
                        int32_t *dst, struct err *e) MUST_USE;

/* Header bytes alone -> tensor table; the fuzzer's entry. data_bytes = size of the file behind
 * the header. Takes integer tensors too. */
int checkpoint_parse_header(struct checkpoint **out, const char *json, size_t n,
                            uint64_t data_bytes, const char *path, struct err *e) MUST_USE;

#endif
