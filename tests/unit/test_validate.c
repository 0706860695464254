/* Broken plans of every kind are refused with a sentence that names layer and op: a small one made
 * by hand, and each op of dummy models with one operand, weight or section wrong at a time. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "kernels/validate.h"
#include "models/model.h"

#define VOCAB 32
#define D 16

/* x = embed; q, k, v = slices of x; o = attention(q, k, v), kept; c = conv(x); x += c (a program);
 * y = gather x; logits = W y. */
enum { EMBED, ATTEND, KEEP, CONV, ADD, GATHER, LOGITS, OPS };
enum { ACT_X, ACT_O, ACT_C, ACT_Y, ACT_L, ACTS };
struct small {
    struct plan plan;
    struct op ops[OPS];
    struct act acts[ACTS];
    struct weight weights[3];
    struct section sections[2];
    struct ew_program add;
    struct capacity cap;
    struct op_limits limits;
};

static struct view cols(int act, int col, int width) { return (struct view){act, col, width}; }

static struct op *op_init(struct small *s, int i, enum op_kind kind, struct view out)
{
    struct op *op = &s->ops[i];
    *op = (struct op){.kind = kind, .out = out, .section = -1, .layer = 3, .w = {-1, -1}};
    for (int k = 0; k < OP_INPUTS; k++)
        op->in[k] = VIEW_NONE;
    op->rows = i >= GATHER ? ROWS_LOGITS : ROWS_TOKENS;
    return op;
}

static void make_ops(struct small *s)
{
    op_init(s, EMBED, OP_EMBED, cols(ACT_X, 0, 3 * D))->w[EMBED_table] = 0;
    for (int i = ATTEND; i <= KEEP; i++) {
        struct op *a = op_init(s, i, i == KEEP ? OP_ATTENTION_KEEP : OP_ATTENTION,
                               i == KEEP ? VIEW_NONE : cols(ACT_O, 0, D));
        for (int k = i == KEEP; k < 3; k++)
            a->in[k] = cols(ACT_X, k * D, D);
        a->p.attention.heads = a->p.attention.kv_heads = a->p.attention.v_heads = 2;
        a->p.attention.dk = a->p.attention.dv = D / 2;
        a->section = 0;
    }
    struct op *c = op_init(s, CONV, OP_CONV, cols(ACT_C, 0, D));
    c->in[CONV_x] = cols(ACT_O, 0, D);
    c->w[CONV_filter] = 1;
    c->p.conv.size = 4;
    c->section = 1;
    s->add = (struct ew_program){.width = D, .n_in = 2, .n_code = 1, .n_out = 1};
    s->add.in[0] = (struct ew_in){cols(ACT_C, 0, D), -1, EW_FULL, 1};
    s->add.in[1] = (struct ew_in){cols(ACT_X, 0, D), -1, EW_FULL, 1};
    s->add.code[0] = (struct ew_ins){EW_ADD, 0, 1, 0, 0};
    s->add.out[0].v = cols(ACT_C, 0, D);
    s->add.out[0].reg = 2;
    op_init(s, ADD, OP_EW, VIEW_NONE)->p.ew = &s->add;
    op_init(s, GATHER, OP_GATHER, cols(ACT_Y, 0, D))->in[GATHER_x] = cols(ACT_C, 0, D);
    struct op *l = op_init(s, LOGITS, OP_LINEAR, cols(ACT_L, 0, VOCAB));
    l->in[LINEAR_x] = cols(ACT_Y, 0, D);
    l->w[LINEAR_matrix] = 2;
}

static void small_init(struct small *s)
{
    static const struct { enum rows rows; int width, first, last; } acts[ACTS] = {
        {ROWS_TOKENS, 3 * D, EMBED, ADD}, {ROWS_TOKENS, D, ATTEND, CONV},
        {ROWS_TOKENS, D, CONV, GATHER}, {ROWS_LOGITS, D, GATHER, LOGITS},
        {ROWS_LOGITS, VOCAB, LOGITS, OPS}};
    *s = (struct small){.cap = {8, 4, 2, 2, 2, 1}};
    for (int i = 0; i < ACTS; i++)
        s->acts[i] = (struct act){acts[i].rows, acts[i].width, acts[i].width, 0, acts[i].first,
                                  acts[i].last};
    s->weights[0] = (struct weight){WEIGHT_MATRIX, DTYPE_F32, VOCAB, 3 * D};
    s->weights[1] = (struct weight){WEIGHT_VECTOR, DTYPE_F32, D, 4};
    s->weights[2] = (struct weight){WEIGHT_MATRIX, DTYPE_F32, VOCAB, D};
    s->sections[0] = (struct section){"layers.3.kv.0", SECTION_PAGED, 2 * D, 0, DTYPE_F32};
    s->sections[1] = (struct section){"layers.3.conv.1", SECTION_FIXED, 3 * D, 0, DTYPE_F32};
    make_ops(s);
    s->plan = (struct plan){s->ops, OPS, s->acts, ACTS, s->weights, 3, s->sections, 2, 3 * D,
                            2 * D, VOCAB, 3 * D, cols(ACT_L, 0, VOCAB)};
    s->limits = (struct op_limits){64, 256, 512, 1024, 1024, 1024, 64, 16, false};
    cr_assert_gt(plan_layout(&s->plan, &s->cap), 0);
}

