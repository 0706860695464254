/* Normalisers and pre-tokenizers of tokenizer.json. Patterns run in PCRE2 with Unicode classes,
 * by its JIT where the system allows one, always under a match limit: both the pattern and the
 * text may be hostile. Texts are valid UTF-8 (checked by tokenizer_encode). Any thread. */
#include "models/text/bpe_steps.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "models/text/bpe_pattern.h"

/* Backtracking steps of one match: published patterns need a few per character, and a run of
 * white space is one match. */
#define MATCH_LIMIT 500000 /* below 50 ms of a hostile pattern; a good one takes some dozens */
#define MATCH_HEAP_KIB 65536
#define PATTERN_BYTES KIB(16) /* the longest published has 600 bytes */
#define JIT_STACK_MAX MIB(1)
/* A text may become this much larger in all: NFKD makes 18 characters of one. */
#define GROWTH 32

struct step *steps_add(struct steps *s, enum step_kind kind, const char *name, struct err *e)
{
    if (s->n == STEPS_MAX) {
        err_set(e, E_UNSUPPORTED, "%s: more than %d normalising or splitting steps", name,
                STEPS_MAX);
        return NULL;
    }
    s->p[s->n] = (struct step){.kind = kind};
    return &s->p[s->n++];
}

int step_compile(struct step *s, const char *pattern, bool literal, const char *name,
                 struct err *e)
{
    int code, rc = 0;
    PCRE2_SIZE at;
    struct buf b;
    buf_init(&b, PATTERN_BYTES);
    if (pattern[0] == 0)
        return err_set(e, E_FORMAT, "%s: an empty split pattern", name);
    if (!literal)
        rc = bpe_pattern_translate(pattern, &b, name, e);
    else if (buf_str(&b, pattern) < 0)
        rc = err_set(e, E_NOMEM, "%s: a split text of %zu bytes is too long", name,
                     strlen(pattern));
    if (rc < 0)
        goto out;
    uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE);
    s->pattern = pcre2_compile((PCRE2_SPTR)b.p, b.len, options, &code, &at, NULL);
    if (!s->pattern) {
        rc = err_set(e, E_UNSUPPORTED, "%s: split pattern: PCRE2 error %d at byte %zu of %zu",
                     name, code, (size_t)at, b.len);
        goto out;
    }
    /* Where writable code is forbidden this fails, and matching interprets the pattern. */
    pcre2_jit_compile(s->pattern, PCRE2_JIT_COMPLETE);
out:
    buf_free(&b);
    return rc;
}

void steps_free(struct steps *s)
{
    for (size_t i = 0; i < s->n; i++)
        pcre2_code_free(s->p[i].pattern);
    s->n = 0;
}

/* ---- pieces ----------------------------------------------------------------------------- */

static int add_piece(struct pieces *p, size_t begin, size_t end, struct err *e)
{
    if (begin == end)
        return 0;
    if (p->n == p->cap) {
        size_t cap = MAX(p->cap * 2, (size_t)64);
        struct piece *grown = mem_realloc(p->p, cap * sizeof *grown);
        if (!grown)
            return err_set(e, E_NOMEM, "out of memory for %zu words", cap);
        p->p = grown;
        p->cap = cap;
    }
    p->p[p->n++] = (struct piece){(uint32_t)begin, (uint32_t)end};
    return 0;
}

int pieces_init(struct pieces *p, const char *text, size_t n, struct err *e)
{
    if (n > UINT32_MAX / GROWTH - 256)
        return err_set(e, E_RANGE, "a text of %zu bytes, at most %u are encoded", n,
                       UINT32_MAX / GROWTH - 256);
    *p = (struct pieces){.n = 0};
    buf_init(&p->text, GROWTH * n + 256);
    if (buf_add(&p->text, text, n) < 0)
        return err_set(e, E_NOMEM, "out of memory for a text of %zu bytes", n);
    return add_piece(p, 0, n, e);
}

void pieces_free(struct pieces *p)
{
    buf_free(&p->text);
    mem_free(p->p);
    p->p = NULL;
    p->n = p->cap = 0;
}

/* ---- matching --------------------------------------------------------------------------- */

