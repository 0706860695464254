/* POST /apply-template: the prompt that a chat request would become, as text. */
#include "server/api/api.h"
#include "server/api/jsonout.h"
#include "server/api/serve.h"

void api_apply_template(struct exchange *x)
{
    const struct served *s = x->http->served;
    struct params p;
    struct chat_text text = {0};
    struct err e = {0};
    json_t *in = serve_body(x);
    if (!in || serve_params(x, PARAMS_APPLY, NULL, in, in, &p))
        return;
    if (!s->chat) {
        err_field(&e, E_UNSUPPORTED, "messages", "messages: the model \"%s\" has no %s", s->name,
                  s->tok ? "chat template" : "tokenizer");
        exchange_fail(x, &e);
    } else if (chat_render(s->chat, &p.chat, &text, &e)) {
        exchange_fail(x, &e);
    } else {
        buf_str(&x->reply, "{\"prompt\":");
        jsonout_strn(&x->reply, text.text.p, text.text.len);
        buf_ch(&x->reply, '}');
        exchange_answer(x, 200, "application/json");
    }
    chat_text_free(&text);
    params_fini(&p);
}
