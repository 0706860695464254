/* Settings from three places through one table. Thread: main, before any other exists. */
#include "server/process/options.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

/* A configuration file of every key at full length is under 8 KiB. */
#define CONFIG_BYTES KIB(256)
/* libinih cuts longer lines into two without a word; we refuse them instead. */
#define CONFIG_LINE 198

enum kind { STR, INT };

struct row {
    const char *key;
    enum kind kind;
    size_t offset;
    const char *str;
    int64_t dflt, min, max;
    const char *metavar, *sentence;
};

#define DFLT_STR(x) (x), 0
#define DFLT_INT(x) NULL, (int64_t)(x)
static const struct row rows[] = {
#define OPT(name, kind, dflt, min, max, metavar, sentence) \
    {#name, kind, offsetof(struct options, name), DFLT_##kind(dflt), min, max, metavar, sentence},
#include "server/process/options.def"
#undef OPT
};

static char **str_at(const struct options *o, const struct row *r)
{
    return (char **)((char *)(uintptr_t)o + r->offset);
}

static int64_t *int_at(const struct options *o, const struct row *r)
{
    return (int64_t *)((char *)(uintptr_t)o + r->offset);
}

/* The key as people write it: '-' for '_'. */
static const char *shown(const struct row *r, char out[64])
{
    size_t i = 0;
    for (; r->key[i] && i < 63; i++)
        out[i] = r->key[i] == '_' ? '-' : r->key[i];
    out[i] = '\0';
    return out;
}

static const struct row *find(const char *key)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char name[64];
        if (strcmp(shown(&rows[i], name), key) == 0)
            return &rows[i];
    }
    return NULL;
}

void options_defaults(struct options *o)
{
    memset(o, 0, sizeof *o);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].kind == INT)
            *int_at(o, &rows[i]) = rows[i].dflt;
        else if (rows[i].str)
            *str_at(o, &rows[i]) = mem_strdup(rows[i].str);
    }
}

void options_fini(struct options *o)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].kind == STR)
            mem_free(*str_at(o, &rows[i]));
    mem_free(o->config);
    memset(o, 0, sizeof *o);
}

/* where: "--slots" or "recurd.conf line 3: slots". */
static int set(struct options *o, const struct row *r, const char *value, const char *where,
               struct err *e)
{
    if (r->kind == STR) {
        if (!*value)
            return err_set(e, E_RANGE, "%s: the value is empty", where);
        char *copy = mem_strdup(value);
        if (!copy)
            return err_set(e, E_NOMEM, "%s: out of memory", where);
        mem_free(*str_at(o, r));
        *str_at(o, r) = copy;
        return 0;
    }
    char *end;
    errno = 0;
    long long v = strtoll(value, &end, 10);
    if (errno || end == value || *end || isspace((unsigned char)*value))
        return err_set(e, E_FORMAT, "%s: \"%.60s\" is not a whole number", where, value);
    if (v < r->min || v > r->max)
        return err_set(e, E_RANGE, "%s: %lld is outside %lld … %lld", where, v,
                       (long long)r->min, (long long)r->max);
    *int_at(o, r) = v;
    return 0;
}

/* ---- the file ---- */

struct file_read {
    struct options *o;
    const char *name;
    bool seen[ARRAY_LEN(rows)];
    struct err *e;
    int rc;
};

static int on_key(void *arg, const char *section, const char *key, const char *value)
{
    struct file_read *f = arg;
    if (f->rc)
        return 1;
    if (*section) {
        f->rc = err_set(f->e, E_FORMAT, "%s: section [%.60s]: the file has no sections", f->name,
                        section);
        return 1;
    }
    const struct row *r = find(key);
    if (!r) {
        f->rc = err_set(f->e, E_NOENT, "%s: unknown key \"%.60s\"", f->name, key);
        return 1;
    }
    /* Also the way libinih reports an indented line: as a second value of the key before it. */
    if (f->seen[r - rows]) {
        f->rc = err_set(f->e, E_CONFLICT, "%s: key \"%s\" has two values", f->name, key);
        return 1;
    }
    f->seen[r - rows] = true;
    char where[256];
    snprintf(where, sizeof where, "%s: %s", f->name, key);
    f->rc = set(f->o, r, value ? value : "", where, f->e);
    return 1;
}

static int check_lines(const char *text, size_t n, const char *name, struct err *e)
{
    size_t line = 1, start = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\0')
            return err_set(e, E_FORMAT, "%s line %zu: contains a zero byte", name, line);
        if (i - start > CONFIG_LINE)
            return err_set(e, E_RANGE, "%s line %zu: longer than %d bytes", name, line,
                           CONFIG_LINE);
        if (text[i] == '\n') {
            line++;
            start = i + 1;
        }
    }
    return 0;
}

int options_parse_file(struct options *o, const char *text, size_t n, const char *name,
                       struct err *e)
{
    int rc = check_lines(text, n, name, e);
    if (rc)
        return rc;
    if (n == 0)
        return 0;
    char *copy = mem_zalloc(n + 1);
    if (!copy)
        return err_set(e, E_NOMEM, "%s: out of memory", name);
    memcpy(copy, text, n);
    struct file_read f = {.o = o, .name = name, .e = e};
    int line = ini_parse_string(copy, on_key, &f);
    mem_free(copy);
    if (f.rc)
        return f.rc;
    if (line)
        return err_set(e, E_FORMAT, "%s line %d: not of the form key = value", name, line);
    return 0;
}

static int read_file(struct options *o, const char *path, struct err *e)
{
    struct buf text;
    buf_init(&text, CONFIG_BYTES);
    int rc = file_read(path, &text, e);
    if (!rc)
        rc = options_parse_file(o, text.p, text.len, path, e);
    buf_free(&text);
    return rc;
}

