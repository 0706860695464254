/* Ids of texts, for compare.py: ids DIR [plain] <texts >ids. A text is its length, 4 bytes, and its
 * bytes; an answer the number of its ids and the ids, 4 bytes each. plain: special tokens are
 * text. Exit 1 with a sentence where DIR has no tokenizer or a text cannot be encoded. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "models/text/tokenizer.h"

static int encode_all(const struct tokenizer *t, int flags, struct err *e)
{
    uint32_t n;
    struct ids ids;
    char text[KIB(64)];
    ids_init(&ids, 1 << 20);
    while (e->code == 0 && fread(&n, sizeof n, 1, stdin) == 1) {
        if (n > sizeof text || fread(text, 1, n, stdin) != n)
            err_set(e, E_FORMAT, "a text of %u bytes is too long or cut off", n);
        ids.len = 0;
        if (e->code || tokenizer_encode(t, text, n, flags, &ids, e) < 0)
            break;
        uint32_t count = (uint32_t)ids.len;
        fwrite(&count, sizeof count, 1, stdout);
        fwrite(ids.p, sizeof *ids.p, ids.len, stdout);
    }
    ids_free(&ids);
    return fflush(stdout) == 0 ? e->code : E_IO;
}

int main(int argc, char **argv)
{
    struct tokenizer *t = NULL;
    struct err e = {0};
    int flags = argc > 2 && strcmp(argv[2], "plain") == 0 ? 0 : TOKENIZE_SPECIAL;
    log_set_level(LOG_ERROR);
    if (argc < 2 || tokenizer_open(&t, argv[1], LIMIT_VOCAB, &e) < 0 || !t ||
        encode_all(t, flags, &e) < 0) {
        fprintf(stderr, "ids: %s\n", e.code ? e.text : "usage: ids DIR [plain]");
        return 1;
    }
    tokenizer_close(t);
    return 0;
}
