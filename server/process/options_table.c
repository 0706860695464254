/* options.def as a table, and rows by the name that people write. */
#include <string.h>

#include "server/process/options_int.h"

#define DFLT_STR(x) (x), 0
#define DFLT_LIST(x) (x), 0
#define DFLT_INT(x) NULL, (int64_t)(x)
#define DFLT_AUTO(x) NULL, (int64_t)(x)
const struct option_row option_rows[n_option_rows] = {
#define OPT(name, kind, dflt, min, max, metavar, sentence) \
    {#name, OPTION_##kind, offsetof(struct options, name), DFLT_##kind(dflt), min, max, metavar, \
     sentence},
#define GROUP(title) {NULL, OPTION_STR, 0, NULL, 0, 0, 0, NULL, title},
#include "server/process/options.def"
#undef OPT
#undef GROUP
};

const char *option_shown(const struct option_row *r, char out[OPTION_NAME])
{
    size_t i = 0;
    for (; r->key[i] && i < OPTION_NAME - 1; i++)
        out[i] = r->key[i] == '_' ? '-' : r->key[i];
    out[i] = '\0';
    return out;
}

const struct option_row *option_find(const char *key)
{
    for (int i = 0; i < n_option_rows; i++) {
        char name[OPTION_NAME];
        if (option_rows[i].key && strcmp(option_shown(&option_rows[i], name), key) == 0)
            return &option_rows[i];
    }
    return NULL;
}
