/* One launch for what a step may do at once.
 *
 * Enqueueing costs the host more than a small kernel costs the device. So a step of at most
 * OCL_MANY_ROWS rows runs *bundles*: launches of one phase (../phases.h) that share a source, a
 * shape and all conditions become one, whose groups along dimension 0 are those of its members one
 * after the other. A group finds its member by its number, takes that one's arguments and runs the
 * source as it is, so the bits are those of the separate launches. Products by wgmma find their
 * member themselves (wgmma.h).
 * *Chains*, up to OCL_WIDE_ROWS rows: ops that need no more than a barrier of a group between them
 * become one launch, in which a group makes a tile of a row with the body of one source after the
 * other. A part that sums over its group has as many work-items there as alone; where two parts
 * disagree the chain is cut; and where a sequence has several rows, before and behind what makes
 * them one after the other. Whole chains of a phase, and single ops that could be in one, are
 * branches of one launch.
 * A *sum*, in steps of more than OCL_BUNDLE_ROWS rows: where a product's slices are made apart, the
 * launch that adds them up makes the norm of the row, too, when that is next (sumnorm.c).
 *
 * All forms stand in the list of launches, in the order of phases. An ocl_merge joins what is
 * chosen together, for some kinds of steps (enum ocl_steps): the merged launches of some ops, or
 * the separate ones. Conditions of a merged launch are those of its members, so that each step has
 * what it would have separately. A merge that does not build is off for good; kinds of steps whose
 * bits differ at start have none. Tuning word bundle=0: there are none. */
#ifndef RECURD_OCL_BUNDLE_H
#define RECURD_OCL_BUNDLE_H

#include "kernels/opencl/launches.h"

#define OCL_BUNDLE_ROWS 32
#define OCL_WIDE_ROWS 256
#define OCL_MANY_ROWS 1024 /* what a step of more costs its host does not show */
#define OCL_CHAIN "chain" /* in place of a source's name */

/* Before buffers are made: finds the phases. Where two activations that live in one phase share
 * memory, those of m->own get other places, and m->plan is &m->own; if that takes too much of the
 * device's memory nothing is merged, which the log says. Without bundles nothing changes. */
int ocl_bundle_begin(struct ocl_model *m, struct err *e) MUST_USE;
/* Of the activations of a plan that is laid out (lives.c). */
size_t ocl_arena_bytes(const struct plan *p, const struct capacity *c);
/* After lowering, with the arguments of launches still there: orders the launches by phases, and
 * adds the merged ones. */
int ocl_bundle_launches(struct ocl_model *m, struct err *e) MUST_USE;
void ocl_bundle_free(struct ocl_model *m);

/* The separate launches serve from now on; says why, but for NULL. */
void ocl_bundle_off(struct ocl_model *m, int32_t merge, const char *why);

/* ---- what a bundle can have (alike.c) ---- */

/* Whether two launches can be members of one, for steps of min to max rows. */
bool ocl_alike(const struct ocl_model *m, const struct ocl_launch *a, const struct ocl_launch *b,
               int32_t min, int32_t max);
/* Scratch memory but for packed rows and chains of slices has one place: two ops may not use it at
 * once. */
bool ocl_shares_scratch(const struct ocl_launch *l);
/* A launch that copies rows for the tensor cores: once for all products of one input. */
bool ocl_is_pack(const char *file);
/* Of two such launches that are alike: they copy the same rows. */
bool ocl_same_pack(const struct ocl_launch *a, const struct ocl_launch *b);
/* Bytes of the parameters of `members` such launches. Offset and stride of a view alternate, so the
 * gaps before longs count as parameters of their own. */
size_t ocl_bundle_bytes(const struct ocl_launch *l, int32_t members);

/* ---- products by wgmma (lower/linear.c) ---- */

/* Whether an op is one in all steps of OCL_BUNDLE_ROWS + 1 rows and more … */
bool ocl_linear_by_wgmma(const struct ocl_model *m, const struct op *op);
/* … and the launches of such ops, at most OCL_WGMMA_MEMBERS with rows of one kind, for steps of min
 * to max rows: all with the same tiles, so that one launch can make them (wgmma.h). They are
 * appended in the order of ops. */
int ocl_linear_together(struct ocl_model *m, const int32_t *ops, int32_t n, int32_t min,
                        int32_t max, struct err *e) MUST_USE;