struct matcher {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

static int matcher_init(struct matcher *m, void *code, struct err *e)
{
    *m = (struct matcher){.code = code};
    m->data = pcre2_match_data_create(1, NULL);
    m->context = pcre2_match_context_create(NULL);
    if (!m->data || !m->context)
        return err_set(e, E_NOMEM, "out of memory for pattern matching");
    pcre2_set_match_limit(m->context, MATCH_LIMIT);
    pcre2_set_heap_limit(m->context, MATCH_HEAP_KIB);
    return 0;
}

static void matcher_free(struct matcher *m)
{
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    pcre2_jit_stack_free(m->stack);
}

/* The next match in text[at, n) that is not empty: 1 found, 0 none, or an error. The text before
 * `at` is visible to the pattern, what is outside text is not. */
static int next_match(struct matcher *m, const char *text, size_t at, size_t n, size_t *begin,
                      size_t *end, struct err *e)
{
    uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    int rc = pcre2_match(m->code, (PCRE2_SPTR)text, n, at, options, m->data, m->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT && !m->stack) {
        /* The 32 KiB of the thread's own stack are enough for all but hostile patterns. */
        m->stack = pcre2_jit_stack_create(KIB(64), JIT_STACK_MAX, NULL);
        if (m->stack)
            pcre2_jit_stack_assign(m->context, NULL, m->stack);
        rc = pcre2_match(m->code, (PCRE2_SPTR)text, n, at, options, m->data, m->context);
    }
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(m->code, (PCRE2_SPTR)text, n, at, options | PCRE2_NO_JIT, m->data,
                         m->context);
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc == PCRE2_ERROR_MATCHLIMIT)
        return err_set(e, E_RANGE, "splitting %zu bytes of text into words takes more than the %d "
                       "steps that the model's pattern may take", n, MATCH_LIMIT);
    if (rc < 0)
        return err_set(e, E_RANGE, "splitting %zu bytes of text into words: PCRE2 error %d", n,
                       rc);
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(m->data);
    *begin = found[0];
    *end = found[1];
    return *begin < at || *end <= *begin || *end > n ? 0 : 1;
}

/* ---- splitting -------------------------------------------------------------------------- */

/* One part of a piece: what matched, or what lies between matches. */
struct part {
    uint32_t begin, end;
    bool match;
};
struct parts {
    struct part *p;
    size_t n, cap;
};

static int add_part(struct parts *s, size_t begin, size_t end, bool match, struct err *e)
{
    if (begin == end)
        return 0;
    if (s->n == s->cap) {
        size_t cap = MAX(s->cap * 2, (size_t)64);
        struct part *grown = mem_realloc(s->p, cap * sizeof *grown);
        if (!grown)
            return err_set(e, E_NOMEM, "out of memory for %zu words", cap);
        s->p = grown;
        s->cap = cap;
    }
    s->p[s->n++] = (struct part){(uint32_t)begin, (uint32_t)end, match};
    return 0;
}

static int find_parts(struct parts *s, struct matcher *m, const char *text, struct piece in,
                      bool invert, struct err *e)
{
    size_t at = 0, n = in.end - in.begin, begin, end;
    s->n = 0;
    while (at < n) {
        int rc = next_match(m, text + in.begin, at, n, &begin, &end, e);
        if (rc < 0)
            return rc;
        if (rc == 0)
            begin = end = n;
        rc = add_part(s, in.begin + at, in.begin + begin, invert, e);
        if (rc == 0)
            rc = add_part(s, in.begin + begin, in.begin + end, !invert, e);
        if (rc < 0)
            return rc;
        at = end;
    }
    return 0;
}

