/* Names of hosts and origins. */
#include <criterion/criterion.h>

#include "server/http/origin.h"

Test(origin, hosts_are_names_or_addresses_with_a_port)
{
    static const char *const good[] = {"", "x", "localhost:8080", "a.b-c_d.e", "1.2.3.4:1",
                                       "[::1]", "[fe80::1]:65535", "x:"};
    static const char *const bad[] = {"a/b", "a@b", "a, b", "a b", "a:99999999", "a:65536", ":80",
                                      "[::1", "[]", "a:8o", "http://a", "a:1:2", "[::1]x", "\xc3"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        cr_assert(host_is_well_formed(good[i]), "%s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_assert_not(host_is_well_formed(bad[i]), "%s", bad[i]);
}

Test(origin, names_of_loopback_and_no_others)
{
    static const char *const good[] = {"localhost", "LOCALHOST:1", "app.localhost:8080",
                                       "127.0.0.1", "127.9.9.9:5", "[::1]:80"};
    static const char *const bad[] = {"", "evil.example", "127.0.0.1.evil.example", "localhost.x",
                                      "127.1", "127.0.0.", "128.0.0.1", "[::2]", "xlocalhost",
                                      "127..0.1", "127.0.0.1234", ".localhost."};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        cr_assert(host_is_loopback(good[i]), "%s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_assert_not(host_is_loopback(bad[i]), "%s", bad[i]);
}

Test(origin, lists_are_compared_whole)
{
    cr_assert(host_is_listed("Box.example:80", "a, box.example,b"));
    cr_assert_not(host_is_listed("x.example", "box.example"));
    cr_assert_not(host_is_listed("", ", ,"));
    cr_assert_not(host_is_listed("a", NULL));
    cr_assert(origin_is_listed("https://a.example", "http://b, https://a.example"));
    cr_assert_not(origin_is_listed("https://a.example.evil", "https://a.example"));
    cr_assert(origin_is_listed("null", "*"));
    cr_assert_not(origin_is_listed("null", NULL));
    cr_assert(origin_is_own("http://localhost:8080", "localhost:8080"));
    cr_assert_not(origin_is_own("http://localhost:3000", "localhost:8080"));
    cr_assert_not(origin_is_own("http://", ""));
}
