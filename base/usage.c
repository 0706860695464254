/* What --help says, from rows. */
#include "base/usage.h"

#include <string.h>

#define COLUMN 21
#define WIDTH 96

/* Of UTF-8: bytes that begin a character. */
static int columns(const char *s, size_t n)
{
    int k = 0;
    for (size_t i = 0; i < n; i++)
        k += ((unsigned char)s[i] & 0xC0) != 0x80;
    return k;
}

void usage_line(FILE *f, const char *left, const char *text, int column, int width)
{
    int at = columns(left, strlen(left));
    fputs(left, f);
    if (at >= column && column > 0) {
        fputc('\n', f);
        at = 0;
    }
    at += fprintf(f, "%*s", column - at, "");
    while (*text) {
        size_t n = strcspn(text, " ");
        int wide = columns(text, n);
        if (at > column && at + 1 + wide > width) {
            fprintf(f, "\n%*s", column, "");
            at = column;
        } else if (at > column) {
            fputc(' ', f);
            at++;
        }
        fwrite(text, 1, n, f);
        at += wide;
        text += n + (text[n] == ' ');
    }
    fputc('\n', f);
}

void usage_print(FILE *f, const char *program, const struct usage_row *rows, size_t n)
{
    int synopses = 0;
    for (size_t i = 0; i < n; i++) {
        const struct usage_row *r = &rows[i];
        char left[64];
        switch (r->kind) {
        case USAGE_SYNOPSIS:
            fprintf(f, "%s%s %s\n", synopses++ ? "       " : "usage: ", program, r->text);
            break;
        case USAGE_ABOUT:
            fputc('\n', f);
            usage_line(f, "", r->text, 0, WIDTH);
            break;
        case USAGE_FLAG:
            if (i && rows[i - 1].kind != USAGE_FLAG)
                fputc('\n', f);
            snprintf(left, sizeof left, "  --%s%s%s ", r->name, r->meta ? " " : "",
                     r->meta ? r->meta : "");
            usage_line(f, left, r->text, COLUMN, WIDTH);
            break;
        }
    }
}

void usage_options(const struct usage_row *rows, size_t n, struct option *out)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].kind == USAGE_FLAG)
            *out++ = (struct option){rows[i].name, rows[i].meta != NULL, NULL, rows[i].letter};
    *out = (struct option){NULL, 0, NULL, 0};
}
