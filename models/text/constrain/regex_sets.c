/* \d \w \s: in ASCII where one means it, and as wide as any dialect means it where one excludes it.
 * What is written is then matched by ECMAScript, Python and PCRE alike. */
#include <pthread.h>
#include <utf8proc.h>

#include "models/text/constrain/regex.h"

#define WIDE_RANGES 1024

/* Beyond ASCII, by Unicode's categories. Filled once, read-only afterwards. */
static struct wide {
    struct char_range r[WIDE_RANGES];
    int n;
} digits, words, spaces;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void extend(struct wide *w, int32_t c)
{
    if (w->n > 0 && w->r[w->n - 1].hi == c - 1)
        w->r[w->n - 1].hi = c;
    else if (w->n < WIDE_RANGES)
        w->r[w->n++] = (struct char_range){c, c};
    else
        w->r[w->n - 1].hi = c; /* too many ranges: wider yet */
}

static void fill(void)
{
    for (int32_t c = 0x80; c <= CHAR_MAX_CODE; c++) {
        utf8proc_category_t k = utf8proc_category(c);
        if (k == UTF8PROC_CATEGORY_ND)
            extend(&digits, c);
        if ((k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_NO) ||
            k == UTF8PROC_CATEGORY_PC)
            extend(&words, c);
        if ((k >= UTF8PROC_CATEGORY_ZS && k <= UTF8PROC_CATEGORY_ZP) || c == 0x85 || c == 0xFEFF ||
            c == 0x180E)
            extend(&spaces, c);
    }
}

bool regex_named_set(struct automaton *a, int letter, bool excluded, struct char_set *out)
{
    static const struct {
        int letter;
        struct char_range r[4];
        int n;
        const struct wide *wide;
    } sets[] = {
        {'d', {{'0', '9'}}, 1, &digits},
        {'w', {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}, 4, &words},
        {'s', {{'\t', '\r'}, {' ', ' '}}, 2, &spaces},
    };
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        bool upper = letter == sets[i].letter - 'a' + 'A';
        struct char_set s = {0};
        if (letter != sets[i].letter && !upper)
            continue;
        for (int k = 0; k < sets[i].n; k++)
            char_set_add(a, &s, sets[i].r[k].lo, sets[i].r[k].hi);
        if (upper != excluded) { /* what is left out is left out as widely as anybody means it */
            pthread_once(&once, fill);
            for (int k = 0; k < sets[i].wide->n; k++)
                char_set_add(a, &s, sets[i].wide->r[k].lo, sets[i].wide->r[k].hi);
            if (sets[i].letter == 's')
                char_set_add(a, &s, 0x1C, 0x1F); /* Python's */
        }
        if (upper)
            char_set_not(a, &s);
        for (int32_t k = 0; k < s.n; k++)
            char_set_add(a, out, s.p[k].lo, s.p[k].hi);
        return true;
    }
    return false;
}
