/* Any bytes as what a model wrote, in every dialect: whole and in pieces the events are the same;
 * arguments are JSON objects of functions that were offered, but for those that leave early. */
#include <jansson.h>

#include "base/limits.h"
#include "models/text/toolcall/toolcall.h"
#include "tests/fuzz/fuzz.h"

static const char *const dialects[] = {"kimi", "minimax", "lfm2", "function-tags", "hermes",
                                       "tool-calls", "nemotron", "mistral", "mistral-json",
                                       "llama"};
static const char offered[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"a\":{"
    "\"type\":\"string\"}}}}},{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";

struct record {
    struct buf out;
    const struct toolset *tools;
    int last;
    bool early, open; /* in a call */
};

static void emit(void *arg, const struct toolcall_event *ev)
{
    struct record *r = arg;
    char name[8] = "";
    json_error_t e;
    if (ev->kind == TOOLCALL_BEGIN) {
        HOLDS(ev->n < sizeof name);
        memcpy(name, ev->p, ev->n);
        HOLDS(toolset_has(r->tools, name));
        HOLDS(!r->open);
    } else if (ev->kind == TOOLCALL_ARGUMENTS && !r->early) {
        json_t *v = json_loadb(ev->p, ev->n, JSON_ALLOW_NUL, &e);
        HOLDS(json_is_object(v));
        json_decref(v);
    }
    r->open = ev->kind == TOOLCALL_BEGIN || ev->kind == TOOLCALL_ARGUMENTS;
    if ((int)ev->kind != r->last || ev->kind == TOOLCALL_BEGIN)
        buf_fmt(&r->out, "|%d:%s:", ev->kind, ev->id);
    buf_add(&r->out, ev->p ? ev->p : "", ev->n);
    r->last = (int)ev->kind;
}

static void run(struct toolcall_options *o, struct record *r, const uint8_t *p, size_t n,
                size_t piece)
{
    struct err e = {0};
    o->emit = emit;
    o->arg = r;
    r->last = -1;
    r->early = o->early;
    r->open = false;
    struct toolcall *t = toolcall_new(o);
    HOLDS(t);
    for (size_t i = 0; i < n; i += piece)
        HOLDS(toolcall_feed(t, (const char *)p + i, MIN(piece, n - i), &e) == 0);
    HOLDS(toolcall_finish(t, &e) == 0);
    HOLDS(!r->open);
    toolcall_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct toolset *tools;
    struct record whole, pieces;
    if (n < 2)
        return 0;
    if (!tools) {
        json_t *list = json_loads(offered, 0, NULL);
        HOLDS((tools = toolset_new(list)));
        json_decref(list);
    }
    struct toolcall_options o = {
        .dialect = toolcall_find(dialects[(data[0] & 15) % ARRAY_LEN(dialects)]), .tools = tools,
        .reasoning = data[0] & 16, .thinking = data[0] & 32, .single = data[0] & 64,
        .early = data[0] & 128};
    HOLDS(o.dialect);
    whole.tools = pieces.tools = tools;
    buf_init(&whole.out, MIB(16));
    buf_init(&pieces.out, MIB(16));
    run(&o, &whole, data + 2, n - 2, n);
    run(&o, &pieces, data + 2, n - 2, 1 + data[1] % 32);
    HOLDS(whole.out.len == pieces.out.len && !whole.out.failed &&
          (!whole.out.len || memcmp(whole.out.p, pieces.out.p, whole.out.len) == 0));
    buf_free(&whole.out);
    buf_free(&pieces.out);
    return 0;
}
