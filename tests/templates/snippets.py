"""Small templates for the corners of the language: each is rendered with VARIABLES by both sides.
One that the reference refuses must be refused."""
VARIABLES = {
    "s": "Hello, wörld! ", "t": "a-b_c d", "e": "", "n": 7, "z": 0, "neg": -5, "f": 2.5, "big": 10 ** 15,
    "yes": True, "no": False, "nil": None, "l": [3, 1, 2], "w": ["b", "A", "c", "a"], "m": [],
    "d": {"b": 1, "a": [1, 2], "C": None, "items": "x"}, "u": "日本🙂é", "lines": "one\n\n  two\r\nthree",
    "people": [{"name": "Bo", "age": 3, "tags": ["x"]}, {"name": "al", "age": 9},
               {"name": "Cy", "age": 3, "tags": []}],
    "nest": {"a": {"b": [{"c": "deep"}]}}, "html": "<b>&'\"</b>", "num": "42", "fl": "4.5",
}

EXPRESSIONS = r"""
1 + 2 * 3 - 4 / 2
7 // 2, -7 // 2, 7 % 3, -7 % 3, 7 % -3, 2 ** 10, 2 ** -1, 2 ** 3 ** 2
-2 ** 2
7.5 // 2, -7.5 % 2, 1e3, 1_000, 0x1f, 0o17, 0b11, 1.5e-7
n / 2, n / 7, big * 3, 1 / 3, 10 / 3, 2.0, 1e22, 1e15, 1e16, 123456789.123
1 / 0
9223372036854775807
true and 1, false or 'x', not nil, not l, nil or e or 'z'
1 < 2 < 3, 1 < 3 < 2, 1 == 1.0, true == 1, 'a' < 'b', [1,2] < [1,3], 'a' != "a"
1 < 'a'
nil < 1
'a' in 'abc', 1 in l, 'b' in d, 9 not in l, 'x' in {}, 1 in (1,2)
1 in 'abc'
'x' if yes, 'x' if no, ('x' if no) is defined, 'x' if no else 'y' if nil else 'w'
'a' ~ 1 ~ nil ~ 2.5 ~ yes ~ l
'a' + 'b' ~ 'c' + 'd'
'a' + 1
s[0], s[-2], s[1:4], s[:-3], s[::-1], s[::2], s[5:1], s[-3:], u[0], u[2], u[::-1], u[1:3]
l[0], l[-1], l[5] is defined, l[1:], l[::-1], l[-2:], l[5:], l[2:0:-1], l[::0]
l[:2], l[-1:0:-1], (1,2,3)[1:], range(10)[2:8:3], range(5)[-1]
d.b, d['a'], d.missing is defined, d['missing'], d.items is callable, d['items'], d.a[1], d.a.1
nest.a.b[0].c, nest['a'].b[0]['c'], nest.a.x, nest.x is undefined
nest.x.y
missing.x
missing, missing is defined, missing == missing, missing | default('d'), nil | default('d'), nil | d('d', true), e | default('q', boolean=true)
missing | length, missing | list, missing | join, missing | upper, missing ~ 'x'
missing + 1
missing > 1
missing()
-missing
[1, 'a', nil, yes, 2.0, [1], {'k': 'v'}, (1,), ()]
{'a': 1, 2: 'b', nil: yes, 'q"': "it's"}, {}, {'a': {'b': []}}
(1, 2), (1,), ()
'it\'s', "a\"b", 'a\nb\t\\', '\x41\u00e9\U0001F642', 'a' 'b' "c", '\q'
['it\'s', 'both \' and "', '\x00\x1f\x7f\u200b\u00e9\n']
s | upper, s | lower, s | title, t | title, 'aB cD' | capitalize, u | upper, 'ßﬁ' | upper
s | trim, '  x ' | trim, 'xxaxx' | trim('x'), s.strip(), s.strip('H! '), s.lstrip('He'), s.rstrip()
s | length, u | length, l | length, d | length, l | count
n | length
s | replace('l', 'L'), s | replace('l', 'L', 1), 'aaa' | replace('aa', 'b'), 'abc' | replace('', '-'), n | replace('7', '8')
'abc'.replace('b', ''), 'abc'.replace('', '-'), 'aaa'.replace('a', 'b', 2)
t.split('-'), t.split(), ' a  b '.split(), ' a  b c '.split(none, 1), 'a,b,,c'.split(','), 'a,b,c'.split(',', 1), ''.split(), ''.split(',')
'a b c '.rsplit(none, 1), 'a,b,c'.rsplit(',', 1), ' a b  c '.rsplit(), 'abc'.rsplit('x'), 'a  b c'.rsplit(none, 1), '  a b'.rsplit(none, 1), ' a  b c '.split(none, 0)
'a'.split('')
lines.splitlines(), lines.splitlines(true), 'a\n'.splitlines(), ''.splitlines(), 'a\x0bb\u2028c'.splitlines()
'abc'.startswith('a'), 'abc'.endswith(('x','c')), 'abc'.startswith('b', 1), 'abc'.startswith('c', 1, 2), 'abc'.endswith('')
'abcabc'.find('c'), 'abcabc'.rfind('c'), 'abc'.find('x'), 'abcabc'.count('bc'), 'aaa'.count(''), 'abc'.index('b'), u.find('🙂'), 'abcabc'.find('a', 1)
'abc'.index('x')
'a=b=c'.partition('='), 'a=b=c'.rpartition('='), 'abc'.partition('x'), 'abc'.rpartition('x')
'ab'.center(7), 'abc'.center(6), 'ab'.center(7, '*'), 'ab'.ljust(5) ~ '|', 'ab'.rjust(5), '42'.zfill(5), '-42'.zfill(5), 'a\tb'.expandtabs(4)
'abc'.isalpha(), 'a1'.isalnum(), '12'.isdigit(), ' '.isspace(), 'AB'.isupper(), 'ab'.islower(), ''.isalpha(), 'A1'.isupper(), '²'.isdigit(), '½'.isnumeric()
'aBc'.swapcase(), 'ABC'.casefold(), 'hello world'.title(), "they're".title(), 'xyz'.capitalize(), 'x'.upper()
'-'.join(['a','b']), ''.join(w), 'x'.join('abc')
'-'.join(l)
'abc'.removeprefix('ab'), 'abc'.removesuffix('bc'), 'abc'.removeprefix('x')
l.append(4)
d.update({'x': 1})
d.pop('b')
d.get('b'), d.get('q'), d.get('q', 'z'), d.keys() | list, d.values() | list, d.items() | list
d.items is mapping, d.keys(), d.items()
l.index(1), l.count(3), (1,2).index(2)
l | first, l | last, m | first is defined, s | first, l | sum, l | max, l | min, w | max, w | min, m | max is defined
l | sort, w | sort, w | sort(case_sensitive=true), w | sort(reverse=true), people | sort(attribute='age') | map(attribute='name') | list
people | sort(attribute='age,name') | map(attribute='name') | list
[1, 'a'] | sort
d | dictsort, d | dictsort(true), d | dictsort(reverse=true)
{'b': 2, 'a': 3} | dictsort(by='value')
l | reverse | list, 'abc' | reverse, w | join(','), l | join, people | join(', ', attribute='name'), w | unique | list, [1,1,2] | unique | list
l | map('string') | list, w | map('upper') | join, people | map(attribute='tags') | list, people | map(attribute='tags', default='-') | list
w | map('replace', 'a', 'x') | list
people | selectattr('age', 'equalto', 3) | map(attribute='name') | list, people | selectattr('tags') | list | length, people | rejectattr('tags', 'defined') | list | length
people | selectattr('age', '>', 4) | list, l | select('odd') | list, l | reject('>', 1) | list, [0, 1, '', 'a'] | select | list
(l | select('odd')) is iterable, l | select('gt', 100), (l | map('string')) | length
('x' if (l | select('gt', 100)) else 'y')
l | batch(2) | list, l | batch(2, 'x') | list, l | slice(2) | list, range(7) | slice(3) | list, range(7) | slice(3, 'x') | list
people | groupby('age') | list | length, people | groupby('age') | map('first') | list
'42' | int, 'x' | int, 'x' | int(5), '4.7' | int, 4.7 | int, '0x1f' | int(0, 16), '1f' | int(base=16), yes | int, nil | int, '  7 ' | int, '1_000' | int
'4.5' | float, 'x' | float, 'x' | float(1.5), n | float, '1e3' | float
2.5 | round, 3.5 | round, 2.567 | round(2), 2.1 | round(0, 'ceil'), 2.19 | round(1, 'floor'), 1234.5 | round(-2), 7 | round, 0.125 | round(2)
neg | abs, -2.5 | abs, '5' | abs
html | e, html | escape | upper, html | safe, (html | safe) + '<', '<' + (html | e), (html|e) ~ '<', html | striptags, html | forceescape
d | tojson, l | tojson, s | tojson, u | tojson, u | tojson(ensure_ascii=true), people | tojson(indent=2), {'b': 1, 'a': {'z': [], 'y': {}}} | tojson(indent=4, sort_keys=true), [] | tojson(indent=2)
d | tojson(separators=(',', ':')), [1.0, 1e21, nil, yes] | tojson, 'a"\\\n\t\x01\x7f/<>&' | tojson, {1: 2, nil: 3, yes: 4, 2.5: 5} | tojson, (1, 2) | tojson
missing | tojson
(l | map('string')) | tojson
range(3) | tojson
lines | indent, lines | indent(2, true), lines | indent('> ', blank=true), 'x' | indent, '' | indent(first=true)
'hello world foo' | truncate(9), 'hello world foo' | truncate(9, true), 'hello world' | truncate(11), 'hello world foo bar' | truncate(10, false, '!', 0)
'%s is %d and %05.2f %x %%' | format('a', 3, 2.5, 255), '%(a)s-%(b)d' | format(a=1, b=2), '%-5s|%5s|%+d|% d|%r' % ('a', 'b', 3, 4, 'q'), '%s' % l, '%s' % 5, '%e %g' % (1.5, 0.0001)
'%d' % 'a'
'%s %s' % 'a'
'x' % 1
'{} {} {1}' | string
'{} {}'.format('a', 1), '{1}{0}'.format('a', 'b'), '{a} {b[0]} {c.b}'.format(a=1, b=[2], c=d), '{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{:,}'.format('a', 'b', 'c', 42, 2.567, 1234567), '{{}}'.format(), '{!r}'.format('a'), '{:x}'.format(255), '{:*^9}'.format('mid')
'{'.format()
'{} {}'.format(1)
'a b/c?d=é' | urlencode, 'one two-three' | wordcount, 'x' | center(5)
s is string, n is number, f is float, n is integer, yes is boolean, yes is integer, yes is number, nil is none, d is mapping, l is sequence, s is sequence, d is sequence, n is iterable, s is iterable, (1,) is sequence, missing is iterable
n is odd, n is even, n is divisibleby 7, n is divisibleby(2), 'a' is in 'abc', n is eq 7, n is ne 7, n is gt 3, n is lessthan 3, n is sameas n, l is not string, yes is true, no is false, 1 is true
'abc' is lower, 'ABC' is upper, 'upper' is filter, 'odd' is test, 'nope' is filter, range is callable, missing is callable
yes is not defined, nil is not none and yes, not nil is none, n is not divisibleby 2
n is defined is true
namespace(a=1).a, namespace({'x': 2}).x, namespace(a=1).b is defined, dict(a=1, b=2), dict({'a': 1}, c=3), dict([('k', 'v')])
range(3) | list, range(1, 4) | list, range(5, 0, -2) | list, range(0) | list, range(3), range(1, 7, 2)
range(1000000)
l * 2, 'ab' * 3, 3 * 'x', [1] * 0, 'x' * -1, (1,) * 2, l + [9], (1,) + (2,)
l + (1,)
[1] + nil
{'a': 1} + {'b': 2}
'a' | nosuchfilter
('a' | nosuchfilter) if no else 'ok'
'a' is nosuchtest
raise_exception('boom')
strftime_now('%Y-%m-%d %H:%M'), strftime_now('%d %b %Y'), strftime_now('%B %A %j')
joiner('-')() ~ 'x'
[1, 2,], {'a': 1,}, (1, 2,)
d | items | list, d | list, s | list | length, u | list, 'ab' | list
l | tojson | length, [[1,2],[3]] | sum(start=[]), people | sum(attribute='age')
people[0].name ~ people[-1]['name'], people[0].tags | length, (people | first).name, people | map(attribute='name') | first
1 if l else 2, [] is sameas [], 'a' ~ ('b' if yes else 'c') ~ 'd', (1 if no else 2) + 3
loop is defined, caller is defined, self is defined and no
s.nosuch is defined, s.format is defined, s['upper'](), d['get']('b')
1.0 | string, 1 | string, nil | string, yes | string, l | string, 1e-5 | string, 100000.0 * 1e12, 0.1 + 0.2, 5e-324
{'a': 1}.a, {'a': {'b': 2}}['a']['b'], [1,[2,3]][1][0], 'abc'[1]['x'] is defined
true == 'true', none == false, 0 == false, '' == none, [] == [], {} == {}, (1,2) == [1,2], {'a':1,'b':2} == {'b':2,'a':1}
n.real is defined or true, (n | string).isdigit(), num.isdigit() and (num | int) > 40
'\u2028 x\u00a0'.strip(), '\u200bx'.strip() | length, '\x1fx'.strip()
""".strip("\n").split("\n")

