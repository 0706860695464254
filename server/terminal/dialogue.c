/* What was said, as the messages of a request. */
#include "server/terminal/dialogue.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int dialogue_open(struct dialogue *d, struct err *e)
{
    *d = (struct dialogue){.branches = json_array()};
    if (!d->branches || json_array_append_new(d->branches, json_array()))
        return err_set(e, E_NOMEM, "no memory for a conversation");
    return 0;
}

void dialogue_close(struct dialogue *d)
{
    json_decref(d->branches);
    d->branches = NULL;
}

json_t *dialogue_messages(const struct dialogue *d) { return json_array_get(d->branches, d->now); }

int dialogue_add(struct dialogue *d, const char *role, const char *text, size_t n, struct err *e)
{
    json_t *content = json_stringn(text, n); /* checks it */
    if (!content)
        return err_set(e, E_FORMAT, "the text of %zu bytes is not UTF-8", n);
    if (json_array_append_new(dialogue_messages(d),
                              json_pack("{s:s, s:o}", "role", role, "content", content)))
        return err_set(e, E_NOMEM, "no memory for a message of %zu bytes", n);
    return 0;
}

int dialogue_fork(struct dialogue *d, struct err *e)
{
    size_t n = json_array_size(d->branches);
    if (n >= DIALOGUE_BRANCHES)
        return err_set(e, E_RANGE, "there are %zu branches, at most %d", n, DIALOGUE_BRANCHES);
    if (json_array_append_new(d->branches, json_deep_copy(dialogue_messages(d))))
        return err_set(e, E_NOMEM, "no memory for another branch");
    d->now = n;
    return (int)n + 1;
}

int dialogue_switch(struct dialogue *d, long number, struct err *e)
{
    size_t n = json_array_size(d->branches);
    if (number < 1 || (size_t)number > n)
        return err_set(e, E_RANGE, "there is no branch %ld, only 1 to %zu", number, n);
    d->now = (size_t)number - 1;
    return 0;
}

static bool is_question(const json_t *m)
{
    return strcmp(json_string_value(json_object_get(m, "role")), "user") == 0;
}

int dialogue_rewind(struct dialogue *d, long n, struct err *e)
{
    json_t *all = dialogue_messages(d);
    size_t at = json_array_size(all);
    long found = 0;
    while (at > 0 && found < n)
        found += is_question(json_array_get(all, --at));
    if (n < 1 || found < n)
        return err_set(e, E_RANGE, "%ld turns cannot be taken back, there are %ld", n, found);
    while (json_array_size(all) > at)
        (void)json_array_remove(all, json_array_size(all) - 1);
    return 0;
}

int dialogue_save(const struct dialogue *d, const char *model, const char *path, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f) {
        int rc = err_set(e, E_IO, "%.200s cannot be written: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    json_t *o = json_pack("{s:s, s:O}", "model", model, "messages", dialogue_messages(d));
    bool bad = !o || json_dumpf(o, f, JSON_INDENT(1));
    bad |= fputc('\n', f) == EOF;
    bad |= fclose(f) != 0;
    json_decref(o);
    return bad ? err_set(e, E_IO, "%.200s could not be written", path) : 0;
}
