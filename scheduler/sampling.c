/* The rows of sampling.def. Any thread. */
#include <stddef.h>
#include <string.h>

#include "scheduler/request.h"

void sampling_without(struct sampling *s)
{
    static const struct dry_breaker usual[] = {{1, "\n"}, {1, ":"}, {1, "\""}, {1, "*"}};
#define SAMPLING(type, name, without, least, most) s->name = without;
#include "scheduler/sampling.def"
#undef SAMPLING
    s->n_breakers = (int32_t)ARRAY_LEN(usual);
    memcpy(s->breakers, usual, sizeof usual);
}

bool sampling_more(const struct sampling *s)
{
    static const struct { bool real; size_t at; float without; } members[] = {
#define SAMPLING(type, name, without, least, most) \
    {_Generic((type)0, float: true, default: false), offsetof(struct sampling, name), without},
#include "scheduler/sampling.def"
#undef SAMPLING
    };
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        const char *at = (const char *)s + members[i].at;
        int32_t n;
        float x;
        memcpy(&n, at, sizeof n);
        memcpy(&x, at, sizeof x);
        if ((members[i].real ? x : (float)n) != members[i].without)
            return true;
    }
    return false;
}
