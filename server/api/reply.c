/* Shared pieces of replies. Thread: HTTP worker. */
#include "server/api/reply.h"

#include "base/utf8.h"
#include "server/api/jsonout.h"

void reply_token(struct buf *out, const struct served *m, int32_t id)
{
    size_t n = 0;
    const char *p = m->tok ? tokenizer_piece_shown(m->tok, id, &n) : NULL;
    if (!m->tok) {
        buf_fmt(out, "\"token_id:%d\"", id);
    } else if (utf8_valid(p, n)) {
        jsonout_strn(out, p, n);
    } else {
        buf_str(out, "\"bytes:");
        for (size_t i = 0; i < n; i++)
            buf_fmt(out, "\\\\x%02x", (unsigned char)p[i]);
        buf_ch(out, '"');
    }
}

const char *reply_finish(enum finish f)
{
    return f == FINISH_STOP ? "\"stop\"" : f == FINISH_LENGTH ? "\"length\"" : "null";
}

void reply_receipt(struct buf *out, const struct choice *c)
{
    if (!c->gen->params.receipt)
        return;
    buf_str(out, ",\"receipt\":");
    if (c->receipt.len)
        buf_add(out, c->receipt.p, c->receipt.len);
    else
        buf_str(out, "null");
    out->failed |= c->receipt.failed;
}
