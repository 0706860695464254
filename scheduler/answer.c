/* A kept answer: 32 bytes of numbers, the ids, the text; version 2 has a receipt's bytes (8) behind
 * the numbers and the receipt behind the text; version 3 those and the bytes of scores (8), and the
 * scores at the end: of each token its id, logprob and number of others (4 each), then an id and a
 * logprob of each. Little-endian. */
#include "scheduler/answer.h"

#include <string.h>

#include "base/bytes.h"

enum { AT_VERSION = 0, AT_FINISH = 4, AT_PROMPT = 8, AT_CACHED = 16, AT_OUTPUT = 24, AT_IDS = 28,
       HEAD = 32, RECEIPT = 8, SCORES = 8, VERSION = 1, VERSION_RECEIPT = 2, VERSION_SCORES = 3,
       SCORE = 12, SCORE_TOP = 8 };

int answer_pack(struct buf *out, const struct answer *a)
{
    unsigned char head[HEAD + RECEIPT + SCORES];
    size_t n = a->n_scores ? HEAD + RECEIPT + SCORES : a->n_receipt ? HEAD + RECEIPT : HEAD;
    bytes_put(head + AT_VERSION,
              a->n_scores ? VERSION_SCORES : a->n_receipt ? VERSION_RECEIPT : VERSION, 4);
    bytes_put(head + AT_FINISH, (uint64_t)a->finish, 4);
    bytes_put(head + AT_PROMPT, (uint64_t)a->n_prompt, 8);
    bytes_put(head + AT_CACHED, (uint64_t)a->n_cached, 8);
    bytes_put(head + AT_OUTPUT, (uint64_t)a->n_output, 4);
    bytes_put(head + AT_IDS, (uint64_t)a->n_ids, 4);
    bytes_put(head + HEAD, a->n_receipt, RECEIPT);
    bytes_put(head + HEAD + RECEIPT, a->n_scores, SCORES);
    buf_add(out, head, n);
    buf_add(out, a->ids, (size_t)a->n_ids * 4);
    buf_add(out, a->text, a->n_text);
    buf_add(out, a->receipt, a->n_receipt);
    buf_add(out, a->scores, a->n_scores);
    return out->failed ? E_NOMEM : 0;
}

int answer_unpack(const void *p, size_t n, struct answer *a, struct err *e)
{
    const unsigned char *b = p;
    uint64_t version = n >= HEAD ? bytes_get(b + AT_VERSION, 4) : 0;
    size_t head = version == VERSION_SCORES    ? HEAD + RECEIPT + SCORES
                  : version == VERSION_RECEIPT ? HEAD + RECEIPT
                                               : HEAD;
    bool known = version >= VERSION && version <= VERSION_SCORES && n >= head;
    uint64_t n_ids = known ? bytes_get(b + AT_IDS, 4) : 0;
    uint64_t n_receipt = known && head > HEAD ? bytes_get(b + HEAD, RECEIPT) : 0;
    uint64_t n_scores = known && version == VERSION_SCORES ? bytes_get(b + HEAD + RECEIPT, SCORES)
                                                           : 0;
    if (!known || n_ids > (n - head) / 4 || n_receipt > n - head - n_ids * 4 ||
        n_scores > n - head - n_ids * 4 - n_receipt)
        return err_set(e, E_FORMAT, "the kept answer has %zu bytes and no known form", n);
    *a = (struct answer){
        .finish = bytes_get(b + AT_FINISH, 4) == FINISH_STOP ? FINISH_STOP : FINISH_LENGTH,
        .n_prompt = (int64_t)bytes_get(b + AT_PROMPT, 8),
        .n_cached = (int64_t)bytes_get(b + AT_CACHED, 8),
        .n_output = (int32_t)bytes_get(b + AT_OUTPUT, 4),
        .ids = b + head,
        .n_ids = (int32_t)n_ids,
        .text = (const char *)b + head + n_ids * 4,
        .n_text = n - head - (size_t)(n_ids * 4 + n_receipt + n_scores),
        .receipt = (const char *)b + n - n_scores - n_receipt,
        .n_receipt = (size_t)n_receipt,
        .scores = b + n - n_scores,
        .n_scores = (size_t)n_scores,
    };
    return 0;
}

int32_t answer_id(const struct answer *a, int32_t i)
{
    return (int32_t)bytes_get(a->ids + (size_t)i * 4, 4);
}

static void put_score(unsigned char *out, int32_t id, float logprob)
{
    uint32_t bits;
    memcpy(&bits, &logprob, sizeof bits);
    bytes_put(out, (uint32_t)id, 4);
    bytes_put(out + 4, bits, 4);
}

static void get_score(const unsigned char *in, int32_t *id, float *logprob)
{
    uint32_t bits = (uint32_t)bytes_get(in + 4, 4);
    *id = (int32_t)bytes_get(in, 4);
    memcpy(logprob, &bits, sizeof bits);
}

void answer_score(struct buf *out, const struct token_event *ev)
{
    unsigned char b[SCORE + LIMIT_TOP_LOGPROBS * SCORE_TOP];
    put_score(b, ev->id, ev->logprob);
    bytes_put(b + 8, (uint32_t)ev->n_top, 4);
    for (int32_t i = 0; i < ev->n_top; i++)
        put_score(b + SCORE + i * SCORE_TOP, ev->top[i].id, ev->top[i].logprob);
    (void)buf_add(out, b, SCORE + (size_t)ev->n_top * SCORE_TOP);
}

bool answer_scored(const struct answer *a, size_t *at, struct token_event *ev)
{
    const unsigned char *p = a->scores + *at;
    size_t left = a->n_scores - *at;
    uint64_t n_top = left >= SCORE ? bytes_get(p + 8, 4) : UINT64_MAX;
    if (n_top > LIMIT_TOP_LOGPROBS || n_top * SCORE_TOP > left - SCORE)
        return false;
    *ev = (struct token_event){.has_logprob = true, .n_top = (int32_t)n_top};
    get_score(p, &ev->id, &ev->logprob);
    for (uint64_t i = 0; i < n_top; i++)
        get_score(p + SCORE + i * SCORE_TOP, &ev->top[i].id, &ev->top[i].logprob);
    *at += SCORE + (size_t)n_top * SCORE_TOP;
    return true;
}