/* The norm, in the next phase, of the whole row that a product makes, which one launch may make
 * together with the sum of its slices, or -1 (sumnorm.c). What the product adds to its result must
 * be there as long as the norm is made. */
int32_t ocl_norm_behind(const struct plan *p, const struct phases *x, int32_t op);

/* ---- text of merged kernels (merge.c) ---- */

/* The source of a bundle of `members` launches like l (defines: its instance's). false: this
 * source cannot be taken apart. Parameters: those that all members share, in the order of the
 * source; then for each member its own, behind the number of its first group (but for the first
 * member, whose is 0). */
bool ocl_merge_bundle(struct buf *out, const char *file, const char *defines,
                      const struct ocl_launch *l, int32_t members);
/* Whether all members of a bundle have the argument in common. */
bool ocl_merge_shared(enum ocl_arg_kind kind);
/* Bytes that argument i takes among a kernel's parameters, with the gap before the next long. */
size_t ocl_arg_bytes(const struct ocl_launch *l, int32_t i);

/* What a work-item or a group of a launch makes, when the launch is a part of a chain: */
enum ocl_part_kind {
    PART_NONE,    /* it cannot be one */
    PART_COLUMNS, /* a work-item a column of a row, alone */
    PART_GROUPS,  /* a group of work-items a piece of a row: (piece, row) in dimensions 0 and 1 */
    PART_HEADS    /* (block of a head, head, sequence) */
};
/* A launch as a part: a row of `units` columns, pieces or blocks of heads is cut as ../phases.h
 * says. Parts of one branch follow each other. */
struct ocl_part {
    const char *file, *defines;
    const struct ocl_launch *l;
    enum ocl_part_kind kind;
    int32_t units;
    const struct pieces *pieces;
    int32_t branch, tiles; /* tiles: of the branch */
};
/* The source of chains side by side: the groups of `lanes` along dimension 0 are the tiles of the
 * first branch, then those of the next; one makes its tile of row get_group_id(1), part after part
 * with barriers between. false: as above. Parameters: the arena, then those of each part without
 * it. */
bool ocl_merge_chain(struct buf *out, const struct ocl_part *parts, int32_t n, int32_t lanes);

/* ---- chains (chain.c) ---- */

/* Launches of a chain of ../phases.h, one an op, or of several in branches, that become one. */
#define OCL_CHAIN_MAX 16
struct ocl_chain {
    struct ocl_part parts[OCL_CHAIN_MAX];
    int32_t at[OCL_CHAIN_MAX]; /* launches */
    int32_t n, branches;
    int32_t tiles; /* of the chain that grows */
    int32_t lanes; /* that some part must have; 0: any */
    bool whole;    /* nothing in its phase waits for it, or it for that */
};
/* Appends launch l (number `at`) of an op to a chain that is made in `tiles`: false when it must
 * begin a new one, or (the chain is empty) cannot be in any. */
bool ocl_chain_add(struct ocl_chain *c, const struct ocl_model *m, const struct ocl_launch *l,
                   int32_t at);
/* Whether a launch of this source may be a part where a sequence has several rows. */
bool ocl_chain_by_rows(const char *file);
/* Appends the branches of a chain that may run at the same time; false: they do not fit. */
bool ocl_chain_beside(struct ocl_chain *c, const struct ocl_model *m, const struct ocl_chain *more);
/* The merged launch but for its instance, and the steps that have it: text, arguments, extents.
 * E_NOMEM, E_UNSUPPORTED. */
int ocl_chain_launch(struct ocl_chain *c, struct ocl_launch *r, struct buf *text,
                     struct err *e) MUST_USE;
/* Whether steps of up to OCL_BUNDLE_ROWS rows, one a sequence, may have the launch. */
bool ocl_launch_decodes(const struct ocl_launch *l);

/* ---- proof at start (bundletest.c) ---- */

/* With weights in place: steps on pseudo-random states with merged and with separate launches, as
 * many as have every merged launch once. Where any bit of an activation or a state differs the
 * model goes on without merged ones in steps of that kind and of those that share a launch with it,
 * and a warning names the phase. Slots and pages are zeros afterwards. */
int ocl_bundle_test(struct ocl_model *m, struct err *e) MUST_USE;

#endif
