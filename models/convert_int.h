/* Shared by the files convert*.c only. */
#ifndef RECURD_CONVERT_INT_H
#define RECURD_CONVERT_INT_H

#include "models/convert.h"
#include "models/files/gguf_view.h"
#include "models/files/gguf_write.h"

struct job;

struct convert {
    const struct convert_options *o;
    char dir[4096];              /* of the tokenizer's files */
    struct err *e;               /* sticky */
    const struct config *config; /* of the text model */
    struct checkpoint *ck;
    const struct gguf_map *map;
    struct gguf_out *out;
    struct gguf_heads heads;
    int64_t layers, experts;
    struct job *jobs, **last;
    uint64_t total;              /* bytes of data */
    float *f32;
};

/* An RWKV .pth file, and what its tensors tell as a config.json would. The caller closes *ck and
 * frees *config, which may be there after an error. */
int convert_pth_open(struct checkpoint **ck, struct config **config, const char *path,
                     struct err *e) MUST_USE;

/* The directory that files are written to: made where it is not there, refused where it holds a
 * model. Then its small files, each at once, and the weights. config.json comes last. */
int convert_dir_make(const char *dir, struct err *e) MUST_USE;
int convert_dir_file(const char *dir, const char *name, const char *p, size_t n,
                     struct err *e) MUST_USE;
int convert_dir_weights(const struct convert_options *o, struct checkpoint *ck,
                        struct err *e) MUST_USE;

/* Chooses the map, writes all metadata and fills heads, layers and experts. */
void convert_values(struct convert *c);
/* Tokens, merges, scores and special ids of the directory's tokenizer, if it has one. */
void convert_vocabulary(struct convert *c);

/* The checkpoint's tensor of a row; expert: the second number, or the place in a stack. */
struct tensor *convert_find(const struct convert *c, const struct gguf_name *row, int64_t layer,
                            int64_t expert);
/* Whether the checkpoint has what becomes "blk.<layer><gguf>". */
bool convert_has(const struct convert *c, const char *gguf, int64_t layer);
/* Tensors of encoders and draft heads, which are left out. */
bool convert_other_sense(const char *name);
/* Tensors that follow from the sizes, by the map. */
bool convert_derived(const struct convert *c, const char *name);

#endif
