/* Calls and reasoning in what models write: each dialect's golden text, the same events for every
 * way to cut it, and nothing lost of what only looks like a call. */
#include <criterion/criterion.h>
#include <jansson.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/rng.h"
#include "models/text/toolcall/toolcall.h"

static const char tools_text[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":{\"type\":"
    "\"object\",\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\"}}}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]";

struct rig {
    struct toolcall_options o;
    struct buf out;
    enum toolcall_kind last;
};

/* Events as one text: neighbours of a kind joined. T{…} R{…} C{name|id|arguments} */
static void emit(void *arg, const struct toolcall_event *ev)
{
    static const char *const open[] = {[TOOLCALL_TEXT] = "T:", [TOOLCALL_REASONING] = "R:"};
    struct rig *r = arg;
    if (ev->kind == TOOLCALL_BEGIN)
        buf_fmt(&r->out, "|C:%.*s:%s:", (int)ev->n, ev->p, ev->id);
    else if (ev->kind <= TOOLCALL_REASONING && (!r->out.len || r->last != ev->kind))
        buf_fmt(&r->out, "|%s", open[ev->kind]);
    if (ev->kind == TOOLCALL_CUT)
        buf_str(&r->out, "|CUT");
    if (ev->n && ev->kind != TOOLCALL_BEGIN)
        buf_add(&r->out, ev->p, ev->n);
    r->last = ev->kind;
}

/* cuts: 0 = whole, 1 = single bytes, else random pieces of that seed. */
static const char *run(struct rig *r, const char *text, size_t n, uint64_t cuts)
{
    struct err e = {0};
    buf_clear(&r->out);
    r->o.emit = emit;
    r->o.arg = r;
    struct toolcall *t = toolcall_new(&r->o);
    cr_assert(t);
    for (size_t i = 0, k = 0; i < n; k++) {
        size_t piece = cuts == 0 ? n : cuts == 1 ? 1 : 1 + rng_at(cuts, 7, k) % 24;
        piece = MIN(piece, n - i);
        cr_assert_eq(toolcall_feed(t, text + i, piece, &e), 0, "%s", e.text);
        i += piece;
    }
    cr_assert_eq(toolcall_finish(t, &e), 0, "%s", e.text);
    toolcall_free(t);
    cr_assert(!r->out.failed);
    return r->out.p ? r->out.p : "";
}

static void open_rig(struct rig *r, const char *dialect)
{
    *r = (struct rig){0};
    json_t *tools = json_loads(tools_text, 0, NULL);
    r->o.dialect = toolcall_find(dialect);
    r->o.tools = toolset_new(tools);
    r->o.reasoning = true;
    json_decref(tools);
    cr_assert(r->o.dialect && r->o.tools);
    buf_init(&r->out, MIB(4));
}

static void close_rig(struct rig *r)
{
    toolset_free((struct toolset *)(uintptr_t)r->o.tools);
    buf_free(&r->out);
}

#define PARIS "{\"city\": \"Paris\", \"days\": 3}"
#define KIMI(s) "<|tool_call_begin|>" s "<|tool_call_end|>"

static const struct { const char *dialect, *text, *want; } golden[] = {
    {"hermes", "<think>\nhm</think>\n\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": "
     PARIS "}\n</tool_call>\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>",
     "|R:\nhm|C:get_weather::" PARIS "|C:now::{}"},
    {"hermes", "Sure.\n<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": "
     "\"</tool_call>\"}}</tool_call> done",
     "|T:Sure.\n|C:get_weather::{\"city\": \"</tool_call>\"}|T:done"},
    {"hermes", "<tool_call>{\"name\":\"now\",\"arguments\":\"{\\\"a\\\": 1.10}\"}</tool_call>",
     "|C:now::{\"a\": 1.10}"},
    {"function-tags", "<tool_call>\n<function=get_weather>\n<parameter=city>\n12\n</parameter>\n"
     "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
     "|C:get_weather::{\"city\":\"12\",\"days\":3}"},
    {"function-tags", "<tool_call>\n<function=get_weather>\n<parameter=city>\na</tool_call>\n\nb\n"
     "</parameter>\n</function>\n</tool_call>",
     "|C:get_weather::{\"city\":\"a</tool_call>\\n\\nb\"}"},
    {"minimax", "<minimax:tool_call>\n<invoke name=\"get_weather\">\n<parameter name=\"city\">Rome"
     "</parameter>\n</invoke>\n<invoke name=\"now\">\n</invoke>\n</minimax:tool_call>",
     "|C:get_weather::{\"city\":\"Rome\"}|C:now::{}"},
    {"lfm2", "<|tool_call_start|>[get_weather(city=\"Pa'r\\\"is\", days=3), now(x=[1, None, "
     "{'a': True},], y='it\\'s')]<|tool_call_end|>Checking.",
     "|C:get_weather::{\"city\":\"Pa'r\\\"is\",\"days\":3}|C:now::{\"x\":[1,null,{\"a\":true}],"
     "\"y\":\"it's\"}|T:Checking."},
    {"tool-calls", "<tool_calls>[\n{\"name\": \"now\", \"arguments\": {}},\n{\"name\": "
     "\"get_weather\", \"arguments\": " PARIS "}\n]</tool_calls>",
     "|C:now::{}|C:get_weather::" PARIS},
    {"tool-calls", "<tool_calls>\n{\"name\": \"now\", \"arguments\": {}}\n{\"name\": \"now\", "
     "\"arguments\": {\"a\": 1}}\n</tool_calls>", "|C:now::{}|C:now::{\"a\": 1}"},
    {"nemotron", "<TOOLCALL>[{\"name\": \"now\", \"arguments\": {}}]</TOOLCALL>", "|C:now::{}"},
    {"kimi", "Ok<|tool_calls_section_begin|>"
     KIMI("functions.get_weather:0<|tool_call_argument_begin|>" PARIS)
     KIMI("functions.now:1<|tool_call_argument_begin|>{}") "<|tool_calls_section_end|>",
     "|T:Ok|C:get_weather:functions.get_weather:0:" PARIS "|C:now:functions.now:1:{}"},
    {"mistral-json", "[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {}, \"id\": \"abc\"}]",
     "|C:now:abc:{}"},
    {"mistral", "[TOOL_CALLS]now[ARGS]{}[TOOL_CALLS]get_weather[ARGS]" PARIS,
     "|C:now::{}|C:get_weather::" PARIS},
    {"llama", "\n{\"name\": \"get_weather\", \"parameters\": " PARIS "}", "|C:get_weather::" PARIS},
    /* what only looks like a call, and reasoning at other places */
    {"hermes", "<tool_call>{\"name\": \"rm\", \"arguments\": {}}</tool_call>",
     "|T:<tool_call>{\"name\": \"rm\", \"arguments\": {}}</tool_call>"},
    {"hermes", "<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": }}</tool_call>",
     "|T:<tool_call>{\"name\": \"now\", \"arguments\": {\"a\": }}</tool_call>"},
    {"hermes", "<tool_call> {\"name\": \"now\"", "|T:<tool_call> {\"name\": \"now\""},
    {"hermes", "<tool_call><tool_call>{\"name\":\"now\",\"arguments\":{}}</tool_call>",
     "|T:<tool_call>|C:now::{}"},
    {"hermes", "a <tool_cal <think>b</think>  ", "|T:a <tool_cal <think>b</think>  "},
    {"hermes", " <thin", "|T: <thin"},
    {"hermes", "<think>never ends </thin", "|R:never ends </thin"},
    {"hermes", "<think>a <tool_call>{}</think>x", "|R:a <tool_call>{}|T:x"},
    {"lfm2", "<|tool_call_start|>[now(1)]<|tool_call_end|>",
     "|T:<|tool_call_start|>[now(1)]<|tool_call_end|>"},
    {"lfm2", "<|tool_call_start|>[now(a='<|tool_call_end|>')]<|tool_call_end|>",
     "|C:now::{\"a\":\"<|tool_call_end|>\"}"},
    {"llama", "{\"name\": \"rm\", \"parameters\": {}} or not",
     "|T:{\"name\": \"rm\", \"parameters\": {}} or not"},
    {"mistral", "[TOOL_CALLS]now[ARGS]{} and more", "|T:[TOOL_CALLS]now[ARGS]{} and more"},
};

