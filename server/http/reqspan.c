#include "server/http/reqspan.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "server/http/exchange.h"
#include "server/otlp/otlp.h"

void reqspan_begin(struct exchange *x)
{
    struct otlp *o = x->http->otlp;
    const struct route *r = route_at(x->http->routes, x->route);
    if (!o || (r && r->access == ACCESS_OPEN)) /* probes and the page are nobody's trace */
        return;
    traceparent_read(MHD_lookup_connection_value(x->mhd, MHD_HEADER_KIND, "traceparent"),
                     &x->trace);
    x->traced = otlp_wants(o, &x->trace);
    if (x->traced)
        x->facts.trace = x->trace.trace;
}

static uint64_t unix_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

void reqspan_end(const struct exchange *x)
{
    const struct request_facts *f = &x->facts;
    if (!x->traced)
        return;
    uint64_t now = clock_now_ns(), wall = unix_ns();
    struct span_request r = {
        .context = x->trace, .method = x->method ? x->method : "-", .status = x->status,
        .endpoint = route_name(x->http->routes, x->route),
        .begun_ns = wall - (now - x->begun_ns), .ended_ns = wall,
        .generated = f->generated, .finish = f->finish,
        .submitted_ns = f->submitted_ns ? wall - (now - f->submitted_ns) : 0,
        .queue_ns = f->queue_ns, .first_ns = f->first_ns, .last_ns = f->last_ns,
        .prompt = f->prompt, .cached = f->cached, .output = f->output,
    };
    span_id(r.span, SPAN_ID_CHARS);
    snprintf(r.id, sizeof r.id, "%s", x->id);
    snprintf(r.key, sizeof r.key, "%s", x->key ? x->key->name : "");
    snprintf(r.model, sizeof r.model, "%s", f->generated ? x->http->served->name : "");
    otlp_request(x->http->otlp, &r);
}
