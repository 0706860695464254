/* The command line: one table, then what its texts mean. Thread: main. */
#include "base/usage.h"
#include "base/version.h"
#include "programs/recurd-bench/args.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { STR, LIST, FLAG, INT, REAL };

struct row {
    const char *section; /* non-NULL: a heading, nothing else */
    const char *field;
    enum kind kind;
    size_t at;
    const char *meta, *help;
};

static const struct row rows[] = {
#define SECTION(title) {.section = title},
#define ARG(f, k, def, m, h) \
    {.field = #f, .kind = k, .at = offsetof(struct args, f), .meta = m, .help = h},
#include "programs/recurd-bench/args.def"
#undef ARG
#undef SECTION
};

static const char *const slo_names[] = {"ttft", "ttst", "itl", "tpot", "e2e"};
_Static_assert(ARRAY_LEN(slo_names) == SLO_METRICS, "one name each");

const char *args_slo_name(enum slo_metric m)
{
    return slo_names[m];
}

static void defaults(struct args *a)
{
    memset(a, 0, sizeof *a);
#define DEF_STR(f, d) a->f = d;
#define DEF_LIST(f, d) a->f.n = d;
#define DEF_FLAG(f, d) a->f = d;
#define DEF_INT(f, d) a->f = d;
#define DEF_REAL(f, d) a->f = d;
#define SECTION(title)
#define ARG(f, k, def, m, h) DEF_##k(f, def)
#include "programs/recurd-bench/args.def"
#undef ARG
#undef SECTION
}

static void flag_name(const char *field, char out[32])
{
    size_t i = 0;
    for (; field[i] && i < 31; i++)
        out[i] = field[i] == '_' ? '-' : field[i];
    out[i] = 0;
}

/* The help text, wrapped at 96 columns under its option. */
static void print_help(void)
{
    puts("recurd-bench: a load client for OpenAI-compatible servers\n\n"
         "  recurd-bench [OPTION]...                     runs a load and reports\n"
         "  recurd-bench report [--html FILE] [--markdown FILE] [--title TEXT] RESULT.json...\n"
         "                                               one report of several results");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        if (r->section) {
            printf("\n%s\n", r->section);
            continue;
        }
        char name[32], head[64];
        flag_name(r->field, name);
        snprintf(head, sizeof head, "  --%s%s%s ", name, r->meta ? " " : "",
                 r->meta ? r->meta : "");
        usage_line(stdout, head, r->help, 27, 96);
    }
}

static const struct row *find(const char *flag, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char name[32];
        if (rows[i].section)
            continue;
        flag_name(rows[i].field, name);
        if (strlen(name) == n && !memcmp(name, flag, n))
            return &rows[i];
    }
    return NULL;
}

static int set(struct args *a, const struct row *r, const char *v, struct err *e)
{
    char *field = (char *)a + r->at, *end = NULL;
    errno = 0;
    switch (r->kind) {
    case FLAG:
        *(bool *)field = true;
        return 0;
    case STR:
        *(const char **)field = v;
        return 0;
    case LIST: {
        struct arg_list *l = (struct arg_list *)field;
        if (l->n == ARGS_LIST)
            return err_set(e, E_RANGE, "--%s was given more than %d times", r->field, ARGS_LIST);
        l->v[l->n++] = v;
        return 0;
    }
    case INT: {
        long long x = strtoll(v, &end, 10);
        if (end == v || *end || errno || x < -1 || x > INT64_C(1000000000000))
            return err_set(e, E_FORMAT, "--%s: \"%.40s\" is not a whole number of at least -1",
                           r->field, v);
        *(int64_t *)field = x;
        return 0;
    }
    case REAL: {
        double x = strtod(v, &end);
        if (end == v || *end || isnan(x) || x < 0)
            return err_set(e, E_FORMAT, "--%s: \"%.40s\" is not a number of at least 0", r->field,
                           v);
        *(double *)field = x;
        return 0;
    }
    }
    return 0;
}