Test(toolcall, golden_texts_of_every_dialect_whole_and_by_bytes)
{
    for (size_t i = 0; i < ARRAY_LEN(golden); i++) {
        struct rig r;
        open_rig(&r, golden[i].dialect);
        for (uint64_t cuts = 0; cuts < 2; cuts++)
            cr_expect_str_eq(run(&r, golden[i].text, strlen(golden[i].text), cuts), golden[i].want,
                             "%zu %s: %s", i, golden[i].dialect, r.out.p);
        close_rig(&r);
    }
}

/* Behind each: what comes of it when calls leave as they are written. */
static const struct { const char *dialect, *text, *want; } early[] = {
    /* arguments before the name, or as a string; an id behind them */
    {"hermes", "<tool_call>{\"arguments\":{},\"name\":\"now\"}</tool_call>",
     "|T:<tool_call>{\"arguments\":{},\"name\":\"now\"}</tool_call>"},
    {"hermes", "<tool_call>{\"name\":\"now\",\"arguments\":\"{}\"}</tool_call>",
     "|T:<tool_call>{\"name\":\"now\",\"arguments\":\"{}\"}</tool_call>"},
    {"mistral-json", "[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {}}]", "|C:now::{}"},
    /* the text ends in the call, or the call breaks */
    {"hermes", "<tool_call>\n{\"name\": \"now\", \"argu",
     "|T:<tool_call>\n{\"name\": \"now\", \"argu"},
    {"hermes", "a<tool_call>\n{\"name\": \"now\", \"arguments\": {\"a\": \"b}",
     "|T:a|C:now::{\"a\": \"b}|CUT"},
    {"function-tags", "<tool_call>\n<function=get_weather>\n<parameter=city>\nRo\"me\n</par",
     "|C:get_weather::{\"city\":\"Ro\\\"me|CUT"},
    {"function-tags", "<tool_call>\n<function=get_weather>\n<parameter=days>\n3",
     "|C:get_weather::{\"days\":|CUT"},
    {"function-tags", "<tool_call>\n<function=get_weather>\n</tool_call>",
     "|C:get_weather::{|CUT|T:\n</tool_call>"},
    {"minimax", "<minimax:tool_call>\n<invoke name=\"now\">\n</invoke>\n<invoke name=\"no",
     "|C:now::{}|T:<invoke name=\"no"},
    {"lfm2", "<|tool_call_start|>[now(a='b\\", "|C:now::{\"a\":\"b|CUT"},
    {"lfm2", "<|tool_call_start|>[now(a=[1, (2,", "|C:now::{\"a\":|CUT"},
    {"lfm2", "<|tool_call_start|>[now(a=b)]<|tool_call_end|>",
     "|C:now::{\"a\":|CUT|T:b)]<|tool_call_end|>"},
    {"lfm2", "<|tool_call_start|>[now(1)]<|tool_call_end|>",
     "|C:now::{|CUT|T:1)]<|tool_call_end|>"},
    {"kimi", "<|tool_calls_section_begin|>" "<|tool_call_begin|>functions.now:7"
     "<|tool_call_argument_begin|>{\"a", "|C:now:functions.now:7:{\"a|CUT"},
    {"mistral", "[TOOL_CALLS]now[ARGS]{} and more", "|C:now::{}|T:and more"},
    {"llama", "{\"name\": \"now\", \"parameters\": {\"a\": [1", "|C:now::{\"a\": [1|CUT"},
};

