/* What ways of products by wgmma take, and which is the fastest (ways.h). */
#include "kernels/opencl/ways.h"

/* ---- what ways take, in ns, measured on an H200 ---- */

/* A product of 16 inputs of a tile: for its weights, and for every row. */
#define STEP_NS 53.0
#define STEP_ROW_NS 0.31
/* The sums of a tile stored while the next one is made, and of the last one: for every row. */
#define STORE_ROW_NS 50.0
#define LAST_ROW_NS 10.0
#define LAUNCH_NS 2500.0 /* one more */
#define CHAINS_NS 2.0    /* 1000 numbers of a chain stored and read again */
#define WEIGHTS_NS 0.29  /* 1000 bytes of weights from memory */
#define CACHE_NS 0.15    /* 1000 bytes of weights and rows from the L2 cache, for all groups */
#define UNITS_MOST 256
#define WANTED_NS 1e12   /* whatever slices apart take, split=2 has them */

static int64_t way_tiles(const struct op *op, struct ocl_way way, int32_t rows)
{
    return (int64_t)(op->out.width + OCL_WGMMA_OUTPUTS - 1) / OCL_WGMMA_OUTPUTS *
           ((rows + way.shape->rows - 1) / way.shape->rows) * way.parts;
}

/* Products of 16 inputs of a tile. */
static int32_t way_steps(const struct ocl_model *m, const struct op *op, struct ocl_way way)
{
    int32_t inputs = op->in[LINEAR_x].width;
    return way.parts > 1 ? ocl_slices(&m->d->tune, inputs).len / 16 : (inputs + 15) / 16;
}

/* Members by their products, those with the most first, as groups take them. */
static void by_steps(const struct ocl_model *m, const struct ocl_ways *t, int32_t *order)
{
    for (int32_t i = 0; i < t->n; i++) {
        int32_t k = i;
        for (; k > 0 && way_steps(m, t->op[order[k - 1]], t->way[order[k - 1]]) <
                            way_steps(m, t->op[i], t->way[i]); k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
}

/* All groups wait for the one with the most to do: tiles of all members are taken in turn. */
static double groups_ns(const struct ocl_model *m, const struct ocl_ways *t, int32_t rows)
{
    double load[UNITS_MOST] = {0}, most = 0, end = 0;
    int64_t units = MIN(MAX((int64_t)m->d->info.units, (int64_t)1), (int64_t)UNITS_MOST), at = 0;
    int32_t order[OCL_WGMMA_MEMBERS];
    by_steps(m, t, order);
    for (int32_t i = 0; i < t->n; i++) {
        const struct op *op = t->op[order[i]];
        struct ocl_way way = t->way[order[i]];
        int64_t tiles = way_tiles(op, way, rows), each = tiles / units, more = tiles % units;
        double ns = way_steps(m, op, way) * (STEP_NS + STEP_ROW_NS * way.shape->rows);
        double next = MAX(ns, STORE_ROW_NS * way.shape->rows);
        for (int64_t u = 0; u < units; u++) {
            int64_t n = each + (u < more);
            double *x = &load[at + u < units ? at + u : at + u - units];
            *x += n > 0 ? (*x > 0 ? next : ns) + (double)(n - 1) * next : 0;
        }
        at = (at + more) % units;
        end = MAX(end, LAST_ROW_NS * way.shape->rows);
    }
    for (int64_t u = 0; u < units; u++)
        most = MAX(most, load[u]);
    return most + end;
}

static double together_ns(const struct ocl_model *m, const struct ocl_ways *t, int32_t rows)
{
    double bytes = 0, cached = 0, apart = 0;
    for (int32_t k = 0; k < t->n; k++) {
        const struct op *op = t->op[k];
        struct ocl_way way = t->way[k];
        bytes += 2.0 * op->out.width * op->in[LINEAR_x].width;
        cached += (double)way_tiles(op, way, rows) * way_steps(m, op, way) *
                  (OCL_WGMMA_OUTPUTS + way.shape->rows) * 32;
        if (way.parts > 1)
            apart += (m->d->tune.split > 1 ? -WANTED_NS : apart > 0 ? 0 : LAUNCH_NS) +
                     CHAINS_NS / 1e3 * way.parts * rows * op->out.width;
    }
    return MAX(groups_ns(m, t, rows), MAX(bytes * WEIGHTS_NS, cached * CACHE_NS) / 1e3) + apart;
}

/* ---- which way ---- */

#define CHAINS_MOST (1 << 21) /* numbers of a result whose slices may lie side by side */

/* Whether the slices of a product may be made apart. */
static bool splits(const struct ocl_model *m, const struct op *op, int32_t rows)
{
    return m->d->tune.split && (int64_t)rows * op->out.width <= CHAINS_MOST;
}

/* Every shape, with the slices of no member apart, of the one with the most inputs, of two … */
void ocl_ways_choose(const struct ocl_model *m, struct ocl_ways *t, int32_t rows)
{
    const struct ocl_wgmma *shapes;
    int n = ocl_wgmma_shapes(&shapes);
    double least = 0;
    struct ocl_ways best = {.n = 0};
    for (int i = 0; i < n; i++) {
        bool whole[OCL_WGMMA_MEMBERS];
        if (m->d->tune.tile && m->d->tune.tile != shapes[i].rows && (best.n || i + 1 < n))
            continue;
        for (int32_t k = 0; k < t->n; k++) {
            t->way[k] = (struct ocl_way){&shapes[i], 1};
            whole[k] = true;
        }
        for (int32_t longest = 0; longest >= 0;) {
            double ns = together_ns(m, t, rows);
            if (!best.n || ns < least)
                least = ns, best = *t;
            longest = -1;
            for (int32_t k = 0; k < t->n; k++)
                if (whole[k] && splits(m, t->op[k], rows) &&
                    (longest < 0 || t->op[k]->in[LINEAR_x].width >
                                        t->op[longest]->in[LINEAR_x].width))
                    longest = k;
            if (longest < 0)
                break;
            whole[longest] = false;
            t->way[longest].parts =
                ocl_slices(&m->d->tune, t->op[longest]->in[LINEAR_x].width).n;
        }
    }
    *t = best;
}