static int parse_url(struct args *a, struct err *e)
{
    const char *s = a->url;
    if (!strncmp(s, "https://", 8))
        return err_set(e, E_UNSUPPORTED, "%.60s: TLS is not supported; put a local proxy before "
                       "the server", s);
    if (!strncmp(s, "http://", 7))
        s += 7;
    size_t n;
    const char *port = "80";
    if (*s == '[') { /* IPv6 literal */
        s++;
        n = strcspn(s, "]/");
        if (s[n] != ']')
            return err_set(e, E_FORMAT, "--url %.100s has no closing bracket", a->url);
    } else {
        n = strcspn(s, ":/");
    }
    if (!n || n >= sizeof a->host)
        return err_set(e, E_FORMAT, "--url %.100s names no host", a->url);
    memcpy(a->host, s, n);
    s += n + (s[n] == ']');
    size_t port_n = 2;
    if (*s == ':') {
        port = ++s;
        port_n = strcspn(s, "/");
        s += port_n;
        if (!port_n || port_n > 5 || strspn(port, "0123456789") != port_n)
            return err_set(e, E_FORMAT, "--url %.100s: the port is not a number", a->url);
    }
    memcpy(a->port, port, port_n);
    n = strlen(s);
    while (n && s[n - 1] == '/')
        n--;
    /* People paste the base URL of OpenAI clients, which ends in /v1. */
    if (n >= 3 && !memcmp(s + n - 3, "/v1", 3))
        n -= 3;
    if (n >= sizeof a->base || (n && *s != '/'))
        return err_set(e, E_FORMAT, "--url %.100s: not a path after the host", a->url);
    memcpy(a->base, s, n);
    for (const char *c = a->url; *c; c++)
        if ((unsigned char)*c <= ' ')
            return err_set(e, E_FORMAT, "--url contains a space or a control character");
    return 0;
}

static int choose(const char *flag, const char *v, const char *const *names, int n, struct err *e)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(v, names[i]))
            return i;
    return err_set(e, E_FORMAT, "--%s: \"%.40s\" is not one of its values; see --help", flag, v);
}

static int parse_slos(struct args *a, struct err *e)
{
    for (int i = 0; i < a->slo.n; i++) {
        const char *s = a->slo.v[i], *eq = strpbrk(s, "=:");
        int m = 0;
        while (eq && m < SLO_METRICS && (strlen(slo_names[m]) != (size_t)(eq - s) ||
                                         memcmp(slo_names[m], s, (size_t)(eq - s))))
            m++;
        char *end = NULL;
        double ms = eq ? strtod(eq + 1, &end) : 0;
        if (!eq || m == SLO_METRICS || *end || !(ms > 0) || isinf(ms))
            return err_set(e, E_FORMAT, "--slo: \"%.40s\" is not ttft=, ttst=, itl=, tpot= or e2e= "
                           "and milliseconds", s);
        a->slo_ms[m] = ms;
    }
    return 0;
}

static int parse_dists(struct args *a, struct err *e)
{
    if (dist_parse(a->input_tokens, &a->in_dist, e) ||
        dist_parse(a->output_tokens, &a->out_dist, e) ||
        dist_parse(a->turn_tokens ? a->turn_tokens : a->input_tokens, &a->later_dist, e) ||
        dist_parse(a->turns, &a->turns_dist, e) || dist_parse(a->think, &a->think_dist, e))
        return e->code;
    if (a->ramp && ramp_parse(a->ramp, &a->ramp_parsed, e))
        return e->code;
    int n = 0;
    if (sscanf(a->vocab, "%d:%d%n", &a->vocab_lo, &a->vocab_hi, &n) != 2 || a->vocab[n] ||
        a->vocab_lo < 0 || a->vocab_hi <= a->vocab_lo)
        return err_set(e, E_FORMAT, "--vocab: \"%.40s\" is not LOW:HIGH", a->vocab);
    if (a->extra_body) {
        json_error_t at;
        a->extra = json_loads(a->extra_body, JSON_REJECT_DUPLICATES, &at);
        if (!json_is_object(a->extra))
            return err_set(e, E_FORMAT, "--extra-body is not a JSON object: %.80s", at.text);
    }
    return 0;
}

static int check(struct args *a, struct err *e)
{
    static const char *const endpoints[] = {"completions", "chat"};
    static const char *const arrivals[] = {"poisson", "gamma", "constant"};
    static const char *const forms[] = {"ids", "text"};
    int chat = choose("endpoint", a->endpoint, endpoints, 2, e);
    int arrival = choose("arrival", a->arrival, arrivals, 3, e);
    int text = choose("prompt-as", a->prompt_as, forms, 2, e);
    if (chat < 0 || arrival < 0 || text < 0)
        return e->code;
    a->chat = chat == 1;
    a->arrivals = (enum arrival)arrival;
    a->text = text == 1 || a->chat;
    a->closed = a->concurrency > 0;
    if (a->idle > 0 || a->restart || a->fork > 0)
        a->session = true;
    if (!a->requests && !(a->duration > 0) && !a->trace)
        a->requests = 100; /* enough for a p99 to mean something, seconds on a small model */
    if ((a->idle > 0) + (a->restart != NULL) + (a->fork > 0) > 1)
        return err_set(e, E_CONFLICT, "--idle, --restart and --fork exclude each other");
    if (a->trace && (a->closed || a->ramp))
        return err_set(e, E_CONFLICT, "--trace excludes --concurrency and --ramp");
    if (!a->closed && !(a->rate > 0))
        return err_set(e, E_RANGE, "--rate must be above 0");
    if (a->cancel > 1)
        return err_set(e, E_RANGE, "--cancel %g is above 1", a->cancel);
    if (!(a->burstiness >= 0.01) || a->burstiness > 1e4)
        return err_set(e, E_RANGE, "--burstiness %g is not within 0.01 … 10000", a->burstiness);
    if (a->prefixes < 1 || a->concurrency < 0 || a->requests < 0 || a->max_concurrency < 0 ||
        a->fork < 0 || a->prefix_tokens < 0 || a->verify_rounds < 1 || a->warmup_requests < 0)
        return err_set(e, E_RANGE, "a count is below its smallest value");
    if (a->prefix_tokens > 10000000 || a->fork > 100000 || a->concurrency > 1000000)
        return err_set(e, E_RANGE, "--prefix-tokens, --fork or --concurrency is out of reason");
    if (!(a->timeout > 0) || a->timeout > 1e6 || a->drain > 1e6)
        return err_set(e, E_RANGE, "--timeout and --drain must be within 0 … 1000000 s");
    if (a->endpoint && a->metrics[0] != '/' && strcmp(a->metrics, "none"))
        return err_set(e, E_FORMAT, "--metrics: \"%.40s\" is neither a path nor none", a->metrics);
    for (int i = 0; i < a->header.n; i++)
        if (!strchr(a->header.v[i], ':') || strpbrk(a->header.v[i], "\r\n"))
            return err_set(e, E_FORMAT, "--header \"%.40s\" is not NAME: VALUE", a->header.v[i]);
    return 0;
}

