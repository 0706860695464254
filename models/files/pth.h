/* A PyTorch file (.pth: a ZIP archive of a pickle and the bytes of its storages) as a checkpoint.
 * Nothing of the pickle is run (pickle.h). For the converter; the daemon loads no such file. */
#ifndef RECURD_PTH_H
#define RECURD_PTH_H

#include "models/files/checkpoint.h"

int pth_open(struct checkpoint **out, const char *path, struct err *e) MUST_USE;

#endif