static int validate(struct small *s, struct err *e)
{
    *e = (struct err){0};
    return plan_validate(&s->plan, &s->limits, &s->cap, e);
}

Test(validate, a_whole_plan_is_accepted)
{
    struct small s;
    struct err e;
    small_init(&s);
    cr_assert_eq(validate(&s, &e), 0, "%s", e.text);
    cr_assert_eq(plan_validate(&s.plan, NULL, NULL, NULL), 0);
}

/* Breaks s in one way; the sentence must hold the text. */
#define BROKEN(name, change, sentence) \
    Test(validate, name) \
    { \
        struct small s; \
        struct err e; \
        small_init(&s); \
        change; \
        cr_assert_lt(validate(&s, &e), 0); \
        cr_expect_not_null(strstr(e.text, sentence), "%s", e.text); \
    }

BROKEN(a_section_of_no_number, s.ops[KEEP].section = -1,
       "layer 3: attention_keep: state section -1 of 2")
BROKEN(a_section_beyond_the_last, s.ops[CONV].section = 2, "layer 3: conv: state section 2 of 2")
BROKEN(a_section_of_the_wrong_kind, s.ops[CONV].section = 0,
       "layer 3: conv: section layers.3.kv.0 is paged")
BROKEN(a_section_of_the_wrong_size, s.sections[1].elems = 2 * D,
       "layer 3: conv: section 1 has 32 floats, 48 expected")
BROKEN(a_section_where_none_belongs, s.ops[GATHER].section = 1, "layer 3: gather: state section 1")
BROKEN(a_section_missing_where_there_is_a_tail, s.ops[CONV].section = -1,
       "layer 3: conv: section -1 has 0 floats, 48 expected")
BROKEN(sections_on_top_of_each_other, s.plan.slot_floats = 2 * D,
       "section layers.3.conv.1: 48 floats at 0 overlap")
BROKEN(a_section_in_a_format_of_weights, s.sections[1].dtype = DTYPE_BF16,
       "section layers.3.conv.1: kind 0, 48 numbers of format 2")
BROKEN(a_section_of_pages_in_float16, s.sections[0].dtype = DTYPE_F16,
       "section layers.3.kv.0: kind 1")
BROKEN(a_section_in_float16_of_another_op, s.sections[1].dtype = DTYPE_F16;
       s.limits.f16_states = true,
       "section layers.3.conv.1 is of float16")
BROKEN(a_section_of_two_ops, s.ops[ADD] = s.ops[CONV]; s.ops[ADD].out = cols(ACT_X, 0, D);
       s.ops[ADD].in[CONV_x] = cols(ACT_C, 0, D), "section layers.3.conv.1 belongs to op 3 too")
BROKEN(rows_that_nobody_stores, s.ops[KEEP] = s.ops[ATTEND],
       "no op stores the rows of section layers.3.kv.0")
BROKEN(rows_stored_from_elsewhere, s.ops[KEEP].in[1] = cols(ACT_X, 0, D),
       "section layers.3.kv.0 holds other rows")
BROKEN(rows_stored_before_they_are_read,
       struct op keep = s.ops[KEEP]; s.ops[KEEP] = s.ops[ATTEND]; s.ops[ATTEND] = keep,
       "stores rows of section layers.3.kv.0, which no op has read")
BROKEN(a_window_without_a_ring, s.ops[ATTEND].p.attention.window = 8,
       "layer 3: attention: a window of 8 on a paged section")

BROKEN(a_view_of_no_activation, s.ops[CONV].in[CONV_x].act = ACTS,
       "layer 3: conv: x is activation 5 of 5")
