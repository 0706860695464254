/* States that travel beside the steps, with several movers, on an OpenCL of this file that moves
 * bytes only when a queue is finished, and sometimes fails. A plain program, for ThreadSanitizer.
 * Exit 1 if a state arrived with other bytes, a failure was not told, or a state that a sequence
 * waits for came behind others. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "kernels/opencl/beside.h"

#define SLOTS 6
#define FLOATS ((int64_t)(MIB(9) / 4 + 3)) /* three pieces, the last one odd */
#define BYTES ((size_t)FLOATS * 4)
#define ROUNDS 6
#define MOVERS 3

/* A queue: one thread's at a time. */
struct fake_queue { char *to; const char *from; size_t n; };

static int fail_in, failures; /* transfers until one fails; 0 = none does */

static struct ocl_device device;
static struct ocl_beside beside;
static struct ocl_bank bank;
static struct ocl_pool slots = {.banks = &bank, .n = 1, .floats = FLOATS};
static float *host[SLOTS];
static int woken;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* held: nothing travels */

/* ---- the OpenCL --------------------------------------------------------------------------- */

static cl_mem create_buffer(cl_context c, cl_mem_flags f, size_t n, void *p, cl_int *rc)
{
    (void)c, (void)f, (void)p;
    *rc = CL_SUCCESS;
    return (cl_mem)calloc(1, n);
}

static cl_int release_buffer(cl_mem m)
{
    free(m);
    return CL_SUCCESS;
}

static cl_command_queue create_queue(cl_context c, cl_device_id d,
                                     cl_command_queue_properties p, cl_int *rc)
{
    (void)c, (void)d, (void)p;
    *rc = CL_SUCCESS;
    return (cl_command_queue)calloc(1, sizeof(struct fake_queue));
}

static cl_int release_queue(cl_command_queue q)
{
    free(q);
    return CL_SUCCESS;
}

static cl_int flush(cl_command_queue q)
{
    (void)q;
    return CL_SUCCESS;
}

static cl_int finish(cl_command_queue queue)
{
    struct fake_queue *q = (struct fake_queue *)queue;
    if (!q || !q->n)
        return CL_SUCCESS;
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    memcpy(q->to, q->from, q->n);
    q->n = 0;
    return CL_SUCCESS;
}

static cl_int later(cl_command_queue queue, char *to, const char *from, size_t n)
{
    struct fake_queue *q = (struct fake_queue *)queue;
    if (__atomic_load_n(&fail_in, __ATOMIC_RELAXED) > 0 &&
        __atomic_sub_fetch(&fail_in, 1, __ATOMIC_RELAXED) == 0) {
        __atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
        return CL_OUT_OF_RESOURCES;
    }
    (void)finish(queue); /* one is on its way at most, as a mover has it */
    *q = (struct fake_queue){to, from, n};
    return CL_SUCCESS;
}

static cl_int read_buffer(cl_command_queue q, cl_mem m, cl_bool wait, size_t at, size_t n, void *p,
                          cl_uint k, const cl_event *after, cl_event *e)
{
    (void)wait, (void)k, (void)after, (void)e;
    return later(q, p, (const char *)m + at, n);
}

static cl_int write_buffer(cl_command_queue q, cl_mem m, cl_bool wait, size_t at, size_t n,
                           const void *p, cl_uint k, const cl_event *after, cl_event *e)
{
    (void)wait, (void)k, (void)after, (void)e;
    return later(q, (char *)m + at, p, n);
}

/* Of the engine's queue, in whose order it is: at once. */
static cl_int copy_buffer(cl_command_queue q, cl_mem from, cl_mem to, size_t at, size_t dst,
                          size_t n, cl_uint k, const cl_event *after, cl_event *e)
{
    (void)q, (void)k, (void)after;
    memcpy((char *)to + dst, (const char *)from + at, n);
    if (e)
        *e = NULL;
    return CL_SUCCESS;
}

