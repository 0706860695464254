/* A directory with safetensors -> one GGUF file, by the map of its family, and back; an RWKV .pth
 * file -> such a directory. */
#ifndef RECURD_CONVERT_H
#define RECURD_CONVERT_H

#include "base/err.h"
#include "kernels/plan.h"

struct convert_options {
    const char *dir, *out;
    bool any;          /* matrices keep the type they have … */
    enum dtype matrix; /* … or are stored in this one */
    void (*progress)(void *arg, const char *tensor, uint64_t done, uint64_t total);
    void *arg;         /* bytes of tensors' data; progress may be NULL */
};

/* Of o->dir, a directory or an RWKV .pth file with its vocabulary beside it. The file appears whole
 * or not at all: until then its bytes are in "<out>.part", which an interrupted run leaves behind
 * and the next goes on with (files/part_file.h). E_UNSUPPORTED for a model that the format cannot
 * say: every key of config.json and every tensor is either written or refused by name. */
int convert_to_gguf(const struct convert_options *o, struct err *e) MUST_USE;

/* The GGUF file o->dir -> directory o->out: model.safetensors, config.json and the tokenizer's
 * files. Tensors keep their types, blocks become F32, exactly; or matrices become o->matrix, a
 * plain type. E_CONFLICT where the directory holds a model. */
int convert_from_gguf(const struct convert_options *o, struct err *e) MUST_USE;

bool convert_is_pth(const char *path); /* by its name */
/* The .pth file o->dir -> directory o->out; type is not asked. config.json comes last: until then
 * the directory is no model, and the next run goes on with model.safetensors. */
int convert_pth(const struct convert_options *o, struct err *e) MUST_USE;

#endif
