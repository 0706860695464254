/* A directory with safetensors that is being made: its files appear one by one, each whole, and
 * config.json comes last, without which the directory is no model. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "models/convert_int.h"
#include "models/files/jsontext.h"
#include "models/files/safetensors_write.h"

#define PATH_BYTES 4096

static int path_in(const char *dir, const char *name, char path[PATH_BYTES], struct err *e)
{
    if ((size_t)snprintf(path, PATH_BYTES, "%s/%s", dir, name) >= PATH_BYTES - 8)
        return err_set(e, E_RANGE, "%s: the path is longer than %d bytes", jsontext_tail(dir),
                       PATH_BYTES - 8);
    return 0;
}

int convert_dir_make(const char *dir, struct err *e)
{
    char config[PATH_BYTES];
    if (path_in(dir, "model.safetensors.part.journal", config, e) < 0 ||
        path_in(dir, "config.json", config, e) < 0)
        return e->code;
    if (file_exists(config))
        return err_set(e, E_CONFLICT, "%s: holds a model already; give a new directory",
                       jsontext_tail(dir));
    if (mkdir(dir, 0777) != 0 && errno != EEXIST)
        err_set(e, E_IO, "%s: cannot be made: %s", jsontext_tail(dir), strerror(errno));
    return e->code;
}

int convert_dir_file(const char *dir, const char *name, const char *p, size_t n, struct err *e)
{
    char path[PATH_BYTES], part[PATH_BYTES + 8];
    if (path_in(dir, name, path, e) < 0)
        return e->code;
    snprintf(part, sizeof part, "%s.part", path);
    FILE *f = fopen(part, "wbe");
    bool good = f && (n == 0 || fwrite(p, 1, n, f) == n) && fflush(f) == 0 &&
                fsync(fileno(f)) == 0;
    good = f && fclose(f) == 0 && good;
    if (good && rename(part, path) == 0)
        return 0;
    err_set(e, E_IO, "%s: cannot be written: %s", jsontext_tail(path), strerror(errno));
    unlink(part);
    return e->code;
}

int convert_dir_weights(const struct convert_options *o, struct checkpoint *ck, struct err *e)
{
    char path[PATH_BYTES];
    int rc = path_in(o->out, "model.safetensors", path, e);
    return rc < 0 ? rc : safetensors_write(path, ck, o->progress, o->arg, e);
}
