/* Rotary embeddings as production configs describe them: part of a head, other bases, and the
 * published ways to stretch them. Thread: loading.
 *
 * A config has an object rope_parameters, or, in older files, rope_theta, partial_rotary_factor and
 * an object rope_scaling. */
#include "models/build/build_int.h"

/* Where keys are looked for: the newer object, the older one, the config itself. */
struct source { struct build *b; const struct config *p, *s; };

static double number(const struct source *s, const char *key, double dflt)
{
    double x = s->s ? config_num(s->s, key, dflt, s->b->err) : dflt;
    return s->p ? config_num(s->p, key, x, s->b->err) : x;
}

static bool has(const struct source *s, const char *key)
{
    return (s->p && config_has(s->p, key)) || (s->s && config_has(s->s, key));
}

static double positions(const struct source *s)
{
    double most = config_num(cfg(s->b), "max_position_embeddings", 4096, s->b->err);
    most = config_num(cfg(s->b), "original_max_position_embeddings", most, s->b->err);
    return number(s, "original_max_position_embeddings", most);
}

static void stretch_linear(const struct source *s, struct rope *r)
{
    double by = number(s, "factor", 1);
    for (int i = 0; i < r->rot / 2 && b_require(s->b, by > 0, "rope factor %g", by); i++)
        r->inv[i] = (float)(r->inv[i] / by);
}

/* Long waves are stretched, short ones kept, those between mixed. */
static void stretch_llama3(const struct source *s, struct rope *r)
{
    double by = number(s, "factor", 8), low = number(s, "low_freq_factor", 1);
    double high = number(s, "high_freq_factor", 4), most = positions(s);
    if (!b_require(s->b, by > 0 && low > 0 && high > low && most > 0,
                   "rope llama3: factor %g, low_freq_factor %g, high_freq_factor %g", by, low,
                   high))
        return;
    for (int i = 0; i < r->rot / 2; i++) {
        double turns = most * r->inv[i] / (2 * M_PI);
        double keep = fmin(1, fmax(0, (turns - low) / (high - low)));
        r->inv[i] = (float)(r->inv[i] * (keep + (1 - keep) / by));
    }
}

static double yarn_magnitude(double by, double m)
{
    return by <= 1 ? 1 : 0.1 * m * log(by) + 1;
}

/* The pair (as a real number) that turns `turns` times over the trained length. */
static double yarn_pair(double turns, int rot, double theta, double most)
{
    return rot * log(most / (turns * 2 * M_PI)) / (2 * log(theta));
}

static void stretch_yarn(const struct source *s, struct rope *r, double theta)
{
    double by = number(s, "factor", 1), most = positions(s);
    double m = number(s, "mscale", 0), all = number(s, "mscale_all_dim", 0);
    double low = yarn_pair(number(s, "beta_fast", 32), r->rot, theta, most);
    double high = yarn_pair(number(s, "beta_slow", 1), r->rot, theta, most);
    bool cut = s->p ? config_bool(s->p, "truncate", true, s->b->err)
                    : config_bool(s->s, "truncate", true, s->b->err);
    if (!b_require(s->b, by > 0 && theta > 1 && most > 0, "rope yarn: factor %g, theta %g", by,
                   theta))
        return;
    low = fmax(0, cut ? floor(low) : low);
    high = fmin(r->rot - 1, cut ? ceil(high) : high);
    high += high == low ? 0.001 : 0; /* as published: no division by zero */
    for (int i = 0; i < r->rot / 2; i++) {
        double slow = fmin(1, fmax(0, (i - low) / (high - low)));
        r->inv[i] = (float)(r->inv[i] * (1 - slow + slow / by));
    }
    double scale = m != 0 && all != 0 ? yarn_magnitude(by, m) / yarn_magnitude(by, all)
                                      : yarn_magnitude(by, 1);
    r->scale = (float)number(s, "attention_factor", scale);
}

/* Below the trained length, `dynamic` stretches nothing; beyond it, every further token would turn
 * what is stored already. */
static void stretch_dynamic(const struct source *s)
{
    double most = positions(s);
    (void)number(s, "factor", 1);
    if (b_require(s->b, most >= 1 && most <= INT32_MAX, "rope dynamic: %g trained positions", most))
        b_context_max(s->b, (int64_t)most);
}

