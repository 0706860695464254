/* Merged launches without a device: where activations lie, and how many launches a step has with
 * the sizes of an H200. What a device is asked for is given, and nothing is computed. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/opencl/bundle.h"
#include "kernels/opencl/queue.h"
#include "models/model.h"

/* ---- where activations lie ---- */

#define W 64
#define OPS 7

static struct act acts[OPS];
static struct op ops[OPS];
static struct plan plan;
static const struct capacity cap = {.tokens = 1, .logits = 1, .seqs = 1, .slots = 1};

/* Op `at` reads activation `act`. */
static struct view read_by(int at, int act)
{
    acts[act].last = MAX(acts[act].last, at);
    return (struct view){act, 0, W};
}

/* Op i makes activation i. */
static void record(enum op_kind kind, int in, int residual)
{
    int at = plan.n_ops++;
    struct op *op = &ops[at];
    plan.n_acts = plan.n_ops;
    acts[at] = (struct act){.rows = ROWS_TOKENS, .width = W, .stride = W, .first = at, .last = at};
    *op = (struct op){.kind = kind, .out = {at, 0, W}, .section = -1};
    for (int i = 0; i < OP_INPUTS; i++)
        op->in[i] = VIEW_NONE;
    if (in >= 0)
        op->in[LINEAR_x] = read_by(at, in);
    if (residual >= 0)
        op->in[LINEAR_residual] = read_by(at, residual);
}

/* In the order of ops a = W1 x is read before g = W3 x is written, and both may lie in one place.
 * By phases both are made at once; the phases are as many as those that heed the place. */
static void crossing(void)
{
    plan = (struct plan){.ops = ops, .acts = acts, .logits = VIEW_NONE};
    record(OP_EMBED, -1, -1);  /* x */
    record(OP_LINEAR, 0, -1);  /* a */
    record(OP_LINEAR, 1, -1);  /* b */
    record(OP_LINEAR, 0, -1);  /* g */
    record(OP_LINEAR, 2, -1);  /* c */
    record(OP_LINEAR, 4, 3);   /* y */
    record(OP_LINEAR, 5, 0);
}

static bool share(const struct plan *p, int a, int b)
{
    return p->acts[a].offset < p->acts[b].offset + W && p->acts[b].offset < p->acts[a].offset + W;
}

Test(ocl_merge, activations_of_one_phase_do_not_share_memory)
{
    struct ocl_device d = {.tune.bundle = 1,
                           .info = {.alloc_bytes = MIB(1), .memory_bytes = MIB(9)}};
    struct ocl_model m = {.d = &d, .plan = &plan, .cap = cap};
    struct phases wait;
    struct err e = {0};
    crossing();
    cr_assert_gt(plan_layout(&plan, &cap), 0);
    cr_assert(share(&plan, 1, 3), "the order of ops has them in two places: nothing is tested");
    cr_assert_eq(ocl_bundle_begin(&m, &e), 0, "%s", e.text);
    cr_assert_eq(phases_find(&wait, &plan, &cap, &e), 0);
    cr_assert_eq(wait.n_phases, m.phases.n_phases, "their number tells the two apart");
    cr_assert_eq(m.phases.ops[1].phase, m.phases.ops[3].phase);
    for (int i = 0; i < plan.n_acts; i++)
        for (int j = 0; j < i; j++) {
            const struct act *a = &m.plan->acts[i], *b = &m.plan->acts[j];
            if (a->first <= b->last && b->first <= a->last && m.plan == &m.own)
                cr_assert_not(share(m.plan, i, j), "%d and %d", i, j);
        }
    cr_assert_eq(m.plan, &m.own);
    phases_free(&wait);
    ocl_bundle_free(&m);
}

/* ---- launches of a step ---- */

#pragma GCC diagnostic ignored "-Wunused-parameter" /* of the API's signatures */

static char thing[64];

#define GIVE(type, name, ...)                                                                      \
    static type CL_API_CALL name(__VA_ARGS__, cl_int *rc)                                          \
    {                                                                                              \
        *rc = CL_SUCCESS;                                                                          \
        return (type)thing;                                                                        \
    }
GIVE(cl_command_queue, give_queue, cl_context c, cl_device_id d, cl_command_queue_properties p)
GIVE(cl_mem, give_buffer, cl_context c, cl_mem_flags f, size_t n, void *host)
GIVE(cl_mem, give_part, cl_mem m, cl_mem_flags f, cl_buffer_create_type t, const void *how)
GIVE(cl_program, give_program, cl_context c, cl_uint n, const char **text, const size_t *len)
GIVE(cl_program, give_binary, cl_context c, cl_uint n, const cl_device_id *d, const size_t *len,
     const unsigned char **bin, cl_int *status)
GIVE(cl_kernel, give_kernel, cl_program p, const char *name)

static void *CL_API_CALL give_map(cl_command_queue q, cl_mem m, cl_bool wait, cl_map_flags f,
                                  size_t at, size_t n, cl_uint events, const cl_event *ev,
                                  cl_event *out, cl_int *rc)
{
    static char host[MIB(64)]; /* of one writer: the batch; others only need an address */
    *rc = n <= sizeof host ? CL_SUCCESS : CL_MAP_FAILURE;
    return host;
}

