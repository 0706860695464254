/* Manual pages and completion for shells, at build time, from the tables that --help is made of.
 *
 *   manual page FILE.in VERSION      a page; lines that begin with '@' are replaced
 *   manual bash|zsh PROGRAM          completion of its flags */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "etc/manual/tables.h"

NORETURN static void die(const char *what, const char *name)
{
    fprintf(stderr, "manual: %s: %s\n", what, name);
    exit(1);
}

static const struct program *program_of(const char *name)
{
    const struct program *p = tables_program(name);
    if (!p)
        die("no program is called so", name);
    return p;
}

/* ---- pages ---- */

/* One character of UTF-8 as roff has it; its bytes. */
static size_t roff_char(const unsigned char *s)
{
    unsigned cp = s[0] < 0xE0 ? s[0] & 0x1Fu : s[0] < 0xF0 ? s[0] & 0x0Fu : s[0] & 0x07u;
    size_t n = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80)
            die("not UTF-8", (const char *)s);
        cp = cp << 6 | (s[i] & 0x3Fu);
    }
    printf("\\[u%04X]", cp);
    return n;
}

/* Text with everything that roff would take for its own written out. */
static void roff(const char *text)
{
    for (const char *s = text; *s;) {
        if ((unsigned char)*s >= 0x80) {
            s += roff_char((const unsigned char *)s);
            continue;
        }
        if (s == text && (*s == '.' || *s == '\''))
            fputs("\\&", stdout);
        switch (*s) {
        case '\\': fputs("\\e", stdout); break;
        case '-': fputs("\\-", stdout); break;
        case '~': fputs("\\(ti", stdout); break;
        case '^': fputs("\\(ha", stdout); break;
        case '\'': fputs("\\(cq", stdout); break;
        case '`': fputs("\\(ga", stdout); break;
        case '"': fputs("\\(dq", stdout); break;
        default: putchar(*s);
        }
        s++;
    }
}

static void roff_default(const struct row *r)
{
    if (r->str) {
        fputs(" The default is ", stdout);
        roff(r->str);
        puts(".");
    } else if (r->is_auto && r->number < 0) {
        puts(" The default is auto.");
    } else if (r->has_number) {
        printf(" The default is %.15g.\n", r->number);
    } else {
        putchar('\n');
    }
}

/* .TP, name and metavar, sentence. */
static void roff_row(const struct row *r, bool dashes)
{
    char name[ROW_NAME];
    fputs(".TP\n\\fB", stdout);
    roff(row_name(r, dashes, name));
    fputs("\\fR", stdout);
    if (r->kind == ROW_ALIAS) {
        putchar('\n');
        if (*r->meta) {
            fputs("As \\fB\\-\\-", stdout);
            roff(r->meta);
            puts("\\fR.");
        } else {
            roff(r->text ? r->text : "As the one before.");
            puts(r->text ? "." : "");
        }
        return;
    }
    if (r->meta) {
        fputs(dashes ? " \\fI" : " = \\fI", stdout);
        roff(r->meta);
        fputs("\\fR", stdout);
    }
    putchar('\n');
    roff(r->text);
    putchar('.');
    if (!dashes && (r->min || r->max))
        printf(" From %lld to %lld.", (long long)r->min, (long long)r->max);
    roff_default(r);
}

static void rows_of(const struct program *p, bool keys)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct row *r = &p->rows[i];
        bool heading = r->kind == ROW_HEADING;
        if (keys && heading && i + 1 < p->n && p->rows[i + 1].kind != ROW_KEY)
            return;
        if (heading) {
            fputs(".SS ", stdout);
            roff(r->text);
            putchar('\n');
        } else if (r->kind != ROW_SYNOPSIS && r->kind != ROW_ABOUT) {
            roff_row(r, !keys);
        }
    }
}

static void paragraphs(const struct program *p, enum row_kind kind)
{
    bool first = true;
    for (size_t i = 0; i < p->n; i++) {
        if (p->rows[i].kind != kind)
            continue;
        if (!first)
            puts(kind == ROW_SYNOPSIS ? ".br" : ".PP");
        first = false;
        if (kind == ROW_SYNOPSIS) {
            fputs("\\fB", stdout);
            roff(p->name);
            fputs("\\fR ", stdout);
        }
        roff(p->rows[i].text);
        putchar('\n');
    }
}

static void limits(void)
{
    for (size_t i = 0; i < n_key_limits; i++) {
        fputs(".TP\n\\fB", stdout);
        roff(key_limits[i].word);
        printf("=\\fIN\\fR\n");
        roff(key_limits[i].text);
        printf(". At most %lld.\n", (long long)key_limits[i].max);
    }
}

static void exits(void)
{
    for (size_t i = 0; i < n_exit_codes; i++) {
        printf(".TP\n\\fB%d\\fR\n", exit_codes[i].code);
        roff(exit_codes[i].text);
        puts(".");
    }
}

static void directive(const char *line)
{
    char what[32] = "", name[32] = "";
    if (sscanf(line, "@%31s %31s", what, name) < 1)
        die("a line with nothing after '@'", line);
    if (strcmp(what, "limits") == 0)
        limits();
    else if (strcmp(what, "exits") == 0)
        exits();
    else if (strcmp(what, "synopsis") == 0)
        paragraphs(program_of(name), ROW_SYNOPSIS);
    else if (strcmp(what, "about") == 0)
        paragraphs(program_of(name), ROW_ABOUT);
    else if (strcmp(what, "flags") == 0)
        rows_of(program_of(name), false);
    else if (strcmp(what, "keys") == 0)
        rows_of(program_of(name), true);
    else
        die("unknown directive", line);
}

