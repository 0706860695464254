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
#include "server/process/options_int.h"
#include "statecache/store/compress.h"

/* A configuration file of every key at full length is under 8 KiB. */
#define REPLICA_MAX 64 /* bytes of a name among replicas */
#define CONFIG_BYTES KIB(256)
/* libinih cuts longer lines into two without a word; we refuse them instead. */
#define CONFIG_LINE 198

void options_defaults(struct options *o)
{
    memset(o, 0, sizeof *o);
    for (int i = 0; i < n_option_rows; i++) {
        const struct option_row *r = &option_rows[i];
        if (r->key && !option_is_text(r))
            *option_int(o, r) = r->dflt;
        else if (r->key && r->str)
            *option_str(o, r) = mem_strdup(r->str);
    }
}

static void options_drop_faults(struct options *o)
{
    for (int i = 0; i < OPTIONS_FAULTS; i++) {
        mem_free(o->faults[i]);
        o->faults[i] = NULL;
    }
    o->n_faults = 0;
}

void options_fini(struct options *o)
{
    for (int i = 0; i < n_option_rows; i++)
        if (option_rows[i].key && option_is_text(&option_rows[i]))
            mem_free(*option_str(o, &option_rows[i]));
    options_drop_faults(o);
    mem_free(o->config);
    memset(o, 0, sizeof *o);
}

static int set_text(struct options *o, const struct option_row *r, const char *value,
                    const char *where, bool again, struct err *e)
{
    char **at = option_str(o, r);
    if (!*value)
        return options_fault(o, e, E_RANGE, "%s: the value is empty", where);
    size_t before = again && r->kind == OPTION_LIST && *at ? strlen(*at) + 1 : 0;
    char *copy = mem_zalloc(before + strlen(value) + 1);
    if (!copy)
        return options_fault(o, e, E_NOMEM, "%s: out of memory", where);
    if (before)
        snprintf(copy, before + strlen(value) + 1, "%s,%s", *at, value);
    else
        memcpy(copy, value, strlen(value));
    mem_free(*at);
    *at = copy;
    return 0;
}

/* where: "--slots" or "recurd.conf line 3: slots"; again: not the first time in this place. */
static int set(struct options *o, const struct option_row *r, const char *value,
               const char *where, bool again, struct err *e)
{
    if (option_is_text(r))
        return set_text(o, r, value, where, again, e);
    if (r->kind == OPTION_AUTO && strcmp(value, "auto") == 0) {
        *option_int(o, r) = OPTIONS_AUTO;
        return 0;
    }
    char *end;
    errno = 0;
    long long v = strtoll(value, &end, 10);
    if (errno || end == value || *end || isspace((unsigned char)*value))
        return options_fault(o, e, E_FORMAT, "%s: \"%.60s\" is not a whole number%s", where, value,
                             r->kind == OPTION_AUTO ? " or auto" : "");
    if (v < r->min || v > r->max)
        return options_fault(o, e, E_RANGE, "%s: %lld is outside %lld … %lld", where, v,
                             (long long)r->min, (long long)r->max);
    *option_int(o, r) = v;
    return 0;
}

/* ---- the file ---- */

struct file_read {
    struct options *o;
    const char *name;
    const char *at; /* the line after that of the last key */
    int line;       /* its number, less one */
    bool *seen;     /* [n_option_rows] */
    struct err *e;
};

/* The number of the line that the library read this key from; it does not say itself. Lines that
 * begin otherwise are comments, headings, or no keys. */
static int line_of(struct file_read *f, const char *key)
{
    size_t n = strlen(key);
    while (*f->at) {
        const char *line = f->at, *text = line + strspn(line, " \t\r");
        size_t len = strcspn(line, "\n");
        bool further = (*line == ' ' || *line == '\t') && text < line + len && f->line > 0;
        f->at = line[len] ? line + len + 1 : line + len;
        f->line++;
        text = line + MIN((size_t)(text - line), len);
        if (*text && *text != '#' && *text != ';' && (strncmp(text, key, n) == 0 || further))
            return f->line;
    }
    return f->line;
}

