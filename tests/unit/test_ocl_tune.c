/* The tuning words of the OpenCL backend. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "kernels/opencl/device.h"
#include "kernels/opencl/tune.h"

static struct ocl_info info(const char *vendor, size_t group_max)
{
    struct ocl_info d = {.group_max = group_max};
    snprintf(d.vendor, sizeof d.vendor, "%s", vendor);
    return d;
}

Test(ocl_tune, every_device_gets_the_common_row)
{
    struct ocl_tune t;
    struct ocl_info d = info("Nobody Inc.", 4096);
    ocl_tune_choose(&t, &d);
    cr_assert_gt(t.slices, 0);
    cr_assert_gt(t.group, 0);
    cr_assert_eq(t.mma, 0);
}

Test(ocl_tune, a_vendor_row_overrides_the_common_one_in_any_case)
{
    struct ocl_tune t;
    struct ocl_info d = info("nvidia corporation", 1024);
    ocl_tune_choose(&t, &d);
    cr_assert_eq(t.mma, 1);
}

Test(ocl_tune, an_architecture_has_a_row_of_its_own)
{
    struct ocl_tune t;
    struct ocl_info d = info("NVIDIA Corporation", 1024);
    snprintf(d.arch, sizeof d.arch, "sm_89");
    ocl_tune_choose(&t, &d);
    cr_assert_eq(t.mma, 1);
    cr_assert_eq(t.wgmma, 0);
    snprintf(d.arch, sizeof d.arch, "sm_90");
    ocl_tune_choose(&t, &d);
    cr_assert_eq(t.mma, 1);
    cr_assert_eq(t.wgmma, 1);
}

Test(ocl_tune, groups_fit_the_device)
{
    struct ocl_tune t;
    struct ocl_info d = info("NVIDIA Corporation", 64);
    ocl_tune_choose(&t, &d);
    cr_assert_leq(t.group, 64);
    cr_assert_leq(t.slices * 32, 64);
    cr_assert_leq(t.state_cols, 64);
}

Test(ocl_tune, words_change_only_what_they_name)
{
    struct ocl_tune t = {.slices = 8, .mma = 1, .group = 128};
    struct err e = {0};
    cr_assert_eq(ocl_tune_parse(&t, "  mma=0 group=32 ", &e), 0);
    cr_assert_eq(t.mma, 0);
    cr_assert_eq(t.group, 32);
    cr_assert_eq(t.slices, 8);
}

Test(ocl_tune, wrong_words_are_named)
{
    static const char *const wrong[] = {"mma=2", "slices=0", "speed=9", "mma", "mma=", "mma=1x",
                                        "group=-1", "slices=99999999999999999999"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct ocl_tune t = {0};
        struct err e = {0};
        cr_assert_eq(ocl_tune_parse(&t, wrong[i], &e), E_FORMAT, "%s", wrong[i]);
        cr_assert(strstr(e.text, wrong[i]), "%s", e.text);
    }
}
