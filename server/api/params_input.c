/* The input of a request: prompts as text or ids (messages: params_chat.c). Thread: any. */
#include <string.h>

#include "server/api/params_int.h"

static int no_memory(struct err *e) { return err_set(e, E_NOMEM, "no memory for the request"); }

int params_ids(struct params *p, const json_t *v, const char *key, int32_t vocab,
               struct prompt_in *out, struct err *e)
{
    memset(out, 0, sizeof *out);
    if (!json_is_array(v))
        return err_field(e, E_FORMAT, key, "%s: %s was sent, an array of token ids is expected",
                         key, jsonin_kind(v));
    size_t n = json_array_size(v);
    if (n > LIMIT_PROMPT_TOKENS)
        return err_field(e, E_RANGE, key, "%s: %zu token ids, at most %d", key, n,
                         LIMIT_PROMPT_TOKENS);
    out->ids = arena_array(&p->arena, n, sizeof *out->ids);
    if (!out->ids)
        return no_memory(e);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(v, i);
        if (!json_is_integer(id))
            return err_field(e, E_FORMAT, key, "%s: element %zu is %s, a token id is expected",
                             key, i, jsonin_kind(id));
        json_int_t x = json_integer_value(id);
        if (x < 0 || x >= vocab)
            return err_field(e, E_RANGE, key, "%s: token id %lld is outside 0 … %d", key,
                             (long long)x, vocab - 1);
        out->ids[i] = (int32_t)x;
    }
    out->n_ids = (int32_t)n;
    return 0;
}

static int text_prompt(struct params *p, const json_t *v, const char *key, struct prompt_in *out,
                       struct err *e)
{
    if (!json_is_string(v))
        return err_field(e, E_FORMAT, key, "%s: %s among strings", key, jsonin_kind(v));
    memset(out, 0, sizeof *out);
    out->n_text = json_string_length(v);
    out->text = arena_copy(&p->arena, json_string_value(v), out->n_text);
    return out->text ? 0 : no_memory(e);
}

/* string | [string] | [id] | [[id]] */
static int read_prompts(struct params *p, const json_t *v, int32_t vocab, struct err *e)
{
    const json_t *first = json_array_get(v, 0);
    bool list = json_is_string(first) || json_is_array(first);
    if (!json_is_string(v) && !json_is_array(v))
        return err_field(e, E_FORMAT, "prompt", "prompt: %s was sent, a string, an array of "
                         "strings or token ids is expected", jsonin_kind(v));
    if (json_is_array(v) && !first)
        return err_field(e, E_RANGE, "prompt", "prompt: the array is empty");
    size_t n = list ? json_array_size(v) : 1;
    if (n > LIMIT_PROMPTS)
        return err_field(e, E_RANGE, "prompt", "prompt: %zu prompts, at most %d", n,
                         LIMIT_PROMPTS);
    p->prompts = arena_array(&p->arena, n, sizeof *p->prompts);
    if (!p->prompts)
        return no_memory(e);
    int rc = 0;
    for (size_t i = 0; i < n && !rc; i++) {
        const json_t *one = list ? json_array_get(v, i) : v;
        bool text = json_is_string(list ? first : v);
        rc = text ? text_prompt(p, one, "prompt", &p->prompts[i], e)
                  : params_ids(p, one, "prompt", vocab, &p->prompts[i], e);
        p->n_prompts += !rc;
    }
    return rc;
}

int params_input(struct params *p, const json_t *o, int32_t vocab, struct err *e)
{
    const json_t *prompt, *messages, *tokens;
    switch (p->kind) {
    case PARAMS_DETOKENIZE:
        tokens = jsonin_get(o, "tokens");
        if (!tokens)
            return err_field(e, E_FORMAT, "tokens", "tokens: missing");
        p->prompts = arena_alloc(&p->arena, sizeof *p->prompts);
        if (!p->prompts)
            return no_memory(e);
        p->n_prompts = 1;
        return params_ids(p, tokens, "tokens", vocab, p->prompts, e);
    case PARAMS_CHAT:
    case PARAMS_APPLY:
        messages = jsonin_get(o, "messages");
        if (json_is_false(json_object_get(o, "add_special_tokens"))) /* the template's affair */
            (void)jsonin_get(o, "add_special_tokens");
        if (!messages)
            return err_field(e, E_FORMAT, "messages", "messages: missing");
        return params_chat(p, o, e);
    case PARAMS_TOKENIZE:
        jsonin_bool(o, "return_token_strs", &p->return_strs, e);
        if (!e->code && jsonin_get(o, "messages"))
            return params_chat(p, o, e);
        prompt = jsonin_get(o, "prompt");
        jsonin_bool(o, "add_special_tokens", &p->add_special, e);
        if (!prompt && jsonin_get(o, "content")) { /* llama-server's form */
            prompt = jsonin_get(o, "content");
            p->add_special = false;
            jsonin_bool(o, "add_special", &p->add_special, e);
        }
        if (!e->code && !json_is_string(prompt))
            err_field(e, E_FORMAT, "prompt", "prompt: a string is expected, or messages");
        if (e->code)
            return e->code;
        break;
    case PARAMS_COMPLETION:
    default:
        prompt = jsonin_get(o, "prompt");
        jsonin_bool(o, "add_special_tokens", &p->add_special, e);
        if (e->code)
            return e->code;
        if (!prompt)
            return err_field(e, E_FORMAT, "prompt", "prompt: missing");
        if (params_no_chat(o, e))
            return e->code;
        break;
    }
    return read_prompts(p, prompt, vocab, e);
}
