/* The list of launches while it is put into the order of phases (bundle.c), what is merged of a
 * block: ops of one phase that may run in any order (sets.c), or its norm and the product before it
 * (sumnorm.c), and merged launches (merged.c). */
#ifndef RECURD_OCL_BUILDING_H
#define RECURD_OCL_BUILDING_H

#include "kernels/opencl/bundle.h"

struct ocl_building {
    struct ocl_model *m;
    struct ocl_launch *old, *all; /* what lowering made; in the new order, with merged ones */
    int32_t n_old, n, max;
    int32_t *first;               /* [op] its first launch in old; [n_ops] the end */
    /* [op] instead of those, in steps of many rows: launches that only merged ones are made of; or
     * none. */
    struct { int32_t from, to; } *together;
    int32_t *level;               /* [op] how many of its chain come before it */
    struct ocl_chain *chains;     /* those that are merged */
    int32_t n_chains;
    int32_t *chain[STEPS_KINDS];  /* [op] the one that is where it is, or -1 */
    bool *taken[STEPS_KINDS];     /* [op] something merged makes it in these steps */
};

/* Rows that merged launches for a kind of steps (enum ocl_steps) are for: those of more rows than
 * OCL_BUNDLE_ROWS have the same. */
struct ocl_rows { int32_t min, max; };
struct ocl_rows ocl_rows_of(int kind);
static inline bool ocl_one_a_sequence(int kind)
{
    return kind == STEPS_SINGLE || kind == STEPS_WIDE;
}
/* Whether steps of a kind may have a launch. */
bool ocl_launch_serves(const struct ocl_launch *l, int kind);

/* Appends a merged launch with the instance of this text (NULL: r's own), which it takes. On
 * failure r's arguments are freed. */
int ocl_add_merged(struct ocl_building *b, struct ocl_launch *r, const struct ocl_instance *like,
                   char *text, struct err *e) MUST_USE;
/* In the kinds `steps` (bits) launches of these ops, in the order of phases, give way to the merged
 * ones from `from` on; or these, of which one could not be (rc), go away. E_NOMEM, … */
int ocl_end_merge(struct ocl_building *b, const int32_t *ops, int32_t n, uint32_t steps,
                  int32_t from, int rc, struct err *e) MUST_USE;

/* Before that: products by wgmma of such ops get launches that suit each other, behind all others
 * of the model; notes them in `together`. */
int ocl_lower_together(struct ocl_building *b, const int32_t *ops, int32_t n,
                       struct err *e) MUST_USE;
/* Merges what is alike among ops that may run in any order, whose launches are in the list. */
int ocl_merge_block(struct ocl_building *b, const int32_t *ops, int32_t n,
                    struct err *e) MUST_USE;

/* Of the ops of a phase's first block the norm, if there is one, whose row a product's slices are
 * added up to in the phase before, or -1 (sumnorm.c) … */
int32_t ocl_norm_of_sum(const struct ocl_building *b, const int32_t *ops, int32_t n);
/* … and, with its own launches the last of the list, the merged ones of both ops, unless something
 * merged makes one of them. */
int ocl_merge_sum(struct ocl_building *b, int32_t norm, struct err *e) MUST_USE;

#endif
