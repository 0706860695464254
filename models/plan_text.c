/* The plan as text. An activation is aN, columns of it aN[from+width]; a weight wN with its format,
 * shape and tensors; a section its name, kind and floats. Thread: any. */
#include "models/plan_text.h"

#include "kernels/ngram.h"
#include "models/build/build.h"

static const char *const ew_names[EW_OPS] = {
    [EW_ADD] = "add", [EW_SUB] = "sub", [EW_MUL] = "mul", [EW_DIV] = "div", [EW_MAX] = "max",
    [EW_MIN] = "min", [EW_POW] = "pow", [EW_ADDI] = "addi", [EW_MULI] = "muli",
    [EW_MAXI] = "maxi", [EW_MINI] = "mini", [EW_RSUBI] = "rsubi", [EW_MADD] = "madd",
    [EW_NEG] = "neg", [EW_ABS] = "abs", [EW_EXP] = "exp", [EW_LOG] = "log", [EW_SQRT] = "sqrt",
    [EW_RSQRT] = "rsqrt", [EW_SIN] = "sin", [EW_COS] = "cos", [EW_SIGMOID] = "sigmoid",
    [EW_TANH] = "tanh", [EW_SOFTPLUS] = "softplus", [EW_LOGSIGMOID] = "logsigmoid",
    [EW_SILU] = "silu", [EW_RELU] = "relu", [EW_SQRELU] = "sqrelu", [EW_GELU_TANH] = "gelu_tanh",
    [EW_GELU_ERF] = "gelu_erf", [EW_ROUND] = "round",
};
_Static_assert(EW_OPS == EW_ROUND + 1, "an instruction without a name");

static const char *const act_names[] = {
#define ACT(name) #name,
#include "kernels/enums.def"
};
static const char *const norm_names[] = {
#define NORM(name) #name,
#include "kernels/enums.def"
};
static const char *const decay_names[] = {
#define DECAY(name) #name,
#include "kernels/enums.def"
};

static void view_text(const struct plan *p, struct view v, struct buf *out)
{
    if (v.col == 0 && v.width == p->acts[v.act].width)
        buf_fmt(out, "a%d", v.act);
    else
        buf_fmt(out, "a%d[%d+%d]", v.act, v.col, v.width);
}

/* Tensors in the order of the weight's rows: the list of parts has the newest first. */
static void parts_text(const struct binding_part *x, struct buf *out)
{
    if (x->next)
        parts_text(x->next, out);
    if (!x->name[0])
        buf_fmt(out, " %s@%lld", x->values ? "table" : "fill", (long long)x->at_row);
    else if (x->next || x->at_row || x->tensor_row)
        buf_fmt(out, " %s:%lld+%lld@%lld", x->name, (long long)x->tensor_row, (long long)x->rows,
                (long long)x->at_row);
    else
        buf_fmt(out, " %s", x->name);
}

static void weight_text(const struct model *m, int32_t w, struct buf *out)
{
    const struct weight *x = &m->plan.weights[w];
    buf_fmt(out, "w%d (%s %lldx%lld", w, dtype_name(x->dtype), (long long)x->rows,
            (long long)x->cols);
    if (m->bindings)
        parts_text(m->bindings[w].parts, out);
    buf_ch(out, ')');
}

static void program_text(const struct model *m, const struct ew_program *e, struct buf *out)
{
    static const char *const spreads[] = {"", "/", "%"};
    for (int i = 0; i < e->n_in; i++) {
        const struct ew_in *in = &e->in[i];
        buf_fmt(out, "%sr%d=", i ? " " : "", i);
        if (view_given(in->v))
            view_text(&m->plan, in->v, out);
        else
            weight_text(m, in->weight, out);
        if (in->spread != EW_FULL)
            buf_fmt(out, "%s%d", spreads[in->spread], in->period);
    }
    buf_str(out, ";");
    for (int i = 0; i < e->n_code; i++) {
        const struct ew_ins *c = &e->code[i];
        buf_fmt(out, " r%d=%s(%d,%d,%d,%g)", e->n_in + i, ew_names[c->op], c->a, c->b, c->c,
                (double)c->imm);
    }
    buf_str(out, ";");
    for (int i = 0; i < e->n_out; i++) {
        buf_ch(out, ' ');
        view_text(&m->plan, e->out[i].v, out);
        buf_fmt(out, "=r%d", e->out[i].reg);
    }
}

