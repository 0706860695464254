/* Settings as text for people: --help, a file of defaults, what is in force. */
#define _GNU_SOURCE /* memrchr */
#include <stdio.h>
#include <string.h>

#include "base/usage.h"
#include "server/process/options_int.h"

/* Where a sentence of --help begins, and how wide its lines are. */
#define COLUMN 31
#define WIDTH 100

static void help_row(FILE *f, const struct option_row *r)
{
    char name[OPTION_NAME], left[96], text[400], dflt[64] = "";
    snprintf(left, sizeof left, "  --%s %s ", option_shown(r, name), r->metavar);
    if (option_is_text(r) && r->str)
        snprintf(dflt, sizeof dflt, " [%s]", r->str);
    else if (!option_is_text(r) && r->dflt == OPTIONS_AUTO)
        snprintf(dflt, sizeof dflt, " [auto]");
    else if (!option_is_text(r))
        snprintf(dflt, sizeof dflt, " [%lld]", (long long)r->dflt);
    snprintf(text, sizeof text, "%s%s", r->sentence, dflt);
    usage_line(f, left, text, COLUMN, WIDTH);
}

void options_print_help(FILE *f)
{
    static const char *const others[][2] = {
#define SOURCE(flag, metavar, sentence) {flag " " metavar, sentence},
#define ACTION(flag, what, sentence) {flag, sentence},
#include "server/process/actions.def"
#undef ACTION
#undef SOURCE
    };
    fputs("recurd: serves recurrent and linear-attention language models over HTTP\n\n"
          "usage: recurd [serve] [-m DIR|FILE.gguf] [flags]\n"
          "       recurd run [DIR|FILE.gguf] [flags]        a chat in the terminal\n\n"
          "  recurd -m models/demo/rwkv7 --port 8080\n"
          "  recurd -m qwen3.5-4b-q4_k_m.gguf --alias qwen -c 32768 --api-key-file keys "
          "--state-dir states\n",
          f);
    for (int i = 0; i < n_option_rows; i++) {
        if (option_rows[i].key)
            help_row(f, &option_rows[i]);
        else
            fprintf(f, "\n%s:\n", option_rows[i].sentence);
    }
    fputs("\nInstead of serving, and where settings come from:\n", f);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        fprintf(f, "  %-28s %s\n", others[i][0], others[i][1]);
    options_print_others(f);
}

static void value(FILE *f, const char *name, const struct option_row *r, int64_t v)
{
    if (r->kind == OPTION_AUTO && v == OPTIONS_AUTO)
        fprintf(f, "%s = auto\n", name);
    else
        fprintf(f, "%s = %lld\n", name, (long long)v);
}

void options_print_defaults(FILE *f)
{
    fputs("# recurd.conf: every key, at its default. Flags of the same names win.\n"
          "# Made by: recurd --default-config\n",
          f);
    for (int i = 0; i < n_option_rows; i++) {
        const struct option_row *r = &option_rows[i];
        char name[OPTION_NAME];
        if (!r->key) {
            fprintf(f, "\n# ---- %s ----\n", r->sentence);
            continue;
        }
        option_shown(r, name);
        fprintf(f, "\n# %s.\n", r->sentence);
        if (!option_is_text(r))
            value(f, name, r, r->dflt);
        else if (r->str)
            fprintf(f, "%s = %s\n", name, r->str);
        else
            fprintf(f, "#%s = %s\n", name, r->metavar);
    }
}

/* The password of a URL stays untold: user:…@host. */
static void text_value(FILE *f, const char *name, const char *v)
{
    const char *user = strstr(v, "://"), *password = NULL, *at = NULL;
    if (user) {
        user += 3;
        size_t n = strcspn(user, "/?#");
        at = memrchr(user, '@', n);
        password = at ? memchr(user, ':', (size_t)(at - user)) : NULL;
    }
    if (password)
        fprintf(f, "%s = %.*s:***%s\n", name, (int)(password - v), v, at);
    else
        fprintf(f, "%s = %s\n", name, v);
}

void options_print(const struct options *o, FILE *f)
{
    for (int i = 0; i < n_option_rows; i++) {
        const struct option_row *r = &option_rows[i];
        char name[OPTION_NAME];
        if (!r->key)
            continue;
        option_shown(r, name);
        if (!option_is_text(r))
            value(f, name, r, *option_int(o, r));
        else if (*option_str(o, r))
            text_value(f, name, *option_str(o, r));
    }
}
