/* Chat formats as one table. Text in braces is a special token if the model has it ({bos} and
 * {eos}: whatever they are called), else text like the rest, encoded together with the message
 * around it, as the reference encodes a rendered prompt. Contents are never searched for special
 * tokens, so nobody can forge a turn. A message ends a run of text: the tokens of a conversation's
 * beginning do not depend on what follows. Thread: any. */
#include "models/text/chat/formats.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"

struct chat_format {
    const char *name;
    const char *markers[2];        /* both occur in a template of this format */
    const char *system[2], *user[2], *assistant[2], *tool[2]; /* before and after; NULL = no role */
    const char *fold[2];           /* no system role: around the text put before the first user's */
    const char *no_system;         /* goes first when no system message does */
    const char *reply;             /* opens the assistant's turn */
    const char *stop;              /* ends it; NULL = eos */
    bool trim;                     /* white space around contents is dropped */
    bool one_line_end;             /* blank lines end a turn: contents have none */
};

#define CHATML(role) {"{<|im_start|>}" role "\n", "{<|im_end|>}\n"}
#define LLAMA3(role) {"{<|start_header_id|>}" role "{<|end_header_id|>}\n\n", "{<|eot_id|>}"}
#define GRANITE(role) {"{<|start_of_role|>}" role "{<|end_of_role|>}", "{<|end_of_text|>}\n"}
#define BAR(role, end) {"{<|" role "|>}\n", end "\n"}

