/* The components of a tokenizer.json that change and cut texts -> steps. Every one is either
 * understood or refused by name: a tokenizer that almost fits gives wrong text without a word.
 * Thread: the loading one. */
#include "models/text/bpe_load.h"

#include <stdio.h>
#include <string.h>

#define SPACE_MARK "\xe2\x96\x81"
/* GPT-2's words: contractions, a space and letters, digits, the rest, white space. */
#define GPT2_PATTERN \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

const char *bpe_str(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

bool bpe_flag(const json_t *o, const char *key, bool dflt)
{
    const json_t *v = json_object_get(o, key);
    return json_is_boolean(v) ? json_is_true(v) : dflt;
}

int bpe_unsupported(const struct bpe_load *l, const char *what, const char *name)
{
    return err_set(l->e, E_UNSUPPORTED, "%s: %s %.60s is not supported", l->t->path, what,
                   name[0] ? name : "(unnamed)");
}

/* One component, a list of them, or null. */
int bpe_each(struct bpe_load *l, const json_t *o, const char *list,
             int (*one)(struct bpe_load *, const json_t *))
{
    if (!o || json_is_null(o))
        return 0;
    if (strcmp(bpe_str(o, "type"), "Sequence") != 0)
        return one(l, o);
    const json_t *parts = json_object_get(o, list);
    for (size_t i = 0; i < json_array_size(parts); i++) {
        int rc = bpe_each(l, json_array_get(parts, i), list, one); /* JSON depth bounds it */
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- steps ------------------------------------------------------------------------------ */

static struct step *split_step(struct bpe_load *l, struct steps *s, const char *pattern,
                               bool literal, enum split_behavior behavior)
{
    struct step *step = steps_add(s, STEP_SPLIT, l->t->path, l->e);
    if (step)
        step->behavior = behavior;
    return step && step_compile(step, pattern, literal, l->t->path, l->e) == 0
               ? step : NULL;
}

static int step_text(struct bpe_load *l, struct step *step, const char *text)
{
    if (step && strlen(text) >= sizeof step->text)
        return err_set(l->e, E_UNSUPPORTED, "%s: a replacement of %zu bytes, at most %zu are "
                       "supported", l->t->path, strlen(text), sizeof step->text - 1);
    if (step)
        snprintf(step->text, sizeof step->text, "%s", text);
    return l->e->code;
}

static int replace_step(struct bpe_load *l, struct steps *s, const char *pattern, bool literal,
                        const char *text)
{
    struct step *step = steps_add(s, STEP_REPLACE, l->t->path, l->e);
    if (step && step_compile(step, pattern, literal, l->t->path, l->e) == 0)
        step_text(l, step, text);
    return l->e->code;
}

static int prepend_step(struct bpe_load *l, struct steps *s, const char *text,
                        enum prepend_when when)
{
    struct step *step = steps_add(s, STEP_PREPEND, l->t->path, l->e);
    if (step)
        step->when = when;
    return step_text(l, step, text);
}

/* {"String": …} or {"Regex": …}. */
static const char *pattern_of(const json_t *o, bool *literal)
{
    const json_t *p = json_object_get(o, "pattern");
    *literal = json_object_get(p, "String") != NULL;
    return bpe_str(p, *literal ? "String" : "Regex");
}

int bpe_normalizer(struct bpe_load *l, const json_t *o)
{
    static const struct { const char *name; enum unicode_form form; } forms[] = {
        {"NFC", UNICODE_NFC}, {"NFD", UNICODE_NFD}, {"NFKC", UNICODE_NFKC}, {"NFKD", UNICODE_NFKD}};
    struct steps *s = &l->b->normalizer;
    const char *type = bpe_str(o, "type");
    bool literal;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        if (strcmp(type, forms[i].name) == 0) {
            struct step *step = steps_add(s, STEP_UNICODE, l->t->path, l->e);
            if (step)
                step->form = forms[i].form;
            return l->e->code;
        }
    if (strcmp(type, "Prepend") == 0)
        return prepend_step(l, s, bpe_str(o, "prepend"), PREPEND_ALWAYS);
    if (strcmp(type, "Replace") == 0) {
        const char *pattern = pattern_of(o, &literal);
        return replace_step(l, s, pattern, literal, bpe_str(o, "content"));
    }
    return bpe_unsupported(l, "normalizer", type);
}

static int split(struct bpe_load *l, const json_t *o)
{
    static const struct { const char *name; enum split_behavior behavior; } behaviors[] = {
        {"Removed", SPLIT_REMOVED}, {"Isolated", SPLIT_ISOLATED},
        {"MergedWithPrevious", SPLIT_WITH_PREVIOUS}, {"MergedWithNext", SPLIT_WITH_NEXT},
        {"Contiguous", SPLIT_CONTIGUOUS}};
    bool literal, punctuation = strcmp(bpe_str(o, "type"), "Punctuation") == 0;
    const char *pattern = pattern_of(o, &literal), *name = bpe_str(o, "behavior");
    if (punctuation) {
        pattern = "[\\p{P}$+<=>^`|~]"; /* Unicode's, and what ASCII counts besides */
        name = name[0] ? name : "Isolated";
    }
    for (size_t i = 0; i < ARRAY_LEN(behaviors); i++)
        if (strcmp(name, behaviors[i].name) == 0) {
            struct step *step =
                split_step(l, &l->b->splitter, pattern, literal, behaviors[i].behavior);
            if (step)
                step->invert = bpe_flag(o, "invert", false);
            return l->e->code;
        }
    return bpe_unsupported(l, "split behavior", name);
}

static int byte_level(struct bpe_load *l, const json_t *o)
{
    struct steps *s = &l->b->splitter;
    l->byte_level = true;
    if (bpe_flag(o, "add_prefix_space", true))
        prepend_step(l, s, " ", PREPEND_UNLESS_THERE);
    if (bpe_flag(o, "use_regex", true))
        split_step(l, s, GPT2_PATTERN, false, SPLIT_ISOLATED);
    steps_add(s, STEP_BYTES, l->t->path, l->e);
    return l->e->code;
}

static int metaspace(struct bpe_load *l, const json_t *o)
{
    struct steps *s = &l->b->splitter;
    const char *mark = bpe_str(o, "replacement"), *scheme = bpe_str(o, "prepend_scheme");
    l->marked = true;
    if (!scheme[0]) /* as older files say it */
        scheme = bpe_flag(o, "add_prefix_space", true) ? "always" : "never";
    replace_step(l, s, " ", true, mark);
    if (strcmp(scheme, "always") == 0)
        prepend_step(l, s, mark, PREPEND_UNLESS_THERE);
    else if (strcmp(scheme, "first") == 0)
        prepend_step(l, s, mark, PREPEND_FIRST);
    else if (strcmp(scheme, "never") != 0)
        return bpe_unsupported(l, "prepend_scheme", scheme);
    if (bpe_flag(o, "split", true))
        split_step(l, s, mark, true, SPLIT_WITH_NEXT);
    return l->e->code;
}

int bpe_pre_tokenizer(struct bpe_load *l, const json_t *o)
{
    const char *type = bpe_str(o, "type");
    struct steps *s = &l->b->splitter;
    if (strcmp(type, "Split") == 0 || strcmp(type, "Punctuation") == 0)
        return split(l, o);
    if (strcmp(type, "ByteLevel") == 0)
        return byte_level(l, o);
    if (strcmp(type, "Metaspace") == 0)
        return metaspace(l, o);
    if (strcmp(type, "Digits") == 0)
        split_step(l, s, bpe_flag(o, "individual_digits", false) ? "\\p{N}" : "\\p{N}+", false,
                   SPLIT_ISOLATED);
    else if (strcmp(type, "Whitespace") == 0 &&
             split_step(l, s, "\\s+", false, SPLIT_REMOVED)) /* then words and the rest */
        split_step(l, s, "\\w+", false, SPLIT_ISOLATED);
    else if (strcmp(type, "WhitespaceSplit") == 0)
        split_step(l, s, "\\s", false, SPLIT_REMOVED);
    else if (l->e->code == 0)
        return bpe_unsupported(l, "pre_tokenizer", type);
    return l->e->code;
}

/* What decoding undoes tells how the vocabulary writes its bytes. */
int bpe_decoder(struct bpe_load *l, const json_t *o)
{
    static const char *harmless[] = {"ByteFallback", "Fuse", "Strip"};
    const char *type = bpe_str(o, "type");
    bool literal;
    if (strcmp(type, "ByteLevel") == 0)
        l->byte_level = true;
    else if (strcmp(type, "Metaspace") == 0)
        l->marked = true;
    else if (strcmp(type, "Replace") == 0 && strcmp(pattern_of(o, &literal), SPACE_MARK) == 0 &&
             strcmp(bpe_str(o, "content"), " ") == 0)
        l->marked = true;
    else {
        for (size_t i = 0; i < ARRAY_LEN(harmless); i++)
            if (strcmp(type, harmless[i]) == 0)
                return 0;
        return bpe_unsupported(l, "decoder", type);
    }
    return 0;
}

