/* Discovery over every platform and the choice of one device by name: never "platform 0". */
#include "kernels/opencl/device.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "kernels/opencl/opencl.h"

static int text(cl_device_id id, cl_device_info what, char *out, size_t max, struct err *e)
{
    char all[1024] = "";
    int rc = OCL(e, "a device's name", clGetDeviceInfo, id, what, sizeof all - 1, all, NULL);
    const char *s = all;
    while (isspace((unsigned char)*s))
        s++;
    snprintf(out, max, "%s", s);
    return rc;
}

/* Of cl_nv_device_attribute_query; a driver without it leaves the name empty. */
static void find_arch(struct ocl_info *d)
{
    enum { MAJOR_NV = 0x4000, MINOR_NV = 0x4001 };
    cl_uint major = 0, minor = 0;
    if (!strncmp(d->platform_name, "NVIDIA", 6) &&
        !ocl_api.clGetDeviceInfo(d->id, MAJOR_NV, sizeof major, &major, NULL) &&
        !ocl_api.clGetDeviceInfo(d->id, MINOR_NV, sizeof minor, &minor, NULL))
        snprintf(d->arch, sizeof d->arch, "sm_%u%u", major % 1000, minor % 1000);
}

static int describe(struct ocl_info *d, struct err *e)
{
    cl_ulong memory = 0, alloc = 0, local = 0;
    cl_uint align_bits = 0;
    cl_bool shared = CL_FALSE;
    int rc;
    if ((rc = text(d->id, CL_DEVICE_NAME, d->name, sizeof d->name, e)) ||
        (rc = text(d->id, CL_DEVICE_VENDOR, d->vendor, sizeof d->vendor, e)) ||
        (rc = text(d->id, CL_DRIVER_VERSION, d->driver, sizeof d->driver, e)))
        return rc;
#define GET(what, to)                                                                             \
    if ((rc = OCL(e, d->name, clGetDeviceInfo, d->id, what, sizeof(to), &(to), NULL)))            \
        return rc;
    GET(CL_DEVICE_TYPE, d->type)
    GET(CL_DEVICE_GLOBAL_MEM_SIZE, memory)
    GET(CL_DEVICE_MAX_MEM_ALLOC_SIZE, alloc)
    GET(CL_DEVICE_LOCAL_MEM_SIZE, local)
    GET(CL_DEVICE_MAX_COMPUTE_UNITS, d->units)
    GET(CL_DEVICE_MAX_WORK_GROUP_SIZE, d->group_max)
    GET(CL_DEVICE_MAX_PARAMETER_SIZE, d->param_bytes)
    GET(CL_DEVICE_MEM_BASE_ADDR_ALIGN, align_bits)
    GET(CL_DEVICE_HOST_UNIFIED_MEMORY, shared)
#undef GET
    find_arch(d);
    d->memory_bytes = memory;
    d->alloc_bytes = alloc;
    d->local_bytes = local;
    d->shared = shared || d->type & CL_DEVICE_TYPE_CPU;
    d->align_bytes = MAX((size_t)align_bits / 8, (size_t)64);
    return 0;
}

/* The devices of one platform, appended at infos[n]; returns the new n or a code. */
static int platform_devices(cl_platform_id p, struct ocl_info *infos, int n, struct err *e)
{
    cl_device_id ids[OCL_DEVICES_MAX];
    char name[96] = "";
    cl_uint found = 0;
    int rc;
    if ((rc = OCL(e, "a platform's name", clGetPlatformInfo, p, CL_PLATFORM_NAME, sizeof name - 1,
                  name, NULL)))
        return rc;
    if (ocl_call_fault("clGetDeviceIDs", name))
        return ocl_call_check(CL_OUT_OF_RESOURCES, "clGetDeviceIDs", name, e);
    cl_int got = ocl_api.clGetDeviceIDs(p, CL_DEVICE_TYPE_ALL, OCL_DEVICES_MAX, ids, &found);
    if (got == CL_DEVICE_NOT_FOUND)
        return n;
    if (got)
        return ocl_call_check(got, "clGetDeviceIDs", name, e);
    for (cl_uint i = 0; i < MIN(found, (cl_uint)OCL_DEVICES_MAX) && n < OCL_DEVICES_MAX; i++) {
        infos[n] = (struct ocl_info){.platform = p, .id = ids[i]};
        memcpy(infos[n].platform_name, name, sizeof name);
        if ((rc = describe(&infos[n], e)))
            return rc;
        n++;
    }
    return n;
}

