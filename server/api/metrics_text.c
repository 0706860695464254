#include "server/api/metrics_text.h"

#include <string.h>

#include "server/api/jsonout.h"

#define OURS "recurd_"

struct other_name {
    const char *set, *theirs, *ours;
};

static const struct other_name names[] = {
#define OTHER_NAME(set, theirs, ours) {set, theirs, ours},
#define LABEL(set, ours, theirs)
#include "server/api/metrics_names.def"
#undef LABEL
#undef OTHER_NAME
};

static const struct other_name labels[] = {
#define OTHER_NAME(set, theirs, ours)
#define LABEL(set, ours, theirs) {set, theirs, ours},
#include "server/api/metrics_names.def"
#undef LABEL
#undef OTHER_NAME
};

static bool starts(const char *at, const char *end, const char *with)
{
    size_t n = strlen(with);
    return (size_t)(end - at) >= n && memcmp(at, with, n) == 0;
}

/* Labels from behind '{' on, with the names that set has for them. */
static void add_labels(struct buf *out, const char *at, const char *end, const char *set)
{
    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        size_t n = strlen(labels[i].ours);
        if (strcmp(labels[i].set, set) == 0 && starts(at, end, labels[i].ours) && at[n] == '=') {
            buf_str(out, labels[i].theirs);
            at += n;
            break;
        }
    }
    buf_add(out, at, (size_t)(end - at));
    buf_ch(out, '\n');
}

/* A line of a family of ours under another name; model: as a label's value, quoted. */
static void add_line(struct buf *out, const char *at, const char *end, const struct other_name *n,
                     const struct buf *model)
{
    bool comment = *at == '#';
    const char *name = at + (comment ? strlen("# HELP ") : 0);
    const char *rest = name + strlen(OURS) + strlen(n->ours); /* "_bucket{…", "{…", " 1", " text" */
    buf_add(out, at, (size_t)(name - at));
    buf_str(out, n->theirs);
    if (comment) {
        buf_add(out, rest, (size_t)(end - rest) + 1);
        return;
    }
    size_t suffix = strcspn(rest, "{ ");
    buf_add(out, rest, suffix);
    buf_fmt(out, "{model_name=%s%s", model->p, rest[suffix] == '{' ? "," : "}");
    rest += suffix;
    add_labels(out, rest + (*rest == '{'), end, n->set);
}

static void add_family(struct buf *out, const struct buf *text, const struct other_name *n,
                       const struct buf *model)
{
    struct buf first;
    buf_init(&first, 256);
    buf_fmt(&first, "# HELP " OURS "%s ", n->ours);
    const char *at = text->p && !first.failed ? strstr(text->p, first.p) : NULL;
    for (const char *end; at && *at; at = end + 1) {
        end = at + strcspn(at, "\n");
        add_line(out, at, end, n, model);
        if (!*end || strncmp(end + 1, "# HELP ", 7) == 0)
            break;
    }
    buf_free(&first);
}

void metrics_other_names(struct buf *text, const char *set, const char *model)
{
    struct buf more, label;
    buf_init(&more, text->max);
    buf_init(&label, text->max);
    jsonout_str(&label, model);
    for (size_t i = 0; i < ARRAY_LEN(names) && !label.failed; i++)
        if (strcmp(names[i].set, set) == 0)
            add_family(&more, text, &names[i], &label);
    if (more.len)
        buf_add(text, more.p, more.len);
    text->failed |= more.failed || label.failed;
    buf_free(&more);
    buf_free(&label);
}

/* A comment that names a counter's family "…_total": where that begins. NULL: it does not. */
static const char *total(const char *at)
{
    const char *name = at + strlen("# HELP "), *end = name + strcspn(name, " \n");
    const char *cut = end - strlen("_total");
    return *at == '#' && cut > name && strncmp(cut, "_total", 6) == 0 ? cut : NULL;
}

void metrics_respell(struct buf *text, bool openmetrics)
{
    struct buf out;
    buf_init(&out, text->max);
    for (const char *at = text->p, *end; at && *at; at = end + (*end == '\n')) {
        end = at + strcspn(at, "\n");
        const char *exemplar = memchr(at, METRICS_EXEMPLAR, (size_t)(end - at));
        const char *cut = openmetrics ? total(at) : NULL;
        const char *stop = exemplar ? exemplar : end;
        buf_add(&out, at, (size_t)((cut ? cut : stop) - at));
        if (cut)
            buf_add(&out, cut + strlen("_total"), (size_t)(end - cut) - strlen("_total"));
        if (exemplar && openmetrics)
            buf_add(&out, exemplar + 1, (size_t)(end - exemplar) - 1);
        buf_ch(&out, '\n');
    }
    if (openmetrics)
        buf_str(&out, "# EOF\n");
    out.failed |= text->failed;
    buf_free(text);
    *text = out;
}
