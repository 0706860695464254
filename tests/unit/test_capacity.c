/* Slots and pages that are chosen when nobody says how many. */
#include <criterion/criterion.h>

#include "base/limits.h"
#include "kernels/backend.h"
#include "models/model.h"
#include "scheduler/capacity.h"

static int64_t left, one;

static int64_t memory_left(const struct device *d, int64_t *most)
{
    (void)d;
    *most = one;
    return left;
}

/* A hybrid: states of 48 MiB in six sections, 64 KiB of keys and values a token in eight. */
#define STATE ((int64_t)MIB(48) / 4)
#define ROW ((int64_t)KIB(64) / 4)

static struct section sections[14];
static const struct backend own = {.memory_left = memory_left}, unknown = {.name = "unknown"};

static struct capacity choose(const struct backend *b, struct served_options o, int64_t *context)
{
    static struct model m;
    struct device d = {.backend = b};
    struct served s = {.model = &m, .device = &d};
    for (int i = 0; i < 14; i++)
        sections[i] = (struct section){"s", i < 6 ? SECTION_FIXED : SECTION_PAGED,
                                       i < 6 ? STATE / 6 : ROW / 8, 0, DTYPE_F32};
    m.plan = (struct plan){.slot_floats = STATE, .page_token_floats = ROW, .sections = sections,
                           .n_sections = 14};
    m.weight_bytes = GIB(8);
    m.context_made = 262144;
    o.step_tokens = o.step_tokens ? o.step_tokens : 512;
    o.logit_rows = 64;
    capacity_choose(&s, &o);
    *context = s.context_max;
    return s.cap;
}

Test(capacity, a_device_of_its_own_memory_is_filled)
{
    int64_t context;
    left = (int64_t)GIB(140);
    one = (int64_t)GIB(35);
    struct capacity c = choose(&own, (struct served_options){0}, &context);
    int64_t states = (int64_t)c.slots * STATE * 4, pages = (int64_t)c.pages * PAGE_TOKENS * ROW * 4;
    cr_assert_eq(c.slots, 256);
    cr_assert_eq(c.seqs, 256);
    cr_assert_eq(context, 262144);
    /* nine tenths of it, less the weights, to a page */
    int64_t room = left - left / 10 - (int64_t)GIB(8);
    cr_assert_leq(states + pages, room);
    cr_assert_gt(states + pages, room - PAGE_TOKENS * ROW * 4);
}

Test(capacity, a_small_device_gets_as_many_as_fit)
{
    int64_t context;
    left = (int64_t)GIB(12);
    one = (int64_t)GIB(4);
    struct capacity c = choose(&own, (struct served_options){0}, &context);
    cr_assert_gt(c.slots, 1);
    cr_assert_lt(c.slots, 64);
    cr_assert_leq((int64_t)c.slots * STATE * 4 + (int64_t)c.pages * PAGE_TOKENS * ROW * 4,
                  (int64_t)GIB(4));
    cr_assert_eq(context, (int64_t)c.pages * PAGE_TOKENS);
}

Test(capacity, no_section_is_larger_than_one_buffer)
{
    int64_t context;
    left = (int64_t)GIB(140);
    one = (int64_t)GIB(1);
    struct capacity c = choose(&own, (struct served_options){0}, &context);
    cr_assert_eq(c.slots, 128); /* of 8 MiB a section */
    cr_assert_eq((int64_t)c.pages * PAGE_TOKENS * ROW / 8 * 4, one);
}

Test(capacity, a_step_has_a_row_of_every_slot)
{
    int64_t context;
    struct served_options o = {.step_tokens = 5};
    left = (int64_t)GIB(140);
    one = (int64_t)GIB(35);
    cr_assert_eq(choose(&own, o, &context).slots, 5);
    cr_assert_eq(choose(&unknown, o, &context).slots, 5);
}

Test(capacity, what_is_asked_for_is_taken)
{
    int64_t context;
    left = (int64_t)GIB(140);
    one = (int64_t)GIB(35);
    struct served_options o = {.slots = 7, .kv_bytes = GIB(32)};
    struct capacity c = choose(&own, o, &context);
    cr_assert_eq(c.slots, 7);
    cr_assert_eq((int64_t)c.pages * PAGE_TOKENS * ROW * 4, (int64_t)GIB(32));
}

Test(capacity, where_nothing_is_known_the_defaults_hold)
{
    int64_t context;
    struct capacity c = choose(&unknown, (struct served_options){0}, &context);
    cr_assert_eq(c.slots, DEFAULT_SLOTS);
    cr_assert_eq(context, 262144); /* pages for one sequence of full length */
    left = -1;
    cr_assert_eq(choose(&own, (struct served_options){0}, &context).slots, DEFAULT_SLOTS);
}