static cl_int fill_buffer(cl_command_queue q, cl_mem m, const void *p, size_t size, size_t at,
                          size_t n, cl_uint k, const cl_event *after, cl_event *e)
{
    (void)q, (void)p, (void)size, (void)k, (void)after, (void)e;
    memset((char *)m + at, 0, n);
    return CL_SUCCESS;
}

static void *map_buffer(cl_command_queue q, cl_mem m, cl_bool wait, cl_map_flags f, size_t at,
                        size_t n, cl_uint k, const cl_event *after, cl_event *e, cl_int *rc)
{
    (void)q, (void)wait, (void)f, (void)n, (void)k, (void)after, (void)e;
    *rc = CL_SUCCESS;
    return (char *)m + at;
}

static cl_int unmap_buffer(cl_command_queue q, cl_mem m, void *p, cl_uint k,
                           const cl_event *after, cl_event *e)
{
    (void)q, (void)m, (void)p, (void)k, (void)after, (void)e;
    return CL_SUCCESS;
}

/* ---- the engine --------------------------------------------------------------------------- */

static void must(int rc, const struct err *e)
{
    if (!rc)
        return;
    printf("FAIL: %s\n", e->text);
    exit(1);
}

static void wake(void *arg)
{
    (void)arg;
    __atomic_add_fetch(&woken, 1, __ATOMIC_RELAXED);
}

static float *slot(int32_t i) { return (float *)bank.buffer.mem + (int64_t)i * FLOATS; }

static void paint(float *p, int round, int i)
{
    for (int64_t k = 0; k < FLOATS; k++)
        p[k] = (float)((round * 31 + i * 7 + k) % 1021);
}

static void check(const float *p, int round, int i, const char *where)
{
    for (int64_t k = 0; k < FLOATS; k++)
        if (p[k] != (float)((round * 31 + i * 7 + k) % 1021)) {
            printf("FAIL: round %d, state %d, float %lld in %s\n", round, i, (long long)k, where);
            exit(1);
        }
}

/* All of it to the host while the slots are painted over, and back into other slots. Whether a
 * transfer failed, of which the copies it belonged to tell. */
static bool there_and_back(int round)
{
    struct state_copy *c[SLOTS];
    struct err e = {0};
    bool failed = false;
    for (int i = 0; i < SLOTS; i++) {
        paint(slot(i), round, i);
        if (!(c[i] = ocl_beside_take(&beside)))
            must(err_set(&e, E_NOMEM, "no staging buffer for state %d", i), &e);
        c[i]->out = (char *)host[i];
        c[i]->wake = wake;
        must(ocl_beside_stage(&beside, c[i], &slots, i, true, &e), &e);
        ocl_beside_queue(&beside, c[i]);
        memset(slot(i), 0xff, BYTES);
        must(ocl_beside_stage(&beside, c[i], &slots, i, false, &e), &e); /* while it travels */
        check(slot(i), round, i, "the slot again");
        memset(slot(i), 0xff, BYTES);
    }
    for (int i = SLOTS - 1; i >= 0; i--) {
        struct err why = {0};
        if (!ocl_beside_poll(&beside, c[i], true, &why))
            check(host[i], round, i, "memory");
        else
            failed = true;
        ocl_beside_give(&beside, c[i]);
        paint(host[i], round, i);
        c[i] = ocl_beside_take(&beside);
        c[i]->in = true;
        c[i]->from = (const char *)host[i];
        ocl_beside_queue(&beside, c[i]);
    }
    for (int i = 0; i < SLOTS; i++) {
        struct err why = {0};
        int32_t to = (i + round) % SLOTS;
        if (!ocl_beside_poll(&beside, c[i], true, &why)) {
            must(ocl_beside_stage(&beside, c[i], &slots, to, false, &e), &e);
            check(slot(to), round, i, "a slot");
        } else {
            failed = true;
        }
        ocl_beside_give(&beside, c[i]);
    }
    return failed;
}

