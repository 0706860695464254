/* Merged kernels as text. A kernel of src/ keeps its body; what changes is where its parameters
 * come from and which group it takes itself for. */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "kernels/opencl/bundle.h"
#include "kernels/opencl/cut.h"
#include "kernels/opencl/source.h"

bool ocl_merge_shared(enum ocl_arg_kind kind)
{
    return kind == ARG_ARENA || kind == ARG_SCRATCH || kind == ARG_BATCH || kind == ARG_LOCAL;
}

size_t ocl_arg_bytes(const struct ocl_launch *l, int32_t i)
{
    enum ocl_arg_kind next = i + 1 < l->n_args ? l->args[i + 1].kind : ARG_LONG;
    bool small = l->args[i].kind == ARG_INT || l->args[i].kind == ARG_FLOAT;
    bool packs = i > 0 && small && (next == ARG_INT || next == ARG_FLOAT);
    return small && packs ? 4 : 8;
}

/* "const int x" is chosen once, "global const float *x" may point anywhere. */
static const char *chosen_type(const struct ocl_param *p)
{
    return strncmp(p->type, "const ", 6) ? p->type : p->type + 6;
}

/* A body that asks own_local_id() and its like: those of the language stay what they are. */
static void write_body(struct buf *b, const char *s)
{
    while (*s) {
        size_t n = 0;
        while (ocl_word(s[n]))
            n++;
        bool ours = (n == 12 && !strncmp(s, "get_local_id", n)) ||
                    (n == 12 && !strncmp(s, "get_group_id", n)) ||
                    (n == 13 && !strncmp(s, "get_global_id", n));
        if (ours)
            buf_fmt(b, "own%.*s", (int)n - 3, s + 3);
        else
            buf_add(b, s, MAX(n, (size_t)1));
        s += MAX(n, (size_t)1);
    }
    buf_str(b, "\n#undef own_group_id\n#undef own_global_id\n#undef own_local_id\n");
}

static void write_params(struct buf *b, const struct ocl_cut *c, const struct ocl_launch *l,
                         int32_t members)
{
    const char *comma = "";
    for (int i = 0; i < c->n; i++)
        if (ocl_merge_shared(l->args[i].kind)) {
            buf_fmt(b, "%s%s%s", comma, c->p[i].type, c->p[i].name);
            comma = ", ";
        }
    for (int32_t k = 0; k < members; k++) {
        if (k)
            buf_fmt(b, "%s\n const int first%d_", comma, k);
        for (int i = 0; i < c->n; i++)
            if (!ocl_merge_shared(l->args[i].kind)) {
                buf_fmt(b, "%s%s%s%d_", k ? ", " : comma, c->p[i].type, c->p[i].name, k);
                comma = ", ";
            }
    }
}

/* The arguments of the group's member into variables with the names of the source. */
static void write_choice(struct buf *b, const struct ocl_cut *c, const struct ocl_launch *l,
                         int32_t members)
{
    buf_str(b, "{\nint group_ = (int)get_group_id(0);\n");
    for (int i = 0; i < c->n; i++)
        if (!ocl_merge_shared(l->args[i].kind))
            buf_fmt(b, "%s%s = %s0_;\n", chosen_type(&c->p[i]), c->p[i].name, c->p[i].name);
    for (int32_t k = members - 1; k > 0; k--) {
        buf_fmt(b, "%sif (group_ >= first%d_) {\n group_ -= first%d_;\n",
                k == members - 1 ? "" : "else ", k, k);
        for (int i = 0; i < c->n; i++)
            if (!ocl_merge_shared(l->args[i].kind))
                buf_fmt(b, " %s = %s%d_;\n", c->p[i].name, c->p[i].name, k);
        buf_str(b, "}\n");
    }
}

bool ocl_merge_bundle(struct buf *out, const char *file, const char *defines,
                      const struct ocl_launch *l, int32_t members)
{
    struct ocl_cut c = {.n = 0};
    if (!ocl_cut_file(&c, file, defines) || c.n != l->n_args)
        return false;
    buf_add(out, c.text, (size_t)(c.kernel - c.text));
    buf_str(out, OCL_KERNEL_HEAD);
    write_params(out, &c, l, members);
    buf_str(out, ")\n");
    write_choice(out, &c, l, members);
    buf_str(out, "#define own_local_id(d) get_local_id(d)\n"
                 "#define own_group_id(d) ((d) ? get_group_id(d) : (size_t)group_)\n"
                 "#define own_global_id(d) ((d) ? get_global_id(d) : "
                 "(size_t)group_ * get_local_size(0) + get_local_id(0))\n");
    write_body(out, c.body);
    return !out->failed;
}