/* Fills infos (at most OCL_DEVICES_MAX), every platform's devices in the platforms' order. Returns
 * their number or a code; none is E_NOENT. */
static int find_all(struct ocl_info *infos, struct err *e)
{
    cl_platform_id platforms[OCL_DEVICES_MAX];
    cl_uint found = 0;
    int rc, n = 0;
    if ((rc = ocl_call_init(e)))
        return rc;
    if (ocl_call_fault("clGetPlatformIDs", "the platforms"))
        return ocl_call_check(CL_OUT_OF_RESOURCES, "clGetPlatformIDs", "the platforms", e);
    cl_int got = ocl_api.clGetPlatformIDs(OCL_DEVICES_MAX, platforms, &found);
    if (got && got != -1001) /* the loader's code for "none installed" */
        return ocl_call_check(got, "clGetPlatformIDs", "the platforms", e);
    for (cl_uint i = 0; !got && i < MIN(found, (cl_uint)OCL_DEVICES_MAX); i++) {
        if ((n = platform_devices(platforms[i], infos, n, e)) < 0)
            return n;
    }
    return n ? n : err_set(e, E_NOENT, "no OpenCL device: no platform on this machine lists one");
}

static bool has(const char *text_, const char *part)
{
    for (size_t n = strlen(part); *text_; text_++)
        if (!strncasecmp(text_, part, n))
            return true;
    return false;
}

static bool matches(const struct ocl_info *d, int index, const char *name)
{
    char *end;
    long n = strtol(name, &end, 10);
    if (*end == '\0')
        return n == index;
    if (!strcasecmp(name, "gpu"))
        return d->type & CL_DEVICE_TYPE_GPU;
    if (!strcasecmp(name, "cpu"))
        return d->type & CL_DEVICE_TYPE_CPU;
    if (!strcasecmp(name, "accelerator"))
        return d->type & CL_DEVICE_TYPE_ACCELERATOR;
    if (!strcasecmp(name, "pocl")) /* its names say "Portable Computing Language" */
        return has(d->platform_name, "portable computing language");
    return has(d->name, name) || has(d->vendor, name) || has(d->platform_name, name);
}

static bool better(const struct ocl_info *a, const struct ocl_info *b)
{
    bool a_cpu = a->type & CL_DEVICE_TYPE_CPU, b_cpu = b->type & CL_DEVICE_TYPE_CPU;
    return a_cpu != b_cpu ? b_cpu : a->memory_bytes > b->memory_bytes;
}

/* "NAME:3" -> NAME to out, and 3; -1: there is no number. */
static int cut_number(const char *name, char *out, size_t size)
{
    const char *colon = name ? strrchr(name, ':') : NULL;
    size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;
    bool given = digits > 0 && digits < 4 && colon[1 + digits] == '\0';
    snprintf(out, size, "%.*s", given ? (int)(colon - name) : (int)size - 1, name ? name : "");
    return given ? (int)strtol(colon + 1, NULL, 10) : -1;
}

