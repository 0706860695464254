/* One launch for what a step may do at once.
 *
 * Enqueueing costs the host more than a small kernel costs the device. So a step with one row a
 * sequence, of at most OCL_BUNDLE_ROWS rows, runs *bundles*: launches of one phase (../phases.h)
 * that share a source, a shape and all conditions become one, whose groups along dimension 0 are
 * those of its members one after the other. A group finds its member by its number, takes that
 * one's arguments and runs the source as it is, so the bits are those of the separate launches.
 *
 * Both forms stand in the list of launches, in the order of phases; an ocl_merge joins what is
 * chosen together: the merged launches of some ops, or the separate ones. Whatever else runs these
 * ops (prompts, several rows a sequence) uses the separate ones. A merge that does not build, or
 * whose bits differ at start, is off for good. Tuning word bundle=0: there are none. */
#ifndef RECURD_OCL_BUNDLE_H
#define RECURD_OCL_BUNDLE_H

#include "kernels/opencl/launches.h"

#define OCL_BUNDLE_ROWS 64

/* Before buffers are made: finds the phases, and gives the activations of m->own places that no
 * two lives in one phase share; m->plan is then &m->own. Without bundles nothing changes. */
int ocl_bundle_begin(struct ocl_model *m, struct err *e) MUST_USE;
/* After lowering, with the arguments of launches still there: orders the launches by phases, and
 * adds the merged ones. */
int ocl_bundle_launches(struct ocl_model *m, struct err *e) MUST_USE;
void ocl_bundle_free(struct ocl_model *m);

/* Says why, once, and that the separate launches serve. */
void ocl_bundle_off(struct ocl_model *m, int32_t merge, const char *why);

/* ---- text of merged kernels (merge.c) ---- */

/* The source of a bundle of `members` launches like l (defines: its instance's). false: this
 * source cannot be taken apart. Parameters: those that all members share, in the order of the
 * source; then for each member its own, behind the number of its first group (but for the first
 * member, whose is 0). */
bool ocl_merge_bundle(struct buf *out, const char *file, const char *defines,
                      const struct ocl_launch *l, int32_t members);
/* Whether all members of a bundle have the argument in common. */
bool ocl_merge_shared(enum ocl_arg_kind kind);

/* ---- proof at start (bundletest.c) ---- */

/* With weights in place: steps of a few rows on pseudo-random states with merged and with separate
 * launches. Where any bit of an activation or a state differs the model goes on without merged
 * ones, and a warning names the phase. Slots and pages are zeros afterwards. */
int ocl_bundle_test(struct ocl_model *m, struct err *e) MUST_USE;

#endif
