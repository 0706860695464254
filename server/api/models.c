/* GET /v1/models and /v1/models/{id}: the one model there is, under each of its names. */
#include <string.h>

#include "server/api/api.h"
#include "server/http/exchange.h"
#include "server/api/jsonout.h"

static void object(struct buf *out, const struct http *h, const char *name)
{
    buf_str(out, "{\"id\":");
    jsonout_str(out, name);
    buf_fmt(out, ",\"object\":\"model\",\"created\":%llu,\"owned_by\":\"recurd\",\"architecture\":",
            (unsigned long long)h->started_unix_s);
    jsonout_str(out, h->served->arch);
    buf_fmt(out, ",\"parameters\":%lld,\"max_model_len\":", (long long)h->served->parameters);
    if (h->served->context_max > 0)
        jsonout_int(out, h->served->context_max);
    else
        buf_str(out, "null"); /* the state does not grow: there is no limit to name */
    buf_ch(out, '}');
}

void api_models(struct exchange *x)
{
    buf_str(&x->reply, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < x->http->served->n_names; i++) {
        buf_str(&x->reply, i ? "," : "");
        object(&x->reply, x->http, x->http->served->names[i]);
    }
    buf_str(&x->reply, "]}");
    exchange_answer(x, 200, "application/json");
}

void api_model(struct exchange *x)
{
    if (!served_is_named(x->http->served, x->rest)) {
        exchange_error(x, APIERR_NO_MODEL, "model", "there is no model of this name");
        return;
    }
    object(&x->reply, x->http, x->rest);
    exchange_answer(x, 200, "application/json");
}
