/* GET /health, /livez, /readyz, /version, /limits. */
#include "server/api/health.h"

#include "base/clock.h"
#include "base/version.h"
#include "scheduler/sched.h"
#include "server/api/api.h"
#include "server/http/exchange.h"
#include "server/api/jsonout.h"

static void status(struct exchange *x, const char *word)
{
    buf_str(&x->reply, "{\"status\":");
    jsonout_str(&x->reply, word);
    buf_ch(&x->reply, '}');
    exchange_answer(x, 200, "application/json");
}

/* The usual error, and beside it what a probe may like to read. */
static void loading(struct exchange *x)
{
    struct progress_view v;
    struct buf error;
    progress_view(x->http->loading, &v);
    exchange_loading(x);
    error = x->reply;
    buf_init(&x->reply, error.max);
    buf_fmt(&x->reply, "{\"status\":\"loading\",\"progress\":%.2f,\"stage\":", v.share);
    jsonout_str(&x->reply, v.what);
    buf_ch(&x->reply, ',');
    if (error.len)
        buf_add(&x->reply, error.p + 1, error.len - 1);
    buf_free(&error);
}

static bool is_stuck(const struct http *h)
{
    struct sched_stats s;
    sched_stats(h->served->sched, &s);
    return (s.running || s.waiting) && clock_now_ns() > s.heartbeat_ns + STUCK_S * NS_PER_S;
}

enum standing health_standing(const struct http *h)
{
    if (http_is_loading(h))
        return STANDING_LOADING;
    if (sched_device_lost(h->served->sched))
        return STANDING_LOST;
    if (http_is_draining(h))
        return STANDING_DRAINING;
    return is_stuck(h) ? STANDING_STUCK : STANDING_OK;
}

static void unwell(struct exchange *x, enum standing s)
{
    if (s == STANDING_LOST)
        exchange_error(x, APIERR_DEVICE, NULL, "the device was lost");
    else
        exchange_error(x, APIERR_DEVICE, NULL, STUCK_TEXT);
}

/* Whether a request sent now would be served. */
static void ready(struct exchange *x)
{
    enum standing s = health_standing(x->http);
    switch (s) {
    case STANDING_OK: status(x, "ok"); return;
    case STANDING_LOADING: loading(x); return;
    case STANDING_DRAINING:
        exchange_error(x, APIERR_DRAINING, NULL, "the server is shutting down");
        return;
    case STANDING_LOST:
    case STANDING_STUCK: unwell(x, s);
    }
}

void api_health(struct exchange *x) { ready(x); }
void api_readyz(struct exchange *x) { ready(x); }

/* Whether a restart would help: also while draining the process is alive. */
void api_livez(struct exchange *x)
{
    enum standing s = health_standing(x->http);
    if (s == STANDING_DRAINING && is_stuck(x->http))
        s = STANDING_STUCK;
    if (s == STANDING_LOST || s == STANDING_STUCK)
        unwell(x, s);
    else
        status(x, s == STANDING_LOADING ? "loading" : "ok");
}

void api_version(struct exchange *x)
{
    buf_fmt(&x->reply, "{\"version\":\"%s\",\"commit\":\"%s\"}", version_number(),
            version_commit());
    exchange_answer(x, 200, "application/json");
}

void api_limits(struct exchange *x)
{
    const struct options *o = x->http->o;
    const struct { const char *name; int64_t value; } limits[] = {
        {"slots", x->http->served->cap.slots},
        {"queue", o->queue},
        {"step_tokens", o->step_tokens},
        {"context", x->http->served->context_max},
        {"connections", o->connections},
        {"body_bytes", o->body_limit},
        {"header_bytes", (int64_t)LIMIT_HEADER_BYTES},
        {"json_depth", LIMIT_JSON_DEPTH},
        {"json_values", LIMIT_JSON_VALUES},
        {"prompt_tokens", LIMIT_PROMPT_TOKENS},
        {"prompts", LIMIT_PROMPTS},
        {"choices", LIMIT_CHOICES},
        {"messages", LIMIT_MESSAGES},
        {"stop_strings", LIMIT_CLIENT_STOPS},
        {"stop_string_bytes", LIMIT_STOP_BYTES},
        {"stop_token_ids", LIMIT_STOP_IDS},
        {"logit_bias", LIMIT_LOGIT_BIAS},
        {"top_logprobs", LIMIT_TOP_LOGPROBS},
        {"request_timeout_s", o->request_timeout},
    };
    for (size_t i = 0; i < ARRAY_LEN(limits); i++)
        buf_fmt(&x->reply, "%s\"%s\":%lld", i ? "," : "{", limits[i].name,
                (long long)limits[i].value);
    buf_ch(&x->reply, '}');
    exchange_answer(x, 200, "application/json");
}