BROKEN(a_view_past_its_activation, s.ops[ATTEND].in[ATTENTION_v].col++,
       "layer 3: attention: v is columns 33 and 16 more of 48")
BROKEN(a_view_before_its_activation, s.ops[ATTEND].in[ATTENTION_k].col = -1,
       "layer 3: attention: k is columns -1")
BROKEN(an_operand_too_narrow, s.ops[ATTEND].in[ATTENTION_q].width--,
       "layer 3: attention: q is 15 wide, 16 expected")
BROKEN(an_operand_missing, s.ops[ATTEND].in[ATTENTION_q] = VIEW_NONE,
       "layer 3: attention: q is missing")
BROKEN(an_operand_too_many, s.ops[GATHER].in[1] = cols(ACT_C, 0, D),
       "layer 3: gather: operand 1 is given")
BROKEN(a_read_before_the_write, s.ops[EMBED].out.width = s.weights[0].cols = 2 * D,
       "layer 3: attention: v is read before column 32 of activation 0 is written")
BROKEN(a_read_of_other_rows, s.acts[ACT_O].rows = ROWS_LOGITS, "has rows of logits")
BROKEN(an_op_on_other_rows, s.ops[CONV].rows = ROWS_LOGITS,
       "layer 3: conv: works on rows of logits")
BROKEN(an_output_over_an_input, s.ops[ATTEND].out = cols(ACT_X, 8, D),
       "layer 3: attention: q shares columns with the output")
BROKEN(an_output_over_a_part_in_place, s.ops[CONV].in[CONV_x] = cols(ACT_X, 8, D);
       s.ops[CONV].out = cols(ACT_X, 0, D), "layer 3: conv: x is a part of the output")
BROKEN(a_use_after_the_end_of_a_life, s.acts[ACT_X].last = KEEP,
       "layer 3: ew: input 1 is used at op 4, and lives from 0 to 2")
BROKEN(two_lives_in_one_place, s.acts[ACT_O].offset = s.acts[ACT_X].offset,
       "activations 0 and 1 share memory")
BROKEN(logits_that_nobody_writes, s.plan.logits.act = ACT_Y, "logits: ")

BROKEN(a_weight_of_no_number, s.ops[LOGITS].w[LINEAR_matrix] = 3,
       "layer 3: linear: matrix is weight 3 of 3")
BROKEN(a_weight_missing, s.ops[LOGITS].w[LINEAR_matrix] = -1, "layer 3: linear: matrix is missing")
BROKEN(a_weight_of_the_wrong_role, s.weights[1].role = WEIGHT_MATRIX,
       "layer 3: conv: filter is a matrix, a vector expected")
BROKEN(a_weight_of_the_wrong_shape, s.weights[2].cols = D + 1,
       "layer 3: linear: matrix is 32 x 17, 32 x 16 expected")
BROKEN(a_table_with_too_few_rows, s.plan.vocab = VOCAB + 1, "table has 32 rows for 33 token ids")
BROKEN(a_vector_that_is_not_float32, s.weights[1].dtype = DTYPE_F16,
       "weight 1: a vector of 4 columns in format 1")
BROKEN(a_matrix_of_broken_blocks, s.weights[2].dtype = DTYPE_Q8_0,
       "weight 2: a matrix of 16 columns in format 3")
BROKEN(a_format_that_is_none, s.weights[2].dtype = DTYPES, "weight 2: a matrix of 16 columns")
BROKEN(a_bias_of_the_wrong_length, s.ops[LOGITS].w[LINEAR_bias] = 1,
       "layer 3: linear: bias has 64 elements, 32 expected")

BROKEN(heads_that_do_not_divide, s.ops[ATTEND].p.attention.kv_heads = 0,
       "layer 3: attention: query on key heads: 2 on 0")
BROKEN(more_than_the_device_has_room_for, s.limits.conv_size = 3,
       "layer 3: conv: size is 4, this device has room for 3")
BROKEN(an_op_that_is_none, s.ops[CONV].kind = OP_KINDS, "layer 3: no op: kind")
BROKEN(a_program_without_text, s.ops[ADD].p.ew = NULL, "layer 3: ew: there is no program")
BROKEN(a_program_too_long, s.add.n_code = LIMIT_EW_CODE + 1, "37 instructions")
BROKEN(a_register_from_the_future, s.add.code[0].b = 2, "layer 3: ew: instruction 0")
BROKEN(an_instruction_that_is_none, s.add.code[0].op = EW_OPS, "layer 3: ew: instruction 0")
BROKEN(a_program_that_writes_nothing_known, s.add.out[0].reg = 3, "layer 3: ew: output 0")
BROKEN(a_program_over_a_spread_input, s.add.in[0].spread = EW_TILE; s.add.in[0].period = 4,
       "layer 3: ew: output 0 shares columns with input 0")