/* The order in which copies are over, with one mover. */
static int places[SLOTS], over;

static void arrive(void *arg) { *(int *)arg = ++over; }

static struct state_copy *begin(struct ocl_beside *b, int i, bool in)
{
    struct state_copy *c = ocl_beside_take(b);
    struct err e = {0};
    if (!c)
        must(err_set(&e, E_NOMEM, "no staging buffer for state %d", i), &e);
    c->in = in;
    c->out = (char *)host[i];
    c->from = (const char *)host[i];
    c->wake = arrive;
    c->wake_arg = &places[i];
    ocl_beside_queue(b, c);
    return c;
}

static void who_waits_comes_first(void)
{
    struct ocl_beside b;
    struct state_copy *c[SLOTS];
    struct err e = {0};
    device.tune.movers = 1;
    must(ocl_beside_init(&b, &device, BYTES, SLOTS, &e), &e);
    pthread_mutex_lock(&gate);
    for (int i = 0; i < SLOTS; i++)
        c[i] = begin(&b, i, i >= SLOTS - 2);
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < SLOTS; i++) {
        must(ocl_beside_poll(&b, c[i], true, &e), &e);
        ocl_beside_give(&b, c[i]);
    }
    ocl_beside_free(&b);
    /* The mover may have begun one when they came. */
    if (MAX(places[SLOTS - 2], places[SLOTS - 1]) > 3 || places[SLOTS - 2] > places[SLOTS - 1]) {
        printf("FAIL: states to the device came as numbers %d and %d of %d\n", places[SLOTS - 2],
               places[SLOTS - 1], SLOTS);
        exit(1);
    }
}

int main(void)
{
    struct err e = {0};
    alarm(600); /* a copy that nobody ends */
    ocl_api = (struct ocl_api){
        .clCreateBuffer = create_buffer, .clReleaseMemObject = release_buffer,
        .clCreateCommandQueue = create_queue, .clReleaseCommandQueue = release_queue,
        .clFlush = flush, .clFinish = finish, .clEnqueueReadBuffer = read_buffer,
        .clEnqueueWriteBuffer = write_buffer, .clEnqueueCopyBuffer = copy_buffer,
        .clEnqueueFillBuffer = fill_buffer, .clEnqueueMapBuffer = map_buffer,
        .clEnqueueUnmapMemObject = unmap_buffer};
    device = (struct ocl_device){.info = {.memory_bytes = GIB(4), .alloc_bytes = GIB(1)},
                                 .tune = {.movers = MOVERS}, .fill_bytes = GIB(1),
                                 .fill_end = GIB(4)};
    bank.floats = FLOATS;
    must(ocl_buffer_new(&bank.buffer, &device, SLOTS * BYTES, "slots", &e), &e);
    must(ocl_beside_init(&beside, &device, BYTES, SLOTS, &e), &e);
    for (int i = 0; i < SLOTS; i++)
        if (!(host[i] = calloc(1, BYTES)))
            return 1;
    struct rng r = {.seed = 5};
    for (int round = 0; round < ROUNDS; round++) {
        int before = failures;
        fail_in = round % 2 ? 1 + (int)rng_below(&r, 2 * SLOTS * 3) : 0;
        bool failed = there_and_back(round);
        if (failed != (failures > before)) {
            printf("FAIL: round %d: %d failed transfers were %stold\n", round, failures - before,
                   failed ? "" : "not ");
            return 1;
        }
    }
    if (woken != ROUNDS * SLOTS) {
        printf("FAIL: woken %d times for %d states\n", woken, ROUNDS * SLOTS);
        return 1;
    }
    ocl_beside_free(&beside);
    fail_in = 0;
    who_waits_comes_first();
    ocl_buffer_free(&bank.buffer, &device);
    for (int i = 0; i < SLOTS; i++)
        free(host[i]);
    printf("%d states with %d movers, %d failed transfers told\n", 2 * ROUNDS * SLOTS, MOVERS,
           failures);
    return 0;
}
