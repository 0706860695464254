/* What can be learnt of the server and of this machine. Thread: one. */
#include "programs/recurd-bench/server_info.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/limits.h"

#define FETCH_S 10 /* small pages; a server that needs longer is not ready to be measured */

static json_t *fetch_json(struct pool *p, const char *path, int *status, struct err *e)
{
    struct buf b;
    buf_init(&b, MIB(16));
    *status = pool_fetch(p, "GET", path, NULL, FETCH_S, &b, e);
    json_t *o = *status == 200 ? json_loadb(b.p ? b.p : "", b.len, 0, NULL) : NULL;
    buf_free(&b);
    return o;
}

int server_info_get(struct server_info *s, struct pool *p, struct err *e)
{
    memset(s, 0, sizeof *s);
    int status;
    s->models = fetch_json(p, "/v1/models", &status, e);
    if (status < 0)
        return status;
    if (status == 401)
        return err_set(e, E_DENIED, "the server wants %s API key: --api-key or $OPENAI_API_KEY",
                       p->a->api_key ? "another" : "an");
    struct err ignored = {0};
    s->version = fetch_json(p, "/version", &status, &ignored);
    const char *id = p->a->model;
    if (!id)
        id = json_string_value(json_object_get(
            json_array_get(json_object_get(s->models, "data"), 0), "id"));
    if (!id) {
        server_info_free(s);
        return err_set(e, E_NOENT, "/v1/models names no model; give one with --model");
    }
    snprintf(s->model, sizeof s->model, "%s", id);
    return 0;
}

void server_info_free(struct server_info *s)
{
    json_decref(s->version);
    json_decref(s->models);
    s->version = s->models = NULL;
}

json_t *server_metrics(struct pool *p)
{
    if (!strcmp(p->a->metrics, "none"))
        return NULL;
    struct buf b;
    struct err ignored = {0};
    buf_init(&b, MIB(16));
    int status = pool_fetch(p, "GET", p->a->metrics, NULL, FETCH_S, &b, &ignored);
    json_t *o = status == 200 ? json_object() : NULL;
    for (char *line = b.p, *next; o && line && *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next)
            *next++ = 0;
        /* name{label="text with spaces"} value [time] */
        char *close = strrchr(line, '}'), *end;
        char *value = strchr(close ? close : line, ' ');
        if (*line == '#' || !value)
            continue;
        *value++ = 0;
        double x = strtod(value, &end);
        if (end != value && isfinite(x))
            json_object_set_new(o, line, json_real(x));
    }
    buf_free(&b);
    return o;
}

json_t *server_metrics_changed(const json_t *before, const json_t *after)
{
    if (!before || !after)
        return NULL;
    json_t *out = json_object(), *v;
    const char *key;
    json_object_foreach((json_t *)after, key, v) {
        json_t *old = json_object_get(before, key);
        double x = json_real_value(v), y = json_real_value(old);
        if (x != y || !old)
            json_object_set_new(out, key, json_pack("{sf sf}", "before", y, "after", x));
    }
    return out;
}

static void cpu_name(char *out, size_t cap)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "re");
    snprintf(out, cap, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon)
            continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(out, cap, "%s", colon + 2);
        break;
    }
    if (f)
        fclose(f);
}

json_t *machine_json(void)
{
    char cpu[200], kernel[160] = "";
    struct utsname u;
    cpu_name(cpu, sizeof cpu);
    if (!uname(&u))
        snprintf(kernel, sizeof kernel, "%.60s %.60s", u.sysname, u.machine);
    double gib = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (double)GIB(1);
    return json_pack("{ss si sf ss}", "cpu", cpu, "cores", (int)sysconf(_SC_NPROCESSORS_ONLN),
                     "memory_gib", floor(gib * 10 + 0.5) / 10, "system", kernel);
}
