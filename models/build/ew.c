/* Elementwise calls: each records a program of one instruction; passes.c fuses them. */
#include "models/build/build_int.h"

/* An operand spread over `width` columns. */
static struct ew_in operand(struct build *b, val x, int width)
{
    struct ew_in in = {.v = x, .weight = -1, .spread = EW_FULL, .period = 1};
    if (b_failed(b) || x.width == width)
        return in;
    b_require(b, x.width > 0 && width % x.width == 0, "layer %d: %d columns spread over %d",
              b->layer, x.width, width);
    in.spread = EW_GROUP;
    in.period = width / MAX(x.width, 1);
    return in;
}

static struct ew_in weight_operand(struct build *b, int w, int width, bool group)
{
    struct ew_in in = {.v = VIEW_NONE, .weight = w, .spread = EW_FULL, .period = 1};
    if (b_failed(b))
        return in;
    int n = (int)b->plan->weights[w].cols;
    if (n == width)
        return in;
    b_require(b, n > 0 && width % n == 0, "layer %d: a weight of %d spread over %d", b->layer, n,
              width);
    in.spread = group ? EW_GROUP : EW_TILE;
    in.period = group ? width / MAX(n, 1) : n;
    return in;
}

static val record(struct build *b, enum rows rows, int width, int n_in, const struct ew_in *in,
                  struct ew_ins ins)
{
    val out = build_act(b, rows, width);
    struct ew_program *e = b_failed(b) ? NULL : arena_alloc(&b->m->arena, sizeof *e);
    if (!e) {
        b_fail(b, E_NOMEM, "no memory for elementwise programs");
        return VIEW_NONE;
    }
    e->width = width;
    e->n_in = n_in;
    for (int i = 0; i < n_in; i++)
        e->in[i] = in[i];
    e->n_code = 1;
    e->code[0] = ins;
    e->n_out = 1;
    e->out[0].v = out;
    e->out[0].reg = n_in;
    build_op(b, OP_EW, out)->p.ew = e;
    return out;
}

static val two(struct build *b, enum ew_op f, val x, val y)
{
    int width = MAX(x.width, y.width);
    struct ew_in in[2] = {operand(b, x, width), operand(b, y, width)};
    return record(b, build_rows(b, x), width, 2, in, (struct ew_ins){(uint8_t)f, 0, 1, 0, 0});
}

static val with_weight(struct build *b, enum ew_op f, val x, int w, bool group)
{
    struct ew_in in[2] = {operand(b, x, x.width), weight_operand(b, w, x.width, group)};
    return record(b, build_rows(b, x), x.width, 2, in, (struct ew_ins){(uint8_t)f, 0, 1, 0, 0});
}

static val with_number(struct build *b, enum ew_op f, val x, float imm)
{
    struct ew_in in = operand(b, x, x.width);
    return record(b, build_rows(b, x), x.width, 1, &in, (struct ew_ins){(uint8_t)f, 0, 0, 0, imm});
}

val e_add(struct build *b, val x, val y) { return two(b, EW_ADD, x, y); }
val e_sub(struct build *b, val x, val y) { return two(b, EW_SUB, x, y); }
val e_mul(struct build *b, val x, val y) { return two(b, EW_MUL, x, y); }
val e_div(struct build *b, val x, val y) { return two(b, EW_DIV, x, y); }

val e_cat(struct build *b, int n, const val *x)
{
    int width = 0;
    for (int i = 0; i < n; i++)
        width += x[i].width;
    val out = build_act(b, build_rows(b, x[0]), width);
    for (int i = 0, col = 0; i < n && !b_failed(b); col += x[i++].width) {
        val copy = with_number(b, EW_MULI, x[i], 1);
        if (view_given(copy))
            b->plan->ops[b->plan->n_ops - 1].p.ew->out[0].v = b_slice(out, col, x[i].width);
    }
    return out;
}

val e_tile(struct build *b, val x, int n)
{
    struct ew_in in = operand(b, x, x.width);
    in.spread = EW_TILE;
    in.period = x.width;
    return record(b, build_rows(b, x), n * x.width, 1, &in, (struct ew_ins){EW_MULI, 0, 0, 0, 1});
}

val e_addw(struct build *b, val x, int w) { return with_weight(b, EW_ADD, x, w, false); }
val e_mulw(struct build *b, val x, int w) { return with_weight(b, EW_MUL, x, w, false); }

val e_add_group_w(struct build *b, val x, int w) { return with_weight(b, EW_ADD, x, w, true); }
val e_mul_group_w(struct build *b, val x, int w) { return with_weight(b, EW_MUL, x, w, true); }

val e_maddw(struct build *b, val x, val d, int w)
{
    struct ew_in in[3] = {operand(b, d, x.width), weight_operand(b, w, x.width, false),
                          operand(b, x, x.width)};
    return record(b, build_rows(b, x), x.width, 3, in, (struct ew_ins){EW_MADD, 0, 1, 2, 0});
}

val e_affine(struct build *b, val x, float mul, float add)
{
    if (mul != 1)
        x = with_number(b, EW_MULI, x, mul);
    if (add != 0)
        x = with_number(b, EW_ADDI, x, add);
    return x;
}

val e_fn(struct build *b, enum ew_op f, val x) { return with_number(b, f, x, 0); }
val e_max(struct build *b, val x, float c) { return with_number(b, EW_MAXI, x, c); }
val e_min(struct build *b, val x, float c) { return with_number(b, EW_MINI, x, c); }

val e_act(struct build *b, enum activation a, val x)
{
    static const enum ew_op of[] = {
        [ACT_SILU] = EW_SILU, [ACT_SIGMOID] = EW_SIGMOID, [ACT_RELU] = EW_RELU,
        [ACT_SQRELU] = EW_SQRELU, [ACT_TANH] = EW_TANH, [ACT_GELU_TANH] = EW_GELU_TANH,
        [ACT_GELU_ERF] = EW_GELU_ERF,
    };
    return a == ACT_NONE ? x : e_fn(b, of[a], x);
}
