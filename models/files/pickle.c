/* A machine for the pickle subset of torch.save (protocol 2): strings, numbers, tuples and
 * dictionaries on a stack, and three functions that are known by name and done here. Nothing is
 * imported, called or built that is not in the tables below.
 *
 * Every opcode takes at least one byte and puts at most one value, so the file's size bounds stack,
 * memo and heap. */
#include "models/files/pickle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "models/files/jsontext.h"

enum global { G_DICT, G_TENSOR, G_PARAMETER, G_F32, G_F16, G_BF16 };
static const struct { const char *module, *name; enum global is; } globals[] = {
    {"collections", "OrderedDict", G_DICT}, {"torch._utils", "_rebuild_tensor_v2", G_TENSOR},
    {"torch._utils", "_rebuild_parameter", G_PARAMETER}, {"torch", "FloatStorage", G_F32},
    {"torch", "HalfStorage", G_F16}, {"torch", "BFloat16Storage", G_BF16}};

enum kind { NONE, BOOL, INT, TEXT, GLOBAL, TUPLE, STORAGE, TENSOR, DICT, MARK };
static const char *const kinds[] = {"None", "a truth value", "a number", "a string", "a global",
                                    "a tuple", "a storage", "a tensor", "a dictionary", "a mark"};

struct value {
    enum kind kind;
    uint32_t n;    /* of a text's bytes, a tuple's items */
    uint64_t at;   /* its first byte, first item in the heap, tensor, dictionary */
    int64_t number;
};

struct pair { uint64_t dict; struct value key, value; };

struct list { void *p; size_t n, cap, each; };

struct machine {
    const unsigned char *p;
    size_t size, at, op_at;
    const char *path;
    struct err *e;
    struct list stack, memo, heap, tensors, pairs; /* values, values, values, …, pairs */
    uint64_t dicts;
};

/* ---- the parts of the machine ----------------------------------------------------------- */

static void *push_to(struct machine *m, struct list *l)
{
    if (l->n == l->cap) {
        size_t cap = MAX(2 * l->cap, (size_t)64);
        void *grown = mem_realloc(l->p, cap * l->each);
        if (!grown) {
            err_set(m->e, E_NOMEM, "%s: out of memory for %zu values", jsontext_tail(m->path), cap);
            return NULL;
        }
        l->p = grown;
        l->cap = cap;
    }
    void *at = (char *)l->p + l->n++ * l->each;
    memset(at, 0, l->each);
    return at;
}

static void push(struct machine *m, struct value v)
{
    struct value *to = push_to(m, &m->stack);
    if (to)
        *to = v;
}

static void fail(struct machine *m, const char *what)
{
    err_set(m->e, E_FORMAT, "%s: opcode 0x%02x at byte %zu of the pickle: %s",
            jsontext_tail(m->path), m->p[m->op_at], m->op_at, what);
}

static struct value pop(struct machine *m)
{
    struct value none = {.kind = NONE};
    if (m->stack.n == 0) {
        fail(m, "the stack is empty");
        return none;
    }
    return ((struct value *)m->stack.p)[--m->stack.n];
}

static struct value pop_kind(struct machine *m, enum kind kind)
{
    char what[80];
    struct value v = pop(m);
    if (m->e->code == 0 && v.kind != kind) {
        snprintf(what, sizeof what, "%s where %s is expected", kinds[v.kind], kinds[kind]);
        fail(m, what);
    }
    return v;
}

/* n bytes of the pickle; NULL: there are not so many. */
static const unsigned char *take(struct machine *m, size_t n)
{
    if (n > m->size - m->at) {
        err_set(m->e, E_FORMAT, "%s: opcode 0x%02x at byte %zu of the pickle needs %zu bytes, %zu "
                "follow", jsontext_tail(m->path), m->p[m->op_at], m->op_at, n, m->size - m->at);
        return NULL;
    }
    m->at += n;
    return m->p + m->at - n;
}

static uint64_t number(struct machine *m, int bytes)
{
    const unsigned char *p = take(m, (size_t)bytes);
    uint64_t x = 0;
    for (int i = bytes; p && i-- > 0;)
        x = x << 8 | p[i];
    return x;
}

static struct value item(const struct machine *m, const struct value *tuple, uint32_t i)
{
    return ((const struct value *)m->heap.p)[tuple->at + i];
}

static bool is_text(const struct machine *m, const struct value *v, const char *text)
{
    return v->kind == TEXT && v->n == strlen(text) && memcmp(m->p + v->at, text, v->n) == 0;
}

/* Place of the last mark. */
static size_t find_mark(struct machine *m)
{
    for (size_t i = m->stack.n; i-- > 0;)
        if (((struct value *)m->stack.p)[i].kind == MARK)
            return i;
    fail(m, "there is no mark on the stack");
    return m->stack.n;
}