BROKEN(a_spread_of_nothing, s.add.in[1].spread = EW_GROUP; s.add.in[1].period = 0, "period 0")

/* ---- every op of real plans ---- */

#define DIMS "\"hidden_size\": 64, \"num_hidden_layers\": 2, \"vocab_size\": 50, "

#define TYPE(name) "\"intermediate_size\": 96, \"model_type\": \"" name "\""
#define HEADS ", \"num_heads\": 2"

/* An indexer of its own, then the same choice again. */
#define GLM5 TYPE("glm5_next") ", \"num_attention_heads\": 2, \"n_routed_experts\": 4, " \
    "\"num_experts_per_tok\": 2, \"first_k_dense_replace\": 2, " \
    "\"layer_types\": [\"indexed_attention\", \"indexed_attention\"], " \
    "\"indexer_types\": [\"full\", \"shared\"]"

static const char *const families[] = {
    TYPE("gla") HEADS ", \"use_short_conv\": true",
    TYPE("gated_deltanet") HEADS,
    TYPE("rwkv6") HEADS,
    TYPE("rwkv7") ", \"head_dim\": 32",
    TYPE("hgrn"),
    TYPE("path_attn") HEADS,
    TYPE("parallax") HEADS,
    TYPE("deltaformer") HEADS,
    TYPE("wall_transformer") HEADS,
    TYPE("moba") HEADS,
    TYPE("mesa_net") HEADS ", \"head_dim\": 32",
    TYPE("mamba") ", \"state_size\": 16, \"expand\": 2",
    TYPE("lightnet") ", \"expand_ratio\": 32",
    TYPE("mom") HEADS,
    TYPE("linear_attn") HEADS,
    TYPE("gsa") HEADS,
    TYPE("qwen4_exp_text") ", \"eos_token_id\": 1, \"ple_layer_ids\": [2], "
        "\"layer_types\": [\"linear_attention\", \"linear_attention\"], \"num_experts\": 2, "
        "\"num_experts_per_tok\": 1, \"moe_intermediate_size\": 16, \"hc_lowrank\": 8, "
        "\"ngram_vocab_size_base\": 50, \"head_dim\": 16",
    GLM5,
};

static struct model *open_config(const char *family)
{
    char dir[] = "/tmp/recurd-test-XXXXXX", path[64];
    struct model *m = NULL;
    struct err e = {0};
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    fprintf(f, "{" DIMS "%s}", family);
    fclose(f);
    cr_assert_eq(model_open(&m, &(struct model_options){.dir = dir, .dummy = true}, &e), 0,
                 "%s: %s", family, e.text);
    unlink(path);
    rmdir(dir);
    return m;
}

/* Op i is broken; the rest of the plan is as the builder made it. */
static void refused(const struct model *m, int i, const char *how, int k)
{
    struct err e = {0};
    const struct op *op = &m->plan.ops[i];
    cr_expect_lt(plan_validate(&m->plan, NULL, NULL, &e), 0, "%s: op %d, %s: %s %d was accepted",
                 m->arch, i, (unsigned)op->kind < OP_KINDS ? op_name(op->kind) : "?", how, k);
}

static void break_inputs(struct model *m, int i)
{
    struct op *op = &m->plan.ops[i], whole = *op;
    for (int k = 0; k < OP_INPUTS; k++) {
        if (!view_given(op->in[k]))
            continue;
        op->in[k].act = m->plan.n_acts;
        refused(m, i, "no activation for operand", k);
        *op = whole;
        op->in[k].col += m->plan.acts[op->in[k].act].width;
        refused(m, i, "columns past the end of operand", k);
        *op = whole;
        if (op->kind != OP_EXPERTS || k != EXPERTS_chosen) { /* that may be wider */
            op->in[k].width += 1;
            refused(m, i, "one column too many of operand", k);
            *op = whole;
        }
        if (op_faces[op->kind].in[k].use != OPERAND_OPTIONAL &&
            op_faces[op->kind].in[k].use != OPERAND_OPTIONAL_INPLACE) {
            op->in[k] = VIEW_NONE;
            refused(m, i, "no operand", k);
            *op = whole;
        }
    }
}

