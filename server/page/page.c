/* GET / and /ui/NAME. Thread: HTTP worker. */
#include "server/page/page.h"

#include <string.h>

#include "server/api/api.h"
#include "server/http/exchange.h"

/* Scripts and styles only from here, requests only to here, and nobody frames it. */
static const struct exchange_header headers[] = {
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
     "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
    {"Referrer-Policy", "no-referrer"},
    {"Cache-Control", "no-cache"},
    {NULL, NULL},
};

static const char *type_of(const char *name)
{
    static const struct { const char *end, *type; } rows[] = {
        {".html", "text/html; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
    };
    const char *end = strrchr(name, '.');
    for (size_t i = 0; end && i < ARRAY_LEN(rows); i++)
        if (strcmp(end, rows[i].end) == 0)
            return rows[i].type;
    return "application/octet-stream";
}

static void answer(struct exchange *x, const char *name)
{
    const struct page_text *t = page_texts;
    while (t->name && strcmp(t->name, name) != 0)
        t++;
    if (!t->name || !x->http->o->page) {
        exchange_error(x, APIERR_NO_ROUTE, NULL, "there is nothing at this path");
        return;
    }
    buf_str(&x->reply, t->text);
    x->headers = headers;
    exchange_answer(x, 200, type_of(name));
}

void page_index(struct exchange *x) { answer(x, "index.html"); }
void page_file(struct exchange *x) { answer(x, x->rest); }
