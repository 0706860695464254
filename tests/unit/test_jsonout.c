/* JSON out: escapes, malformed text, numbers that read back as the same bits. */
#include "server/api/jsonout.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

Test(jsonout, strings_are_escaped)
{
    struct buf b;
    buf_init(&b, 1000);
    jsonout_strn(&b, "a\"b\\c\n\r\t\x01\x7f\0z\xc3\xa9", 14);
    cr_assert_str_eq(b.p, "\"a\\\"b\\\\c\\n\\r\\t\\u0001\\u007f\\u0000z\xc3\xa9\"");
    buf_clear(&b);
    jsonout_strn(&b, "", 0);
    cr_assert_str_eq(b.p, "\"\"");
    buf_free(&b);
}

Test(jsonout, malformed_text_becomes_replacement_characters)
{
    struct buf b;
    buf_init(&b, 1000);
    jsonout_str(&b, "a\xff\"\xe2\x82");
    cr_assert_str_eq(b.p, "\"a\xef\xbf\xbd\\\"\xef\xbf\xbd\"");
    buf_free(&b);
}

Test(jsonout, floats_read_back_as_the_same_bits)
{
    struct rng r = {5, 0};
    struct buf b;
    buf_init(&b, 100);
    for (int i = 0; i < 200000; i++) {
        uint32_t bits = (uint32_t)rng_next(&r);
        float v, back;
        memcpy(&v, &bits, sizeof v);
        buf_clear(&b);
        jsonout_float(&b, v);
        back = strtof(b.p, NULL);
        if (isfinite(v))
            cr_assert(memcmp(&v, &back, sizeof v) == 0, "%s", b.p);
        else
            cr_assert_str_eq(b.p, "-9999");
    }
    buf_free(&b);
}

Test(jsonout, ids)
{
    struct buf b;
    buf_init(&b, 100);
    jsonout_ids(&b, (int32_t[]){1, -2, 30}, 3);
    jsonout_ids(&b, NULL, 0);
    cr_assert_str_eq(b.p, "[1,-2,30][]");
    buf_free(&b);
}
