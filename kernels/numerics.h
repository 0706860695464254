/* Which arithmetic made a number: the one revision of what every kernel computes.
 *
 * A state may be continued by the arithmetic that made it and by no other: the first part of every
 * backend's numerics() text is its kind and this revision. It is raised with every change that
 * moves an output bit of any kernel of any backend; kernels/numerics.sum holds digests of those
 * bits, and kernelcheck fails until both were changed together (kernels/cpu/README.md). */
#ifndef RECURD_NUMERICS_H
#define RECURD_NUMERICS_H

#ifndef NUMERICS_REVISION /* the tests build a daemon of another revision */
#define NUMERICS_REVISION 3
#endif

/* The longest text of numerics() with its NUL. */
#define NUMERICS_TEXT 320

/* NUMERICS_REVISION as this program was built. Any thread. */
int numerics_revision(void);

/* For people, behind a device or the name of its arithmetic: ", quantised weights by inputs of 16
 * bits" where that is how the name says products are made, ", states in float16" where these are;
 * or "". Any thread. */
const char *numerics_inputs(const char *name);

#endif