static void page(const char *path, const char *version)
{
    char line[1000];
    FILE *f = fopen(path, "r");
    if (!f)
        die("cannot be read", path);
    puts(".\\\" Made by etc/manual from the tables that \\-\\-help is made of.");
    while (fgets(line, sizeof line, f)) {
        char *at = strstr(line, "VERSION");
        if (line[0] == '@')
            directive(line);
        else if (strncmp(line, ".TH ", 4) == 0 && at)
            printf("%.*s%s%s", (int)(at - line), line, version, at + strlen("VERSION"));
        else
            fputs(line, stdout);
    }
    if (ferror(f) || fclose(f))
        die("cannot be read", path);
}

/* ---- completion ---- */

static bool is_file(const char *meta)
{
    return strstr(meta, "FILE") || strstr(meta, "DIR") || strstr(meta, "OUT.") ||
           strcmp(meta, "TRACE") == 0;
}

/* "auto|dummy" as "auto dummy"; what is in capitals stands for any value. */
static void words(const char *meta)
{
    for (const char *s = meta; *s;) {
        size_t n = strcspn(s, "|");
        if (*s < 'A' || *s > 'Z')
            printf("%.*s ", (int)n, s);
        s += n + (s[n] == '|');
    }
}

static bool has_flag(const struct row *r)
{
    return r->kind == ROW_FLAG || r->kind == ROW_KEY || r->kind == ROW_ALIAS;
}

/* A name from elsewhere takes what its own setting takes. */
static const char *meta_of(const struct program *p, const struct row *r)
{
    char name[ROW_NAME];
    if (r->kind != ROW_ALIAS)
        return r->meta;
    for (size_t i = 0; i < p->n; i++)
        if (p->rows[i].kind == ROW_KEY && strcmp(row_name(&p->rows[i], false, name), r->meta) == 0)
            return p->rows[i].meta;
    return "N";
}

static void bash(const struct program *p)
{
    char name[ROW_NAME];
    printf("# bash completion of %s; made by etc/manual from the tables of --help\n"
           "_%s()\n{\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
           "    COMPREPLY=()\n    case $prev in\n", p->name, p->name);
    for (size_t i = 0; i < p->n; i++) {
        const char *meta = has_flag(&p->rows[i]) ? meta_of(p, &p->rows[i]) : NULL;
        if (!meta)
            continue;
        printf("    %s)\n", row_name(&p->rows[i], true, name));
        if (is_file(meta)) {
            puts("        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
                 "        compopt -o filenames 2>/dev/null");
        } else {
            fputs("        mapfile -t COMPREPLY < <(compgen -W \"", stdout);
            words(meta);
            puts("\" -- \"$cur\")");
        }
        puts("        return ;;");
    }
    fputs("    esac\n    if [[ $cur == -* ]]; then\n"
          "        mapfile -t COMPREPLY < <(compgen -W \"", stdout);
    for (size_t i = 0; i < p->n; i++)
        if (has_flag(&p->rows[i]))
            printf("%s ", row_name(&p->rows[i], true, name));
    printf("\" -- \"$cur\")\n    else\n        local words=\n"
           "        ((COMP_CWORD != 1)) || words=\"%s\"\n"
           "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\"; "
           "compgen -f -- \"$cur\")\n"
           "        compopt -o filenames 2>/dev/null\n"
           "    fi\n}\ncomplete -F _%s %s\n", p->words ? p->words : "", p->name, p->name);
}

/* Inside of '…[HERE]:HERE:…'. */
static void zsh_text(const char *s)
{
    for (; *s; s++) {
        if (*s == '\'')
            fputs("'\\''", stdout);
        else if (strchr("[]:\\", *s))
            printf("\\%c", *s);
        else
            putchar(*s);
    }
}

static void zsh(const struct program *p)
{
    char name[ROW_NAME];
    printf("#compdef %s\n# made by etc/manual from the tables of --help\n_arguments \\\n", p->name);
    for (size_t i = 0; i < p->n; i++) {
        const struct row *r = &p->rows[i];
        if (!has_flag(r))
            continue;
        const char *meta = meta_of(p, r);
        printf("  '%s%s[", r->is_list ? "*" : "", row_name(r, true, name));
        if (r->kind == ROW_ALIAS && *r->meta)
            printf("as --%s", r->meta);
        else
            zsh_text(r->text ? r->text : "as the one before");
        putchar(']');
        if (meta) {
            putchar(':');
            zsh_text(meta);
            putchar(':');
            if (is_file(meta)) {
                fputs("_files", stdout);
            } else {
                putchar('(');
                words(meta);
                putchar(')');
            }
        }
        puts("' \\");
    }
    if (p->words)
        printf("  '1: :(%s)' \\\n", p->words);
    puts("  '*:file:_files'");
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "page") == 0)
        page(argv[2], argv[3]);
    else if (argc == 3 && strcmp(argv[1], "bash") == 0)
        bash(program_of(argv[2]));
    else if (argc == 3 && strcmp(argv[1], "zsh") == 0)
        zsh(program_of(argv[2]));
    else
        die("usage", "manual page FILE.in VERSION | bash PROGRAM | zsh PROGRAM");
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
