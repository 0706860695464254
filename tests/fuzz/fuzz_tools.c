/* Functions that are offered, in every dialect: taken or refused with a sentence; what is taken is
 * a grammar whose masks are the truth, and a text that follows it to its end is read as a call. */
#include <jansson.h>

#include "base/limits.h"
#include "base/mem.h"
#include "models/text/toolcall/toolcall.h"
#include "tests/fuzz/fuzz_grammar.h"

static const char *const dialects[] = {"kimi", "minimax", "lfm2", "function-tags", "hermes",
                                       "tool-calls", "nemotron", "mistral", "mistral-json",
                                       "llama"};
#define WALK 400

static void count(void *arg, const struct toolcall_event *ev)
{
    *(int *)arg += ev->kind == TOOLCALL_BEGIN;
    HOLDS(ev->kind != TOOLCALL_TEXT);
}

/* The first token that is allowed from a place on that the input chooses; a text that ended is
 * read. */
static void walk(struct grammar *g, const struct toolcall_demand *d, const uint8_t *choices,
                 size_t n)
{
    uint32_t words[FUZZ_TOKENS / 32];
    struct match *m = match_new(g);
    struct match_state s = {0};
    struct err e = {0};
    struct buf text;
    buf_init(&text, KIB(64));
    HOLDS(m);
    for (size_t step = 0; step < WALK; step++) {
        if (match_mask(m, words, &s, &e) || (s.whole && !s.more))
            break;
        int32_t id = n ? choices[step % n] * (int32_t)(1 + step / n) % FUZZ_TOKENS : 0;
        while (!(words[id / 32] >> (id % 32) & 1))
            id = (id + 1) % FUZZ_TOKENS;
        size_t len;
        const char *p = fuzz_piece(NULL, id, &len);
        HOLDS(match_accept(m, id, &e) == 0 || e.code == E_RANGE);
        (void)buf_add(&text, p, p ? len : 0);
    }
    match_free(m);
    int depth = 0, deepest = 0; /* readers of JSON take LIMIT_JSON_DEPTH levels */
    for (size_t i = 0; i < text.len; i++) {
        depth += strchr("{[", text.p[i]) && text.p[i] ? 1 : strchr("}]", text.p[i]) ? -1 : 0;
        deepest = MAX(deepest, depth);
    }
    if (s.whole && !s.more && !e.code && deepest < LIMIT_JSON_DEPTH / 2) {
        int calls = 0;
        struct toolset *tools = toolset_new(d->tools);
        struct toolcall_options o = {.dialect = d->dialect, .tools = tools, .emit = count,
                                     .arg = &calls};
        struct toolcall *t = toolcall_new(&o);
        HOLDS(t && toolcall_feed(t, text.p, text.len, &e) == 0 && toolcall_finish(t, &e) == 0);
        HOLDS(calls == 1);
        toolcall_free(t);
        toolset_free(tools);
    }
    buf_free(&text);
}

/* The first byte chooses the dialect and whether a call is demanded, the last 16 the text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    size_t tail = MIN(n ? n - 1 : 0, (size_t)16);
    json_error_t je;
    json_t *tools = n > tail ? json_loadb((const char *)data + 1, n - 1 - tail, 0, &je) : NULL;
    if (!json_is_array(tools)) {
        json_decref(tools);
        return 0;
    }
    struct toolcall_demand d = {.dialect = toolcall_find(dialects[data[0] % 10]), .tools = tools,
                                .wish = data[0] & 128};
    struct grammar *g = NULL;
    struct err e = {0};
    char *text;
    int rc = toolcall_structure(&text, &d, &e);
    HOLDS((rc == 0) == (text != NULL) && (rc == 0 || e.text[0]));
    if (text) {
        struct grammar_source s = {.kind = GRAMMAR_STRUCTURE, .text = text, .n = strlen(text),
                                   .trigger = d.wish ? "<call>" : NULL, .again = d.wish};
        rc = grammar_new(&g, &s, fuzz_trie(), &e);
        HOLDS((rc == 0) == (g != NULL) && (rc == 0 || e.text[0]));
    }
    if (g)
        fuzz_follow(g, data + n - tail, tail);
    if (g && !d.wish)
        walk(g, &d, data + n - tail, tail);
    grammar_unref(g);
    mem_free(text);
    json_decref(tools);
    return 0;
}
