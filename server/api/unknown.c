/* Names come from strangers: what is written of one is short and of harmless characters. */
#include "server/api/unknown.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

#define NAME_BYTES 64   /* of one name with its path */
#define LOGGED_MAX 256  /* names that are remembered; further ones are not logged */
#define NEAR_BYTES 32   /* longer names are not compared */

/* ---- the log ------------------------------------------------------------------------------ */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the two below */
static uint64_t logged[LOGGED_MAX];
static int n_logged;

static uint64_t hash(const char *s)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
    return h;
}

static bool is_new(const char *name)
{
    uint64_t h = hash(name);
    bool seen = false;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_logged && !seen; i++)
        seen = logged[i] == h;
    bool new = !seen && n_logged < LOGGED_MAX;
    if (new)
        logged[n_logged++] = h;
    pthread_mutex_unlock(&lock);
    return new;
}

/* ---- the nearest known name --------------------------------------------------------------- */

/* Insertions, deletions, changes and swaps of neighbours that lead from a to b. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    size_t rows[3][NEAR_BYTES + 1];
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            bool same = a[i - 1] == b[j - 1];
            now[j] = MIN(MIN(now[j - 1], last[j]) + 1, last[j - 1] + !same);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = MIN(now[j], before[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

/* NULL = none is near: more than a third of the letters differ. */
static const char *nearest(const struct jsonin_watch *w, const json_t *o, const char *key)
{
    const char *best = NULL;
    size_t n = strlen(key), least = n / 3 + 1;
    for (int i = 0; i < w->n && n <= NEAR_BYTES; i++) {
        if (w->reads[i].o != o || strlen(w->reads[i].key) > NEAR_BYTES)
            continue;
        size_t d = distance(key, w->reads[i].key);
        if (d < least || (d == least && !best)) {
            best = w->reads[i].key;
            least = d;
        }
    }
    return best;
}

/* ---- all of them -------------------------------------------------------------------------- */

static bool is_known(const struct jsonin_watch *w, const json_t *o, const char *key)
{
    for (int i = 0; i < w->n; i++)
        if (w->reads[i].o == o && strcmp(w->reads[i].key, key) == 0)
            return true;
    return false;
}

static void safe_name(char *out, size_t size, const char *path, const char *key)
{
    snprintf(out, size, "%s%s", path, key);
    for (char *c = out; *c; c++)
        if (!(*c >= 'a' && *c <= 'z') && !(*c >= 'A' && *c <= 'Z') && !(*c >= '0' && *c <= '9') &&
            !strchr("_.-", *c))
            *c = '?';
}

static void add(char *out, const char *name)
{
    static const char more[] = ", ...";
    size_t n = strlen(out), room = LIMIT_NOTE_BYTES - sizeof more;
    if (n >= sizeof more && strcmp(out + n - (sizeof more - 1), more) == 0)
        return;
    if (n + strlen(name) + 2 > room)
        memcpy(out + n, more, sizeof more);
    else
        snprintf(out + n, LIMIT_NOTE_BYTES - n, "%s%s", n ? ", " : "", name);
}

static int refuse(const char *name, const char *near, struct err *e)
{
    static _Thread_local char param[NAME_BYTES];
    memcpy(param, name, sizeof param);
    if (near)
        return err_field(e, E_UNSUPPORTED, param, "%s: there is no such field; the nearest is %s",
                         name, near);
    return err_field(e, E_UNSUPPORTED, param, "%s: there is no such field", name);
}

int unknown_fields(const struct jsonin_watch *w, const char *where, bool strict,
                   char out[LIMIT_NOTE_BYTES], struct err *e)
{
    char name[NAME_BYTES] = "";
    const char *key;
    json_t *v;
    int rc = 0;
    out[0] = '\0';
    for (int i = 0; i < w->n_objects; i++) {
        const json_t *o = w->objects[i].o;
        json_object_foreach((json_t *)(uintptr_t)o, key, v) {
            if (json_is_null(v) || is_known(w, o, key))
                continue;
            safe_name(name, sizeof name, w->objects[i].path, key);
            add(out, name);
            const char *near = nearest(w, o, key);
            if (is_new(name))
                log_warn("%s: requests have the field %s, which nobody reads%s%s", where, name,
                         near ? "; the nearest is " : "", near ? near : "");
            if (strict && !rc)
                rc = refuse(name, near, e);
        }
    }
    return rc;
}
