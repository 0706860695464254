/* The tensors of a checkpoint, under the names and in the shapes that the families know:
 * .safetensors files as they are (safetensors.c), a GGUF file through its family's map
 * (gguf_view.h). Every extent is checked against its file before anything is read.
 *
 * Format of .safetensors: u64 LE header length, JSON {name: {dtype, shape, data_offsets}}, data.
 * Rejected by name: overlaps, holes, trailing bytes, unknown dtypes, products that overflow,
 * duplicate names, shards that miss or repeat a tensor. Thread: one at a time. */
#ifndef RECURD_CHECKPOINT_H
#define RECURD_CHECKPOINT_H

#include "base/err.h"
#include "kernels/plan.h"

/* What is done to an element on its way into a weight; a file may hold it done already. */
enum transform {
    TENSOR_AS_IS,
    TENSOR_ADD_ONE,  /* zero-centred norms: 1 + w */
    TENSOR_ADD_5TH,  /* w + 1/5 */
    TENSOR_ADD_11TH, /* w + 5^-3/2 */
    TENSOR_EXP,      /* exp(w) */
    TENSOR_NEG_EXP,  /* -exp(w) */
    TENSOR_SIGMOID,
    TENSOR_TERNARY,  /* round(w / mean|W|) clamped to -1, 0, 1; the mean over the whole tensor */
};

/* Of one element; of TENSOR_TERNARY the last step, from w / mean|W|. */
float tensor_transform(enum transform t, float x);
/* An x whose transform is y; where no float32 has one that is equal, that which comes nearest. Of
 * y = tensor_transform(t, x) there always is one. NaN: y is none of its values (exp, -exp), or t is
 * not one to one. */
float tensor_untransform(enum transform t, float y);

struct tensor {
    char name[LIMIT_TENSOR_NAME];
    enum dtype dtype;
    int32_t n_dims;
    int64_t shape[LIMIT_ST_DIMS];
    int64_t elems;
    uint64_t offset; /* of the first byte in its file */
    int32_t file;    /* of the checkpoint's */
    enum transform applied; /* the file's elements have been through this */
    /* 0, or: its columns are [turned_a][turned_b][n] in the family's order, but stored
     * [turned_b][turned_a][n], and no read changes that; the input must be put so instead. */
    int32_t turned_a, turned_b;
    bool whole_numbers; /* I32 or I64: its dtype means nothing, checkpoint_read_int reads it */
    bool used;       /* a binding refers to it */
};

struct checkpoint;

/* Opens dir/model.safetensors or the shards of dir/model.safetensors.index.json. */
int checkpoint_open(struct checkpoint **out, const char *dir, struct err *e) MUST_USE;
/* One file, for golden results. */
int checkpoint_open_file(struct checkpoint **out, const char *path, struct err *e) MUST_USE;
void checkpoint_close(struct checkpoint *c);

size_t checkpoint_count(const struct checkpoint *c);
const struct tensor *checkpoint_at(const struct checkpoint *c, size_t i);
struct tensor *checkpoint_find(struct checkpoint *c, const char *name); /* NULL = absent */

/* Elements [first, first + n) of t into dst, in t's own dtype: whole blocks, and of DTYPE_FP8 whole
 * rows (of t's last dimension), each of which ends its last block. */
int checkpoint_read(struct checkpoint *c, const struct tensor *t, int64_t first, int64_t n,
                    void *dst, struct err *e) MUST_USE;

/* Any elements as float32, whatever blocks they lie in; one read and one buffer for all. */
int checkpoint_floats(struct checkpoint *c, const struct tensor *t, int64_t first, int64_t n,
                      float *dst, struct err *e) MUST_USE;

/* As checkpoint_read for a tensor of whole numbers; E_UNSUPPORTED for others. */
int checkpoint_read_int(struct checkpoint *c, const struct tensor *t, int64_t first, int64_t n,
                        int64_t *dst, struct err *e) MUST_USE;

/* A digest of which files these are and when they were written: size, inode, times. False: it has
 * none, or they cannot be asked. */
bool checkpoint_stamp(const struct checkpoint *c, unsigned char out[32]) MUST_USE;

/* Header bytes alone -> tensor table; the fuzzer's entry. data_bytes = size of the file behind
 * the header. */
int checkpoint_parse_header(struct checkpoint **out, const char *json, size_t n,
                            uint64_t data_bytes, const char *path, struct err *e) MUST_USE;

#endif
