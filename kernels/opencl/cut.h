/* A kernel's source taken apart, so that its body can be put into another one (merge.c,
 * persistent_text.c). */
#ifndef RECURD_OCL_CUT_H
#define RECURD_OCL_CUT_H

#include <stdbool.h>

#define OCL_KERNEL_HEAD "kernel void KERNEL("
#define OCL_CUT_PARAMS 560 /* of a merged kernel; a source of src/ has at most OCL_ARGS */

struct ocl_param { char type[48], name[32]; };

/* All before the kernel; its parameters, each VIEW as two; the body behind its first brace. Points
 * into the text. */
struct ocl_cut {
    const char *text, *kernel, *body;
    struct ocl_param p[OCL_CUT_PARAMS];
    int n;
};

/* Cuts a text with one kernel, whose NAME_PARAMS are looked up in the defines and in mma.clh.
 * false: a helper asks for its group, or the text is not of that form. */
bool ocl_cut_text(struct ocl_cut *c, const char *text, const char *defines);
/* The same of a file of src/ that does not ask for the number of groups. */
bool ocl_cut_file(struct ocl_cut *c, const char *file, const char *defines);
/* Where the helpers before the kernel end: at its attribute, or at the kernel. */
const char *ocl_cut_helpers_end(const struct ocl_cut *c);
/* Whether a character can be part of a name. */
bool ocl_word(char c);

#endif
