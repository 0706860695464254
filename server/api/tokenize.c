/* POST /tokenize and /detokenize: text <-> ids, as a completion would see them. */
#include "server/api/api.h"
#include "server/http/exchange.h"
#include "server/api/jsonout.h"
#include "server/api/reply.h"
#include "server/api/serve.h"

static void tokenized(struct exchange *x, const struct params *p, const struct ids *ids)
{
    const struct served *m = x->http->served;
    struct buf *out = &x->reply;
    buf_fmt(out, "{\"count\":%zu,\"max_model_len\":", ids->len);
    if (m->context_max > 0)
        jsonout_int(out, m->context_max);
    else
        buf_str(out, "null");
    buf_str(out, ",\"tokens\":");
    jsonout_ids(out, ids->p, ids->len);
    if (p->return_strs) {
        buf_str(out, ",\"token_strs\":[");
        for (size_t i = 0; i < ids->len; i++) {
            if (i)
                buf_ch(out, ',');
            reply_token(out, m, ids->p[i]);
        }
        buf_ch(out, ']');
    }
    buf_ch(out, '}');
    exchange_answer(x, 200, "application/json");
}

void api_tokenize(struct exchange *x)
{
    struct params p;
    struct ids ids;
    struct err e = {0};
    json_t *in = serve_body(x);
    if (!in || serve_params(x, PARAMS_TOKENIZE, NULL, in, in, &p))
        return;
    ids_init(&ids, LIMIT_PROMPT_TOKENS);
    if (gen_tokenize(x->http->served, &p, 0, &ids, NULL, &e))
        exchange_fail(x, &e);
    else
        tokenized(x, &p, &ids);
    ids_free(&ids);
    params_fini(&p);
}

static void detokenized(struct exchange *x, const struct params *p)
{
    const struct tokenizer *tok = x->http->served->tok;
    struct buf text;
    buf_init(&text, MIB(64)); /* 256 Ki tokens of 256 bytes */
    for (int32_t i = 0; i < p->prompts[0].n_ids; i++) {
        size_t n;
        const char *piece = tokenizer_piece_shown(tok, p->prompts[0].ids[i], &n);
        buf_add(&text, piece, n);
    }
    x->reply.failed |= text.failed;
    buf_str(&x->reply, "{\"prompt\":");
    jsonout_strn(&x->reply, text.p, text.len);
    buf_str(&x->reply, ",\"content\":"); /* as llama-server calls it */
    jsonout_strn(&x->reply, text.p, text.len);
    buf_ch(&x->reply, '}');
    buf_free(&text);
    exchange_answer(x, 200, "application/json");
}

void api_detokenize(struct exchange *x)
{
    struct params p;
    json_t *in = serve_body(x);
    if (!in || serve_params(x, PARAMS_DETOKENIZE, NULL, in, in, &p))
        return;
    if (!x->http->served->tok)
        exchange_error(x, APIERR_UNSUPPORTED, "tokens", "tokens: the model has no tokenizer");
    else
        detokenized(x, &p);
    params_fini(&p);
}
