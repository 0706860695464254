/* Where a model keeps its templates, in the reference's order: chat_template.jinja and the named
 * ones beside it, chat_template.json, tokenizer_config.json (a text, or a list of named texts).
 * And the tokens that templates name. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/mem.h"
#include "models/files/config.h"
#include "models/files/jsontext.h"
#include "models/text/chat/chat_int.h"

static int no_memory(struct err *e)
{
    return err_set(e, E_NOMEM, "out of memory for the chat template");
}

static int add_source(struct chat *c, const char *name, const char *text, size_t n,
                      const char *file, struct err *e)
{
    if (c->n_sources == CHAT_TEMPLATES)
        return err_set(e, E_RANGE, "%s: more than %d chat templates", jsontext_tail(file),
                       CHAT_TEMPLATES);
    struct chat_source *s = &c->sources[c->n_sources];
    s->name = mem_strdup(name);
    s->text = mem_zalloc(n + 1);
    if (!s->name || !s->text) {
        mem_free(s->name);
        mem_free(s->text);
        return no_memory(e);
    }
    memcpy(s->text, text, n);
    s->n = n;
    c->n_sources++;
    if (jinja_compile(&s->program, text, n, e) < 0)
        return err_wrap(e, "%s", jsontext_tail(file));
    return 0;
}

static int add_file(struct chat *c, const char *name, const char *path, struct err *e)
{
    struct buf text;
    buf_init(&text, LIMIT_TEMPLATE_BYTES);
    int rc = file_read(path, &text, e);
    if (rc == 0)
        rc = add_source(c, name, text.p ? text.p : "", text.len, path, e);
    buf_free(&text);
    return rc;
}

static bool path_of(char *path, size_t size, const char *dir, const char *name)
{
    return (size_t)snprintf(path, size, "%s/%s", dir, name) < size && file_exists(path);
}

/* dir/folder/NAME.jinja, in the order of their names. */
static int add_folder(struct chat *c, const char *dir, const char *folder, struct err *e)
{
    char path[4096];
    struct dirent **list = NULL;
    if (!path_of(path, sizeof path, dir, folder))
        return 0;
    int n = scandir(path, &list, NULL, alphasort), rc = 0;
    for (int i = 0; i < n; i++) {
        char *name = list[i]->d_name, *end = strstr(name, ".jinja");
        char file[4096];
        bool fits = end && !end[6] && end > name &&
                    (size_t)snprintf(file, sizeof file, "%s/%s", path, name) < sizeof file;
        if (fits && rc == 0) {
            *end = 0;
            rc = add_file(c, name, file, e);
        }
        free(list[i]);
    }
    free(list);
    return rc;
}

/* "chat_template" of a JSON file. */
static int add_config(struct chat *c, const struct config *cfg, const char *file, struct err *e)
{
    struct err none = {0};
    const char *one = config_str(cfg, "chat_template", NULL, &none);
    if (one)
        return add_source(c, "default", one, strlen(one), file, e);
    for (int i = 0; i < config_len(cfg, "chat_template"); i++) {
        const struct config *o = config_obj_at(cfg, "chat_template", i, e);
        const char *name = o ? config_str(o, "name", NULL, e) : NULL;
        const char *text = o ? config_str(o, "template", NULL, e) : NULL;
        if (e->code)
            return err_wrap(e, "%s", jsontext_tail(file));
        if (name && text && add_source(c, name, text, strlen(text), file, e) < 0)
            return e->code;
    }
    return 0;
}

static int add_json(struct chat *c, const char *dir, const char *name, struct err *e)
{
    char path[4096];
    struct config *cfg = NULL;
    if (!path_of(path, sizeof path, dir, name))
        return 0;
    int rc = config_read(&cfg, path, e);
    if (rc == 0)
        rc = add_config(c, cfg, path, e);
    config_free(cfg);
    return rc;
}

static int find_templates(struct chat *c, const struct chat_options *o, struct err *e)
{
    static const char *const folders[] = {"additional_chat_templates", "chat_templates"};
    static const char *const files[] = {"chat_template.json", "tokenizer_config.json"};
    char path[4096];
    const char *from = "chat_template.jinja";
    int rc = 0;
    if (o->template_file) {
        from = o->template_file;
        rc = add_file(c, "default", o->template_file, e);
    } else {
        if (path_of(path, sizeof path, o->dir, from))
            rc = add_file(c, "default", path, e);
        for (size_t i = 0; i < ARRAY_LEN(folders) && rc == 0; i++)
            rc = add_folder(c, o->dir, folders[i], e);
        for (size_t i = 0; i < ARRAY_LEN(files) && rc == 0 && c->n_sources == 0; i++) {
            from = files[i];
            rc = add_json(c, o->dir, from, e);
        }
        if (o->config && rc == 0 && c->n_sources == 0) {
            from = o->dir;
            rc = add_config(c, o->config, from, e);
        }
    }
    if (c->n_sources)
        snprintf(c->name, sizeof c->name, "template %s", jsontext_tail(from));
    return rc;
}

/* ---- tokens ----------------------------------------------------------------------------- */

static char *copy_piece(const struct tokenizer *t, int32_t id)
{
    size_t n;
    const char *p = id >= 0 ? tokenizer_piece_shown(t, id, &n) : NULL;
    char *s = p && n ? mem_zalloc(n + 1) : NULL;
    if (s)
        memcpy(s, p, n);
    return s;
}

static void find_tokens(struct chat *c, const struct chat_options *o)
{
    static const char *const names[CHAT_TOKENS] = {"bos_token", "eos_token", "unk_token",
                                                   "sep_token", "pad_token", "cls_token",
                                                   "mask_token"};
    static const char *const files[] = {"tokenizer_config.json", "special_tokens_map.json"};
    struct config *cfg[2] = {NULL, NULL};
    char path[4096];
    for (size_t i = 0; i < 2; i++) {
        struct err none = {0};
        if (path_of(path, sizeof path, o->dir, files[i]) && config_read(&cfg[i], path, &none) < 0)
            cfg[i] = NULL;
    }
    for (size_t i = 0; i < CHAT_TOKENS; i++) {
        const char *text = tokenizer_token_text(o->config ? o->config : cfg[0], names[i]);
        text = text ? text : tokenizer_token_text(cfg[1], names[i]);
        c->tokens[i].name = names[i];
        c->tokens[i].text = text ? mem_strdup(text)
                            : i == 0 ? copy_piece(c->t, tokenizer_bos(c->t))
                            : i == 1 ? copy_piece(c->t, tokenizer_eos(c->t)) : NULL;
    }
    config_free(cfg[0]);
    config_free(cfg[1]);
}

int chat_read_sources(struct chat *c, const struct chat_options *o, struct err *e)
{
    find_tokens(c, o);
    return find_templates(c, o, e);
}

const struct chat_source *chat_pick(const struct chat *c, bool tools)
{
    const char *wanted[] = {tools ? "tool_use" : "default", "default"};
    for (size_t k = 0; k < ARRAY_LEN(wanted); k++)
        for (size_t i = 0; i < c->n_sources; i++)
            if (strcmp(c->sources[i].name, wanted[k]) == 0)
                return &c->sources[i];
    return c->n_sources ? &c->sources[0] : NULL;
}
