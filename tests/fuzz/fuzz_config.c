/* config.json: every kind of read on every key, and on what is nested in it. */
#include "models/files/config.h"
#include "tests/fuzz/fuzz.h"

#define DEPTH 4 /* of the walk; deeper objects are like these */

static void walk(const struct config *c, int depth)
{
    for (const char *k = config_next_key(c, NULL); k; k = config_next_key(c, k)) {
        struct err e = {0};
        int64_t x = config_int(c, k, 5, 0, 100, &e);
        HOLDS(x >= 0 && x <= 100);
        config_num(c, k, 1, &e);
        config_bool(c, k, true, &e);
        config_str(c, k, "", &e);
        int64_t n = config_len(c, k);
        for (int64_t i = 0; i < MIN(n, 8); i++) {
            config_int_at(c, k, i, 0, &e);
            config_num_at(c, k, i, 0, &e);
            config_str_at(c, k, i, &e);
        }
        const struct config *o = depth < DEPTH ? config_obj(c, k, &e) : NULL;
        if (o)
            walk(o, depth + 1);
        for (int i = 0; depth < DEPTH && i < 3 && (o = config_obj_at(c, k, i, &e)); i++)
            walk(o, depth + 1);
        HOLDS(strlen(e.text) < sizeof e.text);
    }
    HOLDS(config_next_unread(c, NULL) == NULL); /* all were read */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct config *c = NULL;
    struct err e = {0};
    int rc = config_parse(&c, (const char *)data, n, "f", &e);
    HOLDS((rc == 0) == (c != NULL) && rc == e.code);
    if (c)
        walk(c, 0);
    config_free(c);
    return 0;
}
