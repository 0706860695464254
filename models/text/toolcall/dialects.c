/* The dialects of tool calls, each a row. The first row whose signs the template holds is the
 * model's. Facts from the templates that the families publish. */
#include <string.h>

#include "models/text/toolcall/toolcall_int.h"

#define FUNCTION_TAGS {"<function=", ">", "</function>", "<parameter=", ">", "</parameter>"}
#define INVOKE_TAGS {"<invoke name=\"", "\">", "</invoke>", "<parameter name=\"", "\">", \
                     "</parameter>"}

#define WRITE_LIST ARGS_CALL, "[", .finish = "]", .between = ", ", .key = "arguments"
#define WRITE_PYTHON {ARGS_PYTHON, "[", "", "(", ")", "]", .between = ", "}

static const struct toolcall_dialect rows[] = {
    /* Kimi Linear, K2: sections of calls whose id names the function. */
    {.name = "kimi", .sign = {"<|tool_calls_section_begin|>"},
     .open = "<|tool_calls_section_begin|>", .close = "<|tool_calls_section_end|>",
     .inner = {"<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"},
     .starts = "<", .read = form_kimi,
     .write = {ARGS_JSON, .lead = "<|tool_call_begin|>functions.",
               .name_end = ":#<|tool_call_argument_begin|>", .tail = "<|tool_call_end|>",
               .between = ""}},
    /* MiniMax M2. */
    {.name = "minimax", .sign = {"<minimax:tool_call>"}, .open = "<minimax:tool_call>",
     .close = "</minimax:tool_call>", .starts = "<", .read = form_tagged, .tags = INVOKE_TAGS,
     .write = {ARGS_TAGS, "\n", "<invoke name=\"", "\">\n", "</invoke>\n", .between = "",
               .pad = ""}},
    /* LFM2: a Python list. */
    {.name = "lfm2", .sign = {"<|tool_call_start|>"}, .open = "<|tool_call_start|>",
     .close = "<|tool_call_end|>", .starts = "[", .read = form_python, .write = WRITE_PYTHON},
    /* LFM2's first template says it in its tools' markers only. */
    {.name = "lfm2", .sign = {"<|tool_list_start|>"}, .open = "<|tool_call_start|>",
     .close = "<|tool_call_end|>", .starts = "[", .read = form_python, .write = WRITE_PYTHON},
    /* Qwen3-Coder, Qwen3.5, Nemotron 3. */
    {.name = "function-tags", .sign = {"<tool_call>", "<function="}, .open = "<tool_call>",
     .close = "</tool_call>", .starts = "<", .read = form_tagged,
     .tags = FUNCTION_TAGS,
     .write = {ARGS_TAGS, "\n", "<function=", ">\n", "</function>\n", .pad = "\n"}},
    /* Hermes, Qwen, Granite 4, Falcon-H1. */
    {.name = "hermes", .sign = {"<tool_call>"}, .open = "<tool_call>", .close = "</tool_call>",
     .starts = "{", .read = form_json,
     .write = {ARGS_CALL, "\n", .finish = "\n", .key = "arguments"}},
    /* Jamba: an array; MiniMax M1: an object on each line. */
    {.name = "tool-calls", .sign = {"<tool_calls>"}, .open = "<tool_calls>",
     .close = "</tool_calls>", .starts = "[{", .read = form_json,
     .write = {WRITE_LIST, .bare = true}},
    /* Nemotron-H. */
    {.name = "nemotron", .sign = {"<TOOLCALL>"}, .open = "<TOOLCALL>", .close = "</TOOLCALL>",
     .starts = "[{", .read = form_json,
     .write = {WRITE_LIST}},
    /* Mistral: an array, later name[ARGS]{…}; up to the end of the text. */
    {.name = "mistral", .sign = {"[TOOL_CALLS]", "[ARGS]"}, .open = "[TOOL_CALLS]",
     .inner = {"[ARGS]"}, .starts = NULL, .read = form_named_json,
     .write = {ARGS_JSON, .name_end = "[ARGS]", .between = "[TOOL_CALLS]"}},
    {.name = "mistral-json", .sign = {"[TOOL_CALLS]"}, .open = "[TOOL_CALLS]", .starts = "[{",
     .read = form_json, .write = {WRITE_LIST}},
    /* Llama 3: the whole text is one object. */
    {.name = "llama", .sign = {"\"parameters\":", "\"name\":"}, .open = "", .starts = "{",
     .read = form_json, .write = {ARGS_CALL, .key = "parameters"}},
};

const struct toolcall_dialect *toolcall_detect(const char *text)
{
    for (size_t i = 0; text && i < ARRAY_LEN(rows); i++)
        if (strstr(text, rows[i].sign[0]) && (!rows[i].sign[1] || strstr(text, rows[i].sign[1])))
            return &rows[i];
    return NULL;
}

const struct toolcall_dialect *toolcall_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

const char *toolcall_name(const struct toolcall_dialect *d) { return d->name; }

const char *toolcall_marker(const struct toolcall_dialect *d, int i)
{
    const char *all[2 + ARRAY_LEN(d->inner)];
    int n = 0;
    if (d->open[0])
        all[n++] = d->open;
    if (d->close)
        all[n++] = d->close;
    for (size_t k = 0; k < ARRAY_LEN(d->inner); k++)
        if (d->inner[k])
            all[n++] = d->inner[k];
    return i >= 0 && i < n ? all[i] : NULL;
}
