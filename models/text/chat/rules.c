/* Patterns are the operator's, texts are a stranger's: matching is bounded. */
#include "models/text/chat/rules.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <jansson.h>
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

#define RULES_MAX LIMIT_CHAT_RULES
#define NAME_MAX_BYTES 40
#define TEXT_MAX_BYTES MIB(1)  /* longer messages are left alone: no head is so long */
#define MATCH_LIMIT 100000     /* steps of one match: a few ms */
#define MATCH_HEAP_KIB 4096

struct rule {
    char name[NAME_MAX_BYTES + 1];
    pcre2_code *code;
    char *replacement;
    uint64_t applied, failed; /* atomic */
};

struct chat_rules {
    int n;
    struct rule at[RULES_MAX];
};
_Static_assert(RULES_MAX <= 32, "a bit for each");

/* ---- reading ------------------------------------------------------------------------------ */

static int add(struct chat_rules *r, const char *name, const char *pattern,
               const char *replacement, struct err *e)
{
    int code;
    PCRE2_SIZE at;
    size_t n = strlen(name);
    struct rule *x = &r->at[r->n];
    if (r->n == RULES_MAX)
        return err_set(e, E_RANGE, "more than %d rules", RULES_MAX);
    if (n == 0 || n > NAME_MAX_BYTES ||
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != n)
        return err_set(e, E_FORMAT, "a rule's name is 1 to %d of a-z 0-9 - _ .", NAME_MAX_BYTES);
    for (int i = 0; i < r->n; i++)
        if (strcmp(r->at[i].name, name) == 0)
            return err_set(e, E_CONFLICT, "there is a rule %s already", name);
    x->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &code, &at,
                            NULL);
    if (!x->code) {
        PCRE2_UCHAR why[120] = "";
        pcre2_get_error_message(code, why, sizeof why);
        return err_set(e, E_FORMAT, "the pattern of %s: %s at byte %zu", name, (const char *)why,
                       (size_t)at);
    }
    memcpy(x->name, name, n + 1);
    x->replacement = mem_strdup(replacement);
    r->n++;
    return x->replacement ? 0 : err_set(e, E_NOMEM, "no memory for the rule %s", name);
}

static int add_defaults(struct chat_rules *r, struct err *e)
{
    static const struct { const char *name, *pattern, *replacement; } rules[] = {
#define RULE(name, pattern, replacement) {name, pattern, replacement},
#include "models/text/chat/rules.def"
#undef RULE
    };
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(rules) && !rc; i++)
        rc = add(r, rules[i].name, rules[i].pattern, rules[i].replacement, e);
    return rc;
}

/* One line, without its end; it is changed. */
static int read_line(struct chat_rules *r, char *line, struct err *e)
{
    if (!*line || *line == '#')
        return 0;
    if (strcmp(line, "default") == 0)
        return add_defaults(r, e);
    char *pattern = strchr(line, '\t');
    if (!pattern)
        return err_set(e, E_FORMAT, "a name, a tab and a pattern are expected");
    *pattern++ = '\0';
    char *replacement = strchr(pattern, '\t');
    if (replacement)
        *replacement++ = '\0';
    return add(r, line, pattern, replacement ? replacement : "", e);
}

/* text: [n], and a byte behind it; it is changed. */
static int read_lines(struct chat_rules *r, const char *path, char *text, size_t n, struct err *e)
{
    int rc = 0, number = 1;
    char *at = text, *stop = text + n;
    for (; !rc && at < stop; number++) {
        char *end = memchr(at, '\n', (size_t)(stop - at));
        end = end ? end : stop;
        *end = '\0';
        if (end > at && end[-1] == '\r')
            end[-1] = '\0';
        rc = read_line(r, at, e);
        if (rc)
            err_wrap(e, "prompt-rules: %s, line %d", path, number);
        at = end + 1;
    }
    return rc;
}

static int no_memory(struct err *e) { return err_set(e, E_NOMEM, "no memory for prompt rules"); }

int chat_rules_parse(struct chat_rules **out, const char *text, size_t n, const char *path,
                     struct err *e)
{
    *out = NULL;
    if (n > LIMIT_CHAT_RULES_BYTES)
        return err_set(e, E_RANGE, "prompt-rules: %s has %zu bytes, at most %zu", path, n,
                       (size_t)LIMIT_CHAT_RULES_BYTES);
    if (n && memchr(text, '\0', n))
        return err_set(e, E_FORMAT, "prompt-rules: %s has a zero character", path);
    struct chat_rules *r = mem_zalloc(sizeof *r);
    char *copy = mem_zalloc(n + 1); /* the last line may have no end */
    if (copy && n)
        memcpy(copy, text, n);
    int rc = r && copy ? read_lines(r, path, copy, n, e) : no_memory(e);
    mem_free(copy);
    if (rc)
        chat_rules_close(r);
    else
        *out = r;
    return rc;
}

