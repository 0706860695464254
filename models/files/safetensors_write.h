/* A checkpoint as one .safetensors file. Thread: one. */
#ifndef RECURD_SAFETENSORS_WRITE_H
#define RECURD_SAFETENSORS_WRITE_H

#include "models/files/checkpoint.h"

/* The tensors in their order, of their own types; blocks and FP8 as the float32 values they stand
 * for. The file appears under its name when it is whole; an interrupted run is gone on with
 * (part_file.h). progress may be NULL. */
int safetensors_write(const char *path, struct checkpoint *ck,
                      void (*progress)(void *arg, const char *tensor, uint64_t done,
                                       uint64_t total), void *arg, struct err *e) MUST_USE;

#endif