static void break_rest(struct model *m, int i)
{
    struct op *op = &m->plan.ops[i], whole = *op;
    for (int k = 0; k < OP_WEIGHTS; k++) {
        if (op->w[k] < 0)
            continue;
        op->w[k] = m->plan.n_weights;
        refused(m, i, "no weight for operand", k);
        *op = whole;
    }
    if (op->section >= 0) {
        op->section = m->plan.n_sections;
        refused(m, i, "no section", op->section);
        op->section = -1;
        refused(m, i, "a section left out", 0);
        *op = whole;
        m->plan.sections[op->section].elems -= 1;
        refused(m, i, "a section too small", 0);
        m->plan.sections[op->section].elems += 1;
        m->plan.sections[op->section].kind ^= 1;
        refused(m, i, "a section of the other kind", 0);
        m->plan.sections[op->section].kind ^= 1;
    }
    if (view_given(op->out)) {
        op->out.width += 1;
        refused(m, i, "one column too many of the output", 0);
        *op = whole;
    }
    op->rows = op->rows == ROWS_TOKENS ? ROWS_LOGITS : ROWS_TOKENS;
    refused(m, i, "the other rows", 0);
    *op = whole;
}

Test(validate, every_op_of_every_plan_with_one_thing_wrong_is_refused)
{
    for (size_t f = 0; f < ARRAY_LEN(families); f++) {
        struct model *m = open_config(families[f]);
        struct err e = {0};
        for (int i = 0; i < m->plan.n_ops; i++) {
            break_inputs(m, i);
            break_rest(m, i);
        }
        cr_expect_eq(plan_validate(&m->plan, NULL, NULL, &e), 0, "%s: %s", m->arch, e.text);
        model_close(m);
    }
}

/* A router with one class more than there are experts: that class must say that it is none. */
Test(validate, a_choice_beyond_the_experts_is_none_of_them)
{
    struct model *m = open_config("\"model_type\": \"zaya\", \"head_dim\": 16, "
                                  "\"moe_intermediate_size\": 32");
    for (int i = 0; i < m->plan.n_ops; i++) {
        struct op *op = &m->plan.ops[i];
        if (op->kind != OP_TOPK)
            continue;
        op->p.topk.none = 0;
        refused(m, i, "classes that are none:", 0);
        op->p.topk.none = -1;
        refused(m, i, "classes that are none:", -1);
        op->p.topk.none = op->p.topk.n;
        refused(m, i, "classes that are none:", op->p.topk.n);
        op->p.topk.none = 1;
    }
    struct err e = {0};
    cr_expect_eq(plan_validate(&m->plan, NULL, NULL, &e), 0, "%s", e.text);
    model_close(m);
}

/* The numbers of blocks that attention reads are an indexer's, of blocks of the same size. */
Test(validate, chosen_blocks_are_those_of_an_indexer)
{
    struct model *m = open_config(GLM5);
    int indexers = 0, readers = 0;
    for (int i = 0; i < m->plan.n_ops; i++) {
        struct op *op = &m->plan.ops[i], whole = *op;
        indexers += op->kind == OP_INDEXER;
        if (op->kind != OP_INDEXED)
            continue;
        readers++;
        op->p.attention.block = 8;
        refused(m, i, "blocks of another size:", 8);
        *op = whole;
        op->in[INDEXED_chosen] = (struct view){op->in[INDEXED_k].act, op->in[INDEXED_k].col,
                                               op->in[INDEXED_chosen].width};
        refused(m, i, "chosen by another op, operand", INDEXED_chosen);
        *op = whole;
    }
    cr_expect(indexers == 1 && readers == 2, "%d indexers, %d readers", indexers, readers);
    model_close(m);
}

/* Two layers of which one reads a shared cache: its rows were stored into section -1. */
Test(validate, a_single_cross_layer_of_yoco_has_a_section)
{
    struct model *m = open_config("\"model_type\": \"yoco\", \"num_self_decoder_layers\": 1, "
                                  "\"self_decoder_attn\": {\"num_heads\": 2, \"head_dim\": 32}, "
                                  "\"cross_decoder_attn\": {\"num_heads\": 2}");
    int kept = 0;
    for (int i = 0; i < m->plan.n_ops; i++)
        if (m->plan.ops[i].kind == OP_ATTENTION_KEEP) {
            cr_expect_geq(m->plan.ops[i].section, 0);
            kept++;
        }
    cr_expect_eq(kept, 1);
    model_close(m);
}
