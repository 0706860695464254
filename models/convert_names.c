/* Which tensor of a checkpoint a row of the map means. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "models/convert_int.h"

/* The checkpoint's tensor of this row; models with other senses have their text part under
 * another root. */
static struct tensor *find(const struct convert *c, const char *name)
{
    char other[LIMIT_TENSOR_NAME];
    struct tensor *t = checkpoint_find(c->ck, name);
    if (t || strncmp(name, "model.", 6) != 0)
        return t;
    snprintf(other, sizeof other, "model.language_model.%.200s", name + 6);
    return checkpoint_find(c->ck, other);
}

struct tensor *convert_find(const struct convert *c, const struct gguf_name *row, int64_t layer,
                            int64_t expert)
{
    char name[LIMIT_TENSOR_NAME], part[LIMIT_TENSOR_NAME];
    const char *mark = strstr(c->map->layers, "%d"), *number = strstr(row->name, "%d");
    const char *open = strchr(row->name, '{');
    if (number)
        snprintf(part, sizeof part, "%.*s%" PRId64 "%s", (int)(number - row->name), row->name,
                 expert, number + 2);
    else if (open && expert >= 0 && open[1 + expert] != '}')
        snprintf(part, sizeof part, "%.*s%c", (int)(open - row->name), row->name,
                 open[1 + expert]);
    else if (open)
        return NULL;
    else
        snprintf(part, sizeof part, "%s", row->name);
    if (row->gguf[0] == '.')
        snprintf(name, sizeof name, "%.*s%" PRId64 "%.200s", (int)(mark - c->map->layers),
                 c->map->layers, layer, part);
    else
        snprintf(name, sizeof name, "%s", part);
    return find(c, name);
}

bool convert_has(const struct convert *c, const char *gguf, int64_t layer)
{
    GGUF_EACH_NAME(c->map, row)
        if (strcmp(row->gguf, gguf) == 0 && !(row->form & FORM_FIRST) &&
            convert_find(c, row, layer, 0))
            return true;
    return false;
}

bool convert_other_sense(const char *name)
{
    static const char *const starts[] = {"mtp.", "model.mtp.", "model.visual.", "visual.",
                                         "vision_tower.", "model.vision_tower.",
                                         "multi_modal_projector.",
                                         "model.multi_modal_projector."};
    for (size_t i = 0; i < ARRAY_LEN(starts); i++)
        if (strncmp(name, starts[i], strlen(starts[i])) == 0)
            return true;
    return false;
}

bool convert_derived(const struct convert *c, const char *name)
{
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    char word[32];
    int used;
    for (const char *p = c->map->derived; p && sscanf(p, "%31s%n", word, &used) == 1; p += used)
        if (strcmp(word, last) == 0)
            return true;
    return false;
}