/* Every pair has its own factor. The table for longer texts would likewise turn what is stored. */
static void stretch_longrope(const struct source *s, struct rope *r)
{
    const struct config *c = s->p && config_has(s->p, "short_factor") ? s->p : s->s;
    double whole = config_num(cfg(s->b), "max_position_embeddings", 4096, s->b->err);
    double most = positions(s), by = number(s, "factor", whole / most);
    int64_t n = c ? config_len(c, "short_factor") : -1;
    (void)has(s, "long_factor");
    if (!b_require(s->b, n == r->rot / 2, "rope longrope: short_factor has %lld numbers for %d "
                   "pairs of columns", (long long)n, r->rot / 2) ||
        !b_require(s->b, most > 1 && most <= INT32_MAX && by > 0, "rope longrope: %g trained "
                   "positions, factor %g", most, by))
        return;
    for (int i = 0; i < r->rot / 2; i++) {
        double each = config_num_at(c, "short_factor", i, 1, s->b->err);
        b_require(s->b, each > 0, "rope longrope: short_factor[%d] is %g", i, each);
        r->inv[i] = (float)(r->inv[i] / fmax(each, 1e-9));
    }
    double scale = by <= 1 ? 1 : sqrt(1 + log(by) / log(most));
    r->scale = (float)number(s, "attention_factor", scale);
    b_context_max(s->b, (int64_t)most);
}

/* Part of the pairs turn, by what the whole head's width says. */
static void stretch_proportional(const struct source *s, struct rope *r, double theta)
{
    double by = number(s, "factor", 1);
    int turning = r->rot / 2;
    if (!b_require(s->b, by > 0, "rope factor %g", by))
        return;
    r->rot = r->head;
    for (int i = 0; i < r->rot / 2 && i < ROPE_PAIRS; i++)
        r->inv[i] = i < turning ? (float)(pow(theta, -2.0 * i / r->head) / by) : 0;
}

static void stretch(const struct source *s, struct rope *r, double theta, const char *kind)
{
    const struct config *c = s->p ? s->p : s->s;
    const char *type = c ? config_str(c, "type", kind, s->b->err) : kind;
    type = c ? config_str(c, "rope_type", type, s->b->err) : type;
    if (!strcmp(type, "linear"))
        stretch_linear(s, r);
    else if (!strcmp(type, "llama3"))
        stretch_llama3(s, r);
    else if (!strcmp(type, "yarn"))
        stretch_yarn(s, r, theta);
    else if (!strcmp(type, "dynamic"))
        stretch_dynamic(s);
    else if (!strcmp(type, "longrope") || !strcmp(type, "su"))
        stretch_longrope(s, r);
    else if (!strcmp(type, "proportional"))
        stretch_proportional(s, r, theta);
    else if (strcmp(type, "default") && strcmp(type, "mrope"))
        b_fail(s->b, E_UNSUPPORTED, "config.json: rope_type \"%s\" is not supported, only default, "
               "mrope, linear, llama3, yarn, dynamic, longrope and proportional", type);
}

static void read_rope(const struct source *s, struct rope *r, int head, double theta,
                      double partial, const char *kind)
{
    struct build *b = s->b;
    theta = number(s, "rope_theta", theta);
    partial = number(s, "partial_rotary_factor", partial);
    *r = (struct rope){.head = head, .rot = (int)(head * partial), .scale = 1};
    if (!b_require(b, theta > 0 && r->rot >= 0 && head % 2 == 0 &&
                          r->rot <= MIN(head, 2 * ROPE_PAIRS) && r->rot % 2 == 0,
                   "rope: %g of a head of %d turns, theta %g", partial, head, theta)) {
        r->rot = 0;
        return;
    }
    for (int i = 0; i < r->rot / 2; i++)
        r->inv[i] = (float)pow(theta, -2.0 * i / r->rot);
    stretch(s, r, theta, kind);
    /* text positions are equal in all three sections, so how they are dealt out is irrelevant */
    (void)has(s, "mrope_section");
    (void)has(s, "mrope_interleaved");
    (void)has(s, "original_max_position_embeddings");
    b_leave_unread(b, s->p, "rope_parameters.");
    b_leave_unread(b, s->s, "rope_scaling.");
}

void b_rope_read(struct build *b, struct rope *r, int head, double theta, double partial)
{
    struct source s = {b, config_obj(cfg(b), "rope_parameters", b->err),
                       config_obj(cfg(b), "rope_scaling", b->err)};
    read_rope(&s, r, head, cfg_num(b, "rope_theta", theta),
              cfg_num(b, "partial_rotary_factor", partial), "default");
}

void b_rope_read_of(struct build *b, struct rope *r, const char *layers, int head, double theta,
                    double partial, const char *kind)
{
    const struct config *all = config_obj(cfg(b), "rope_parameters", b->err);
    struct source s = {b, all ? config_obj(all, layers, b->err) : NULL, NULL};
    read_rope(&s, r, head, theta, s.p ? 1 : partial, s.p ? "default" : kind);
}

val b_rotary(struct build *b, val x, const struct rope *r)
{
    if (!r || r->rot == 0)
        return x;
    x = b_rope_with(b, x, r->head, r->rot, r->inv, r->interleaved, r->scale);
    if (!b_failed(b))
        b->plan->ops[b->plan->n_ops - 1].p.rope.back = r->back;
    return x;
}
