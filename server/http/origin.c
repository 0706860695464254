/* Names of hosts and origins. */
#include "server/http/origin.h"

#include <string.h>
#include <strings.h>

#define NAME_BYTES 253 /* the longest of the DNS */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool is_name(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '.' || c == '_';
}

/* The bytes before the port; SIZE_MAX: malformed. */
static size_t name_length(const char *host)
{
    size_t n = 0;
    if (host[0] == '[') {
        n = 1 + strspn(host + 1, "0123456789abcdefABCDEF:.");
        if (n < 3 || host[n] != ']')
            return SIZE_MAX;
        n++;
    } else {
        while (is_name(host[n]))
            n++;
    }
    if (n > NAME_BYTES)
        return SIZE_MAX;
    if (!host[n])
        return n;
    size_t digits = host[n] == ':' ? strspn(host + n + 1, "0123456789") : 0;
    if (n == 0 || host[n] != ':' || digits > 5 || host[n + 1 + digits])
        return SIZE_MAX;
    long port = 0;
    for (size_t i = 0; i < digits; i++)
        port = port * 10 + (host[n + 1 + i] - '0');
    return port > 65535 ? SIZE_MAX : n;
}

bool host_is_well_formed(const char *host) { return name_length(host) != SIZE_MAX; }

static bool is_same(const char *a, size_t n, const char *b)
{
    return strlen(b) == n && strncasecmp(a, b, n) == 0;
}

bool host_is_loopback(const char *host)
{
    static const char last[] = ".localhost";
    size_t n = name_length(host), tail = sizeof last - 1;
    if (n == SIZE_MAX || n == 0)
        return false;
    if (is_same(host, n, "localhost") || is_same(host, n, "[::1]"))
        return true;
    if (n > tail && strncasecmp(host + n - tail, last, tail) == 0)
        return true;
    int dots = 0, digits = 0;
    for (size_t i = 0; i < n; i++) {
        if (host[i] == '.' && digits == 0)
            return false;
        if (host[i] != '.' && (!is_digit(host[i]) || ++digits > 3))
            return false;
        dots += host[i] == '.';
        digits = host[i] == '.' ? 0 : digits;
    }
    return dots == 3 && digits > 0 && strncmp(host, "127.", 4) == 0;
}

static bool in_list(const char *p, size_t n, const char *list)
{
    while (list && *list) {
        list += strspn(list, ", ");
        size_t m = strcspn(list, ", ");
        if (m && m == n && strncasecmp(list, p, n) == 0)
            return true;
        list += m;
    }
    return false;
}

bool host_is_listed(const char *host, const char *list)
{
    size_t n = name_length(host);
    return n != SIZE_MAX && n > 0 && in_list(host, n, list);
}

bool origin_is_listed(const char *origin, const char *list)
{
    return list && (strcmp(list, "*") == 0 || in_list(origin, strlen(origin), list));
}

bool origin_is_own(const char *origin, const char *host)
{
    const char *after = strncmp(origin, "http://", 7) == 0    ? origin + 7
                        : strncmp(origin, "https://", 8) == 0 ? origin + 8
                                                              : NULL;
    return after && *host && strcasecmp(after, host) == 0;
}