int args_parse(struct args *a, int argc, char **argv, struct err *e)
{
    defaults(a);
    for (int i = 1; i < argc; i++) {
        const char *s = argv[i];
        if (!strcmp(s, "--help") || !strcmp(s, "-h")) {
            print_help();
            return 1;
        }
        if (!strcmp(s, "--version")) {
            printf("recurd-bench %s (%s)\n", version_number(), version_commit());
            return 1;
        }
        if (strncmp(s, "--", 2))
            return err_set(e, E_FORMAT, "\"%.60s\" is not an option; see --help", s);
        size_t n = strcspn(s + 2, "=");
        const struct row *r = find(s + 2, n);
        if (!r)
            return err_set(e, E_FORMAT, "there is no option \"%.60s\"; see --help", s);
        const char *v = s[2 + n] ? s + 3 + n : NULL;
        if (r->kind == FLAG && v)
            return err_set(e, E_FORMAT, "--%.*s takes no value", (int)n, s + 2);
        if (r->kind != FLAG && !v && i + 1 < argc)
            v = argv[++i];
        if (r->kind != FLAG && !v)
            return err_set(e, E_FORMAT, "--%.*s needs a value", (int)n, s + 2);
        if (set(a, r, v, e))
            return e->code;
        a->fixed_output |= r->at == offsetof(struct args, output_tokens);
    }
    if (!a->api_key)
        a->api_key = getenv("OPENAI_API_KEY");
    if (a->api_key && strpbrk(a->api_key, "\r\n"))
        return err_set(e, E_FORMAT, "the API key contains a line end");
    if (a->salt)
        for (const char *c = a->salt; *c; c++) /* FNV-1a: any text names a salt */
            a->salt_key = (a->salt_key ^ (unsigned char)*c) * UINT64_C(1099511628211);
    else
        rng_system(&a->salt_key, sizeof a->salt_key);
    a->salt_key &= (UINT64_C(1) << 53) - 1; /* exact in every JSON reader */
    if (parse_url(a, e) || parse_slos(a, e) || parse_dists(a, e) || check(a, e))
        return e->code;
    return 0;
}

void args_free(struct args *a)
{
    json_decref(a->extra);
    a->extra = NULL;
}

json_t *args_json(const struct args *a)
{
    json_t *o = json_object();
    for (size_t i = 0; o && i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        if (r->section || !strcmp(r->field, "api_key") || !strcmp(r->field, "header"))
            continue;
        const char *field = (const char *)a + r->at;
        json_t *v = NULL;
        switch (r->kind) {
        case STR: {
            const char *s = *(const char *const *)field;
            v = s ? json_string(s) : json_null();
            break;
        }
        case FLAG: v = json_boolean(*(const bool *)field); break;
        case INT: v = json_integer(*(const int64_t *)field); break;
        case REAL: {
            double x = *(const double *)field;
            v = isfinite(x) ? json_real(x) : json_string("inf");
            break;
        }
        case LIST: {
            const struct arg_list *l = (const struct arg_list *)field;
            v = json_array();
            for (int k = 0; v && k < l->n; k++)
                json_array_append_new(v, json_string(l->v[k]));
            break;
        }
        }
        json_object_set_new(o, r->field, v ? v : json_null());
    }
    json_object_set_new(o, "salt_key", json_integer((json_int_t)a->salt_key));
    return o;
}
