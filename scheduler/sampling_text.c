/* See the header. */
#include "scheduler/sampling_text.h"

#include <inttypes.h>

static void put_more(struct buf *b, const struct sampling *p)
{
#define SAMPLING(type, name, without, least, most) \
    buf_fmt(b, ",\"" #name "\":%.9g", (double)p->name);
#include "scheduler/sampling.def"
#undef SAMPLING
    buf_str(b, ",\"dry_breakers\":[");
    for (int32_t i = 0; i < p->n_breakers; i++) {
        buf_str(b, i ? ",\"" : "\"");
        for (int32_t k = 0; k < p->breakers[i].n; k++)
            buf_fmt(b, "%02x", (unsigned char)p->breakers[i].bytes[k]);
        buf_ch(b, '"');
    }
    buf_ch(b, ']');
}

void sampling_put(struct buf *b, const struct sampling *p)
{
    buf_fmt(b, "{\"temperature\":%.9g,\"top_p\":%.9g,\"min_p\":%.9g,\"top_k\":%d,"
            "\"repetition_penalty\":%.9g,\"presence_penalty\":%.9g,\"frequency_penalty\":%.9g,"
            "\"seed\":\"%" PRIu64 "\",\"bias\":[", (double)p->temperature, (double)p->top_p,
            (double)p->min_p, (int)p->top_k, (double)p->repetition_penalty,
            (double)p->presence_penalty, (double)p->frequency_penalty, p->seed);
    for (int32_t i = 0; i < p->n_bias; i++)
        buf_fmt(b, "%s[%d,%.9g]", i ? "," : "", (int)p->bias[i].id, (double)p->bias[i].x);
    buf_ch(b, ']');
    if (sampling_more(p))
        put_more(b, p);
    buf_ch(b, '}');
}
