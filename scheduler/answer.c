/* A kept answer: 32 bytes of numbers, the ids, the text. Little-endian. */
#include "scheduler/answer.h"

#include <string.h>

#include "base/bytes.h"

enum { AT_VERSION = 0, AT_FINISH = 4, AT_PROMPT = 8, AT_CACHED = 16, AT_OUTPUT = 24, AT_IDS = 28,
       HEAD = 32, VERSION = 1 };

int answer_pack(struct buf *out, const struct answer *a)
{
    unsigned char head[HEAD];
    bytes_put(head + AT_VERSION, VERSION, 4);
    bytes_put(head + AT_FINISH, (uint64_t)a->finish, 4);
    bytes_put(head + AT_PROMPT, (uint64_t)a->n_prompt, 8);
    bytes_put(head + AT_CACHED, (uint64_t)a->n_cached, 8);
    bytes_put(head + AT_OUTPUT, (uint64_t)a->n_output, 4);
    bytes_put(head + AT_IDS, (uint64_t)a->n_ids, 4);
    buf_add(out, head, sizeof head);
    buf_add(out, a->ids, (size_t)a->n_ids * 4);
    buf_add(out, a->text, a->n_text);
    return out->failed ? E_NOMEM : 0;
}

int answer_unpack(const void *p, size_t n, struct answer *a, struct err *e)
{
    const unsigned char *b = p;
    uint64_t n_ids = n >= HEAD ? bytes_get(b + AT_IDS, 4) : 0;
    if (n < HEAD || bytes_get(b + AT_VERSION, 4) != VERSION || n_ids > (n - HEAD) / 4)
        return err_set(e, E_FORMAT, "the kept answer has %zu bytes and no known form", n);
    *a = (struct answer){
        .finish = bytes_get(b + AT_FINISH, 4) == FINISH_STOP ? FINISH_STOP : FINISH_LENGTH,
        .n_prompt = (int64_t)bytes_get(b + AT_PROMPT, 8),
        .n_cached = (int64_t)bytes_get(b + AT_CACHED, 8),
        .n_output = (int32_t)bytes_get(b + AT_OUTPUT, 4),
        .ids = b + HEAD,
        .n_ids = (int32_t)n_ids,
        .text = (const char *)b + HEAD + n_ids * 4,
        .n_text = n - HEAD - (size_t)n_ids * 4,
    };
    return 0;
}

int32_t answer_id(const struct answer *a, int32_t i)
{
    return (int32_t)bytes_get(a->ids + (size_t)i * 4, 4);
}
