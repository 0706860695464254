/* recurd-convert: a directory with safetensors, or an RWKV .pth file -> one GGUF file; a GGUF or
 * .pth file -> a directory.
 *
 *   recurd-convert [--type TYPE] DIR|FILE.pth FILE.gguf
 *   recurd-convert [--type f32|f16|bf16] FILE.gguf DIR
 *   recurd-convert FILE.pth DIR */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/usage.h"
#include "base/version.h"
#include "models/convert.h"
#include "models/files/gguf_types.h"

static const struct usage_row rows[] = {
#define SYNOPSIS USAGE_ROW_SYNOPSIS
#define ABOUT USAGE_ROW_ABOUT
#define FLAG USAGE_ROW_FLAG
#include "programs/recurd-convert.def"
#undef FLAG
#undef ABOUT
#undef SYNOPSIS
};

static void usage(FILE *f)
{
    char known[400];
    usage_print(f, "recurd-convert", rows, ARRAY_LEN(rows));
    fprintf(f, "\nTypes: %s\n", gguf_types_known(known, sizeof known, true));
}

struct shown { int percent; bool terminal; };

static void progress(void *arg, const char *tensor, uint64_t done, uint64_t total)
{
    struct shown *s = arg;
    int percent = total ? (int)(done * 100 / total) : 100;
    if (percent == s->percent)
        return;
    s->percent = percent;
    if (s->terminal)
        fprintf(stderr, "\r%3d %%  %" PRIu64 " of %" PRIu64 " MB  %-40.40s", percent,
                done / 1000000, total / 1000000, tensor);
    else if (percent % 10 == 0)
        fprintf(stderr, "%3d %%  %" PRIu64 " of %" PRIu64 " MB\n", percent, done / 1000000,
                total / 1000000);
}

static bool parse_type(const char *name, struct convert_options *o)
{
    int dtype = gguf_type_parse(name);
    o->any = dtype < 0;
    o->matrix = dtype < 0 ? DTYPE_F32 : (enum dtype)dtype;
    return dtype >= 0;
}

static bool ends_in_gguf(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && strcmp(path + n - 5, ".gguf") == 0;
}

/* What two names ask for: the output's ending tells a file from a directory, or the input does. */
static int convert(const struct convert_options *o, struct err *e)
{
    struct stat st;
    if (ends_in_gguf(o->out) || (stat(o->dir, &st) == 0 && S_ISDIR(st.st_mode)))
        return convert_to_gguf(o, e);
    if (!convert_is_pth(o->dir))
        return convert_from_gguf(o, e);
    return o->any ? convert_pth(o, e)
                  : err_set(e, E_UNSUPPORTED, "--type is not for a .pth file that is to be a "
                            "directory, as %s", o->out);
}

int main(int argc, char **argv)
{
    struct shown shown = {-1, isatty(STDERR_FILENO) == 1};
    struct convert_options o = {.any = true, .progress = progress, .arg = &shown};
    struct err e = {0};
    char known[400];
    struct option options[ARRAY_LEN(rows) + 1];
    usage_options(rows, ARRAY_LEN(rows), options);
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
        if (c == 'h') {
            usage(stdout);
            return 0;
        }
        if (c == 'v') {
            printf("recurd-convert %s (%s)\n", version_number(), version_commit());
            return 0;
        }
        if (c != 't' || !parse_type(optarg, &o)) {
            if (c == 't')
                fprintf(stderr, "recurd-convert: --type %s is not one of %s\n", optarg,
                        gguf_types_known(known, sizeof known, true));
            return 2;
        }
    }
    if (argc - optind != 2) {
        usage(stderr);
        return 2;
    }
    o.dir = argv[optind];
    o.out = argv[optind + 1];
    int rc = convert(&o, &e);
    if (shown.terminal && shown.percent >= 0)
        fputc('\n', stderr);
    if (rc < 0)
        fprintf(stderr, "recurd-convert: %s\n", e.text);
    return rc < 0;
}
