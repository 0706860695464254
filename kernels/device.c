/* Opens a device by name: the table of backends. Any thread, before the engine starts. */
#include "base/buf.h"
#include "kernels/backend.h"
#include "kernels/opencl/opencl.h"
#include "kernels/split/split.h"

#include <string.h>

static const struct {
    const char *spec; /* what comes before a ':' */
    const struct backend *backend;
} devices[] = {
    {"cpu", &backend_cpu},
    {"ref", &backend_cpu},
    {"opencl", &backend_opencl},
};

int device_open(struct device **out, const struct device_options *o, struct err *e)
{
    size_t n = strcspn(o->spec, ":");
    *out = NULL;
    if (strchr(o->spec, '+'))
        return split_open(out, o, device_open, e);
    for (size_t i = 0; i < ARRAY_LEN(devices); i++)
        if (strlen(devices[i].spec) == n && memcmp(devices[i].spec, o->spec, n) == 0)
            return devices[i].backend->open(out, o, e);
    struct buf names;
    buf_init(&names, 128);
    for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
        buf_str(&names, i ? ", " : "");
        buf_str(&names, devices[i].spec);
    }
    err_set(e, E_NOENT, "device \"%.64s\" does not exist; there are: %s; several joined by +",
            o->spec, names.p ? names.p : "");
    buf_free(&names);
    return E_NOENT;
}
