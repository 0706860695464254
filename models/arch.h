/* The families: model_type -> how to build it. Thread: any. */
#ifndef RECURD_ARCH_H
#define RECURD_ARCH_H

struct arch;
struct err;

/* NULL: no such model_type; e then tells those that come nearest. */
const struct arch *arch_find(const char *model_type, struct err *e);

#endif