/* Parts -> pieces. */
static int join_parts(struct pieces *out, const struct parts *s, enum split_behavior b,
                      struct err *e)
{
    for (size_t i = 0, next; i < s->n; i = next) {
        next = i + 1;
        const struct part *p = s->p;
        if (b == SPLIT_REMOVED && p[i].match)
            continue;
        if (b == SPLIT_WITH_PREVIOUS && !p[i].match && next < s->n && p[next].match)
            next++;
        else if (b == SPLIT_WITH_NEXT && p[i].match && next < s->n && !p[next].match)
            next++;
        while (b == SPLIT_CONTIGUOUS && next < s->n && p[next].match == p[i].match)
            next++;
        int rc = add_piece(out, p[i].begin, p[next - 1].end, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int run_split(const struct step *s, struct pieces *p, struct err *e)
{
    struct matcher m;
    struct parts parts = {0};
    struct pieces out = {0};
    int rc = matcher_init(&m, s->pattern, e);
    for (size_t i = 0; i < p->n && rc == 0; i++) {
        rc = find_parts(&parts, &m, p->text.p, p->p[i], s->invert, e);
        if (rc == 0)
            rc = join_parts(&out, &parts, s->behavior, e);
    }
    mem_free(p->p);
    p->p = out.p;
    p->n = out.n;
    p->cap = out.cap;
    mem_free(parts.p);
    matcher_free(&m);
    return rc;
}

/* ---- steps that change the text --------------------------------------------------------- */

static int replace_in(const struct step *s, struct matcher *m, const char *text, size_t n,
                      struct buf *out, struct err *e)
{
    size_t at = 0, begin, end;
    while (at < n) {
        int rc = next_match(m, text, at, n, &begin, &end, e);
        if (rc < 0)
            return rc;
        if (rc == 0)
            begin = end = n;
        buf_add(out, text + at, begin - at);
        if (rc > 0)
            buf_str(out, s->text);
        at = end;
    }
    return 0;
}

static void prepend_to(const struct step *s, const char *text, size_t n, bool first,
                       struct buf *out)
{
    size_t k = strlen(s->text);
    bool there = n >= k && memcmp(text, s->text, k) == 0;
    if (s->when == PREPEND_ALWAYS || (!there && (s->when == PREPEND_UNLESS_THERE || first)))
        buf_add(out, s->text, k);
    buf_add(out, text, n);
}

uint32_t step_char_of_byte(unsigned char b)
{
    bool shown = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    if (shown)
        return b;
    /* The others count up from 256 in their order: 0-32, 127-160, 173. */
    return 256 + (b <= 32 ? b : b <= 0xa0 ? b - 127u + 33 : 67);
}

int step_byte_of_char(uint32_t c)
{
    if (c < 256)
        return step_char_of_byte((unsigned char)c) == c ? (int)c : -1;
    c -= 256;
    return c <= 32 ? (int)c : c <= 66 ? (int)(c - 33 + 127) : c == 67 ? 173 : -1;
}

static void bytes_of(const char *text, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t c = step_char_of_byte((unsigned char)text[i]);
        if (c >= 0x80)
            buf_ch(out, (char)(0xc0 | c >> 6));
        buf_ch(out, (char)(c >= 0x80 ? 0x80 | (c & 0x3f) : c));
    }
}

static int run_text(const struct step *s, struct pieces *p, bool start, struct err *e)
{
    struct matcher m = {0};
    struct pieces out = {.n = 0};
    buf_init(&out.text, p->text.max);
    int rc = s->kind == STEP_REPLACE ? matcher_init(&m, s->pattern, e) : 0;
    for (size_t i = 0; i < p->n && rc == 0; i++) {
        const char *text = p->text.p + p->p[i].begin;
        size_t n = p->p[i].end - p->p[i].begin, at = out.text.len;
        if (s->kind == STEP_REPLACE)
            rc = replace_in(s, &m, text, n, &out.text, e);
        else if (s->kind == STEP_PREPEND)
            prepend_to(s, text, n, start && p->p[i].begin == 0, &out.text);
        else if (s->kind == STEP_BYTES)
            bytes_of(text, n, &out.text);
        else
            rc = unicode_normalize(s->form, text, n, &out.text, e);
        if (rc == 0 && out.text.failed)
            rc = err_set(e, E_NOMEM, "a text of %zu bytes grows beyond %zu", p->text.len,
                         out.text.max);
        if (rc == 0)
            rc = add_piece(&out, at, out.text.len, e);
    }
    matcher_free(&m);
    pieces_free(p);
    *p = out;
    return rc;
}

int steps_run(const struct steps *s, struct pieces *p, bool start, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < s->n && rc == 0; i++)
        rc = s->p[i].kind == STEP_SPLIT ? run_split(&s->p[i], p, e)
                                        : run_text(&s->p[i], p, start, e);
    return rc;
}