static cl_int CL_API_CALL tell(cl_kernel k, cl_device_id d, cl_kernel_work_group_info what,
                               size_t n, void *out, size_t *size)
{
    memset(out, 0, n);
    if (what == CL_KERNEL_WORK_GROUP_SIZE)
        *(size_t *)out = 1024;
    return CL_SUCCESS;
}

static cl_int yes(void) { return CL_SUCCESS; }

static void open_device(struct ocl_device *d)
{
    *d = (struct ocl_device){.fill_bytes = GIB(1), .fill_end = GIB(1000)};
    d->info = (struct ocl_info){.vendor = "NVIDIA Corporation", .arch = "sm_90",
                                .memory_bytes = GIB(140), .alloc_bytes = GIB(35), .units = 132,
                                .local_bytes = KIB(48), .group_max = 1024, .align_bytes = 512,
                                .param_bytes = 4352};
    cl_int (*const any)(void) = yes;
#define X(f) memcpy(&ocl_api.f, &any, sizeof any);
    OCL_FUNCTIONS(X)
#undef X
    ocl_api.clCreateCommandQueue = give_queue;
    ocl_api.clCreateBuffer = give_buffer;
    ocl_api.clCreateSubBuffer = give_part;
    ocl_api.clCreateProgramWithSource = give_program;
    ocl_api.clCreateProgramWithBinary = give_binary;
    ocl_api.clCreateKernel = give_kernel;
    ocl_api.clEnqueueMapBuffer = give_map;
    ocl_api.clGetKernelWorkGroupInfo = tell;
    ocl_tune_choose(&d->tune, &d->info);
}

#define MOST 256

/* A step of so many streams and of a prompt's rows. */
static uint64_t launches(struct ocl_model *m, int32_t streams, int32_t prompt)
{
    static int32_t tokens[MOST], cu[MOST + 1], items[MOST];
    static int64_t pos[MOST];
    struct ocl_times t = {0};
    struct err e = {0};
    int32_t seqs = streams + (prompt > 0), rows = streams + prompt;
    for (int32_t i = 0; i < seqs; i++) {
        cu[i + 1] = i < streams ? i + 1 : rows;
        items[i] = i;
    }
    struct batch b = {.n_seqs = seqs, .n_tokens = rows, .n_logits = streams, .tokens = tokens,
                      .cu_seqlens = cu, .slots = items, .pos = pos, .logit_rows = items,
                      .pages = items, .pages_per_seq = m->cap.pages_per_seq};
    cr_assert_eq(ocl_queue_run(m, &b, &t, &e), 0, "%s", e.text);
    return t.launches;
}

/* Launches of steps of 1, 16 and 64 streams, of 16 with 4 rows of a prompt, of 128 and 256, of 60
 * with 100. */
#define STEPS 7
static const int32_t kinds[STEPS][2] = {{1, 0},   {16, 0},  {64, 0},  {16, 4},
                                        {128, 0}, {256, 0}, {60, 100}};
struct steps { uint64_t n[STEPS]; };

static struct steps count_launches(const char *dir, bool persistent)
{
    static struct ocl_model m;
    static struct ocl_device d;
    struct err e = {0};
    struct model *own;
    struct model_options o = {.dir = dir, .dummy = true, .dummy_seed = 1};
    struct steps n;
    cr_assert_geq(model_open(&own, &o, &e), 0, "%s", e.text);
    struct capacity c = {.tokens = MOST, .logits = MOST, .seqs = MOST, .slots = MOST};
    c.pages_per_seq = own->plan.page_token_floats > 0;
    c.pages = MOST * c.pages_per_seq;
    cr_assert_gt(plan_layout(&own->plan, &c), 0);
    open_device(&d);
    if (!persistent)
        d.tune.persistent = 0;
    cr_assert_eq(ocl_model_init(&m, &d, &own->plan, &c, &e), 0, "%s", e.text);
    for (int32_t k = 0; k < m.n_merges; k++)
        cr_assert_not(m.merges[k].off);
    for (int i = 0; i < STEPS; i++)
        n.n[i] = launches(&m, kinds[i][0], kinds[i][1]);
    ocl_model_free(&m);
    ocl_device_close(&d);
    model_close(own);
    return n;
}

/* More launches make steps of few rows slower: each takes its host about as long as a small kernel
 * runs. */
Test(ocl_merge, launches_of_models)
{
    static const struct { const char *dir; struct steps merged, persistent; } cases[] = {
        {"tests/gpu/gdn-1.3b",
         {{196, 196, 221, 412, 221, 221, 317}}, {{1, 1, 221, 1, 221, 221, 317}}},
        {"tests/gpu/qwen3.5-4b", /* its attention is apart */
         {{292, 292, 317, 540, 309, 309, 429}}, {{25, 25, 317, 25, 309, 309, 429}}},
        {"tests/gpu/rwkv7-1.5b",
         {{244, 244, 317, 532, 317, 317, 437}}, {{1, 1, 317, 1, 317, 317, 437}}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (int k = 0; k < 2; k++) {
            struct steps n = count_launches(cases[i].dir, k);
            const struct steps *want = k ? &cases[i].persistent : &cases[i].merged;
            for (int r = 0; r < STEPS; r++)
                cr_expect_eq(n.n[r], want->n[r], "%s, %d, %d + %d: %d launches", cases[i].dir, k,
                             kinds[r][0], kinds[r][1], (int)n.n[r]);
        }
}
