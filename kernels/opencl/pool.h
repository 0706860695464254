/* Slots and pages: so many items of one size, each all sections of a kind in the plan's order.
 *
 * A bank is one buffer with some neighbouring sections of every item, so a pool is one bank unless
 * that would be larger than the device allows a buffer to be; then it is cut between sections. */
#ifndef RECURD_OCL_POOL_H
#define RECURD_OCL_POOL_H

#include "kernels/opencl/buffer.h"
#include "kernels/plan.h"

struct ocl_bank {
    struct ocl_buffer buffer; /* [items][floats] */
    int64_t from, floats;     /* floats [from, from + floats) of an item */
};

/* Owner: the loaded model. */
struct ocl_pool {
    struct ocl_bank *banks;
    int32_t n;
    int64_t floats; /* of an item */
};

/* E_NOMEM: a section of all items alone is larger than one buffer, or the device is full; the
 * sentence has the numbers. On failure p can be freed. */
int ocl_pool_init(struct ocl_pool *p, struct ocl_device *d, const struct plan *plan,
                  enum section_kind kind, int32_t items, struct err *e) MUST_USE;
void ocl_pool_free(struct ocl_pool *p, struct ocl_device *d);

/* The most bytes of a bank. */
uint64_t ocl_pool_bank_max(const struct ocl_device *d);

/* Index of the bank with float `at` of an item. */
int32_t ocl_pool_bank(const struct ocl_pool *p, int64_t at);

static inline size_t ocl_pool_bytes(const struct ocl_pool *p) { return (size_t)p->floats * 4; }
/* Where an item begins in a bank, and its bytes there. */
static inline size_t ocl_bank_at(const struct ocl_bank *b, int32_t item)
{
    return (size_t)item * (size_t)b->floats * 4;
}
static inline size_t ocl_bank_bytes(const struct ocl_bank *b) { return (size_t)b->floats * 4; }

#endif
