/* Trace files: arrivals and lengths, one line a request. Thread: one. */
#include "programs/recurd-bench/trace.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define ROWS_MAX 10000000 /* 10 M requests: 400 MB of rows */

static int row_json(struct trace *t, struct trace_row *row, const char *line, double *seconds,
                    size_t *cap)
{
    json_t *j = json_loads(line, 0, NULL);
    json_t *at = json_object_get(j, "timestamp"), *hashes = json_object_get(j, "hash_ids");
    if (!json_is_number(at)) {
        json_decref(j);
        return E_FORMAT;
    }
    *seconds = json_number_value(at) / 1000;
    row->n_in = (int32_t)json_integer_value(json_object_get(j, "input_length"));
    row->n_out = (int32_t)json_integer_value(json_object_get(j, "output_length"));
    row->first_hash = t->n_hashes;
    row->n_hashes = json_array_size(hashes);
    int rc = row->n_in < 0 || row->n_out < 0 ? E_FORMAT : 0;
    for (size_t i = 0; i < row->n_hashes && !rc; i++) {
        if (t->n_hashes == *cap) {
            size_t n = *cap ? *cap * 2 : 1024;
            uint64_t *h = mem_realloc(t->hashes, n * sizeof *h);
            if (!h) {
                rc = E_NOMEM;
                break;
            }
            t->hashes = h;
            *cap = n;
        }
        t->hashes[t->n_hashes++] = (uint64_t)json_integer_value(json_array_get(hashes, i));
    }
    json_decref(j);
    return rc;
}

static int by_time(const void *a, const void *b)
{
    const struct trace_row *x = a, *y = b;
    return (x->at_ns > y->at_ns) - (x->at_ns < y->at_ns);
}

static int add_line(struct trace *t, const char *line, size_t *cap, size_t *hash_cap)
{
    if (t->n == *cap) {
        size_t n = *cap ? *cap * 2 : 1024;
        struct trace_row *rows = n <= ROWS_MAX * 2 ? mem_realloc(t->rows, n * sizeof *rows) : NULL;
        if (!rows)
            return E_NOMEM;
        t->rows = rows;
        *cap = n;
    }
    struct trace_row row = {0};
    double seconds;
    if (*line == '{') {
        int rc = row_json(t, &row, line, &seconds, hash_cap);
        if (rc)
            return rc;
    } else {
        char *end;
        seconds = strtod(line, &end);
        if (end == line || end[strspn(end, " \t\r\n")])
            return E_FORMAT;
    }
    if (!isfinite(seconds) || seconds < 0 || seconds > 1e8) /* three years */
        return E_RANGE;
    row.at_ns = (uint64_t)(seconds * (double)NS_PER_S);
    t->rows[t->n++] = row;
    return 0;
}

int trace_open(struct trace *t, const char *path, struct err *e)
{
    *t = (struct trace){0};
    FILE *f = fopen(path, "re");
    if (!f)
        return err_set(e, E_NOENT, "%s: %s", path, strerror(errno));
    char *line = NULL;
    size_t line_cap = 0, cap = 0, hash_cap = 0, number = 0;
    int rc = 0;
    while (!rc && getline(&line, &line_cap, f) >= 0) {
        number++;
        const char *s = line + strspn(line, " \t\r\n");
        if (!*s || *s == '#')
            continue;
        rc = add_line(t, s, &cap, &hash_cap);
        if (rc)
            err_set(e, rc, "%s line %zu: neither seconds nor an object with a timestamp", path,
                    number);
    }
    free(line);
    fclose(f);
    if (!rc && !t->n)
        rc = err_set(e, E_FORMAT, "%s: no request in the trace", path);
    if (rc) {
        trace_free(t);
        return rc;
    }
    qsort(t->rows, t->n, sizeof *t->rows, by_time);
    for (size_t i = t->n; i-- > 0;)
        t->rows[i].at_ns -= t->rows[0].at_ns;
    return 0;
}

void trace_free(struct trace *t)
{
    mem_free(t->rows);
    mem_free(t->hashes);
    *t = (struct trace){0};
}
