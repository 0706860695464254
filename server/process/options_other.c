/* Names that people bring along from other servers, and what an unknown one may have meant. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "server/process/options_int.h"

static const struct other { const char *name, *key, *help; } others[] = {
#define OTHER(name, key, help) {name, key, help},
#include "server/process/others.def"
#undef OTHER
};

int options_fault(struct options *o, struct err *e, int code, const char *fmt, ...)
{
    struct err one = {0};
    char text[sizeof one.text];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    err_set(&one, code, "%s", text);
    if (o->n_faults < OPTIONS_FAULTS)
        o->faults[o->n_faults] = mem_strdup(one.text);
    o->n_faults++;
    return err_set(e, code, "%s", one.text);
}

static const struct other *find(const char *name, bool in_file)
{
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        const char *own = others[i].name;
        if (in_file && strncmp(own, "--", 2) == 0)
            own += 2;
        if (strcmp(own, name) == 0)
            return &others[i];
    }
    return NULL;
}

bool options_other(const char *name, bool in_file, const struct option_row **r)
{
    const struct other *x = find(name, in_file);
    *r = x && x->key ? option_find(x->key) : NULL;
    return x != NULL;
}

/* Puts host (NULL: as it is) and port into listen. */
static int set_listen(struct options *o, const char *name, const char *host, const char *port,
                      struct err *e)
{
    char text[300];
    const char *colon = strrchr(o->listen, ':');
    if (!colon || strncmp(o->listen, "unix:", 5) == 0)
        return options_fault(o, e, E_CONFLICT, "%s: listen is %.100s, which has no port", name,
                             o->listen);
    size_t n = host ? strlen(host) : (size_t)(colon - o->listen);
    const char *at = host ? host : o->listen;
    bool bare = host && strchr(host, ':') && host[0] != '['; /* an IPv6 address */
    if (n > 255)
        return options_fault(o, e, E_RANGE, "%s: %zu bytes are no address", name, n);
    snprintf(text, sizeof text, "%s%.*s%s:%s", bare ? "[" : "", (int)n, at, bare ? "]" : "",
             port ? port : colon + 1);
    char *copy = mem_strdup(text);
    if (!copy)
        return options_fault(o, e, E_NOMEM, "%s: out of memory", name);
    mem_free(o->listen);
    o->listen = copy;
    return 0;
}

static bool is_number(const char *s, long max, long *out)
{
    char *end;
    if (!*s || strspn(s, "0123456789") != strlen(s) || strlen(s) > 9)
        return false;
    *out = strtol(s, &end, 10);
    return *out <= max;
}

/* Whole models only: a share of the layers would be a promise that is not kept. */
static int set_layers(struct options *o, const char *name, const char *value, struct err *e)
{
    long n = 0;
    bool all = strcmp(value, "all") == 0 || strcmp(value, "-1") == 0;
    if (!all && !is_number(value, 999999999, &n))
        return options_fault(o, e, E_FORMAT, "%s: \"%.60s\" is neither a number of layers nor all",
                             name, value);
    if (!all && n > 0 && n < 99)
        return options_fault(o, e, E_UNSUPPORTED, "%s: %ld layers: a model is on one device, all "
                             "of it; 0 = cpu, 99 or all = opencl", name, n);
    const char *device = all || n ? "opencl" : "cpu";
    if ((all || n) && strncmp(o->device, "opencl", 6) == 0)
        return 0; /* perhaps with its name */
    char *copy = mem_strdup(device);
    if (!copy)
        return options_fault(o, e, E_NOMEM, "%s: out of memory", name);
    mem_free(o->device);
    o->device = copy;
    return 0;
}

int options_other_set(struct options *o, const char *name, const char *value, const char *where,
                      struct err *e)
{
    long port;
    name += strspn(name, "-");
    if (strcmp(name, "host") == 0)
        return *value ? set_listen(o, where, value, NULL, e)
                      : options_fault(o, e, E_RANGE, "%s: the value is empty", where);
    if (strcmp(name, "port") != 0)
        return set_layers(o, where, value, e);
    if (!is_number(value, 65535, &port))
        return options_fault(o, e, E_RANGE, "%s: \"%.60s\" is no port, 0 … 65535", where, value);
    return set_listen(o, where, NULL, value, e);
}

/* ---- what was meant ---- */

/* Insertions, deletions, changes and swaps of neighbours that turn a into b; at most 99. */
static int distance(const char *a, const char *b)
{
    enum { W = OPTION_NAME + 1 };
    int row[3][W];
    size_t n = strlen(a), m = strlen(b);
    if (n >= W || m >= W)
        return 99;
    for (size_t j = 0; j <= m; j++)
        row[0][j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
        now[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int d = last[j - 1] + (a[i - 1] != b[j - 1]);
            d = MIN(d, MIN(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d = MIN(d, before[j - 2] + 1);
            now[j] = d;
        }
    }
    return row[n % 3][m];
}

/* Whether one begins with the other: "--state" for state-dir. */
static int nearness(const char *name, const char *key)
{
    size_t n = strlen(name), m = strlen(key);
    int d = distance(name, key);
    if (n >= 3 && m >= 3 && strncmp(name, key, MIN(n, m)) == 0)
        d = MIN(d, 2);
    return d;
}

const char *options_near(const char *name, bool dashes, char *out, size_t size)
{
    char shown[OPTION_NAME], best[OPTION_NAME] = "";
    int least = (int)MIN(MAX(strlen(name) / 3, 1), 3) + 1;
    for (int i = 0; i < n_option_rows; i++) {
        if (!option_rows[i].key)
            continue;
        int d = nearness(name, option_shown(&option_rows[i], shown));
        if (d < least) {
            least = d;
            memcpy(best, shown, sizeof best);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        const char *own = others[i].name + strspn(others[i].name, "-");
        if (strncmp(others[i].name, "--", 2) == 0 && nearness(name, own) < least) {
            least = nearness(name, own);
            snprintf(best, sizeof best, "%s", own);
        }
    }
    *out = '\0';
    if (*best)
        snprintf(out, size, "; do you mean %s%s?", dashes ? "--" : "", best);
    return out;
}

void options_print_others(FILE *f)
{
    fputs("\nOther names:\n", f);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (others[i].key)
            fprintf(f, "  %-28s --%s\n", others[i].name, others[i].key);
        else
            fprintf(f, "  %-28s %s\n", others[i].name,
                    others[i].help ? others[i].help : "as -ngl");
}