/* A body that masks would let through gives the same either way: all golden ones of calls that are
 * whole, but for the rows named above. */
Test(toolcall, calls_that_leave_as_they_are_written)
{
    size_t same = 0;
    for (size_t i = 0; i < ARRAY_LEN(golden); i++) {
        struct rig r;
        const char *mark = strstr(golden[i].want, "|C:");
        open_rig(&r, golden[i].dialect);
        r.o.early = true;
        bool odd = strstr(golden[i].text, "\"id\"") || strstr(golden[i].text, ":\"{");
        for (uint64_t cuts = 0; cuts < 4 && mark && !odd; cuts++, same++)
            cr_expect_str_eq(run(&r, golden[i].text, strlen(golden[i].text), cuts), golden[i].want,
                             "%zu %s: %s", i, golden[i].dialect, r.out.p);
        close_rig(&r);
    }
    cr_assert_gt(same, 50);
    for (size_t i = 0; i < ARRAY_LEN(early); i++) {
        struct rig r;
        open_rig(&r, early[i].dialect);
        r.o.early = true;
        for (uint64_t cuts = 0; cuts < 4; cuts++)
            cr_expect_str_eq(run(&r, early[i].text, strlen(early[i].text), cuts), early[i].want,
                             "%zu %s: %s", i, early[i].dialect, r.out.p);
        close_rig(&r);
    }
}

/* Nothing that has left is taken back: what the first n bytes give begins what more of them do. */
Test(toolcall, what_has_left_stays)
{
    for (size_t i = 0; i < ARRAY_LEN(golden); i++) {
        struct rig r;
        struct err e = {0};
        open_rig(&r, golden[i].dialect);
        r.o.early = true;
        char *all = mem_strdup(run(&r, golden[i].text, strlen(golden[i].text), 0));
        buf_clear(&r.out);
        struct toolcall *t = toolcall_new(&r.o);
        size_t last = 0;
        for (size_t k = 0; golden[i].text[k]; k++) {
            cr_assert_eq(toolcall_feed(t, golden[i].text + k, 1, &e), 0);
            cr_assert(strncmp(all, r.out.p ? r.out.p : "", r.out.len) == 0, "%s: %s", all, r.out.p);
            cr_assert_geq(r.out.len, last);
            last = r.out.len;
        }
        toolcall_free(t);
        mem_free(all);
        close_rig(&r);
    }
}