static int on_key(void *arg, const char *section, const char *key, const char *value)
{
    struct file_read *f = arg;
    char where[300], near[OPTION_NAME + 24];
    int line = line_of(f, key);
    const struct option_row *r = option_find(key);
    if (*section) {
        options_fault(f->o, f->e, E_FORMAT, "%s line %d: key \"%.60s\" in section [%.60s]: the "
                      "file has no sections", f->name, line, key, section);
        return 1;
    }
    snprintf(where, sizeof where, "%s line %d: %.60s", f->name, line, key);
    if (!r && options_other(key, true, &r) && !r) {
        options_other_set(f->o, key, value ? value : "", where, f->e);
        return 1;
    }
    if (!r) {
        options_fault(f->o, f->e, E_NOENT, "%s line %d: unknown key \"%.60s\"%s", f->name, line,
                      key, options_near(key, false, near, sizeof near));
        return 1;
    }
    /* Also the way libinih reports an indented line: as a second value of the key before it. */
    bool again = f->seen[r - option_rows];
    f->seen[r - option_rows] = true;
    if (again && r->kind != OPTION_LIST)
        options_fault(f->o, f->e, E_CONFLICT, "%s line %d: key \"%s\" has two values", f->name,
                      line, key);
    else
        (void)!set(f->o, r, value ? value : "", where, again, f->e); /* e tells */
    return 1;
}

static int check_lines(struct options *o, const char *text, size_t n, const char *name,
                       struct err *e)
{
    size_t line = 1, start = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\0')
            return options_fault(o, e, E_FORMAT, "%s line %zu: contains a zero byte", name, line);
        if (i - start > CONFIG_LINE)
            return options_fault(o, e, E_RANGE, "%s line %zu: longer than %d bytes", name, line,
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
    int before = o->n_faults, rc = check_lines(o, text, n, name, e);
    if (rc || n == 0)
        return rc;
    char *copy = mem_zalloc(n + 1);
    bool *seen = mem_array(n_option_rows, sizeof *seen);
    if (copy && seen) {
        memcpy(copy, text, n);
        struct file_read f = {.o = o, .name = name, .at = copy, .seen = seen, .e = e};
        int line = ini_parse_string(copy, on_key, &f);
        if (line)
            options_fault(o, e, E_FORMAT, "%s line %d: not of the form key = value", name, line);
    } else {
        options_fault(o, e, E_NOMEM, "%s: out of memory", name);
    }
    mem_free(copy);
    mem_free(seen);
    return o->n_faults > before ? e->code : 0;
}

static int read_file(struct options *o, const char *path, struct err *e)
{
    struct buf text;
    buf_init(&text, CONFIG_BYTES);
    struct err why = {0};
    int rc = file_read(path, &text, &why);
    if (rc)
        options_fault(o, e, rc, "%s", why.text);
    else
        rc = options_parse_file(o, text.p, text.len, path, e);
    buf_free(&text);
    return rc;
}

/* ---- the command line ---- */

static bool is_action(struct options *o, const char *arg)
{
    static const struct { const char *flag; enum options_action action; } actions[] = {
#define SOURCE(flag, metavar, sentence)
#define ACTION(flag, what, sentence) {flag, OPTIONS_##what},
#include "server/process/actions.def"
#undef ACTION
#undef SOURCE
        {"-h", OPTIONS_HELP},
        {"-V", OPTIONS_VERSION},
    };
    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        if (strcmp(arg, actions[i].flag) == 0) {
            o->action = actions[i].action;
            return true;
        }
    }
    return false;
}

/* A flag taken apart: "--key value", "--key=value", "-k value". */
struct flag {
    char name[OPTION_NAME + 2]; /* with its dashes */
    const char *value;
    const struct option_row *r; /* NULL: --config, or what options_other_set does */
};

/* Of argv[*i], which becomes the last that was used. e tells; true: go on with it. */
static bool take_flag(struct flag *f, struct options *o, int argc, char **argv, int *i,
                      struct err *e)
{
    const char *arg = argv[*i], *eq = strchr(arg, '=');
    size_t n = eq ? (size_t)(eq - arg) : strlen(arg);
    char near[OPTION_NAME + 24];
    if (arg[0] != '-' || !arg[1] || (arg[1] == '-' && !arg[2])) {
        options_fault(o, e, E_NOENT, "unexpected argument \"%.60s\"; see recurd --help", arg);
        return false;
    }
    if (n >= sizeof f->name) {
        options_fault(o, e, E_NOENT, "unknown flag \"%.60s\"; see recurd --help", arg);
        return false;
    }
    memcpy(f->name, arg, n);
    f->name[n] = '\0';
    f->r = strncmp(f->name, "--", 2) == 0 ? option_find(f->name + 2) : NULL;
    if (!f->r && strcmp(f->name, "--config") != 0 && !options_other(f->name, false, &f->r)) {
        options_fault(o, e, E_NOENT, "unknown flag \"%s\"%s see recurd --help", f->name,
                      *options_near(f->name + strspn(f->name, "-"), true, near, sizeof near)
                          ? near : ";");
        /* Its value, not a further fault. */
        *i += !eq && *i + 1 < argc && argv[*i + 1][0] != '-';
        return false;
    }
    f->value = eq ? eq + 1 : *i + 1 < argc ? argv[++*i] : NULL;
    if (!f->value)
        options_fault(o, e, E_FORMAT, "%s: the value is missing", f->name);
    return f->value != NULL;
}

