/* Which entries TOPK chooses when scores are no numbers. */
#include <criterion/criterion.h>
#include <math.h>

#include "kernels/host.h"

#define N 6
#define K 4

/* The K best of x [N], of which the last `none` are no choice: indices, then weights, to out
 * [2 * K]. */
static void best(const float *x, int none, float *out)
{
    struct act acts[] = {{.width = N, .stride = N}, {.offset = N, .width = 2 * K, .stride = 2 * K}};
    struct plan plan = {.acts = acts, .n_acts = 2};
    struct batch batch = {.n_tokens = 1};
    struct op op = {.kind = OP_TOPK, .in[0] = {0, 0, N}, .out = {1, 0, 2 * K},
                    .w = {-1, -1}, .p.topk = {.n = N, .k = K, .n_groups = 1, .none = none,
                                                 .scale = 1}};
    float arena[N + 2 * K];
    memcpy(arena, x, N * sizeof *x);
    struct host_step s = {.plan = &plan, .batch = &batch, .arena = arena};
    ref_topk(&s, &op, 0, 1);
    memcpy(out, arena + N, 2 * K * sizeof *out);
}

static void expect(const float *x, const int *indices)
{
    float out[2 * K];
    best(x, 0, out);
    for (int i = 0; i < K; i++)
        cr_assert_eq(out[i], indices[i], "place %d: entry %g, expected %d", i, (double)out[i],
                     indices[i]);
}

Test(ref_route, a_nan_is_never_among_the_best)
{
    expect((float[N]){NAN, 1, 3, NAN, 2, 0}, (int[K]){2, 4, 1, 5});
    expect((float[N]){5, NAN, NAN, 4, 3, 2}, (int[K]){0, 3, 4, 5});
}

Test(ref_route, entry_0_stands_in_for_what_is_missing)
{
    expect((float[N]){NAN, 1, NAN, 2, NAN, NAN}, (int[K]){3, 1, 0, 0});
    expect((float[N]){NAN, NAN, NAN, NAN, NAN, NAN}, (int[K]){0, 0, 0, 0});
}

Test(ref_route, infinities_have_their_place)
{
    expect((float[N]){-INFINITY, 1, INFINITY, NAN, -INFINITY, 0}, (int[K]){2, 1, 5, 0});
}

Test(ref_route, a_choice_of_nothing_is_entry_0_with_weight_0)
{
    float out[2 * K];
    best((float[N]){7, 1, 2, 3, 9, 8}, 2, out);
    cr_assert_arr_eq(out, ((float[2 * K]){0, 0, 0, 3, 0, 0, 7, 3}), sizeof out);
}