/* ---- opcodes ---------------------------------------------------------------------------- */

static void do_text(struct machine *m, int width)
{
    uint64_t n = number(m, width);
    const unsigned char *p = take(m, (size_t)n);
    if (p)
        push(m, (struct value){.kind = TEXT, .n = (uint32_t)n, .at = (uint64_t)(p - m->p)});
}

static void do_int(struct machine *m, int width, bool is_signed)
{
    uint64_t x = number(m, width);
    int64_t v = is_signed ? (int32_t)(uint32_t)x : (int64_t)x;
    push(m, (struct value){.kind = INT, .number = v});
}

static void do_long(struct machine *m)
{
    int n = (int)number(m, 1);
    if (n > 8) {
        fail(m, "a number of more than 64 bits");
        return;
    }
    uint64_t x = number(m, n);
    if (n > 0 && n < 8 && x >> (8 * n - 1) & 1)
        x |= UINT64_MAX << 8 * n;
    push(m, (struct value){.kind = INT, .number = (int64_t)x});
}

static bool is_line(const char *text, const char *line, int n)
{
    return strlen(text) == (size_t)n && memcmp(text, line, (size_t)n) == 0;
}

/* Two lines, module and name. */
static void do_global(struct machine *m)
{
    const char *s[2];
    int n[2];
    for (int i = 0; i < 2; i++) {
        const unsigned char *from = m->p + m->at, *end = memchr(from, '\n', m->size - m->at);
        if (!end) {
            fail(m, "a name without its end");
            return;
        }
        s[i] = (const char *)from;
        n[i] = (int)MIN(end - from, 100);
        m->at += (size_t)(end - from) + 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(globals); i++)
        if (is_line(globals[i].module, s[0], n[0]) && is_line(globals[i].name, s[1], n[1])) {
            push(m, (struct value){.kind = GLOBAL, .number = globals[i].is});
            return;
        }
    char name[204];
    snprintf(name, sizeof name, "%.*s.%.*s", n[0], s[0], n[1], s[1]);
    for (char *p = name; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
            *p = '?';
    err_set(m->e, E_UNSUPPORTED, "%s: the pickle wants %.120s; only dictionaries and float, half "
            "and bfloat16 tensors are read", jsontext_tail(m->path), name);
}

static void make_tuple(struct machine *m, size_t n)
{
    struct value v = {.kind = TUPLE, .n = (uint32_t)n, .at = m->heap.n};
    if (n > m->stack.n) {
        fail(m, "the stack is too short for a tuple");
        return;
    }
    for (size_t i = m->stack.n - n; i < m->stack.n; i++) {
        struct value *to = push_to(m, &m->heap);
        if (!to)
            return;
        *to = ((struct value *)m->stack.p)[i];
    }
    m->stack.n -= n;
    push(m, v);
}

static void do_tuple(struct machine *m)
{
    size_t mark = find_mark(m), n = m->stack.n - mark - 1;
    if (m->e->code)
        return;
    make_tuple(m, n);
    if (m->e->code)
        return;
    struct value v = pop(m);
    (void)pop(m); /* the mark */
    push(m, v);
}

static void do_put(struct machine *m, uint64_t at)
{
    if (at > m->memo.n || m->stack.n == 0) {
        fail(m, "a place in the memo beyond those in use, or nothing to put there");
        return;
    }
    struct value v = ((struct value *)m->stack.p)[m->stack.n - 1];
    struct value *to = at == m->memo.n ? push_to(m, &m->memo) : (struct value *)m->memo.p + at;
    if (to)
        *to = v;
}

static void do_get(struct machine *m, uint64_t at)
{
    if (at >= m->memo.n)
        fail(m, "a place in the memo that is empty");
    else
        push(m, ((struct value *)m->memo.p)[at]);
}

static void set_item(struct machine *m, const struct value *dict, struct value key,
                     struct value value)
{
    struct pair *p = push_to(m, &m->pairs);
    if (p)
        *p = (struct pair){dict->at, key, value};
}

static void do_set_items(struct machine *m)
{
    size_t mark = find_mark(m), n = m->stack.n - mark - 1;
    if (m->e->code)
        return;
    const struct value *s = m->stack.p;
    if (mark == 0 || s[mark - 1].kind != DICT || n % 2) {
        fail(m, "items that belong to no dictionary");
        return;
    }
    for (size_t i = mark + 1; i < m->stack.n && m->e->code == 0; i += 2)
        set_item(m, &s[mark - 1], s[i], s[i + 1]);
    m->stack.n = mark;
}

static void do_set_item(struct machine *m)
{
    struct value value = pop(m), key = pop(m), dict = pop_kind(m, DICT);
    if (m->e->code)
        return;
    set_item(m, &dict, key, value);
    push(m, dict);
}

/* ("storage", type, key, where it was, elements) */
static void do_storage(struct machine *m)
{
    struct value t = pop_kind(m, TUPLE);
    if (m->e->code)
        return;
    struct value word = t.n == 5 ? item(m, &t, 0) : t, type, key, n;
    if (t.n != 5 || !is_text(m, &word, "storage")) {
        fail(m, "a persistent id that is no storage of five parts");
        return;
    }
    type = item(m, &t, 1);
    key = item(m, &t, 2);
    n = item(m, &t, 4);
    if (type.kind != GLOBAL || type.number < G_F32 || key.kind != TEXT || key.n == 0 ||
        key.n >= PICKLE_KEY || memchr(m->p + key.at, 0, key.n) || n.kind != INT || n.number < 0) {
        fail(m, "a storage whose type, key or size is none");
        return;
    }
    t.kind = STORAGE;
    push(m, t);
}

static bool read_shape(struct machine *m, struct pickle_tensor *t, const struct value *size,
                       const struct value *stride)
{
    int64_t step = 1;
    t->n_dims = (int32_t)size->n;
    t->elems = 1;
    for (uint32_t i = size->n; i-- > 0;) {
        struct value n = item(m, size, i), s = item(m, stride, i);
        if (n.kind != INT || s.kind != INT || n.number < 1 ||
            mul_overflows(t->elems, n.number, &t->elems)) {
            fail(m, "a shape or stride that is not of numbers above 0, or too large");
            return false;
        }
        if (n.number > 1 && s.number != step) {
            fail(m, "a tensor whose elements do not lie one after the other: save it contiguous");
            return false;
        }
        t->shape[i] = n.number;
        step = t->elems;
    }
    return true;
}

static void make_tensor(struct machine *m, const struct value *args)
{
    static const enum dtype types[] = {[G_F32] = DTYPE_F32, [G_F16] = DTYPE_F16,
                                       [G_BF16] = DTYPE_BF16};
    struct value a[4];
    for (uint32_t i = 0; i < 4 && args->n >= 4; i++)
        a[i] = item(m, args, i);
    if (args->n < 4 || a[0].kind != STORAGE || a[1].kind != INT || a[2].kind != TUPLE ||
        a[3].kind != TUPLE || a[2].n != a[3].n || a[2].n > LIMIT_ST_DIMS) {
        fail(m, "a tensor that is not storage, offset, shape and stride of at most 4 dimensions");
        return;
    }
    struct pickle_tensor *t = push_to(m, &m->tensors);
    if (!t || !read_shape(m, t, &a[2], &a[3]))
        return;
    struct value key = item(m, &a[0], 2);
    int64_t all = item(m, &a[0], 4).number;
    memcpy(t->key, m->p + key.at, key.n);
    t->dtype = types[item(m, &a[0], 1).number];
    t->first = a[1].number;
    if (t->first < 0 || t->first > all || t->elems > all - t->first)
        err_set(m->e, E_FORMAT, "%s: a tensor of %" PRId64 " elements from %" PRId64 " in storage "
                "%s, which has %" PRId64, jsontext_tail(m->path), t->elems, t->first, t->key, all);
    push(m, (struct value){.kind = TENSOR, .at = m->tensors.n - 1});
}

static void push_dict(struct machine *m)
{
    push(m, (struct value){.kind = DICT, .at = m->dicts++});
}

static void do_call(struct machine *m)
{
    struct value args = pop_kind(m, TUPLE);
    struct value f = m->e->code ? args : pop_kind(m, GLOBAL);
    if (m->e->code)
        return;
    if (f.number == G_DICT && args.n == 0)
        push_dict(m);
    else if (f.number == G_TENSOR)
        make_tensor(m, &args);
    else if (f.number == G_PARAMETER && args.n > 0 && item(m, &args, 0).kind == TENSOR)
        push(m, item(m, &args, 0));
    else
        fail(m, "a call that makes no dictionary and no tensor");
}

/* What a dictionary of modules knows of itself (their versions): nothing that is needed. */
static void do_build(struct machine *m)
{
    (void)pop(m); /* what it knows */
    struct value dict = pop_kind(m, DICT);
    if (m->e->code == 0)
        push(m, dict);
}

enum {
    OP_PROTO = 0x80, OP_TUPLE1 = 0x85, OP_TUPLE2 = 0x86, OP_TUPLE3 = 0x87, OP_TRUE = 0x88,
    OP_FALSE = 0x89, OP_LONG1 = 0x8a,
};

static void step(struct machine *m, unsigned char op)
{
    switch (op) {
    case OP_PROTO:
        if (number(m, 1) != 2)
            fail(m, "not protocol 2, which is what torch.save writes");
        break;
    case '(': push(m, (struct value){.kind = MARK}); break;
    case '}': push_dict(m); break;
    case ')': make_tuple(m, 0); break;
    case 't': do_tuple(m); break;
    case OP_TUPLE1: case OP_TUPLE2: case OP_TUPLE3: make_tuple(m, op - OP_TUPLE1 + 1u); break;
    case 'N': push(m, (struct value){.kind = NONE}); break;
    case OP_TRUE: case OP_FALSE: push(m, (struct value){.kind = BOOL}); break;
    case 'J': do_int(m, 4, true); break;
    case 'K': do_int(m, 1, false); break;
    case 'M': do_int(m, 2, false); break;
    case OP_LONG1: do_long(m); break;
    case 'X': do_text(m, 4); break;
    case 'U': do_text(m, 1); break;
    case 'c': do_global(m); break;
    case 'q': do_put(m, number(m, 1)); break;
    case 'r': do_put(m, number(m, 4)); break;
    case 'h': do_get(m, number(m, 1)); break;
    case 'j': do_get(m, number(m, 4)); break;
    case 'Q': do_storage(m); break;
    case 'R': do_call(m); break;
    case 's': do_set_item(m); break;
    case 'u': do_set_items(m); break;
    case 'b': do_build(m); break;
    default: fail(m, "not one that a dictionary of tensors needs"); break;
    }
}

/* ---- the result ------------------------------------------------------------------------- */

static bool copy_name(struct machine *m, const struct value *key, char out[LIMIT_TENSOR_NAME])
{
    bool ok = key->kind == TEXT && key->n > 0 && key->n < LIMIT_TENSOR_NAME;
    for (uint32_t i = 0; ok && i < key->n; i++)
        ok = m->p[key->at + i] >= 0x20 && m->p[key->at + i] < 0x7f;
    if (ok) {
        memcpy(out, m->p + key->at, key->n);
        out[key->n] = 0;
    } else {
        err_set(m->e, E_FORMAT, "%s: a key of the dictionary is %s, no name of 1 to %d printable "
                "bytes", jsontext_tail(m->path), kinds[key->kind], LIMIT_TENSOR_NAME - 1);
    }
    return ok;
}

static void collect(struct machine *m, struct pickle_tensor **out, size_t *n)
{
    struct value top = pop_kind(m, DICT);
    if (m->e->code)
        return;
    *out = mem_array(m->pairs.n + 1, sizeof **out);
    if (!*out)
        err_set(m->e, E_NOMEM, "%s: out of memory for %zu tensors", jsontext_tail(m->path),
                m->pairs.n);
    for (size_t i = 0; i < m->pairs.n && m->e->code == 0; i++) {
        const struct pair *p = (const struct pair *)m->pairs.p + i;
        char name[LIMIT_TENSOR_NAME];
        if (p->dict != top.at || !copy_name(m, &p->key, name))
            continue;
        if (p->value.kind != TENSOR) {
            err_set(m->e, E_UNSUPPORTED, "%s: %.100s is %s; a dictionary of tensors alone is read",
                    jsontext_tail(m->path), name, kinds[p->value.kind]);
            continue;
        }
        (*out)[*n] = ((struct pickle_tensor *)m->tensors.p)[p->value.at];
        memcpy((*out)[(*n)++].name, name, sizeof name);
    }
}

int pickle_tensors(struct pickle_tensor **out, size_t *n, const unsigned char *bytes, size_t size,
                   const char *path, struct err *e)
{
    struct err mine = {0};
    struct machine m = {.p = bytes, .size = size, .path = path, .e = e ? e : &mine};
    m.stack.each = m.memo.each = m.heap.each = sizeof(struct value);
    m.tensors.each = sizeof(struct pickle_tensor);
    m.pairs.each = sizeof(struct pair);
    bool stopped = false;
    *out = NULL;
    *n = 0;
    while (m.e->code == 0 && !stopped && m.at < size) {
        m.op_at = m.at;
        unsigned char op = m.p[m.at++];
        stopped = op == '.';
        if (!stopped)
            step(&m, op);
    }
    if (m.e->code == 0 && !stopped)
        err_set(m.e, E_FORMAT, "%s: the pickle's %zu bytes end without a stop", jsontext_tail(path),
                size);
    if (m.e->code == 0)
        collect(&m, out, n);
    struct list *lists[] = {&m.stack, &m.memo, &m.heap, &m.tensors, &m.pairs};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        mem_free(lists[i]->p);
    if (m.e->code) {
        mem_free(*out);
        *out = NULL;
        *n = 0;
    }
    return m.e->code;
}
