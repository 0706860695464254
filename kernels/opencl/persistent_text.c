/* The text of a walk (persistent.h): a function for every form, and the kernel that calls them. */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "kernels/opencl/bundle.h"
#include "kernels/opencl/cut.h"
#include "kernels/opencl/persistent.h"
#include "kernels/opencl/source.h"

#define TEAMS_MOST 15 /* with a barrier of their own, beside that of all */

static const char *text_of(const struct ocl_instance *x)
{
    return x->text ? x->text : ocl_source_find(x->file);
}

static bool is_chain(const struct ocl_instance *x) { return !strcmp(x->file, OCL_CHAIN); }

/* Sources whose many registers would be those of all. */
static bool heavy(const char *file)
{
    return !strncmp(file, "nvidia/attention", 16) || !strcmp(file, "attention.cl");
}

/* Whether work-items of a group meet or share memory: without a word of that each is alone. */
static bool meets(const char *text)
{
    static const char *const words[] = {"barrier(", "group_sum", "group_max", "MMA", "LOCAL_",
                                        "local ", "get_local_"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strstr(text, words[i]))
            return true;
    return false;
}

static bool has_arrays(const char *body)
{
    return strstr(body, "LOCAL_1(") || strstr(body, "LOCAL_2(") || strstr(body, "LOCAL_3(") ||
           strstr(body, "MMA_LOCAL(");
}

bool ocl_form_fits(const struct ocl_instance *x, const struct ocl_launch *l, int32_t lanes,
                   bool teams)
{
    const char *text = text_of(x);
    struct ocl_cut *c = mem_array(1, sizeof *c);
    int32_t own = (int32_t)(l->local[0] * l->local[1]);
    bool ok = text && c && l->local[2] == 1 && own <= lanes && !heavy(x->file) &&
              !strstr(text, "get_num_groups") && !strstr(text, "get_global_size") &&
              ocl_cut_text(c, text, x->defines) && c->n == l->n_args;
    if (ok && meets(text))
        ok = teams ? own % 32 == 0 : own == lanes;
    if (ok && !is_chain(x) && has_arrays(c->body))
        ok = strstr(text, "#define LOCAL_BYTES") != NULL;
    mem_free(c);
    return ok;
}

/* ---- functions ---- */

static void write_function(struct buf *b, const struct ocl_cut *c, const struct ocl_instance *x,
                           int32_t at)
{
    buf_fmt(b, "#define KERNEL p%d\n#define FN(f) f##_p%d\n", at, at);
    ocl_source_define(b, x->defines);
    buf_add(b, c->text, (size_t)(ocl_cut_helpers_end(c) - c->text));
    if (!is_chain(x))
        buf_fmt(b, "enum { local_bytes_whole_p%d = %s };\n#undef LOCAL_BYTES\n", at,
                has_arrays(c->body) ? "LOCAL_BYTES" : "0");
    buf_fmt(b, "inline void made_p%d(", at);
    for (int i = 0; i < c->n; i++)
        buf_fmt(b, "%s%s, ", c->p[i].type, c->p[i].name);
    buf_str(b, "local uchar *local_, const int w_g0_, const int w_g1_, const int w_g2_ "
               "GROUP_PARAMS)\n{\n");
    buf_str(b, c->body);
    buf_str(b, "\n#undef KERNEL\n#undef FN\n");
    ocl_source_undefine(b, x->defines);
}

/* ---- the kernel ---- */

/* Argument i of a record, as its parameter; `given`: of local memory to those before it. */
static void write_argument(struct buf *b, const struct ocl_param *p, enum ocl_arg_kind kind, int i,
                           int32_t given)
{
    int type = (int)strlen(p->type);
    while (type && p->type[type - 1] == ' ')
        type--;
    if (kind == ARG_FLOAT)
        buf_fmt(b, "as_float((uint)a_[%d])", i + OCL_RECORD_HEAD);
    else if (kind == ARG_LOCAL)
        buf_fmt(b, "(%.*s)(own_ + %d)", type, p->type, given);
    else
        buf_fmt(b, "(%.*s)a_[%d]", type, p->type, i + OCL_RECORD_HEAD);
}

static void write_case(struct buf *b, const struct ocl_cut *c, const struct ocl_form *f,
                       int32_t at, int32_t made, int32_t lanes, bool teams)
{
    int32_t own = (int32_t)(f->l->local[0] * f->l->local[1]);
    int32_t given = 0;
    bool apart = teams || !meets(c->text);
    int32_t most = apart ? MIN(lanes / own, own > 32 ? TEAMS_MOST : lanes) : 1;
    buf_fmt(b, "case %d: {\n"
               "enum { lanes_ = %d, bytes_ = (local_bytes_whole_p%d + 15) / 16 * 16 + %d,\n"
               " most_ = bytes_ ? %zu / (bytes_ ? bytes_ : 1) : %d, teams_ = most_ < %d ? most_ : "
               "%d };\n",
            at, own, made, f->local_bytes, (size_t)OCL_POOL_BYTES, most, most, most);
    if (most == 1)
        buf_str(b, "const int team_ = 0, lane_ = item_;\n");
    else
        buf_str(b, "const int team_ = item_ / lanes_, lane_ = item_ % lanes_;\n");
    buf_str(b, "typedef char room_[teams_ > 0 ? 1 : -1];\n");
    buf_fmt(b, "local uchar *own_ = pool_ + team_ * bytes_;\n");
    if (!(most == 1 && own == lanes))
        buf_str(b, "if (team_ < teams_)\n");
    buf_str(b, "for (int u_ = team_ * p_groups() + p_group(); u_ < all_; "
               "u_ += p_groups() * teams_) {\n");
    buf_fmt(b, "const int row_ = u_ / n0_;\nmade_p%d(", made);
    for (int i = 0; i < c->n; i++) {
        const struct ocl_arg *a = &f->l->args[i];
        write_argument(b, &c->p[i], a->kind, i, given);
        buf_str(b, ", ");
        given += a->kind == ARG_LOCAL ? (int32_t)round_up((size_t)a->i, 16) : 0;
    }
    buf_fmt(b, "own_ + %d, u_ %% n0_, row_ %% n1_, row_ / n1_, team_, lanes_, lane_, %zu);\n",
            given, f->l->local[0]);
    if (meets(c->text))
        buf_str(b, teams ? "p_meet_team(team_, lanes_);\n" : "p_meet();\n");
    buf_str(b, "}\n} break;\n");
}

