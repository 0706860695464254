/* Reading a kernel's source: no more of the language than src/README.md promises. */
#include "kernels/opencl/cut.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "kernels/opencl/source.h"

bool ocl_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* What follows "#define NAME " in a text, or NULL. */
static const char *define_of(const char *text, const char *name, size_t n)
{
    for (const char *s = text; s && (s = strstr(s, "#define ")); s += 8)
        if (!strncmp(s + 8, name, n) && s[8 + n] == ' ')
            return s + 8 + n;
    return NULL;
}

/* Appends a list of parameters with the macros NAME_PARAMS in it replaced. */
static void expand(struct buf *b, const char *s, const char *end, const char *defines)
{
    while (s < end) {
        size_t n = 0;
        while (s + n < end && ocl_word(s[n]))
            n++;
        const char *d = NULL;
        if (n > 7 && !strncmp(s + n - 7, "_PARAMS", 7) &&
            !(d = define_of(defines, s, n)))
            d = define_of(ocl_source_find("mma.clh"), s, n);
        for (; d && *d && (*d != '\n' || d[-1] == '\\'); d++)
            buf_ch(b, *d == '\\' || *d == '\n' ? ' ' : *d);
        if (!d)
            buf_add(b, s, MAX(n, (size_t)1));
        s += MAX(n, (size_t)1);
    }
}

/* One parameter [s, end): its last word is its name. */
static bool one_param(struct ocl_cut *c, const char *s, const char *end)
{
    while (s < end && isspace((unsigned char)*s))
        s++;
    while (end > s && isspace((unsigned char)end[-1]))
        end--;
    bool view = end - s > 6 && !strncmp(s, "VIEW(", 5) && end[-1] == ')';
    const char *name = view ? s + 5 : end;
    end -= view;
    while (!view && name > s && ocl_word(name[-1]))
        name--;
    int n = (int)(end - name), type = (int)(name - s);
    if (c->n + 2 > OCL_CUT_PARAMS || n < 1 || n > 20 || type < 1 || type > 40)
        return false;
    struct ocl_param *p = &c->p[c->n];
    if (view) {
        snprintf(p[0].name, sizeof p->name, "%.*s_at", n, name);
        snprintf(p[1].name, sizeof p->name, "%.*s_stride", n, name);
        snprintf(p[0].type, sizeof p->type, "const ulong ");
        snprintf(p[1].type, sizeof p->type, "const int ");
        c->n += 2;
        return true;
    }
    snprintf(p->name, sizeof p->name, "%.*s", n, name);
    snprintf(p->type, sizeof p->type, "%.*s", type, s);
    c->n++;
    return true;
}

static bool all_params(struct ocl_cut *c, const char *list)
{
    int depth = 0;
    const char *from = list;
    for (const char *s = list;; s++) {
        depth += (*s == '(') - (*s == ')');
        if (*s && (*s != ',' || depth))
            continue;
        if (!one_param(c, from, s))
            return false;
        from = s + 1;
        if (!*s)
            return true;
    }
}

/* Whether a part of a source asks for its group: a helper before the kernel cannot be told. */
static bool asks(const char *s, const char *end)
{
    static const char *const names[] = {"get_group_id", "get_global_id", "get_num_groups",
                                        "get_global_size"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *at = strstr(s, names[i]);
        if (at && at < end)
            return true;
    }
    return false;
}

bool ocl_cut_text(struct ocl_cut *c, const char *text, const char *defines)
{
    struct buf list;
    c->text = text;
    c->kernel = text ? strstr(text, OCL_KERNEL_HEAD) : NULL;
    c->n = 0;
    if (!c->kernel || asks(text, c->kernel))
        return false;
    const char *from = c->kernel + strlen(OCL_KERNEL_HEAD), *end = from;
    for (int depth = 1; *end && (depth += (*end == '(') - (*end == ')')); end++)
        continue;
    c->body = strchr(end, '{');
    if (!c->body++)
        return false;
    buf_init(&list, KIB(64));
    expand(&list, from, end, defines);
    bool ok = !list.failed && list.p && all_params(c, list.p);
    buf_free(&list);
    return ok;
}

bool ocl_cut_file(struct ocl_cut *c, const char *file, const char *defines)
{
    const char *text = ocl_source_find(file);
    return text && !strstr(text, "get_num_groups") && !strstr(text, "get_global_size") &&
           ocl_cut_text(c, text, defines);
}

const char *ocl_cut_helpers_end(const struct ocl_cut *c)
{
    const char *at = strstr(c->text, "__attribute__((reqd_work_group_size");
    return at && at < c->kernel ? at : c->kernel;
}