int chat_rules_open(struct chat_rules **out, const char *setting, struct err *e)
{
    struct buf text;
    *out = NULL;
    if (strcmp(setting, "none") == 0)
        return 0;
    if (strcmp(setting, "default") == 0)
        return chat_rules_parse(out, setting, strlen(setting), setting, e);
    buf_init(&text, LIMIT_CHAT_RULES_BYTES);
    int rc = file_read(setting, &text, e);
    if (!rc)
        rc = chat_rules_parse(out, text.p, text.len, setting, e);
    buf_free(&text);
    return rc;
}

void chat_rules_close(struct chat_rules *r)
{
    if (!r)
        return;
    for (int i = 0; i < RULES_MAX; i++) {
        pcre2_code_free(r->at[i].code);
        mem_free(r->at[i].replacement);
    }
    mem_free(r);
}

/* ---- applying ----------------------------------------------------------------------------- */

static void count(uint64_t *counter) { __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED); }

/* The text as the rule leaves it, [*n], or NULL: nothing changed. */
static char *replaced(struct rule *x, pcre2_match_context *limits, const char *text, size_t *n)
{
    uint32_t how = PCRE2_SUBSTITUTE_GLOBAL | PCRE2_SUBSTITUTE_EXTENDED |
                   PCRE2_SUBSTITUTE_OVERFLOW_LENGTH;
    PCRE2_SIZE room = *n + 1;
    char *out = mem_zalloc(room);
    int rc = PCRE2_ERROR_NOMEMORY;
    for (int round = 0; round < 2 && out && rc == PCRE2_ERROR_NOMEMORY; round++) {
        if (round && room > 2 * TEXT_MAX_BYTES)
            break;
        if (round) {
            mem_free(out);
            out = mem_zalloc(room);
        }
        if (out)
            rc = pcre2_substitute(x->code, (PCRE2_SPTR)text, *n, 0, how, NULL, limits,
                                  (PCRE2_SPTR)x->replacement, PCRE2_ZERO_TERMINATED,
                                  (PCRE2_UCHAR *)out, &room);
    }
    if (rc > 0) {
        *n = room;
        return out;
    }
    mem_free(out);
    if (rc < 0)
        count(&x->failed);
    return NULL;
}

/* Every rule on one string value. */
static uint32_t apply(struct chat_rules *r, pcre2_match_context *limits, json_t *v)
{
    uint32_t bits = 0;
    for (int i = 0; i < r->n && json_string_length(v) <= TEXT_MAX_BYTES; i++) {
        size_t n = json_string_length(v), before = n;
        char *text = replaced(&r->at[i], limits, json_string_value(v), &n);
        if (text && (n != before || memcmp(text, json_string_value(v), n) != 0)) {
            if (json_string_setn(v, text, n) == 0) {
                bits |= UINT32_C(1) << i;
            } else {
                count(&r->at[i].failed); /* not UTF-8, or no memory */
            }
        }
        mem_free(text);
    }
    return bits;
}

static uint32_t apply_message(struct chat_rules *r, pcre2_match_context *limits, json_t *m)
{
    const char *role = json_string_value(json_object_get(m, "role"));
    json_t *content = json_object_get(m, "content");
    uint32_t bits = 0;
    if (!role || (strcmp(role, "system") != 0 && strcmp(role, "developer") != 0))
        return 0;
    if (json_is_string(content))
        return apply(r, limits, content);
    for (size_t i = 0; i < json_array_size(content); i++) {
        json_t *text = json_object_get(json_array_get(content, i), "text");
        if (json_is_string(text))
            bits |= apply(r, limits, text);
    }
    return bits;
}

uint32_t chat_rules_apply(struct chat_rules *r, json_t *messages)
{
    uint32_t all = 0;
    pcre2_match_context *limits = r ? pcre2_match_context_create(NULL) : NULL;
    if (!limits)
        return 0;
    pcre2_set_match_limit(limits, MATCH_LIMIT);
    pcre2_set_heap_limit(limits, MATCH_HEAP_KIB);
    for (size_t i = 0; i < json_array_size(messages); i++) {
        uint32_t bits = apply_message(r, limits, json_array_get(messages, i));
        for (int k = 0; k < r->n; k++)
            if (bits >> k & 1)
                count(&r->at[k].applied);
        all |= bits;
    }
    pcre2_match_context_free(limits);
    return all;
}

int chat_rules_count(const struct chat_rules *r) { return r ? r->n : 0; }
const char *chat_rules_name(const struct chat_rules *r, int i) { return r->at[i].name; }

uint64_t chat_rules_applied(const struct chat_rules *r, int i)
{
    return __atomic_load_n(&r->at[i].applied, __ATOMIC_RELAXED);
}

uint64_t chat_rules_failed(const struct chat_rules *r, int i)
{
    return __atomic_load_n(&r->at[i].failed, __ATOMIC_RELAXED);
}
