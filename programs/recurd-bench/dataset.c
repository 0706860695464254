/* Prompts from a file. Thread: one. */
#include "programs/recurd-bench/dataset.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/utf8.h"

#define FRAGMENT_BYTES MIB(16) /* four times the largest body that recurd takes */
#define FILE_BYTES GIB(2)      /* the largest public ShareGPT file has 0.7 GB */
/* What one token of English text weighs; only to guess a reply's length in tokens. */
#define BYTES_PER_TOKEN 4

int dataset_escape(struct buf *out, const char *s, size_t n)
{
    size_t plain = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_add(out, s + plain, i - plain);
        plain = i + 1;
        if (c == '\n')
            buf_str(out, "\\n");
        else if (c == '"' || c == '\\')
            buf_fmt(out, "\\%c", c);
        else
            buf_fmt(out, "\\u%04x", c);
    }
    buf_add(out, s + plain, n - plain);
    return out->failed ? E_NOMEM : 0;
}

static struct entry *new_entry(struct dataset *d)
{
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 256;
        struct entry *p = mem_realloc(d->entries, cap * sizeof *p);
        if (!p)
            return NULL;
        d->entries = p;
        d->cap = cap;
    }
    d->entries[d->n] = (struct entry){0};
    return &d->entries[d->n++];
}

/* Takes the bytes of b as the next turn of the entry. */
static int add_turn(struct entry *en, struct buf *b, int form, int32_t n_in, int32_t n_out)
{
    struct entry_turn *p = mem_realloc(en->turns, (en->n_turns + 1) * sizeof *p);
    char *fragment = b->failed ? NULL : mem_strdup(b->p ? b->p : "");
    if (p)
        en->turns = p;
    if (!p || !fragment) {
        mem_free(fragment);
        return E_NOMEM;
    }
    struct entry_turn *t = &en->turns[en->n_turns++];
    *t = (struct entry_turn){.fragment = fragment, .n_in = n_in, .n_out = n_out};
    t->form = form == ENTRY_IDS ? ENTRY_IDS : form == ENTRY_TEXT ? ENTRY_TEXT : ENTRY_MESSAGES;
    return 0;
}

static int add_text(struct entry *en, const char *s, size_t n, int32_t n_out)
{
    struct buf b;
    buf_init(&b, FRAGMENT_BYTES);
    dataset_escape(&b, s, n);
    int rc = add_turn(en, &b, ENTRY_TEXT, 0, n_out);
    buf_free(&b);
    return rc;
}

/* An array of ids, or of message objects. */
static int add_array(struct entry *en, json_t *a, int form, int32_t n_out)
{
    struct buf b;
    buf_init(&b, FRAGMENT_BYTES);
    size_t i;
    json_t *v;
    int rc = json_array_size(a) ? 0 : E_FORMAT;
    json_array_foreach(a, i, v) {
        if (form == ENTRY_IDS && json_is_integer(v)) {
            buf_fmt(&b, "%s%lld", i ? "," : "", (long long)json_integer_value(v));
        } else if (form == ENTRY_MESSAGES && json_is_object(v)) {
            char *s = json_dumps(v, JSON_COMPACT);
            buf_fmt(&b, "%s%s", i ? "," : "", s ? s : "");
            free(s);
        } else {
            rc = E_FORMAT;
        }
    }
    if (!rc)
        rc = add_turn(en, &b, form, form == ENTRY_IDS ? (int32_t)i : 0, n_out);
    buf_free(&b);
    return rc;
}

static int32_t length_of(json_t *o)
{
    static const char *const names[] = {"output_tokens", "max_tokens", "output_length"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        json_int_t n = json_integer_value(json_object_get(o, names[i]));
        if (n > 0 && n <= INT32_MAX)
            return (int32_t)n;
    }
    return 0;
}

static int add_value(struct dataset *d, json_t *v)
{
    struct entry *en = new_entry(d);
    if (!en)
        return E_NOMEM;
    int32_t n_out = json_is_object(v) ? length_of(v) : 0;
    json_t *prompt = json_is_object(v) ? json_object_get(v, "prompt") : v;
    if (json_is_object(v) && !prompt)
        prompt = json_object_get(v, "text");
    if (json_is_string(prompt))
        return add_text(en, json_string_value(prompt), json_string_length(prompt), n_out);
    if (json_is_array(prompt))
        return add_array(en, prompt, ENTRY_IDS, n_out);
    json_t *messages = json_object_get(v, "messages"), *turns = json_object_get(v, "turns");
    if (json_is_array(messages))
        return add_array(en, messages, ENTRY_MESSAGES, n_out);
    size_t i;
    json_t *t;
    json_array_foreach(turns, i, t) {
        if (!json_is_string(t))
            return E_FORMAT;
        int rc = add_text(en, json_string_value(t), json_string_length(t), n_out);
        if (rc)
            return rc;
    }
    return en->n_turns ? 0 : E_FORMAT;
}

