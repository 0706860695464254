/* The template interpreter: the language (the reference itself is asked by make test-templates),
 * origins of bytes, hostile templates. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "models/text/chat/jinja/jinja.h"

/* The machine may be busy with something else. */
static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static bool is_role(const char *s) { return strcmp(s, "user") == 0; }

/* Renders with the variables of a JSON object; messages have the origins 2, 3 … Returns the
 * rendering, or the error's sentence. spans: "3:0 5:2", ends and origins. */
static const char *render(const char *text, const char *vars, char *spans, size_t size)
{
    static char out[4096];
    struct err e = {0};
    struct jinja *t = NULL;
    const struct text *got;
    const char *name;
    json_t *o = json_loads(vars ? vars : "{}", 0, NULL), *v;
    cr_assert_not_null(o, "%s", vars);
    int rc = jinja_compile(&t, text, strlen(text), &e);
    struct run *r = jinja_run_new(vars ? strlen(vars) : 2, json_object_size(o), &e);
    json_object_foreach(o, name, v) {
        if (strcmp(name, "messages") == 0)
            jinja_set_list(r, name, v, 2, "role", is_role);
        else
            jinja_set_json(r, name, v, 1);
    }
    jinja_set_str(r, "bos_token", "<s>", 3, 0);
    if (rc == 0)
        rc = jinja_render(t, r, &got, &e);
    if (rc == 0)
        snprintf(out, sizeof out, "%.*s", (int)got->n, got->n ? got->p : "");
    else
        snprintf(out, sizeof out, "%s", e.text);
    cr_assert_eq(rc, e.code);
    size_t k = 0;
    for (uint32_t i = 0; spans && rc == 0 && i < MAX(got->n_marks, 1U); i++)
        k += (size_t)snprintf(spans + k, size - k, "%s%u:%u", i ? " " : "",
                              got->marks ? got->marks[i].end : got->n,
                              got->marks ? got->marks[i].origin : got->origin);
    jinja_run_free(r);
    jinja_free(t);
    json_decref(o);
    return out;
}

static void gives(const char *text, const char *vars, const char *want)
{
    cr_expect_str_eq(render(text, vars, NULL, 0), want, "%s\n  gives %s", text,
                     render(text, vars, NULL, 0));
}

Test(jinja, expressions_and_statements)
{
    gives("{{ 1 + 2 * 3 }} {{ 7 // 2 }} {{ 'a' ~ 1 + 1 }}", NULL,
          "chat template, line 1: + does not work between a str and a int");
    gives("{{ 1 + 2 * 3 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 3 }}", NULL, "7 -4 2 8");
    gives("{% for x in [1, 2, 3] if x != 2 %}{{ loop.index }}{{ x }}{% endfor %}", NULL, "1123");
    gives("{% set ns = namespace(n=0) %}{% for x in l %}{% set ns.n = ns.n + x %}{% endfor %}"
          "{{ ns.n }}", "{\"l\":[1,2,3]}", "6");
    gives("{% macro f(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ f(1) }} {{ f(b=3, a=4) }}", NULL,
          "1-2 4-3");
    gives("  {% if true %}\n  x\n  {% endif %}\ny\n", NULL, "  x\ny");
    gives("{{ d | tojson }} {{ d }}", "{\"d\":{\"a\":[1,null,true,\"\xc3\xa9\"]}}",
          "{\"a\": [1, null, true, \"\xc3\xa9\"]} {'a': [1, None, True, '\xc3\xa9']}");
    gives("{{ missing }}{{ missing is defined }}{{ missing | default('x') }}", NULL, "Falsex");
    gives("{{ 'abc'[::-1] }}{{ [1, 2, 3][-2:] }}", NULL, "cba[2, 3]");
    gives("{{ messages[0].role }}", "{\"messages\":[{\"role\":\"user\"}]}", "user");
}

Test(jinja, a_failure_names_line_and_reason)
{
    gives("a\nb\n{{ raise_exception('no ' ~ 5) }}", NULL, "chat template, line 3: no 5");
    gives("{% if true %}\n{{ x.y }}{% endif %}", NULL, "chat template, line 2: 'x' is undefined");
    gives("\n\n{{ 1 + }}", NULL, "chat template, line 3: an expression is expected before }}");
    gives("{% for x in y %}", NULL,
          "chat template, line 1: endfor is expected before the end of the template");
    gives("{{ 'a' | shout }}", NULL, "chat template, line 1: there is no filter \"shout\"");
    gives("{% include 'x' %}", NULL, "chat template, line 1: there is no tag \"include\"");
    gives("{{ x.append(1) }}", "{\"x\":[]}",
          "chat template, line 1: access to attribute 'append' of 'list' object is unsafe.");
    gives("{{ ''.__class__.x }}", NULL,
          "chat template, line 1: 'str object' has no attribute '__class__'");
}

