/* samplers: which of llama.cpp's samplers are applied, and in which order. Which ones is honoured:
 * what is not named is off. The order is fixed (scheduler/choice.h); another one is refused where
 * it would change the answer. Thread: any. */
#include <string.h>

#include "server/api/params_int.h"

/* In the order of choice.h. */
enum which { PENALTIES, DRY, TOP_N_SIGMA, TEMPERATURE, MIN_P, TOP_K, TOP_P, TYPICAL, XTC, KINDS };

static const struct { const char *name; char letter; enum which which; } names[] = {
    {"penalties", 'e', PENALTIES},     {"dry", 'd', DRY},
    {"top_n_sigma", 's', TOP_N_SIGMA}, {"temperature", 't', TEMPERATURE},
    {"min_p", 'm', MIN_P},             {"top_k", 'k', TOP_K},
    {"top_p", 'p', TOP_P},             {"typ_p", 'y', TYPICAL},
    {"xtc", 'x', XTC},                 {"typical_p", 'y', TYPICAL},
    {"temp", 't', TEMPERATURE},        {"top-k", 'k', TOP_K},
    {"top-p", 'p', TOP_P},             {"min-p", 'm', MIN_P},
    {"typical", 'y', TYPICAL},         {"typ-p", 'y', TYPICAL},
};

static const char *name_of(enum which w)
{
    size_t i = 0;
    while (names[i].which != w)
        i++;
    return names[i].name;
}

static bool is_on(const struct sampling *s, enum which w)
{
    switch (w) {
    case PENALTIES:
        return s->repetition_penalty != 1 || s->presence_penalty != 0 ||
               s->frequency_penalty != 0;
    case DRY: return s->dry_multiplier > 0;
    case TOP_N_SIGMA: return s->top_n_sigma > 0;
    case TEMPERATURE: return s->temperature != 1 || s->dynatemp_range > 0;
    case MIN_P: return s->min_p > 0;
    case TOP_K: return s->top_k > 0;
    case TOP_P: return s->top_p < 1;
    case TYPICAL: return s->typical_p > 0 && s->typical_p < 1;
    case XTC: return s->xtc_probability > 0;
    case KINDS: break;
    }
    return false;
}

static void turn_off(struct sampling *s, enum which w)
{
    switch (w) {
    case PENALTIES:
        s->repetition_penalty = 1;
        s->presence_penalty = s->frequency_penalty = 0;
        break;
    case DRY: s->dry_multiplier = 0; break;
    case TOP_N_SIGMA: s->top_n_sigma = 0; break;
    case TEMPERATURE:
        s->temperature = 1;
        s->dynatemp_range = 0;
        break;
    case MIN_P: s->min_p = 0; break;
    case TOP_K: s->top_k = 0; break;
    case TOP_P: s->top_p = 1; break;
    case TYPICAL: s->typical_p = 1; break;
    case XTC: s->xtc_probability = 0; break;
    case KINDS: break;
    }
}

/* What a sampler's place is, with these parameters: one behind all others makes the temperature
 * dynamic. */
static int place(const struct sampling *s, enum which w)
{
    return w == TEMPERATURE && s->dynatemp_range > 0 ? KINDS : (int)w;
}

/* Whether the two give the same in either order: each cut by the order of the logits alone, or the
 * likeliest token is what is taken, which no cut removes. */
static bool commute(const struct sampling *s, enum which a, enum which b)
{
    bool greedy = s->temperature < 1e-5F && s->dynatemp_range <= 0 && a >= TOP_N_SIGMA &&
                  b >= TOP_N_SIGMA && a != XTC && b != XTC;
    return greedy || (a == MIN_P && b == TOP_K) || (a == TOP_K && b == MIN_P);
}

/* The names one by one, or each as a letter, as llama.cpp has both. */
static int read_names(const json_t *v, enum which *out, int *n, struct err *e)
{
    bool letters = json_is_string(v);
    size_t all = letters ? json_string_length(v) : json_array_size(v);
    if (!letters && !json_is_array(v))
        return err_field(e, E_FORMAT, "samplers", "samplers: %s was sent, an array of names is "
                         "expected", jsonin_kind(v));
    for (size_t i = 0; i < all; i++) {
        const json_t *one = letters ? v : json_array_get(v, i);
        const char *s = json_string_value(one);
        size_t k = 0;
        while (s && k < ARRAY_LEN(names) &&
               (letters ? names[k].letter != s[i] : strcmp(names[k].name, s) != 0))
            k++;
        if (!s || k == ARRAY_LEN(names))
            return err_field(e, E_UNSUPPORTED, "samplers", "samplers: %s%.*s is none of penalties, "
                             "dry, top_n_sigma, top_k, typ_p, top_p, min_p, xtc, temperature",
                             s ? "" : jsonin_kind(one), letters ? 1 : 40,
                             s ? letters ? s + i : s : "");
        for (int j = 0; j < *n; j++)
            if (out[j] == names[k].which)
                return err_field(e, E_CONFLICT, "samplers", "samplers: \"%s\" is named twice",
                                 name_of(out[j]));
        out[(*n)++] = names[k].which;
    }
    return 0;
}

int params_order(struct sampling *s, const json_t *o, struct err *e)
{
    const json_t *v = jsonin_get(o, "samplers");
    enum which order[KINDS];
    bool named[KINDS] = {0};
    int n = 0;
    if (!v || (json_is_array(v) && !json_array_size(v)) || s->mirostat)
        return 0; /* with mirostat they have no part, there as here */
    if (read_names(v, order, &n, e))
        return e->code;
    for (int i = 0; i < n; i++)
        named[order[i]] = true;
    for (int w = 0; w < KINDS; w++)
        if (!named[w])
            turn_off(s, (enum which)w);
    for (int i = 0; i < n; i++)
        for (int k = i + 1; k < n; k++)
            if (is_on(s, order[i]) && is_on(s, order[k]) && !commute(s, order[i], order[k]) &&
                place(s, order[i]) > place(s, order[k]))
                return err_field(e, E_UNSUPPORTED, "samplers", "samplers: \"%s\" before \"%s\"; "
                                 "here it is applied behind, and both are on", name_of(order[i]),
                                 name_of(order[k]));
    return 0;
}