/* Two passes, because the file comes before the flags: for --config alone, then for the rest.
 * Faults of the flags' form are told by the second. */
static void config_flag(struct options *o, int argc, char **argv, struct err *e)
{
    for (int i = 1; i < argc; i++) {
        struct options quiet = {0};
        struct err ignored = {0};
        struct flag f;
        if (is_action(&quiet, argv[i]) || !take_flag(&f, &quiet, argc, argv, &i, &ignored) ||
            strcmp(f.name, "--config") != 0) {
            options_drop_faults(&quiet);
            continue;
        }
        mem_free(o->config);
        o->config = mem_strdup(f.value);
        if (!o->config)
            options_fault(o, e, E_NOMEM, "--config: out of memory");
    }
}

static void all_flags(struct options *o, int argc, char **argv, struct err *e)
{
    bool seen[n_option_rows] = {false};
    for (int i = 1; i < argc; i++) {
        struct flag f;
        if (is_action(o, argv[i]) || !take_flag(&f, o, argc, argv, &i, e) ||
            strcmp(f.name, "--config") == 0)
            continue;
        if (!f.r) {
            options_other_set(o, f.name, f.value, f.name, e);
            continue;
        }
        (void)!set(o, f.r, f.value, f.name, seen[f.r - option_rows], e); /* e tells */
        seen[f.r - option_rows] = true;
    }
}

/* Settings that are one of a few words. */
static void check_words(struct options *o, struct err *e)
{
    const struct { const char *key, *value, *words[4]; } rows[] = {
        {"trace-ids", o->trace_ids, {"ids", "digest"}},
        {"load-format", o->load_format, {"auto", "dummy"}},
        {"compress", o->compress, {"off", "shared", "disk", "both"}},
        {"quantize", o->quantize, {"none", "q8", "q4"}},
        {"states", o->states, {"float32", "float16"}},
        {"log-level", o->log_level, {"error", "warn", "info", "debug"}},
        {"log-format", o->log_format, {"text", "json", "journal"}},
        {"metrics-names", o->metrics_names, {"none", "vllm", "sglang", "llama-server"}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char list[80] = "";
        bool known = false;
        for (size_t k = 0; k < ARRAY_LEN(rows[i].words) && rows[i].words[k]; k++) {
            known |= rows[i].value && strcmp(rows[i].value, rows[i].words[k]) == 0;
            size_t at = strlen(list);
            snprintf(list + at, sizeof list - at, "%s%s", k ? ", " : "", rows[i].words[k]);
        }
        if (!known)
            options_fault(o, e, E_RANGE, "%s: \"%.60s\" is none of %s", rows[i].key,
                          rows[i].value ? rows[i].value : "", list);
    }
    bool asked = o->compress && (!strcmp(o->compress, "disk") || !strcmp(o->compress, "shared"));
    if (asked && !compress_available())
        options_fault(o, e, E_UNSUPPORTED, "compress: \"%s\" needs libzstd, which this build lacks",
                      o->compress);
}

/* It becomes a header of every reply. */
static void check_replica(struct options *o, struct err *e)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "-._";
    if (!o->replica)
        return;
    size_t n = strlen(o->replica);
    if (!n || n > REPLICA_MAX || strspn(o->replica, allowed) != n)
        options_fault(o, e, E_RANGE, "replica: \"%.80s\" is no name of 1 to %d letters, digits, "
                      "'-', '.' and '_'", o->replica, REPLICA_MAX);
}

int options_parse(struct options *o, int argc, char **argv, struct err *e)
{
    mem_clear_lacked();
    options_defaults(o);
    config_flag(o, argc, argv, e);
    if (o->config)
        (void)!read_file(o, o->config, e); /* e tells */
    all_flags(o, argc, argv, e);
    if (mem_lacked()) /* then what is missing was not left out */
        return options_fault(o, e, E_NOMEM, "no memory for the settings");
    check_words(o, e);
    check_replica(o, e);
    return o->n_faults ? e->code : 0;
}