/* ---- chains ---- */

/* Where part k takes itself to be. */
static const char *const places[] = {
    [PART_COLUMNS] = "#define own_global_id(d) ((d) ? (size_t)row_ : (size_t)unit_)\n",
    [PART_GROUPS] = "#define own_local_id(d) get_local_id(d)\n"
                    "#define own_group_id(d) ((d) ? (size_t)row_ : (size_t)unit_)\n",
    [PART_HEADS] =
        "#define own_group_id(d) ((d) == 0 ? (size_t)(unit_ % blocks_) : (d) == 1 ? "
        "(size_t)(unit_ / blocks_) : (size_t)row_)\n"
        "#define own_local_id(d) ((d) == 0 ? (size_t)(lane_ % across_) : (d) == 1 ? "
        "(size_t)(lane_ / across_) : (size_t)0)\n",
};

/* Whether a part's source declares local memory, which a function cannot. */
static bool has_local(const struct ocl_cut *c)
{
    return strstr(c->body, "LOCAL_1(") || strstr(c->body, "LOCAL_2(") ||
           strstr(c->body, "LOCAL_3(");
}

/* The source of a part as a function part(its parameters, unit, row, lane, local memory). */
static bool write_part(struct buf *b, const struct ocl_cut *c, const struct ocl_part *x, int32_t k)
{
    bool local = has_local(c);
    if (local && !strstr(c->text, "#define LOCAL_BYTES"))
        return false;
    buf_fmt(b, "#undef FN\n#define FN(f) PART_NAME(f, %d, KERNEL)\n", k);
    ocl_source_define(b, x->defines);
    if (local)
        buf_str(b, "#undef LOCAL_1\n#undef LOCAL_2\n#undef LOCAL_3\n#define LOCAL_1 IN_PART_1\n"
                   "#define LOCAL_2 IN_PART_2\n#define LOCAL_3 IN_PART_3\n");
    buf_add(b, c->text, (size_t)(ocl_cut_helpers_end(c) - c->text));
    if (local)
        buf_str(b, "enum { FN(local_bytes) = LOCAL_BYTES };\n#undef LOCAL_BYTES\n");
    buf_str(b, "inline void FN(part)(");
    for (int i = 0; i < c->n; i++)
        buf_fmt(b, "%s%s, ", c->p[i].type, c->p[i].name);
    buf_str(b, "const int unit_, const int row_, const int lane_, local uchar *local_ "
               "GROUP_PARAMS)\n{\n");
    if (x->kind == PART_HEADS)
        buf_fmt(b, "const int blocks_ = %d, across_ = %zu;\n", x->l->extent[0].n,
                x->l->local[0]);
    buf_str(b, places[x->kind]);
    write_body(b, c->body);
    if (local)
        buf_str(b, "#undef LOCAL_1\n#undef LOCAL_2\n#undef LOCAL_3\n#define LOCAL_1 IN_KERNEL_1\n"
                   "#define LOCAL_2 IN_KERNEL_2\n#define LOCAL_3 IN_KERNEL_3\n");
    ocl_source_undefine(b, x->defines);
    return true;
}

static void write_call(struct buf *b, const struct ocl_cut *c, int32_t k, const char *unit)
{
    buf_fmt(b, "PART_NAME(part, %d, KERNEL)(arena", k);
    for (int i = 1; i < c->n; i++)
        buf_fmt(b, ", %s%d_", c->p[i].name, k);
    buf_fmt(b, ", %s, row_, lane_, ", unit);
    if (has_local(c))
        buf_fmt(b, "local%d_ GROUP_ARGS);\n", k);
    else
        buf_str(b, "(local uchar *)0 GROUP_ARGS);\n");
}