static int choose(struct ocl_info *out, const char *name, struct err *e)
{
    struct ocl_info infos[OCL_DEVICES_MAX];
    char part[128];
    int n = find_all(infos, e), best = -1, seen = 0, at = cut_number(name, part, sizeof part);
    if (n < 0)
        return n;
    for (int i = 0; i < n; i++) {
        bool match = !*part || matches(&infos[i], i, part);
        if (match && (at >= 0 ? seen == at : best < 0 || better(&infos[i], &infos[best])))
            best = i;
        seen += match;
    }
    if (best >= 0) {
        *out = infos[best];
        return 0;
    }
    char list[256] = "";
    for (int i = 0; i < n; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "",
                 infos[i].name);
    return err_set(e, E_NOENT, "no OpenCL device matches \"%s\"; there are: %s", name, list);
}

/* What NVIDIA's driver gives as a program's binary is text, of which it makes machine code anew (13
 * seconds for a model) unless it has kept that: in the user's home, which a service has not, or
 * where this variable says. It is read when the driver is first called. */
static void keep_machine_code(const char *cache_dir)
{
    char path[sizeof ((struct ocl_device *)0)->cache_dir + 16];
    snprintf(path, sizeof path, "%s/nvidia", cache_dir);
    (void)setenv("CUDA_CACHE_PATH", path, 0); /* without it everything still works */
}

int ocl_device_open(struct ocl_device *d, const char *name, const char *cache_dir, struct err *e)
{
    int rc;
    if (cache_dir && strlen(cache_dir) >= sizeof d->cache_dir)
        return err_set(e, E_RANGE, "cache directory: a path of %zu bytes, at most %zu",
                       strlen(cache_dir), sizeof d->cache_dir - 1);
    if (cache_dir && cache_dir[0])
        keep_machine_code(cache_dir);
    if ((rc = choose(&d->info, name, e)))
        return rc;
    snprintf(d->cache_dir, sizeof d->cache_dir, "%s", cache_dir ? cache_dir : "");
    d->fill_bytes = OCL_FILL_PIECE;
    d->fill_end = OCL_FILL_END;
    ocl_tune_choose(&d->tune, &d->info);
    d->profiling = getenv("RECURD_OCL_PROFILE") != NULL; /* events cost host time: off normally */
    cl_command_queue_properties how = d->profiling ? CL_QUEUE_PROFILING_ENABLE : 0;
    if ((rc = OCL_NEW(d->context, e, d->info.name, clCreateContext, NULL, 1, &d->info.id, NULL,
                      NULL)) ||
        (rc = OCL_NEW(d->queue, e, d->info.name, clCreateCommandQueue, d->context, d->info.id,
                      how)) ||
        (rc = OCL_NEW(d->copies, e, d->info.name, clCreateCommandQueue, d->context, d->info.id,
                      0)))
        ocl_device_close(d);
    return rc;
}

void ocl_device_close(struct ocl_device *d)
{
    for (int i = 0; i < d->n_built; i++) {
        OCL_FREE(clReleaseProgram, d->built[i].program);
        mem_free(d->built[i].source);
    }
    d->n_built = 0;
    OCL_FREE(clReleaseMemObject, d->zeros);
    OCL_FREE(clReleaseCommandQueue, d->queue);
    OCL_FREE(clReleaseCommandQueue, d->copies);
    OCL_FREE(clReleaseContext, d->context);
}

int opencl_list(void (*line)(void *arg, const char *text), void *arg, struct err *e)
{
    struct ocl_info infos[OCL_DEVICES_MAX];
    int n = find_all(infos, e);
    for (int i = 0; i < n; i++) {
        const struct ocl_info *d = &infos[i];
        char s[640];
        snprintf(s, sizeof s,
                 "opencl:%d  %s  %s, %u units, %.1f GiB (one buffer at most %.1f), %s, driver %s",
                 i,
                 d->type & CL_DEVICE_TYPE_CPU   ? "cpu"
                 : d->type & CL_DEVICE_TYPE_GPU ? "gpu"
                                                : "accelerator",
                 d->name, d->units, (double)d->memory_bytes / (double)GIB(1),
                 (double)d->alloc_bytes / (double)GIB(1), d->platform_name, d->driver);
        line(arg, s);
    }
    return n < 0 ? n : 0;
}