/* {"conversations": [{"from": "human", "value": …}, {"from": "gpt", "value": …}, …]} */
static int add_sharegpt(struct dataset *d, json_t *o)
{
    json_t *list = json_object_get(o, "conversations"), *m;
    if (!list)
        list = json_object_get(o, "conversation");
    struct entry *en = NULL;
    size_t i;
    int rc = 0;
    json_array_foreach(list, i, m) {
        const char *from = json_string_value(json_object_get(m, "from"));
        json_t *value = json_object_get(m, "value");
        if (!from || !json_string_length(value))
            continue;
        if (!strcmp(from, "human") || !strcmp(from, "user")) {
            if (!en && !(en = new_entry(d)))
                return E_NOMEM;
            rc = add_text(en, json_string_value(value), json_string_length(value), 0);
            if (rc)
                return rc;
        } else if (en && !en->turns[en->n_turns - 1].n_out) {
            size_t n = json_string_length(value) / BYTES_PER_TOKEN;
            en->turns[en->n_turns - 1].n_out = (int32_t)MAX(1, MIN(n, INT32_MAX));
        }
    }
    return rc;
}

static int read_lines(struct dataset *d, const char *path, bool json, struct err *e)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return err_set(e, E_NOENT, "%s: %s", path, strerror(errno));
    char *line = NULL;
    size_t cap = 0, number = 0;
    ssize_t n;
    int rc = 0;
    while (!rc && (n = getline(&line, &cap, f)) >= 0) {
        number++;
        while (n && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            n--;
        if (!n)
            continue;
        if (json) {
            json_t *v = json_loadb(line, (size_t)n, JSON_DECODE_ANY, NULL);
            rc = v ? add_value(d, v) : E_FORMAT;
            json_decref(v);
        } else if (!utf8_valid(line, (size_t)n)) {
            rc = E_FORMAT;
        } else {
            struct entry *en = new_entry(d);
            rc = en ? add_text(en, line, (size_t)n, 0) : E_NOMEM;
        }
        if (rc)
            err_set(e, rc, "%s line %zu: %s", path, number,
                    rc == E_NOMEM ? "no memory, or longer than 16 MiB"
                                  : json ? "not a prompt; recurd-bench's README lists the formats"
                                         : "not UTF-8");
    }
    free(line);
    fclose(f);
    return rc;
}

static int read_sharegpt(struct dataset *d, const char *path, struct err *e)
{
    json_error_t at;
    json_t *root = json_load_file(path, 0, &at), *v;
    if (!json_is_array(root)) {
        json_decref(root);
        return err_set(e, E_FORMAT, "%s is not a JSON array of conversations: %.100s", path,
                       root ? "another kind of value" : at.text);
    }
    size_t i;
    int rc = 0;
    json_array_foreach(root, i, v) {
        rc = json_object_get(v, "conversations") || json_object_get(v, "conversation")
                 ? add_sharegpt(d, v) : add_value(d, v);
        if (rc) {
            err_set(e, rc, "%s entry %zu is not a conversation or a prompt", path, i);
            break;
        }
    }
    json_decref(root);
    return rc;
}

int dataset_open(struct dataset *d, const char *path, struct err *e)
{
    *d = (struct dataset){0};
    uint64_t size;
    int fd = file_open(path, &size, e);
    if (fd < 0)
        return fd;
    close(fd);
    if (size > FILE_BYTES)
        return err_set(e, E_RANGE, "%s has %llu bytes, more than %zu", path,
                       (unsigned long long)size, FILE_BYTES);
    size_t n = strlen(path);
    int rc;
    if (n > 5 && !strcmp(path + n - 5, ".json"))
        rc = read_sharegpt(d, path, e);
    else
        rc = read_lines(d, path, n > 6 && !strcmp(path + n - 6, ".jsonl"), e);
    if (!rc && !d->n)
        rc = err_set(e, E_FORMAT, "%s holds no prompt", path);
    if (rc)
        dataset_free(d);
    return rc;
}

void dataset_free(struct dataset *d)
{
    for (size_t i = 0; i < d->n; i++) {
        for (size_t k = 0; k < d->entries[i].n_turns; k++)
            mem_free(d->entries[i].turns[k].fragment);
        mem_free(d->entries[i].turns);
    }
    mem_free(d->entries);
    *d = (struct dataset){0};
}
