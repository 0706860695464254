#include "server/http/reqlog.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/http/exchange.h"

static double ms(uint64_t ns) { return (double)ns / (double)NS_PER_MS; }

/* Worth a line where nobody looks for trouble. */
static bool is_question(const struct exchange *x)
{
    const struct route *r = route_at(x->http->routes, x->route);
    bool asks = x->method && (strcmp(x->method, "GET") == 0 || strcmp(x->method, "HEAD") == 0 ||
                              strcmp(x->method, "OPTIONS") == 0);
    return (r && r->access == ACCESS_OPEN) || (asks && x->status && x->status < 400);
}

void reqlog(const struct exchange *x)
{
    const struct request_facts *f = &x->facts;
    enum log_level level = is_question(x) ? LOG_DEBUG : LOG_INFO;
    struct log_field fields[16];
    size_t n = 0;
    if (!log_wants(level))
        return;
#define TEXT(name, value) fields[n++] = (struct log_field){name, value, 0, 0}
#define NUMBER(name, value, digits) \
    fields[n++] = (struct log_field){name, NULL, (double)(value), digits}
    TEXT("id", *x->id ? x->id : "-");
    if (x->traced)
        TEXT("trace", x->trace.trace);
    if (x->key)
        TEXT("key", x->key->name);
    TEXT("method", x->method ? x->method : "-");
    TEXT("endpoint", route_name(x->http->routes, x->route));
    NUMBER("status", x->status, 0); /* 0: it left before there was one */
    if (f->generated) {
        TEXT("model", x->http->served->name);
        NUMBER("prompt_tokens", f->prompt, 0);
        NUMBER("cached_tokens", f->cached, 0);
        NUMBER("output_tokens", f->output, 0);
        NUMBER("queue_ms", ms(f->queue_ns), 1);
        NUMBER("first_token_ms", ms(f->first_ns), 1);
        TEXT("finish", f->finish);
    }
    NUMBER("total_ms", ms(clock_now_ns() - x->begun_ns), 1);
#undef TEXT
#undef NUMBER
    log_fields(level, "request", fields, n);
}