/* The first whose markers fit wins: the more particular ones come first. */
static const struct chat_format formats[] = {
    {.name = "phi", .markers = {"<|end|>", "<|assistant|>"}, /* Phi-3; the bundled models */
     .system = BAR("system", "{<|end|>}"), .user = BAR("user", "{<|end|>}"),
     .assistant = BAR("assistant", "{<|end|>}"), .reply = "{<|assistant|>}\n", .stop = "<|end|>"},
    {.name = "llama3", .markers = {"<|start_header_id|>", "<|eot_id|>"},
     .system = LLAMA3("system"), .user = LLAMA3("user"), .assistant = LLAMA3("assistant"),
     .tool = LLAMA3("ipython"), .reply = "{<|start_header_id|>}assistant{<|end_header_id|>}\n\n",
     .stop = "<|eot_id|>", .trim = true},
    {.name = "granite", .markers = {"<|start_of_role|>", "<|end_of_role|>"},
     .system = GRANITE("system"), .user = GRANITE("user"), .assistant = GRANITE("assistant"),
     .tool = GRANITE("tool_response"), .reply = "{<|start_of_role|>}assistant{<|end_of_role|>}",
     .stop = "<|end_of_text|>"},
    {.name = "chatml", .markers = {"<|im_start|>", "<|im_end|>"}, /* Qwen, Falcon-H1, LFM2, … */
     .system = CHATML("system"), .user = CHATML("user"), .assistant = CHATML("assistant"),
     .tool = {"{<|im_start|>}user\n{<tool_response>}\n", "\n{</tool_response>}{<|im_end|>}\n"},
     .reply = "{<|im_start|>}assistant\n", .stop = "<|im_end|>"},
    {.name = "gemma", .markers = {"<start_of_turn>", "<end_of_turn>"},
     .user = {"{<start_of_turn>}user\n", "{<end_of_turn>}\n"},
     .assistant = {"{<start_of_turn>}model\n", "{<end_of_turn>}\n"}, .fold = {"", "\n\n"},
     .reply = "{<start_of_turn>}model\n", .stop = "<end_of_turn>", .trim = true},
    {.name = "jamba", .markers = {"<|bom|>", "<|eom|>"},
     .system = {"{<|bom|>}{<|system|>} ", "{<|eom|>}"},
     .user = {"{<|bom|>}{<|user|>} ", "{<|eom|>}"},
     .assistant = {"{<|bom|>}{<|assistant|>} ", "{<|eom|>}"},
     .tool = {"{<|bom|>}{<|tool|>} ", "{<|eom|>}"},
     .no_system = "{<|bom|>}{<|system|>} {<|eom|>}", .reply = "{<|bom|>}{<|assistant|>}",
     .stop = "<|eom|>"},
    {.name = "nemotron", .markers = {"<SPECIAL_10>System", "<SPECIAL_11>Assistant"},
     .system = {"{<SPECIAL_10>}System\n", "\n"}, .user = {"{<SPECIAL_11>}User\n", "\n"},
     .assistant = {"{<SPECIAL_11>}Assistant\n", "\n{<SPECIAL_12>}\n"},
     .no_system = "{<SPECIAL_10>}System\n\n", .reply = "{<SPECIAL_11>}Assistant\n",
     .stop = "<SPECIAL_12>", .trim = true},
    {.name = "minimax", .markers = {"<beginning_of_sentence>", "<end_of_sentence>"},
     .system = {"{<beginning_of_sentence>}system ai_setting=assistant\n", "{<end_of_sentence>}\n"},
     .user = {"{<beginning_of_sentence>}user name=user\n", "{<end_of_sentence>}\n"},
     .assistant = {"{<beginning_of_sentence>}ai name=assistant\n", "{<end_of_sentence>}\n"},
     .reply = "{<beginning_of_sentence>}ai name=assistant\n", .stop = "<end_of_sentence>"},
    {.name = "llama2", .markers = {"<<SYS>>", "[INST]"},
     .user = {"{bos}{[INST]} ", " {[/INST]}"}, .assistant = {" ", " {eos}"},
     .fold = {"<<SYS>>\n", "\n<</SYS>>\n\n"}, .reply = "", .trim = true},
    {.name = "mistral-v1", .markers = {"[INST]", " [/INST]"},
     .user = {"{[INST]} ", " {[/INST]}"}, .assistant = {"", "{eos}"}, .fold = {"", "\n\n"},
     .reply = ""},
    {.name = "mistral", .markers = {"[INST]", "[/INST]"}, /* v3: Codestral-Mamba */
     .user = {"{[INST]} ", "{[/INST]}"}, .assistant = {" ", "{eos}"}, .fold = {"", "\n\n"},
     .reply = ""},
    {.name = "zephyr", .markers = {"<|user|>\n' + message['content'] + eos_token", "<|assistant|>"},
     .system = BAR("system", "{eos}"), .user = BAR("user", "{eos}"),
     .assistant = BAR("assistant", "{eos}"), .reply = "{<|assistant|>}\n"},
    {.name = "tulu", .markers = {"<|user|>", "<|assistant|>"}, /* OLMo */
     .system = BAR("system", ""), .user = BAR("user", ""),
     .assistant = BAR("assistant", "{eos}"), .reply = "{<|assistant|>}\n"},
    {.name = "rwkv", .markers = {"User: ", "Assistant:"},
     .system = {"System: ", "\n\n"}, .user = {"User: ", "\n\n"},
     .assistant = {"Assistant: ", "\n\n"}, .reply = "Assistant:", .stop = "\n\nUser",
     .trim = true, .one_line_end = true},
    {.name = "plain", .markers = {NULL}, /* by name only: contents one after the other */
     .system = {"", "\n"}, .user = {"", "\n"}, .assistant = {"", "\n"}, .tool = {"", "\n"},
     .reply = ""},
};

const struct chat_format *chat_format_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (strcmp(formats[i].name, name) == 0)
            return &formats[i];
    return NULL;
}

/* Templates write a newline as itself or as \n inside a Jinja string, quotes as ' or ". */
static char *same_spelling(const char *text)
{
    size_t n = strlen(text), k = 0;
    char *out = mem_zalloc(n + 1);
    for (size_t i = 0; out && i < n; i++) {
        bool newline = text[i] == '\\' && text[i + 1] == 'n';
        out[k++] = newline ? '\n' : text[i] == '"' ? '\'' : text[i];
        i += newline;
    }
    return out;
}

const struct chat_format *chat_format_detect(const char *template_text)
{
    const struct chat_format *found = NULL;
    char *text = template_text ? same_spelling(template_text) : NULL;
    for (size_t i = 0; text && !found && i < ARRAY_LEN(formats); i++) {
        const struct chat_format *f = &formats[i];
        if (f->markers[0] && strstr(text, f->markers[0]) && strstr(text, f->markers[1]))
            found = f;
    }
    mem_free(text);
    return found;
}

const char *chat_format_name(const struct chat_format *f)
{
    return f->name;
}

const char *chat_format_stop(const struct chat_format *f)
{
    return f->stop;
}

/* ---- rendering -------------------------------------------------------------------------- */