/* The parameters that say which form of an op this is; sizes follow from the operands. */
static void params_text(const struct op *op, struct buf *out)
{
    switch (op->kind) {
    case OP_EMBED: buf_fmt(out, "; scale %g", (double)op->p.embed.scale); break;
    case OP_NGRAM:
        buf_fmt(out, "; %d heads of up to %d tokens, eos %d", op->p.ngram->heads,
                op->p.ngram->size, op->p.ngram->eos);
        break;
    case OP_LINEAR: buf_fmt(out, "; %s", act_names[op->p.linear.act]); break;
    case OP_NORM:
        buf_fmt(out, "; %s of %d, eps %g, scale %g, gate %s%s", norm_names[op->p.norm.kind],
                op->p.norm.group, (double)op->p.norm.eps, (double)op->p.norm.scale,
                act_names[op->p.norm.gate_act], op->p.norm.gate_first ? " first" : "");
        break;
    case OP_SOFTMAX: buf_fmt(out, "; of %d", op->p.softmax.group); break;
    case OP_ROPE:
        buf_fmt(out, "; %d of %d%s", op->p.rope.rot, op->p.rope.head,
                op->p.rope.interleaved ? ", interleaved" : "");
        if (op->p.rope.back)
            buf_fmt(out, ", %d back", op->p.rope.back);
        break;
    case OP_CONV: buf_fmt(out, "; size %d, %s", op->p.conv.size, act_names[op->p.conv.act]); break;
    case OP_DECAY:
        buf_fmt(out, "; %d heads of %dx%d, %s, scale %g", op->p.decay.state_heads, op->p.decay.K,
                op->p.decay.V, decay_names[op->p.decay.decay], (double)op->p.decay.scale);
        break;
    case OP_DELTA:
        buf_fmt(out, "; %d heads of %dx%d, %s%s%s, steps %d, scale %g", op->p.delta.state_heads,
                op->p.delta.K, op->p.delta.V, decay_names[op->p.delta.decay],
                op->p.delta.decay_first ? " first" : "", op->p.delta.dplr ? ", dplr" : "",
                op->p.delta.steps, (double)op->p.delta.scale);
        break;
    case OP_TOPK:
        buf_fmt(out, "; %d of %d%s%s", op->p.topk.k, op->p.topk.n,
                op->p.topk.norm ? ", norm" : "", op->p.topk.dense ? ", dense" : "");
        if (op->p.topk.none)
            buf_fmt(out, ", the last %d none", op->p.topk.none);
        break;
    case OP_EXPERTS: buf_fmt(out, "; %d of %d rows", op->p.experts.k, op->p.experts.rows); break;
    case OP_BLOCKS:
        buf_fmt(out, "; %d%s", op->p.blocks.blocks, op->p.blocks.shared ? ", shared" : "");
        break;
    case OP_POOL: buf_fmt(out, "; blocks of %d", op->p.pool.block); break;
    case OP_SINKHORN:
        buf_fmt(out, "; %d rows, %d steps, eps %g", op->p.sinkhorn.n, op->p.sinkhorn.iters,
                (double)op->p.sinkhorn.eps);
        break;
    default:
        if (op->kind == OP_INDEXER || op->kind == OP_INDEXED)
            buf_fmt(out, "; %d blocks of %d", op->p.attention.count, op->p.attention.block);
        if (op->section >= 0 && op_faces[op->kind].sections >= OP_SECTIONS_PAGED)
            buf_fmt(out, "; %d heads on %d, %dx%d, window %d, scale %g", op->p.attention.heads,
                    op->p.attention.kv_heads, op->p.attention.dk, op->p.attention.dv,
                    op->p.attention.window, (double)op->p.attention.scale);
    }
}

static void operands_text(const struct model *m, const struct op *op, struct buf *out)
{
    const struct op_face *f = &op_faces[op->kind];
    const char *sep = "";
    for (int i = 0; i < OP_INPUTS; i++) {
        if (!view_given(op->in[i]))
            continue;
        buf_fmt(out, "%s%s=", sep, f->in[i].name);
        view_text(&m->plan, op->in[i], out);
        sep = " ";
    }
    for (int i = 0; i < OP_WEIGHTS; i++) {
        if (op->w[i] < 0)
            continue;
        buf_fmt(out, "%s%s=", sep, f->w[i].name);
        weight_text(m, op->w[i], out);
        sep = " ";
    }
}

static void op_text(const struct model *m, int32_t i, struct buf *out)
{
    const struct op *op = &m->plan.ops[i];
    buf_fmt(out, "%3d layer %d %s%s ", i, op->layer, op->rows == ROWS_LOGITS ? "logits " : "",
            op_name(op->kind));
    if (view_given(op->out)) {
        view_text(&m->plan, op->out, out);
        buf_str(out, " <- ");
    }
    if (op->kind == OP_EW)
        program_text(m, op->p.ew, out);
    else
        operands_text(m, op, out);
    params_text(op, out);
    if (op->section >= 0) {
        const struct section *s = &m->plan.sections[op->section];
        buf_fmt(out, "; %s %s %lld%s", s->kind == SECTION_PAGED ? "paged" : "fixed", s->name,
                (long long)s->elems, s->dtype == DTYPE_F16 ? " f16" : "");
    }
    buf_ch(out, '\n');
}

void model_plan_text(const struct model *m, struct buf *out)
{
    const struct plan *p = &m->plan;
    int64_t acts = 0;
    for (int32_t i = 0; i < p->n_acts; i++)
        acts += p->acts[i].last >= 0;
    buf_fmt(out, "%s: %d ops, %lld activations, %d weights, %d sections; %lld floats a slot, %lld "
            "a token; logits ", m->arch, p->n_ops, (long long)acts, p->n_weights, p->n_sections,
            (long long)p->slot_floats, (long long)p->page_token_floats);
    view_text(p, p->logits, out);
    buf_ch(out, '\n');
    for (int32_t i = 0; i < p->n_ops; i++)
        op_text(m, i, out);
}
