/* SentencePiece walks its normaliser table without looking at its size: one damaged word, and
 * some text crashes the process. So every node that a walk can reach is visited once, here.
 *
 * The table is u32 LE trie bytes, the trie, NUL-terminated strings. The trie is an array of 32-bit
 * units (darts-clone): bits 0-7 and 31 label, bit 8 "a value hangs here", bit 9 a wide offset,
 * bits 10-30 the offset. From a unit at `i` the value is at i ^ offset, and the child for byte c at
 * i ^ offset ^ c, if that unit's label is c. Thread: any. */
#include "models/text/spm_charsmap.h"

#include <string.h>

#include "base/mem.h"

/* The library has room for this many matches of one search on its stack. */
#define MATCHES_MAX 32
/* Longest key in bytes: the longest of Unicode's is below 60. Bounds our recursion. */
#define KEY_MAX 256

struct walk {
    const unsigned char *units;
    size_t n, strings; /* units; bytes of the strings */
    unsigned char *matches; /* by base: most values on a way down from it, plus 1; 0 = not seen */
    const char *name;
    struct err *e;
};
#define OPEN 255 /* in `matches`: being visited */

static uint32_t unit_at(const struct walk *w, size_t i)
{
    const unsigned char *p = w->units + 4 * i;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static size_t offset_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 0x200) >> 6);
}

static int damaged(const struct walk *w, size_t i, const char *what)
{
    return err_set(w->e, E_FORMAT, "%s: the normaliser table is damaged: unit %zu of %zu %s",
                   w->name, i, w->n, what);
}

/* Everything below base; the most values on one way, or an error. */
static int visit(struct walk *w, size_t base, int depth)
{
    if (base >= w->n || (base | 0xff) >= w->n)
        return damaged(w, base, "is outside");
    if (depth > KEY_MAX || w->matches[base] == OPEN)
        return damaged(w, base, "is its own child");
    if (w->matches[base])
        return w->matches[base] - 1;
    w->matches[base] = OPEN;
    int most = 0;
    for (size_t c = 0; c < 256; c++) {
        uint32_t unit = unit_at(w, base ^ c);
        if ((unit & 0x800000ff) != c)
            continue;
        size_t next = (base ^ c) ^ offset_of(unit);
        bool has_value = unit & 0x100;
        int below = visit(w, next, depth + 1);
        if (below < 0)
            return below;
        if (has_value && (unit_at(w, next) & 0x7fffffff) >= w->strings)
            return damaged(w, next, "points behind the strings");
        most = MAX(most, below + has_value);
    }
    if (most > MATCHES_MAX)
        return damaged(w, base, "nests too many matches");
    w->matches[base] = (unsigned char)(most + 1);
    return most;
}

int spm_charsmap_check(const unsigned char *map, size_t n, const char *name, struct err *e)
{
    if (n <= 4)
        return err_set(e, E_FORMAT, "%s: the normaliser table has %zu bytes, 5 are the least",
                       name, n);
    size_t trie = (size_t)map[0] | (size_t)map[1] << 8 | (size_t)map[2] << 16 |
                  (size_t)map[3] << 24;
    if (trie >= n - 4 || trie % 4 || trie == 0)
        return err_set(e, E_FORMAT, "%s: the normaliser table has %zu bytes, its trie claims %zu",
                       name, n, trie);
    struct walk w = {
        .units = map + 4, .n = trie / 4, .strings = n - 4 - trie, .name = name, .e = e};
    w.matches = mem_zalloc(w.n);
    if (!w.matches)
        return err_set(e, E_NOMEM, "%s: out of memory for %zu units", name, w.n);
    int rc = visit(&w, offset_of(unit_at(&w, 0)), 0);
    mem_free(w.matches);
    return rc < 0 ? rc : 0;
}
