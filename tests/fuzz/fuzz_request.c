/* Request bodies of every API: whatever is accepted is inside every limit the scheduler relies on.
 * The first byte picks the route, the rest is the body. */
#include <math.h>

#include "base/utf8.h"
#include "server/api/jsonin.h"
#include "server/api/messages.h"
#include "server/api/ollama.h"
#include "server/api/params.h"
#include "server/api/responses.h"
#include "server/api/unknown.h"
#include "tests/fuzz/fuzz.h"

#define VOCAB 4096

static void check_ids(const struct prompt_in *p)
{
    HOLDS(p->n_ids >= 0 && p->n_ids <= LIMIT_PROMPT_TOKENS);
    for (int32_t i = 0; i < p->n_ids; i++)
        HOLDS(p->ids[i] >= 0 && p->ids[i] < VOCAB);
    HOLDS(!p->text || (utf8_valid(p->text, p->n_text) && p->text[p->n_text] == 0));
}

static void check_sampling(const struct sampling *s)
{
    HOLDS(s->temperature >= 0 && s->temperature <= 2 && s->top_p > 0 && s->top_p <= 1);
    HOLDS(s->min_p >= 0 && s->min_p <= 1 && s->top_k >= 0 && s->top_k <= VOCAB);
    HOLDS(s->repetition_penalty > 0 && isfinite(s->repetition_penalty));
    HOLDS(fabsf(s->presence_penalty) <= 2 && fabsf(s->frequency_penalty) <= 2);
    HOLDS(s->n_bias >= 0 && s->n_bias <= LIMIT_LOGIT_BIAS);
    for (int32_t i = 0; i < s->n_bias; i++)
        HOLDS(s->bias[i].id >= 0 && s->bias[i].id < VOCAB && fabsf(s->bias[i].x) <= 100);
}

static void check_generation(const struct params *p)
{
    check_sampling(&p->sampling);
    HOLDS(p->n >= 1 && p->n * MAX(p->n_prompts, 1) <= LIMIT_CHOICES);
    HOLDS(p->logprobs >= -1 && p->logprobs <= LIMIT_TOP_LOGPROBS);
    HOLDS(p->max_tokens >= -1 && p->max_tokens <= 1 << 24);
    HOLDS(p->min_tokens >= 0 && (p->max_tokens < 0 || p->min_tokens <= p->max_tokens));
    HOLDS(p->n_stops <= LIMIT_STOPS && p->n_stop_ids <= LIMIT_STOP_IDS);
    for (int32_t i = 0; i < p->n_stops; i++) {
        size_t n = strnlen(p->stops[i], sizeof p->stops[i]);
        HOLDS(n >= 1 && n <= LIMIT_STOP_BYTES && utf8_valid(p->stops[i], n));
    }
    for (int32_t i = 0; i < p->n_stop_ids; i++)
        HOLDS(p->stop_ids[i] >= 0 && p->stop_ids[i] < VOCAB);
    HOLDS(!p->include_usage || p->stream);
}

static void check(const struct params *p)
{
    HOLDS(p->n_prompts <= LIMIT_PROMPTS && p->n_messages <= LIMIT_MESSAGES);
    HOLDS(p->n_prompts > 0 || p->n_messages > 0);
    for (int32_t i = 0; i < p->n_prompts; i++)
        check_ids(&p->prompts[i]);
    if (p->n_messages) {
        struct err e = {0};
        HOLDS(json_array_size(p->chat.messages) == (size_t)p->n_messages);
        HOLDS(chat_check(p->chat.messages, p->chat.tools, p->chat.documents, &e) == 0);
        HOLDS(!p->chat.template_text && !(p->chat.add_reply && p->chat.continue_final));
    }
    if (p->kind == PARAMS_COMPLETION || p->kind == PARAMS_CHAT)
        check_generation(p);
}

/* The body as each of the APIs with a form of its own makes it ours; NULL: refused. */
enum { ANTHROPIC = PARAMS_APPLY + 1, COUNTING, RESPONSES, OLLAMA_CHAT, OLLAMA_GENERATE, FORMS };

static json_t *translated(int form, const json_t *in, enum params_kind *kind, struct err *e)
{
    json_t *keep = NULL, *out = NULL;
    bool load;
    *kind = form == COUNTING ? PARAMS_TOKENIZE : PARAMS_CHAT;
    if (form == ANTHROPIC || form == COUNTING)
        out = messages_request(in, form == COUNTING, &keep, e);
    else if (form == RESPONSES)
        out = responses_request(in, NULL, &keep, e);
    else
        out = ollama_request(in, form == OLLAMA_GENERATE, 100, kind, &load, e);
    HOLDS(out || e->code);
    json_decref(keep);
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct served m = {.name = "m", .names = {"m"}, .n_names = 1, .vocab = VOCAB,
                             .defaults = {NAN, NAN, NAN, NAN, -1, -1}};
    static struct jsonin_watch reads;
    struct params p;
    struct err e = {0};
    json_t *in;
    char unknown[LIMIT_NOTE_BYTES];
    if (n == 0)
        return 0;
    int form = data[0] % FORMS, rc = jsonin_parse(&in, (const char *)data + 1, n - 1, &e);
    if (!rc) {
        enum params_kind kind = (enum params_kind)form;
        jsonin_watch(&reads, in);
        json_t *request = form > PARAMS_APPLY ? translated(form, in, &kind, &e) : json_incref(in);
        rc = e.code;
        if (request) {
            jsonin_watch_twin(request);
            rc = params_read(&p, kind, &m, request, n - 1, &e);
            if (rc == 0)
                check(&p);
            params_fini(&p);
        }
        jsonin_unwatch();
        if (rc == 0 && request)
            rc = unknown_fields(&reads, "fuzz", n & 1, unknown, &e);
        HOLDS(rc || !request || strlen(unknown) < sizeof unknown);
        json_decref(request);
        json_decref(in);
    }
    HOLDS(rc == e.code && (rc == 0 || e.text[0]) && utf8_valid(e.text, strlen(e.text)));
    return 0;
}