/* The calls of part k for the tile's share of one piece. */
static void write_share(struct buf *b, const struct ocl_cut *c, const struct ocl_part *x, int32_t k,
                        int32_t piece, int32_t lanes)
{
    char unit[64];
    bool columns = x->kind == PART_COLUMNS;
    int32_t by = x->units / x->pieces->units;
    int32_t from = piece ? x->pieces->end[piece - 1] * by : 0;
    int32_t share = (x->pieces->end[piece] * by - from) / x->tiles;
    if (columns)
        buf_fmt(b, "for (int u_ = lane_; u_ < %d; u_ += %d)\n", share, lanes);
    else
        buf_fmt(b, "for (int u_ = 0; u_ < %d; u_++) {\n"
                   "if (u_)\n barrier(CLK_LOCAL_MEM_FENCE);\n", share);
    snprintf(unit, sizeof unit, "%d + tile_ * %d + u_", from, share);
    write_call(b, c, k, unit);
    buf_str(b, columns ? "" : "}\n");
}

/* All that belongs to the tile. */
static void write_calls(struct buf *b, const struct ocl_cut *c, const struct ocl_part *x, int32_t k,
                        int32_t lanes)
{
    for (int32_t piece = 0; piece < x->pieces->n; piece++) {
        if (piece && x->kind != PART_COLUMNS)
            buf_str(b, "barrier(CLK_LOCAL_MEM_FENCE);\n");
        write_share(b, c, x, k, piece, lanes);
    }
}

/* The groups of each branch make theirs. */
static void write_branches(struct buf *b, const struct ocl_part *parts, const struct ocl_cut *c,
                           int32_t n, int32_t lanes)
{
    for (int32_t k = 0; k < n; k++) {
        bool begins = !k || parts[k].branch != parts[k - 1].branch;
        if (k && begins)
            buf_fmt(b, "} else {\ntile_ -= %d;\n", parts[k - 1].tiles);
        if (begins && parts[k].branch != parts[n - 1].branch)
            buf_fmt(b, "if (tile_ < %d) {\n", parts[k].tiles);
        if (!begins)
            buf_str(b, "barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);\n");
        write_calls(b, &c[k], &parts[k], k, lanes);
    }
    for (int32_t k = 0; k < parts[n - 1].branch; k++)
        buf_str(b, "}\n");
}

static bool write_chain(struct buf *b, const struct ocl_part *parts, const struct ocl_cut *c,
                        int32_t n, int32_t lanes)
{
    buf_str(b, "#define PART_PASTE(f, k, name) f##_##k##_##name\n"
               "#define PART_NAME(f, k, name) PART_PASTE(f, k, name)\n");
    for (int32_t k = 0; k < n; k++)
        if (!write_part(b, &c[k], &parts[k], k))
            return false;
    buf_fmt(b, "__attribute__((reqd_work_group_size(%d, 1, 1)))\n" OCL_KERNEL_HEAD
               "global float *arena", lanes);
    for (int32_t k = 0; k < n; k++)
        for (int i = 1; i < c[k].n; i++)
            buf_fmt(b, ",%s%s%s%d_", i == 1 ? "\n " : " ", c[k].p[i].type, c[k].p[i].name, k);
    buf_str(b, ")\n{\n");
    for (int32_t k = 0; k < n; k++)
        if (has_local(&c[k]))
            buf_fmt(b, "LOCAL_1(uchar, local%d_, (PART_NAME(local_bytes, %d, KERNEL) + 15) / 16 * "
                       "16);\n", k, k);
    buf_str(b, "int lane_ = (int)get_local_id(0), tile_ = (int)get_group_id(0);\n"
               "int row_ = (int)get_group_id(1);\n");
    write_branches(b, parts, c, n, lanes);
    buf_str(b, "}\nenum { PART_NAME(local_bytes, whole, KERNEL) = 0");
    for (int32_t k = 0; k < n; k++)
        if (has_local(&c[k]))
            buf_fmt(b, " + (PART_NAME(local_bytes, %d, KERNEL) + 15) / 16 * 16", k);
    buf_str(b, " };\n#undef PART_NAME\n#undef PART_PASTE\n");
    return !b->failed;
}

bool ocl_merge_chain(struct buf *out, const struct ocl_part *parts, int32_t n, int32_t lanes)
{
    struct ocl_cut *c = mem_array((size_t)n, sizeof *c);
    bool ok = c != NULL;
    for (int32_t k = 0; k < n && ok; k++)
        ok = ocl_cut_file(&c[k], parts[k].file, parts[k].defines) && c[k].n == parts[k].l->n_args &&
             parts[k].l->args[0].kind == ARG_ARENA && strncmp(parts[k].file, "nvidia/", 7) != 0;
    ok = ok && write_chain(out, parts, c, n, lanes);
    mem_free(c);
    return ok;
}
