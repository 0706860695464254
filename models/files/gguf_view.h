/* A GGUF file as a checkpoint: its tensors under the names, in the order and of the shapes that a
 * family knows, and its metadata as the config.json the family would have read. */
#ifndef RECURD_GGUF_VIEW_H
#define RECURD_GGUF_VIEW_H

#include "models/files/checkpoint.h"
#include "models/files/config.h"
#include "models/files/gguf.h"
#include "models/files/gguf_map.h"

/* g is borrowed and must live longer. E_UNSUPPORTED for a tensor the map does not know. */
int gguf_checkpoint(struct checkpoint **out, const struct gguf *g, const struct gguf_map *map,
                    struct err *e) MUST_USE;

int gguf_config(struct config **out, const struct gguf *g, const struct gguf_map *map,
                struct err *e) MUST_USE;

/* The map's row that a tensor of gguf_checkpoint has its name from. */
const struct gguf_name *gguf_view_row(const struct tensor *t);

/* "<architecture>.<name>", or NULL. */
const struct gguf_value *gguf_arch_get(const struct gguf *g, const struct gguf_map *map,
                                       const char *name);
/* Its integer, or the largest of its integers; dflt where there is none. */
int64_t gguf_arch_int(const struct gguf *g, const struct gguf_map *map, const char *name,
                      int64_t dflt);
/* Whether a layer has the tensor that map->attends, not NULL, names. */
bool gguf_attends(const struct gguf *g, const struct gguf_map *map, int64_t layer);
/* Layers without those of a draft head behind them. */
int64_t gguf_layers(const struct gguf *g, const struct gguf_map *map);

/* What a row's form says was done to the values. */
enum transform gguf_applied(unsigned form);

/* An order of elements other than the file's: behind the first `at`, [outer][a][b][inner] in ours
 * is [outer][b][a][inner] in the file. inner 0: none. fifth > 0: then parts of so many elements of
 * the file are exchanged, the first and the fourth. */
struct gguf_order { int64_t at, outer, a, b, inner, fifth; };
/* The place of the file's element i before or after that exchange; *run ends with its part. */
int64_t gguf_exchanged(const struct gguf_order *o, int64_t i, int64_t *run);

/* Sizes that orders depend on. */
struct gguf_heads {
    int64_t q, k;   /* of queries and keys */
    int64_t kh, vh; /* of the delta rule: keys and values */
    int64_t K;      /* columns of such a key */
    int64_t dn, dv; /* rows of a key and of a value made from a latent; writing only */
};
struct gguf_order gguf_order(unsigned form, const struct gguf_heads *h, int64_t elems,
                             int64_t rows);
/* FORM_TURNED: shape, of two dimensions or more, is the file's; ours has the last two exchanged. */
struct gguf_order gguf_turned(int n_dims, const int64_t *shape);

#endif
