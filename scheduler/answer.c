/* A kept answer: 32 bytes of numbers, the ids, the text; version 2 has a receipt's bytes (8) behind
 * the numbers and the receipt behind the text. Little-endian. */
#include "scheduler/answer.h"

#include <string.h>

#include "base/bytes.h"

enum { AT_VERSION = 0, AT_FINISH = 4, AT_PROMPT = 8, AT_CACHED = 16, AT_OUTPUT = 24, AT_IDS = 28,
       HEAD = 32, RECEIPT = 8, VERSION = 1, VERSION_RECEIPT = 2 };

int answer_pack(struct buf *out, const struct answer *a)
{
    unsigned char head[HEAD + RECEIPT];
    bytes_put(head + AT_VERSION, a->n_receipt ? VERSION_RECEIPT : VERSION, 4);
    bytes_put(head + AT_FINISH, (uint64_t)a->finish, 4);
    bytes_put(head + AT_PROMPT, (uint64_t)a->n_prompt, 8);
    bytes_put(head + AT_CACHED, (uint64_t)a->n_cached, 8);
    bytes_put(head + AT_OUTPUT, (uint64_t)a->n_output, 4);
    bytes_put(head + AT_IDS, (uint64_t)a->n_ids, 4);
    bytes_put(head + HEAD, a->n_receipt, RECEIPT);
    buf_add(out, head, HEAD + (a->n_receipt ? RECEIPT : 0));
    buf_add(out, a->ids, (size_t)a->n_ids * 4);
    buf_add(out, a->text, a->n_text);
    buf_add(out, a->receipt, a->n_receipt);
    return out->failed ? E_NOMEM : 0;
}

int answer_unpack(const void *p, size_t n, struct answer *a, struct err *e)
{
    const unsigned char *b = p;
    uint64_t version = n >= HEAD ? bytes_get(b + AT_VERSION, 4) : 0;
    size_t head = version == VERSION_RECEIPT ? HEAD + RECEIPT : HEAD;
    bool known = (version == VERSION || version == VERSION_RECEIPT) && n >= head;
    uint64_t n_ids = known ? bytes_get(b + AT_IDS, 4) : 0;
    uint64_t n_receipt = known && head > HEAD ? bytes_get(b + HEAD, RECEIPT) : 0;
    if (!known || n_ids > (n - head) / 4 || n_receipt > n - head - n_ids * 4)
        return err_set(e, E_FORMAT, "the kept answer has %zu bytes and no known form", n);
    *a = (struct answer){
        .finish = bytes_get(b + AT_FINISH, 4) == FINISH_STOP ? FINISH_STOP : FINISH_LENGTH,
        .n_prompt = (int64_t)bytes_get(b + AT_PROMPT, 8),
        .n_cached = (int64_t)bytes_get(b + AT_CACHED, 8),
        .n_output = (int32_t)bytes_get(b + AT_OUTPUT, 4),
        .ids = b + head,
        .n_ids = (int32_t)n_ids,
        .text = (const char *)b + head + n_ids * 4,
        .n_text = n - head - (size_t)(n_ids * 4 + n_receipt),
        .receipt = (const char *)b + n - n_receipt,
        .n_receipt = (size_t)n_receipt,
    };
    return 0;
}

int32_t answer_id(const struct answer *a, int32_t i)
{
    return (int32_t)bytes_get(a->ids + (size_t)i * 4, 4);
}