#define PLAIN_MARKERS 16
struct render {
    const struct tokenizer *t;
    const char *plain[PLAIN_MARKERS]; /* names of markers that are text in this vocabulary */
    size_t n_plain[PLAIN_MARKERS], plains;
    struct buf run;  /* text since the last special token */
    bool continues;  /* something was encoded before the run */
    struct ids *out;
    struct err *e;
};

/* Encodes the text collected so far. */
static int flush(struct render *r)
{
    if (r->run.failed)
        return err_set(r->e, E_NOMEM, "out of memory for a conversation of %zu bytes", r->run.len);
    if (r->run.len == 0)
        return 0;
    int rc = tokenizer_encode(r->t, r->run.p, r->run.len, r->continues ? TOKENIZE_CONTINUE : 0,
                              r->out, r->e);
    buf_clear(&r->run);
    r->continues = true;
    return rc;
}

static int put_token(struct render *r, int32_t id)
{
    int rc = flush(r);
    if (rc == 0)
        rc = ids_add(r->out, id);
    r->continues = true;
    if (rc == E_RANGE)
        err_set(r->e, rc, "the conversation has more than the %zu tokens allowed", r->out->max);
    return rc < 0 ? err_set(r->e, rc, "out of memory for %zu tokens", r->out->len) : 0;
}

/* Marker text: {name} is a token if the model has it. */
static int put_marker(struct render *r, const char *s)
{
    while (*s) {
        const char *close = *s == '{' ? strchr(s, '}') : NULL;
        char name[64];
        if (!close) {
            size_t n = strcspn(s + 1, "{") + 1;
            buf_add(&r->run, s, n);
            s += n;
            continue;
        }
        size_t n = (size_t)(close - s) - 1;
        ASSERT(n < sizeof name);
        memcpy(name, s + 1, n);
        name[n] = 0;
        int32_t id = strcmp(name, "eos") == 0   ? tokenizer_eos(r->t)
                     : strcmp(name, "bos") == 0 ? tokenizer_bos(r->t)
                                                : tokenizer_find(r->t, name);
        int rc = id < 0 ? buf_str(&r->run, name) : put_token(r, id);
        if (rc < 0)
            return err_set(r->e, rc, "out of memory for a marker of %zu bytes", n);
        s = close + 1;
    }
    return 0;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Length of the marker in plain text that begins here, or 0. */
static size_t marker_at(const struct render *r, const char *p, size_t n)
{
    for (size_t i = 0; i < r->plains; i++)
        if (r->n_plain[i] <= n && memcmp(p, r->plain[i], r->n_plain[i]) == 0)
            return r->n_plain[i];
    return 0;
}

static void put_content(struct render *r, const struct chat_format *f, const struct chat_message *m)
{
    const char *p = m->content;
    size_t n = m->n;
    while (f->trim && n && is_space(p[n - 1]))
        n--;
    for (; f->trim && n && is_space(*p); n--)
        p++;
    for (size_t i = 0; i < n; i++) {
        bool carriage = f->one_line_end && p[i] == '\r' && i + 1 < n && p[i + 1] == '\n';
        bool again = f->one_line_end && p[i] == '\n' && r->run.len && i > 0 &&
                     r->run.p[r->run.len - 1] == '\n';
        if (carriage || again)
            continue;
        buf_ch(&r->run, p[i]);
        if (marker_at(r, p + i, n - i))
            buf_ch(&r->run, ' ');
    }
}

/* The names in braces that the vocabulary does not have as tokens. */
static void find_plain(struct render *r, const char *s)
{
    for (const char *open = s; open && (open = strchr(open, '{')); open++) {
        const char *close = strchr(open, '}');
        size_t n = close ? (size_t)(close - open) - 1 : 0;
        char name[64];
        if (n == 0 || n >= sizeof name || r->plains == PLAIN_MARKERS)
            continue;
        memcpy(name, open + 1, n);
        name[n] = 0;
        if (strcmp(name, "eos") == 0 || strcmp(name, "bos") == 0 ||
            tokenizer_find(r->t, name) >= 0)
            continue;
        r->plain[r->plains] = open + 1;
        r->n_plain[r->plains++] = n;
    }
}

static void find_all_plain(struct render *r, const struct chat_format *f)
{
    const char *const texts[] = {
        f->system[0], f->system[1], f->user[0], f->user[1], f->assistant[0], f->assistant[1],
        f->tool[0], f->tool[1], f->reply};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        find_plain(r, texts[i]);
}

enum role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL, ROLES };

