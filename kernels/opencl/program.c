/* Building programs. Options are fixed: denormals are zero everywhere (a decayed state would
 * otherwise slow a CPU down 24 times), and nothing that changes arithmetic beyond that. */
#include "base/version.h"
#include "kernels/opencl/program.h"

#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "kernels/opencl/cache.h"

#define OPTIONS "-cl-std=CL1.2 -cl-denorms-are-zero"

static void make_key(struct buf *key, const struct ocl_device *d, const char *source)
{
    buf_init(key, MIB(64));
    buf_fmt(key, "recurd %s\n%s\n%s\n%s\n%s\n", version_number(), OPTIONS, d->info.platform_name,
            d->info.name, d->info.driver);
    buf_str(key, source);
}

static bool is_ptx(const char *source)
{
    return !strncmp(source, ".version ", 9);
}

/* The line of the log a human should see first; `whole`: all of it goes to the program's log. */
static int build_failed(struct ocl_device *d, cl_program p, const char *name, bool whole,
                        struct err *e)
{
    enum { LOG_BYTES = 1 << 16 };
    char *log = mem_zalloc(LOG_BYTES);
    size_t n = 0;
    if (!log)
        return err_set(e, E_DEVICE, "%s does not compile on %s", name, d->info.name);
    (void)ocl_api.clGetProgramBuildInfo(p, d->info.id, CL_PROGRAM_BUILD_LOG, LOG_BYTES - 1, log,
                                        &n); /* without a log the sentence is shorter */
    if (whole)
        log_error("%s: build log of %s:", d->info.name, name);
    for (const char *s = log; whole && *s; s += strcspn(s, "\n") + (s[strcspn(s, "\n")] == '\n'))
        log_error("  %.*s", (int)MIN(strcspn(s, "\n"), (size_t)200), s);
    const char *first = strstr(log, "error");
    first = first ? first : log;
    err_set(e, E_DEVICE, "%s does not compile on %s: %.*s", name, d->info.name,
            (int)strcspn(first, "\n"), first);
    mem_free(log);
    return E_DEVICE;
}

static int build(struct ocl_device *d, cl_program p, const char *name, bool whole, struct err *e)
{
    cl_int rc = ocl_call_fault("clBuildProgram", name)
                    ? CL_OUT_OF_RESOURCES
                    : ocl_api.clBuildProgram(p, 1, &d->info.id, OPTIONS, NULL, NULL);
    if (rc == CL_BUILD_PROGRAM_FAILURE)
        return build_failed(d, p, name, whole, e);
    return ocl_call_check(rc, "clBuildProgram", name, e);
}

/* The text itself: PTX goes in as what NVIDIA's driver calls a binary. */
static int create(struct ocl_device *d, cl_program *p, const char *name, const char *source,
                  struct err *e)
{
    size_t n = strlen(source);
    const unsigned char *bytes = (const unsigned char *)source;
    cl_int status = CL_SUCCESS;
    if (!is_ptx(source))
        return OCL_NEW(*p, e, name, clCreateProgramWithSource, d->context, 1, &source, NULL);
    return OCL_NEW(*p, e, name, clCreateProgramWithBinary, d->context, 1, &d->info.id, &n, &bytes,
                   &status);
}

/* NULL when the stored binary is refused: a new driver, say. */
static cl_program from_cache(struct ocl_device *d, const struct buf *key, const char *name)
{
    struct buf bin;
    struct err e = {0};
    cl_program p = NULL;
    buf_init(&bin, MIB(256));
    if (ocl_cache_get(d->cache_dir, key->p, key->len, &bin)) {
        const unsigned char *bytes = (const unsigned char *)bin.p;
        cl_int status = CL_SUCCESS;
        if (OCL_NEW(p, &e, name, clCreateProgramWithBinary, d->context, 1, &d->info.id, &bin.len,
                    &bytes, &status) ||
            build(d, p, name, true, &e)) {
            log_warn("kernel cache: %s is compiled again: %s", name, e.text);
            OCL_FREE(clReleaseProgram, p);
        }
    }
    buf_free(&bin);
    return p;
}

static void to_cache(struct ocl_device *d, const struct buf *key, cl_program p, const char *name)
{
    struct err e = {0};
    size_t n = 0;
    unsigned char *bin = NULL;
    if (OCL(&e, name, clGetProgramInfo, p, CL_PROGRAM_BINARY_SIZES, sizeof n, &n, NULL) || !n)
        goto out;
    if (!(bin = mem_zalloc(n)))
        goto out;
    if (!OCL(&e, name, clGetProgramInfo, p, CL_PROGRAM_BINARIES, sizeof bin, &bin, NULL))
        (void)!ocl_cache_put(d->cache_dir, key->p, key->len, bin, n, &e); /* said below */
out:
    if (e.code)
        log_warn("kernel cache: %s is not kept: %s", name, e.text);
    mem_free(bin);
}

static void forget(struct ocl_device *d)
{
    OCL_FREE(clReleaseProgram, d->built[0].program);
    mem_free(d->built[0].source);
    memmove(d->built, d->built + 1, sizeof d->built[0] * (size_t)--d->n_built);
}

static int keep(struct ocl_device *d, cl_program *p, const char *source, struct err *e)
{
    char *own = mem_strdup(source);
    if (!own) {
        OCL_FREE(clReleaseProgram, *p);
        return err_set(e, E_NOMEM, "no memory for a program's source");
    }
    d->built[d->n_built++] = (struct ocl_built){own, *p};
    return 0;
}

int ocl_program_build(cl_program *out, struct ocl_device *d, const char *name, const char *source,
                      bool must, struct err *e)
{
    struct buf key;
    int rc = 0;
    *out = NULL;
    for (int i = 0; i < d->n_built; i++)
        if (!strcmp(d->built[i].source, source)) {
            *out = d->built[i].program;
            return 0;
        }
    if (d->n_built == OCL_BUILT_MAX) /* checks build thousands: forget the oldest */
        forget(d);
    make_key(&key, d, source);
    if (d->cache_dir[0] && !key.failed && (*out = from_cache(d, &key, name)))
        goto out;
    if ((rc = create(d, out, name, source, e)) || (rc = build(d, *out, name, must, e))) {
        OCL_FREE(clReleaseProgram, *out);
        goto out;
    }
    if (d->cache_dir[0] && !key.failed)
        to_cache(d, &key, *out, name);
out:
    buf_free(&key);
    return rc ? rc : keep(d, out, source, e);
}
