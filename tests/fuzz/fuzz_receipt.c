/* Any bytes as a receipt, or as a reply with some: refused, or what was read is a receipt that can
 * be computed with: ids in its vocabulary, as many links as tokens, and the same when it is written
 * and read again. */
#include <math.h>

#include "server/api/receipt_in.h"
#include "tests/fuzz/fuzz.h"

static void same_again(struct receipt *x)
{
    struct buf text;
    json_t *root = NULL;
    const json_t *list[LIMIT_CHOICES];
    struct receipt *y = NULL;
    struct err e = {0};
    int n = 0;
    buf_init(&text, MIB(8));
    receipt_put(&text, x, x->tokens != NULL);
    HOLDS(!text.failed && receipt_find(text.p, text.len, &root, list, &n, &e) == 0 && n == 1);
    HOLDS(receipt_read(&y, list[0], &e) == 0);
    HOLDS(y->n_prompt == x->n_prompt && y->n_output == x->n_output);
    HOLDS(memcmp(y->links, x->links, (size_t)x->n_output * RECEIPT_LINK) == 0);
    if (x->tokens) {
        unsigned char a[BLAKE3_OUT], b[BLAKE3_OUT];
        receipt_head(x, x->tokens, a);
        receipt_head(y, y->tokens, b);
        HOLDS(memcmp(a, b, sizeof a) == 0);
    }
    receipt_free(y);
    json_decref(root);
    buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    json_t *root;
    const json_t *list[LIMIT_CHOICES];
    struct err e = {0};
    int n_list;
    if (receipt_find((const char *)data, n, &root, list, &n_list, &e))
        return HOLDS(e.text[0]), 0;
    HOLDS(n_list > 0 && n_list <= LIMIT_CHOICES);
    for (int i = 0; i < n_list; i++) {
        struct receipt *x;
        struct err why = {0};
        if (receipt_read(&x, list[i], &why)) {
            HOLDS(!x && why.text[0]);
            continue;
        }
        for (int64_t k = 0; x->tokens && k < x->n_prompt + x->n_output; k++)
            HOLDS(x->tokens[k] >= 0 && x->tokens[k] < x->origin.vocab);
        HOLDS(isfinite(x->sampling.temperature) && x->sampling.temperature >= 0);
        same_again(x);
        receipt_free(x);
    }
    json_decref(root);
    return 0;
}
