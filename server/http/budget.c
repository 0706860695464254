/* The budget. */
#include "server/http/budget.h"

bool budget_change(struct budget *b, size_t from, size_t to)
{
    int64_t more = (int64_t)to - (int64_t)from;
    int64_t max = to > BUDGET_SMALL ? b->max - b->max / 4 : b->max;
    if (__atomic_add_fetch(&b->used, more, __ATOMIC_RELAXED) <= max || more <= 0)
        return true;
    __atomic_sub_fetch(&b->used, more, __ATOMIC_RELAXED);
    __atomic_add_fetch(&b->refused, 1, __ATOMIC_RELAXED);
    return false;
}