/* The first form with the instance of form i: they share a function. */
static int32_t made_by(const struct ocl_form *forms, int32_t i)
{
    int32_t k = 0;
    while (forms[k].instance != forms[i].instance)
        k++;
    return k;
}

/* A row of the table and a stop, into what has them for `at`. */
static void write_fetch(struct buf *b, int32_t lanes, int32_t record, const char *at,
                        const char *row)
{
    buf_fmt(b, "for (int i = p_item(); i < %d; i += %d)\n"
               " p_fetch(&records_[(%s) %% 2][i], &table[%s * %d + i]);\n", record, lanes, at, row,
            record);
    buf_fmt(b, "for (int i = p_item(); i < %d; i += %d)\n"
               " p_fetch_int(&stops_[(%s) %% 2][i], &list[(%s) * %d + i]);\n", OCL_STOP_INTS,
            lanes, at, at, OCL_STOP_INTS);
}

static void write_kernel(struct buf *b, int32_t lanes, int32_t record)
{
    char row[48]; /* the last of a stop: its own */
    snprintf(row, sizeof row, "list[from * %d + %d]", OCL_STOP_INTS, OCL_STOP_INTS - 1);
    buf_fmt(b, "#undef get_local_id\n#undef get_local_size\n#undef get_group_id\n"
               "#undef get_global_id\n#undef barrier\n"
               "__attribute__((reqd_work_group_size(%d, 1, 1)))\n"
               "kernel void walk(global const ulong *table, global const int *list,\n"
               " volatile global uint *count, global const uint *counts, const int from,\n"
               " global ulong *times)\n{\n"
               "local uchar pool_[%zu] __attribute__((aligned(128)));\n"
               "local ulong records_[2][%d];\nlocal int stops_[2][%d];\n"
               "const uint before_ = counts[3];\n",
            lanes, (size_t)OCL_POOL_BYTES, record, OCL_STOP_INTS);
    write_fetch(b, lanes, record, "from", row);
    buf_str(b, "p_fetched();\np_meet();\nP_TIME(times, from - 1, p_item())\n"
               "for (int at_ = from;; at_++) {\nconst int item_ = p_item();\n"
               "local const ulong *a_ = records_[at_ % 2];\n"
               "local const int *stop_ = stops_[at_ % 2];\n"
               "const int n0_ = stop_[0], n1_ = stop_[1], all_ = n0_ * n1_ * stop_[2];\n"
               "if (stop_[3]) {\n");
    write_fetch(b, lanes, record, "at_ + 1", "stop_[4]");
    buf_str(b, "}\nswitch ((int)a_[0]) {\n");
}

/* Behind a launch: all meet, but for the last of the kernel. */
static void write_end(struct buf *b)
{
    buf_str(b, "}\np_fetched();\nconst uint meets_ = (uint)stops_[at_ % 2][3];\n"
               "if (meets_)\n p_meet_all(count, before_ + meets_ * (uint)p_groups(), item_);\n"
               "P_TIME(times, at_, item_)\nif (!meets_)\n break;\n}\n}\n");
}

bool ocl_persistent_text(struct buf *out, const struct ocl_form *forms, int32_t n, int32_t lanes,
                         int32_t record, bool teams, bool times)
{
    struct ocl_cut *c = mem_array((size_t)n, sizeof *c);
    bool ok = c != NULL;
    buf_fmt(out, "#define PERSISTENT_LANES %d\n#define PERSISTENT_TIMES %d\n"
            "#define PERSISTENT_TEAMS %d\n", lanes, times, teams);
    ocl_source_add(out, "persistent.clh");
    ocl_source_begin(out);
    ocl_source_add(out, "mma.clh");
    ocl_source_add(out, "kept.clh");
    for (int32_t i = 0; i < n && ok; i++) {
        ok = ocl_cut_text(&c[i], text_of(forms[i].instance), forms[i].instance->defines);
        if (ok && made_by(forms, i) == i)
            write_function(out, &c[i], forms[i].instance, i);
    }
    if (ok)
        write_kernel(out, lanes, record);
    for (int32_t i = 0; i < n && ok; i++)
        write_case(out, &c[i], &forms[i], i, made_by(forms, i), lanes, teams);
    write_end(out);
    mem_free(c);
    return ok && !out->failed;
}