static enum role role_of(const char *name)
{
    static const struct { const char *name; enum role role; } roles[] = {
        {"system", ROLE_SYSTEM}, {"developer", ROLE_SYSTEM}, {"user", ROLE_USER},
        {"assistant", ROLE_ASSISTANT}, {"tool", ROLE_TOOL}};
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (strcmp(name, roles[i].name) == 0)
            return roles[i].role;
    return ROLES;
}

static const char *const *around(const struct chat_format *f, enum role role)
{
    switch (role) {
    case ROLE_SYSTEM: return f->system;
    case ROLE_USER: return f->user;
    case ROLE_ASSISTANT: return f->assistant;
    case ROLE_TOOL: return f->tool;
    default: return NULL;
    }
}

/* folded: the system message that this user message carries in front, or NULL. */
static int put_message(struct render *r, const struct chat_format *f, const struct chat_message *m,
                       const struct chat_message *folded, bool open)
{
    const char *const *parts = around(f, role_of(m->role));
    int rc = put_marker(r, parts[0]);
    if (rc == 0 && folded) {
        buf_str(&r->run, f->fold[0]);
        put_content(r, f, folded);
        buf_str(&r->run, f->fold[1]);
    }
    put_content(r, f, m);
    if (rc == 0 && !open)
        rc = put_marker(r, parts[1]);
    return rc == 0 ? flush(r) : rc;
}

/* Every message has a role of the format, and valid text. */
static int check(const struct chat_format *f, const struct chat_message *m, size_t n,
                 struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        enum role role = role_of(m[i].role);
        const char *const *parts = around(f, role);
        size_t shown = utf8_complete(m[i].role, strnlen(m[i].role, 40));
        if (role == ROLE_SYSTEM && !parts[0] && f->fold[0]) {
            if (i != 0 || n < 2 || role_of(m[1].role) != ROLE_USER)
                return err_field(e, E_RANGE, "messages", "messages[%zu]: chat format %s allows a "
                                 "system message only first, before a user message", i, f->name);
        } else if (!parts || !parts[0]) {
            return err_field(e, E_RANGE, "messages", "messages[%zu]: chat format %s has no role "
                             "\"%.*s\"", i, f->name, (int)shown, m[i].role);
        }
        if (!utf8_valid(m[i].content, m[i].n))
            return err_field(e, E_FORMAT, "messages", "messages[%zu]: the content of %zu bytes is "
                             "not valid UTF-8", i, m[i].n);
    }
    return 0;
}

int chat_format_render(const struct chat_format *f, const struct tokenizer *t,
                       const struct chat_message *m, size_t n, enum chat_format_end end, bool bos,
                       struct ids *out, struct ids *boundaries, struct err *e)
{
    struct render r = {.t = t, .out = out, .e = e};
    bool folds = n && role_of(m[0].role) == ROLE_SYSTEM && !f->system[0];
    int rc = check(f, m, n, e);
    if (rc < 0)
        return rc;
    buf_init(&r.run, SIZE_MAX / 2); /* bounded by the request's own limits */
    find_all_plain(&r, f);
    if (bos && !(f->user[0] && strncmp(f->user[0], "{bos}", 5) == 0))
        rc = put_token(&r, tokenizer_bos(t));
    if (rc == 0 && f->no_system && !(n && role_of(m[0].role) == ROLE_SYSTEM))
        rc = put_marker(&r, f->no_system);
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (!(folds && i == 0))
            rc = put_message(&r, f, &m[i], folds && i == 1 ? &m[0] : NULL,
                             end == CHAT_CONTINUES && i + 1 == n);
        if (rc == 0 && boundaries && ids_add(boundaries, (int32_t)out->len) < 0)
            rc = err_set(e, E_NOMEM, "out of memory for %zu message boundaries", n);
    }
    if (rc == 0 && end == CHAT_REPLIES)
        rc = put_marker(&r, f->reply);
    if (rc == 0)
        rc = flush(&r);
    buf_free(&r.run);
    if (rc < 0 && e && !e->param)
        e->param = "messages";
    return rc;
}
