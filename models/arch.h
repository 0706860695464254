/* The families: model_type -> how to build it. Thread: any. */
#ifndef RECURD_ARCH_H
#define RECURD_ARCH_H

struct arch;

/* NULL: no such model_type. */
const struct arch *arch_find(const char *model_type);

#endif