/* ---- the command line ---- */

static bool is_action(struct options *o, const char *arg)
{
    static const struct { const char *flag; enum options_action action; } actions[] = {
        {"--help", OPTIONS_HELP},         {"-h", OPTIONS_HELP},
        {"--version", OPTIONS_VERSION},   {"--check-config", OPTIONS_CHECK},
        {"--describe", OPTIONS_DESCRIBE}, {"--default-config", OPTIONS_DEFAULTS},
        {"--list-devices", OPTIONS_DEVICES},
    };
    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        if (strcmp(arg, actions[i].flag) == 0) {
            o->action = actions[i].action;
            return true;
        }
    }
    return false;
}

/* One "--key value" or "--key=value" at argv[*i]; only_config: the first pass, which looks for
 * --config alone, because the file comes before the flags. */
static int flag(struct options *o, int argc, char **argv, int *i, bool only_config,
                struct err *e)
{
    const char *arg = argv[*i];
    if (is_action(o, arg))
        return 0;
    if (strncmp(arg, "--", 2) != 0)
        return err_set(e, E_NOENT, "unexpected argument \"%.60s\"; see recurd --help", arg);
    const char *eq = strchr(arg, '=');
    char name[64];
    size_t n = eq ? (size_t)(eq - arg) : strlen(arg);
    if (n - 2 >= sizeof name)
        return err_set(e, E_NOENT, "unknown flag \"%.60s\"; see recurd --help", arg);
    memcpy(name, arg + 2, n - 2);
    name[n - 2] = '\0';
    bool config = strcmp(name, "config") == 0;
    const struct row *r = find(name);
    if (!r && !config)
        return err_set(e, E_NOENT, "unknown flag \"--%s\"; see recurd --help", name);
    const char *value = eq ? eq + 1 : *i + 1 < argc ? argv[++*i] : NULL;
    if (!value)
        return err_set(e, E_FORMAT, "--%s: the value is missing", name);
    if (config != only_config)
        return 0;
    if (config) {
        mem_free(o->config);
        o->config = mem_strdup(value);
        return o->config ? 0 : err_set(e, E_NOMEM, "--config: out of memory");
    }
    char where[80];
    snprintf(where, sizeof where, "--%s", name);
    return set(o, r, value, where, e);
}

int options_parse(struct options *o, int argc, char **argv, struct err *e)
{
    options_defaults(o);
    int rc = 0;
    for (int i = 1; i < argc && !rc; i++)
        rc = flag(o, argc, argv, &i, true, e);
    if (!rc && o->config)
        rc = read_file(o, o->config, e);
    for (int i = 1; i < argc && !rc; i++)
        rc = flag(o, argc, argv, &i, false, e);
    if (!rc && strcmp(o->trace_ids, "ids") != 0 && strcmp(o->trace_ids, "digest") != 0)
        rc = err_set(e, E_RANGE, "trace-ids: \"%.60s\" is neither ids nor digest", o->trace_ids);
    if (!rc && strcmp(o->load_format, "auto") != 0 && strcmp(o->load_format, "dummy") != 0)
        rc = err_set(e, E_RANGE, "load-format: \"%.60s\" is neither auto nor dummy",
                     o->load_format);
    if (!rc && strcmp(o->quantize, "none") && strcmp(o->quantize, "q8") &&
        strcmp(o->quantize, "q4"))
        rc = err_set(e, E_RANGE, "quantize: \"%.60s\" is none of none, q8 and q4", o->quantize);
    return rc;
}

/* ---- printing ---- */

void options_print_help(FILE *f)
{
    fputs("recurd: serves recurrent and linear-attention language models over HTTP\n\n"
          "usage: recurd [--model DIR|FILE.gguf] [flags]\n\n",
          f);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char name[64], left[96];
        snprintf(left, sizeof left, "--%s %s", shown(&rows[i], name), rows[i].metavar);
        fprintf(f, "  %-28s %s", left, rows[i].sentence);
        if (rows[i].kind == INT)
            fprintf(f, " [%lld]", (long long)rows[i].dflt);
        else if (rows[i].str)
            fprintf(f, " [%s]", rows[i].str);
        fputc('\n', f);
    }
    static const char *const others[][2] = {
        {"--config FILE", "Reads the same keys from FILE first; flags win"},
        {"--check-config", "Checks flags and file, prints what is in force, and exits"},
        {"--default-config", "Prints a configuration file with every key, and exits"},
        {"--describe", "Prints facts about the model and the device, and exits"},
        {"--list-devices", "Prints the OpenCL devices by the names --device takes, and exits"},
        {"--version", "Prints the version, and exits"},
        {"--help", "This list"},
    };
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        fprintf(f, "  %-28s %s\n", others[i][0], others[i][1]);
}

void options_print_defaults(FILE *f)
{
    fputs("# recurd.conf: every key, at its default. Flags of the same names win.\n"
          "# Made by: recurd --default-config\n",
          f);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char name[64];
        shown(&rows[i], name);
        fprintf(f, "\n# %s.\n", rows[i].sentence);
        if (rows[i].kind == INT)
            fprintf(f, "%s = %lld\n", name, (long long)rows[i].dflt);
        else if (rows[i].str)
            fprintf(f, "%s = %s\n", name, rows[i].str);
        else
            fprintf(f, "#%s = %s\n", name, rows[i].metavar);
    }
}

void options_print(const struct options *o, FILE *f)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char name[64];
        shown(&rows[i], name);
        if (rows[i].kind == INT)
            fprintf(f, "%s = %lld\n", name, (long long)*int_at(o, &rows[i]));
        else if (*str_at(o, &rows[i]))
            fprintf(f, "%s = %s\n", name, *str_at(o, &rows[i]));
    }
}