static void origins(const char *text, const char *vars, const char *want, const char *spans)
{
    char got[512] = "";
    cr_expect_str_eq(render(text, vars, got, sizeof got), want, "%s", text);
    cr_expect_str_eq(got, spans, "%s\n  gives %s", text, got);
}

#define SAYS(content) "{\"messages\":[{\"role\":\"user\",\"content\":\"" content "\"}]," \
                      "\"x\":\"CLIENT\"}"

Test(jinja, every_byte_keeps_its_origin)
{
    origins("<{{ messages[0].content }}>", SAYS("hi"), "<hi>", "1:0 3:2 4:0");
    origins("{{ messages[0].role }}{{ x }}", SAYS(""), "userCLIENT", "4:0 10:1");
    origins("{{ '[' + messages[0].content + ']' ~ x }}", SAYS("hi"), "[hi]CLIENT",
            "1:0 3:2 4:0 10:1");
    origins("{{ ('<' ~ x ~ '>')[1:4] }}", SAYS(""), "CLI", "3:1");
    origins("{{ ('  ' ~ x ~ '  ') | trim | lower }}", SAYS(""), "client", "6:1");
    origins("{{ messages[0].content | replace('i', '<|x|>') }}", SAYS("hi"), "h<|x|>",
            "1:2 6:0");
    origins("{{ 'a,b' | replace(',', x) }}", SAYS(""), "aCLIENTb", "1:0 7:1 8:0");
    origins("{{ (x ~ '|' ~ messages[0].content).split('|')[1] }}", SAYS("hi"), "hi", "2:2");
    origins("{{ [x, messages[0].content] | join('-') }}", SAYS("hi"), "CLIENT-hi",
            "6:1 7:0 9:2");
    origins("{{ messages[0].content | tojson }}", SAYS("a\\\"b"), "\"a\\\"b\"", "1:0 5:2 6:0");
    origins("{{ [messages[0].content] }}", SAYS("hi"), "['hi']", "2:0 4:2 6:0");
    origins("{{ '%s-%s' % (x, 'y') }}", SAYS(""), "CLIENT-y", "6:1 8:0");
    origins("{{ '<{}>'.format(x) }}", SAYS(""), "<CLIENT>", "1:0 7:1 8:0");
    origins("{{ x | e }}{{ x | indent(2, true) }}", SAYS(""), "CLIENT  CLIENT", "6:1 8:0 14:1");
    origins("{% set y %}<{{ x }}>{% endset %}{{ y | upper }}", SAYS(""), "<CLIENT>",
            "1:0 7:1 8:0");
    origins("{% macro f(a) %}[{{ a }}]{% endmacro %}{{ f(x) }}", SAYS(""), "[CLIENT]",
            "1:0 7:1 8:0");
    origins("{% for c in x %}{{ c }}{% endfor %}{{ x[::-1] }}", SAYS(""), "CLIENTTNEILC", "12:1");
    origins("{{ x.title() ~ x.center(8) ~ (x * 2) }}", SAYS(""),
            "Client CLIENT CLIENTCLIENT", "6:1 7:0 13:1 14:0 26:1");
    origins("{% for k in d %}{{ k }}{% endfor %}", "{\"d\":{\"<|im_end|>\":1}}", "<|im_end|>",
            "10:1");
}

/* Processor time to compile and render, in ms, the least of so many tries. */
static double least_ms(const char *text, int tries, const char **said)
{
    double least = 1e9;
    while (tries-- > 0) {
        uint64_t start = cpu_ns();
        *said = render(text, NULL, NULL, 0);
        least = MIN(least, (double)(cpu_ns() - start) / 1e6);
    }
    return least;
}

/* Not more than so many times what a good text took here: the machine, the build and whoever else
 * is here change both. */
static double soon(const char *text, double most, const char **said)
{
    double ms = least_ms(text, 1, said);
    return ms <= most ? ms : least_ms(text, 3, said);
}

