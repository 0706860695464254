#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "server/otlp/traceparent.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"
#define ZEROS32 "00000000000000000000000000000000"

Test(traceparent, reads_what_the_standard_shows)
{
    struct trace_context t;
    cr_assert(traceparent_read("00-" TRACE "-" SPAN "-01", &t));
    cr_assert_str_eq(t.trace, TRACE);
    cr_assert_str_eq(t.parent, SPAN);
    cr_assert(t.sampled);
    cr_assert(traceparent_read("00-" TRACE "-" SPAN "-00", &t));
    cr_assert(!t.sampled);
    cr_assert(traceparent_read("00-" TRACE "-" SPAN "-fe", &t), "other flags mean nothing yet");
    cr_assert(!t.sampled);
    cr_assert(traceparent_read("cc-" TRACE "-" SPAN "-01-more", &t), "a later version");
    cr_assert(t.sampled);
}

Test(traceparent, ignores_what_is_malformed)
{
    static const char *const bad[] = {
        "", "00", "00-" TRACE "-" SPAN, "00-" TRACE "-" SPAN "-0", "00-" TRACE "-" SPAN "-01x",
        "00-" TRACE "-" SPAN "-01-more", "cc-" TRACE "-" SPAN "-01x", "ff-" TRACE "-" SPAN "-01",
        "0g-" TRACE "-" SPAN "-01", "00-" TRACE "-" SPAN "-0g", "00_" TRACE "-" SPAN "-01",
        "00-" TRACE "_" SPAN "-01", "00-" TRACE "-" SPAN "_01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01", "00-" ZEROS32 "-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01", " 00-" TRACE "-" SPAN "-01",
    };
    struct trace_context t;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert(!traceparent_read(bad[i], &t), "%s", bad[i]);
        cr_assert(!*t.trace && !*t.parent && !t.sampled, "%s", bad[i]);
    }
    cr_assert(!traceparent_read(NULL, &t));
}
