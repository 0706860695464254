/* A grammar engine on a pipe, for tests/grammars: it is told a vocabulary, grammars and texts, and
 * answers with masks and times.
 *
 *   grammar-masks VOCAB  for each token 4 bytes of length (little endian) and its bytes
 *   G KIND N\n<N bytes>  a grammar (kind as enum grammar_kind, + 16 = compact)  -> ok US | error …
 *   A N\n<N bytes>       the text goes on                                       -> ok | error …
 *   R                    the text begins again                                  -> ok
 *   M                    -> mask WHOLE MORE US, then a line of hex words
 *   T                    as M without the words */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "models/text/constrain/grammar.h"

struct vocab { const char **p; size_t *n; int32_t count; };

static const char *piece(const void *arg, int32_t id, size_t *n)
{
    const struct vocab *v = arg;
    *n = v->n[id];
    return v->p[id];
}

static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    size_t cap = 1 << 26;
    char *p = f ? malloc(cap) : NULL;
    *n = p ? fread(p, 1, cap, f) : 0;
    if (f)
        fclose(f);
    return p;
}

static struct vocab read_vocab(const char *path)
{
    size_t n, at = 0;
    char *p = read_file(path, &n);
    struct vocab v = {calloc(1 << 20, sizeof *v.p), calloc(1 << 20, sizeof *v.n), 0};
    while (p && at + 4 <= n && v.count < 1 << 20) {
        uint32_t len;
        memcpy(&len, p + at, 4);
        v.p[v.count] = p + at + 4;
        v.n[v.count++] = len;
        at += 4 + len;
    }
    return v;
}

static double us(uint64_t since) { return (double)(clock_now_ns() - since) / 1e3; }

static void mask(struct match *m, const struct token_trie *t, uint32_t *words, bool show)
{
    struct match_state s = {0};
    struct err e = {0};
    uint64_t at = clock_now_ns();
    if (match_mask(m, words, &s, &e)) {
        printf("error %s\n", e.text);
        return;
    }
    printf("mask %d %d %.1f\n", s.whole, s.more, us(at));
    for (size_t i = 0; i < t->words && show; i++)
        printf("%08x", words[i]);
    if (show)
        printf("\n");
}

static struct match *compile(struct token_trie *t, int kind, const char *text, size_t n)
{
    struct grammar *g;
    struct err e = {0};
    struct grammar_source s = {.kind = (enum grammar_kind)(kind & 15), .text = text, .n = n,
                               .compact = kind & 16};
    uint64_t at = clock_now_ns();
    if (grammar_new(&g, &s, t, &e)) {
        printf("error %s (%.1f us)\n", e.text, us(at));
        return NULL;
    }
    printf("ok %.1f\n", us(at));
    struct match *m = match_new(g);
    grammar_unref(g);
    return m;
}

int main(int argc, char **argv)
{
    struct vocab v = read_vocab(argc > 1 ? argv[1] : "");
    struct token_trie *t;
    struct err e = {0};
    uint64_t at = clock_now_ns();
    if (v.count == 0 || token_trie_new(&t, v.count, piece, &v, &e)) {
        fprintf(stderr, "masks: no vocabulary: %s\n", e.text);
        return 2;
    }
    printf("ok %.1f %u nodes\n", us(at), t->n_nodes);
    fflush(stdout);
    uint32_t *words = calloc(t->words, sizeof *words);
    struct match *m = NULL, *start = NULL;
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        int kind = 0;
        size_t n = 0;
        char *end = line + 1;
        kind = line[0] == 'G' ? (int)strtol(end, &end, 10) : 0;
        n = strtoul(end, NULL, 10);
        char *text = calloc(n + 1, 1);
        if (fread(text, 1, n, stdin) != n)
            return 2;
        if (line[0] == 'G') {
            match_free(m);
            match_free(start);
            start = compile(t, kind, text, n);
            m = start ? match_clone(start) : NULL;
        } else if (!m) {
            printf("error no grammar\n");
        } else if (line[0] == 'A') {
            err_clear(&e);
            puts(match_accept_bytes(m, text, n, &e) ? e.text : "ok");
        } else if (line[0] == 'R') {
            match_free(m);
            m = match_clone(start);
            puts("ok");
        } else {
            mask(m, t, words, line[0] == 'M');
        }
        free(text);
        fflush(stdout);
    }
    match_free(m);
    match_free(start);
    token_trie_unref(t);
    return 0;
}