/* Arguments do not wait: all but a few bytes of a long string have left before it ends. */
Test(toolcall, arguments_leave_as_they_come)
{
    static const struct { const char *dialect, *head; } rows[] = {
        {"hermes", "<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": \""},
        {"nemotron", "<TOOLCALL>[{\"name\": \"now\", \"arguments\": {\"x\": \""},
        {"function-tags", "<tool_call>\n<function=get_weather>\n<parameter=city>\n"},
        {"minimax", "<minimax:tool_call>\n<invoke name=\"get_weather\">\n"
         "<parameter name=\"city\">"},
        {"lfm2", "<|tool_call_start|>[get_weather(city='"},
        {"kimi", "<|tool_calls_section_begin|><|tool_call_begin|>functions.now:0"
         "<|tool_call_argument_begin|>{\"x\": \""},
        {"mistral", "[TOOL_CALLS]now[ARGS]{\"x\":\""},
        {"llama", "{\"name\": \"now\", \"parameters\": {\"x\": \""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rig r;
        struct err e = {0};
        open_rig(&r, rows[i].dialect);
        r.o.early = true;
        r.o.emit = emit;
        r.o.arg = &r;
        struct toolcall *t = toolcall_new(&r.o);
        cr_assert_eq(toolcall_feed(t, rows[i].head, strlen(rows[i].head), &e), 0);
        size_t n = r.out.len;
        cr_assert_gt(n, 10, "%s", rows[i].dialect);
        for (int k = 0; k < 40000; k++) /* more than a call that is held back may have */
            cr_assert_eq(toolcall_feed(t, "01234567", 8, &e), 0);
        cr_assert_eq(r.out.len, n + 320000, "%s", rows[i].dialect);
        toolcall_free(t);
        close_rig(&r);
    }
}

/* Texts made of what matters, in random order: 10,000 cuts, the same events each time. */
Test(toolcall, events_do_not_depend_on_the_cuts)
{
    uint64_t seed = 2;
    for (int i = 0; i < 500; i++) {
        size_t row = rng_at(9, 1, (uint64_t)i) % ARRAY_LEN(golden);
        struct rig r;
        struct buf text;
        open_rig(&r, golden[row].dialect);
        r.o.thinking = i % 5 == 0;
        r.o.single = i % 7 == 0;
        r.o.early = i % 3 == 0;
        buf_init(&text, MIB(1));
        for (uint64_t k = 0, n = 1 + rng_at(9, 2, (uint64_t)i) % 5; k < n; k++) {
            const char *p = golden[rng_at(9, 3, (uint64_t)i * 8 + k) % ARRAY_LEN(golden)].text;
            p = k % 2 ? p : golden[row].text;
            size_t all = strlen(p), from = rng_at(9, 4, (uint64_t)i * 8 + k) % 3 ? 0 : all / 3;
            size_t to = rng_at(9, 5, (uint64_t)i * 8 + k) % 3 ? all : all - all / 4;
            cr_assert_eq(buf_add(&text, p + from, to - from), 0);
        }
        char *want = mem_strdup(run(&r, text.p, text.len, 0));
        for (int k = 0; k < 20; k++)
            cr_assert_str_eq(run(&r, text.p, text.len, seed++), want, "%s", text.p);
        mem_free(want);
        buf_free(&text);
        close_rig(&r);
    }
    cr_assert_eq(seed, 10002);
}

Test(toolcall, what_is_held_back_is_bounded)
{
    struct rig r;
    struct buf text;
    open_rig(&r, "hermes");
    buf_init(&text, MIB(2));
    buf_str(&text, "<tool_call>{\"name\":\"now\",\"arguments\":{\"a\":\"");
    while (text.len < LIMIT_CALL_BYTES + KIB(20))
        buf_str(&text, "0123456789abcdef");
    buf_str(&text, "\"}}</tool_call>");
    cr_assert_eq(run(&r, text.p, text.len, 5)[3], '<');
    cr_assert_eq(r.out.len, text.len + 3); /* all of it is text */
    buf_clear(&text);
    while (text.len < KIB(100))
        buf_str(&text, "<tool_call>{\"</tool_call>");
    run(&r, text.p, text.len, 6);
    cr_assert_eq(r.out.len, text.len + 3);
    buf_free(&text);
    close_rig(&r);
}

Test(toolcall, dialects_are_told_by_the_template)
{
    cr_assert_str_eq(toolcall_name(toolcall_detect("x <tool_call>{\"name\"")), "hermes");
    cr_assert_str_eq(toolcall_name(toolcall_detect("<tool_call>\n<function=")), "function-tags");
    cr_assert_str_eq(toolcall_name(toolcall_detect("<|tool_list_start|>")), "lfm2");
    cr_assert_null(toolcall_detect("{{ messages }}"));
    cr_assert_null(toolcall_detect(NULL));
    cr_assert_str_eq(toolcall_marker(toolcall_find("kimi"), 4), "<|tool_call_end|>");
    cr_assert_null(toolcall_marker(toolcall_find("kimi"), 5));
}