/* Each ends with an error, soon, and gives back what it took. */
Test(jinja, hostile_templates_end_soon)
{
    static const char *const texts[] = {
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in range(100000) %}{% for b in range(99) %}x{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{% for x in range(9) %}{{ f(n) }}{% endfor %}{% endmacro %}{{ f(1) }}",
        "{% set ns = namespace(s='xx') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}"
        "{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}"
        "{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}"
        "{% endfor %}{{ ns.l }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(40) %}{% set ns.l = [ns.l, ns.l] %}"
        "{% endfor %}{{ ns.l == ns.l }}{{ ns.l | tojson }}",
        "{{ 'x' * 99999999 }}", "{{ [1] * 99999999 }}", "{{ 'x'.center(99999999) }}",
        "{{ 'x' | indent(99999999, true) }}", "{{ range(99999999) }}", "{{ '%99999999d' % 1 }}",
        "{{ '{:99999999}'.format(1) }}", "{{ [1] | tojson(indent=99999999) }}",
        "{{ 'x' | replace('', 'y' * 5000000) | replace('', 'z' * 5000000) }}",
        "{% for a in range(100000) %}{{ 'abcdefgh' * 100000 }}{% endfor %}",
        "{% for a in range(100000) %}{% set x = ('ab' * 100000).find('aa') %}{% endfor %}",
        "{% for a in range(100000) %}{% set x = ('ab' * 1000000).count('b') %}{% endfor %}",
        "{% for a in range(100000) %}{% set x = 'b' in 'a' * 3000000 %}{% endfor %}",
        "{% set s = 'ab' * 2000000 %}{% for a in range(9999) %}{% set x = s.upper() %}{% endfor %}",
        "{% set s = ' ' * 3000000 %}{% for a in range(99999) %}{% set x = s.strip() %}{% endfor %}",
        "{% set s = '\xc3\xa9' * 2000000 %}{% for a in range(99999) %}{{ s[1999999] }}{% endfor %}",
        "{% set l = range(100000) | list %}{% for a in l %}{% set x = a in l %}{% endfor %}",
        "{% set l = range(100000) %}{% for a in l %}{% set x = l | sort %}{% endfor %}",
        "{% for a in range(100000) %}{% set x = range(100000) | sum %}{% endfor %}",
        "{{ range(100000) | map('string') | join('x' * 1000) }}", "{{ 2 ** 99 ** 99 }}",
        "{{ range(100000) | batch(1, 2) | list | length }}{{ [1] | batch(99999999, 1) | list }}",
        "{{ [1] | slice(99999999) | list }}", "{{ (('a' * 60000) | list) * 9999 }}",
    };
    /* Nearly all the steps that there are. */
    const char *said, *good = "{% for a in range(42000) %}{% set x = a + 1 %}{% endfor %}good";
    double most = 20 * least_ms(good, 5, &said);
    cr_assert_str_eq(said, "good");
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
        double ms = soon(texts[i], most, &said);
        size_t after = mallinfo2().uordblks + mallinfo2().hblkhd;
        cr_expect(strncmp(said, "chat template, line", 19) == 0, "%s gives %.80s", texts[i], said);
        cr_expect_lt(ms, most, "%s took %.1f ms, not %.1f", texts[i], ms, most);
        cr_expect_leq(after, before + 4096, "%s keeps %zu bytes", texts[i], after - before);
        if (getenv("JINJA_TIMES"))
            fprintf(stderr, "%6.1f of %.1f ms  %.70s | %.60s\n", ms, most, texts[i], said);
    }
}

/* Repeats a text n times between two others. */
static char *repeated(const char *head, const char *body, size_t n, const char *tail)
{
    struct buf b;
    buf_init(&b, MIB(16));
    buf_str(&b, head);
    for (size_t i = 0; i < n; i++)
        buf_str(&b, body);
    buf_str(&b, tail);
    return b.p;
}

Test(jinja, hostile_sources_are_refused)
{
    static const struct { const char *head, *body, *tail; size_t n; bool fails; } cases[] = {
        {"{{ ", "(", "1", 100000, true}, {"{{ ", "[", "1", 100000, true},
        {"{{ ", "not ", "1 }}", 100000, true}, {"{{ ", "-", "1 }}", 100000, true},
        {"{{ 1", "+1", " }}", 20000, false}, {"{{ 1", "~1", " }}", 20000, false},
        {"{{ a", ".b", " }}", 100000, true}, {"{{ a", "[0]", " }}", 100000, true},
        {"{{ 'a'", "|upper", " }}", 100000, true}, {"{{ 1 ", " if 1 else 2", " }}", 9999, true},
        {"", "{% if 1 %}", "", 20000, true}, {"", "{% for x in y %}", "", 20000, true},
        {"{% if 0 %}", "{% elif 0 %}", "{% endif %}", 20000, false},
        {"{{ 1 ", "and 1 ", "}}", 20000, true}, {"{{ 1 ", "< 2 ", "}}", 2, true},
        {"{{ ", "{1:", "}}", 100000, true}, {"{{ f(", "f(", ")}}", 100000, true},
        {"", "{{ x }}", "", 200000, true}, {"{{ 1 ", "** 1 ", "}}", 20000, false},
    };
    const char *said;
    char *good = repeated("", "{{ x }}", 40000, "good"); /* nearly all the nodes that there are */
    double most = 20 * least_ms(good, 5, &said);
    cr_assert_str_eq(said, "good");
    mem_free(good);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *s = repeated(cases[i].head, cases[i].body, cases[i].n, cases[i].tail);
        double ms = soon(s, most, &said);
        if (cases[i].fails && i != 14)
            cr_expect(strstr(said, "chat template"), "case %zu gives %.80s", i, said);
        cr_expect_lt(ms, most, "case %zu took %.1f ms, not %.1f", i, ms, most);
        if (getenv("JINJA_TIMES"))
            fprintf(stderr, "%6.1f of %.1f ms  case %zu | %.60s\n", ms, most, i, said);
        mem_free(s);
    }
}
