/* The key file: any bytes end in keys inside their limits, or in one sentence that says a line. */
#include "server/process/keyfile.h"
#include "tests/fuzz/fuzz.h"

static void check(const struct keyfile *f)
{
    HOLDS(f->n > 0 && f->n <= KEYFILE_KEYS);
    for (int i = 0; i < f->n; i++) {
        const struct keyfile_key *k = &f->keys[i];
        HOLDS(k->name[0] && strlen(k->name) <= KEY_NAME_BYTES && !strpbrk(k->name, "\"\\\n {}#"));
        HOLDS(k->n_secrets > 0 && k->n_secrets <= KEY_SECRETS);
        HOLDS(k->line > 0 && (i == 0 || k->line > f->keys[i - 1].line));
        for (int j = 0; j < KEY_LIMITS; j++)
            HOLDS(k->limit[j] >= -1);
        for (int o = 0; o < i; o++)
            HOLDS(strcmp(k->name, f->keys[o].name) != 0 &&
                  memcmp(k->secret[0], f->keys[o].secret[0], KEY_DIGEST) != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct keyfile f;
    struct err e = {0};
    int rc = keyfile_parse(&f, (const char *)data, n, "f", &e);
    HOLDS(rc == e.code && (rc == 0 || e.text[0]));
    HOLDS(rc == 0 || strncmp(e.text, "f line ", 7) == 0 || strncmp(e.text, "f: ", 3) == 0);
    if (!rc)
        check(&f);
    keyfile_free(&f);
    return 0;
}