TEMPLATES = [
    "{% for x in l %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for x in l %}{{ loop.index0, loop.revindex, loop.revindex0, loop.first, loop.last, loop.depth }}{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }}{% endfor %}",
    "{% for x in m %}x{% else %}empty{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}{{ x }}{{ loop.last }}{% else %}none{% endfor %}",
    "{% for x in l if x > 9 %}x{% else %}none{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}{% for c in u %}[{{ c }}]{% endfor %}",
    "{% for a, b in [(1, 2), [3, 4]] %}{{ a + b }} {% endfor %}",
    "{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}",
    "{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% for y in l %}{{ x * y }}{% if y == 1 %}{% break %}{% endif %}{% endfor %}|{% endfor %}",
    "{% set x = 1 %}{% for i in l %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}",
    "{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace() %}{% set ns.a = 'q' %}{{ ns.a }}{{ ns.b is defined }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c = (1, 2) %}{{ c }}",
    "{% set d.b = 2 %}",
    "{% set x %}a{{ n }}b{% endset %}[{{ x }}]{{ x is string }}",
    "{% set x | upper | trim %} a{{ n }}b {% endset %}[{{ x }}]",
    "{% if no %}{% set q = 1 %}{% endif %}{{ q is defined }}{% if yes %}{% set q = 2 %}{% endif %}{{ q }}",
    "{% if z %}a{% elif n > 9 %}b{% elif nil %}c{% else %}d{% endif %}",
    "{% macro f(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }}|{{ f(1, c=3) }}|{{ f(a='x', b='y') }}",
    "{% macro f(a) %}{{ a is defined }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f() }}{{ f(1, 2, z=3) }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(b=2) }}",
    "{% macro fact(k) %}{% if k <= 1 %}1{% else %}{{ k * (fact(k - 1) | int) }}{% endif %}{% endmacro %}{{ fact(6) }}",
    "{% macro loopy(k) %}{{ loopy(k) }}{% endmacro %}{{ loopy(1) }}",
    "{% macro box(x) %}<{{ x }}:{{ caller() }}>{% endmacro %}{% call box('t') %}in {{ n }}{% endcall %}",
    "{% macro each(xs) %}{% for x in xs %}{{ caller(x) }},{% endfor %}{% endmacro %}{% call(v) each(l) %}[{{ v }}]{% endcall %}",
    "{% macro f() %}{{ later }}{% endmacro %}{% set later = 5 %}{{ f() }}",
    "{% set x = 1 %}{% macro f() %}{% set x = 2 %}{{ x }}{% endmacro %}{{ f() }}{{ x }}",
    "{{ f() }}{% macro f() %}x{% endmacro %}",
    "{% filter upper %}a{{ s }}{% endfilter %}{% filter replace('a', 'b') | trim %} aa {% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}",
    "{% generation %}x{% set q = 1 %}{{ n }}{% endgeneration %}{{ q is defined }}",
    "{% raw %}{{ x }}{% if %}{% endraw %}|{%- raw -%}  y  {%- endraw -%}  z",
    "a{# comment {{ x }} #}b{#- c -#} d", "a\n{# c #}\nb", "a\n  {# c #}  \nb",
    "  {% if yes %}\n  x\n  {% endif %}\ny\n", "  {%+ if yes %}\nx{% endif +%}\ny", "a  {%- if yes -%}  b  {%- endif -%}  c",
    "{{ 1 -}}\n  {{- 2 }}\n{{ 3 }}\n\n", "x\n\n", "x\n", "\n", "", "{% if yes %}\n\n\nx{% endif %}\r\ny\rz",
    "\t{% set x = 1 %}\n\t{{ x }}\n", "x {% if yes %} y {% endif %} z", "{{ '}}' }}{{ '%}' }}{{ {'a': {'b': 1}}.a.b }}",
    "{{ {'a': 1}}}", "{%if yes%}a{%else%}b{%endif%}", "{% for x in l -%}\n {{ x }}\n{%- endfor %}",
    "{{ x", "{% if %}", "{% if yes %}", "{% endif %}", "{% nosuch %}", "{{ 1 + }}", "{{ (1 }}", "{{ 'a }}", "{# x",
    "{% for in l %}{% endfor %}", "{% set 1 = 2 %}", "{% break %}", "{{ a b }}", "{{ 1 2 }}", "{{ [1 2] }}", "{{ @ }}",
    "{% include 'x' %}", "{% import 'x' as y %}", "{% do l.append(1) %}",
    "{{ ''.__class__ }}", "{{ ''.__class__.mro() }}", "{{ s.__len__ is defined }}", "{{ range.__globals__ }}", "{{ d.__class__ is defined }}",
    "{% set x = namespace(l=[]) %}{% set x.l = x.l + [1] %}{% set x.l = x.l + [2] %}{{ x.l }}",
    "{% for x in [1,2,3] %}{% if loop.first %}{% set y = 'first' %}{% endif %}{{ y is defined }}{% endfor %}",
    "{% for p in people %}{{ p.name }}{% if p.tags %}:{{ p.tags | join }}{% endif %}{{ '\\n' if not loop.last }}{% endfor %}",
    "{% set items = people | selectattr('age', 'equalto', 3) | list %}{{ items | length }}{{ items[0].name }}",
    "{% for x in people | map(attribute='name') %}{{ loop.index }}{{ x }}{% endfor %}",
    "{%- for x in l %}\n{{ x }}\n{%- endfor %}\n", "{% set g = l | map('string') %}{{ g | list }}{{ g | list }}",
    "{{ l | length }}{{- ' a ' -}}{{ n }}", "{% if l is string or l is mapping %}a{% elif l is iterable and l is not string %}b{% endif %}",
    "{% set x = 'a' if no else 'b' %}{{ x }}", "{% set m2 = {'k': v} %}{{ m2 }}", "{% set q = missing %}{{ q is defined }}{{ q }}",
    "{{ people | map('attr', 'name') | list }}", "{% for x in 5 %}{% endfor %}", "{% for x in nil %}{% endfor %}", "{% for x in missing %}x{% else %}e{% endfor %}",
    "{% if (l | length > 2) and not (s == '') %}ok{% endif %}{{ l|length > 2 }}{{ not l|length > 5 }}",
    "{{ s.strip().split(' ')[0][:-1] | lower }}", "{{- '\\n' -}}", "{{ '%s' % 'x' ~ 'y' }}", "{{ 'a' if 'x' in s else 'b' }}",
]


def snippets():
    return ["{{ %s }}" % e for e in EXPRESSIONS] + TEMPLATES
