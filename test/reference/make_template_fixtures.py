#!/usr/bin/env python3
"""Writes test/golden/template/: chat templates of our own in the constructs that checkpoints use, and what transformers makes
of them (test_jinja.c reads it).

    python test/reference/make_template_fixtures.py          writes cases.json
    python test/reference/make_template_fixtures.py --check  compares with what is there

cases.json: list of {"name", "template", "vars", "want"}. "chats" are whole templates over conversations; the others are small:
white space around tags, operators, slices, filters, tests, methods, scopes. Templates and texts are written for this file.
"""
import json
import os
import sys

from transformers.utils.chat_template_utils import _compile_jinja_template

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "template", "cases.json")

CHATS = {
    "turn-marks": """{%- if messages[0]['role'] == 'system' -%}
    {{- '<|turn|>system\\n' + messages[0]['content'] + '<|over|>\\n' -}}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {{- '<|turn|>system\\nAnswer briefly.<|over|>\\n' -}}
    {%- set rest = messages -%}
{%- endif -%}
{%- for message in rest -%}
    {{- '<|turn|>' + message.role + '\\n' + message.content + '<|over|>' + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|turn|>assistant\\n' -}}
{%- endif -%}
""",
    "one-line": "{% for m in messages %}{{'<|turn|>' + m['role'] + '\\n' + m['content'] + '<|over|>' + '\\n'}}{% endfor %}"
                "{% if add_generation_prompt %}{{ '<|turn|>assistant\\n' }}{% endif %}",
    "speakers": """{{ bos_token }}{% if messages[0].role == 'system' %}{% set loop_messages = messages[1:] %}
{% set system_message = messages[0].content | trim %}{{ system_message ~ ' ' }}{% else %}
{% set loop_messages = messages %}{% endif %}
{% for message in loop_messages %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Questions and answers must alternate') }}
    {% endif %}
    {% if message['role'] == 'user' %}
{{ 'ASK: ' + message['content'] + ' ' }}
    {%- elif message['role'] == 'assistant' %}
{{ 'REPLY: ' + message['content'] + eos_token }}
    {%- endif %}
{% endfor %}
{% if add_generation_prompt %}
REPLY:
{%- endif %}
""",
    "brackets": """{%- if messages[0]['role'] == 'system' -%}
{%- set system = '((SYS))\\n' + messages[0]['content'] + '\\n((/SYS))\\n\\n' -%}
{%- set messages = messages[1:] -%}
{%- else -%}{%- set system = '' -%}{%- endif -%}
{%- for message in messages -%}
{%- if loop.index0 == 0 -%}{%- set content = system + message['content'] -%}
{%- else -%}{%- set content = message['content'] -%}{%- endif -%}
{%- if message['role'] == 'user' -%}
{{ bos_token + '[ASK] ' + content.strip() + ' [/ASK]' }}
{%- elif message['role'] == 'assistant' -%}
{{ ' ' + content.strip() + ' ' + eos_token }}
{%- endif -%}
{%- endfor -%}""",
    "headers": """{{- bos_token }}
{%- if not tools is defined or tools is none %}
    {%- set tools = [] %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
{{- "<|head|>system<|/head|>\\n\\n" }}
{%- if tools | length > 0 %}{{- tools | tojson(indent=2) }}{%- endif %}
{{- "Language: en\\n" ~ system ~ "<|end|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'calls' in message) %}
        {{- '<|head|>' + message['role'] + '<|/head|>\\n\\n'+ message['content'] | trim + '<|end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|head|>assistant<|/head|>\\n\\n' }}
{%- endif %}
""",
    "pictures": "<|start|>{% for message in messages %}{{message['role'] | capitalize}}"
                "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
                "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
                "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<over>\n{% endfor %}"
                "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
    "pictures-first": """{% for message in messages %}
{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}
{# pictures, then words #}
{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}
{% if message['role'] != 'assistant' %}{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}
{{ part['text'] + ' '}}{% endfor %}{% else %}{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}
{% generation %}{{ part['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}
{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}""",
    "either": """{%- macro words(content) -%}
    {%- if content is string -%}
        {{- content -}}
    {%- else -%}
        {%- for part in content -%}
            {%- if part.type == 'image' -%}<image>{%- elif 'text' in part -%}{{- part.text -}}{%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- set ns = namespace(system='', seen=false, n=0) -%}
{%- for m in messages if m.role == 'system' -%}{%- set ns.system = words(m.content) -%}{%- endfor -%}
{%- for m in messages if m.role != 'system' -%}
    {%- set ns.n = ns.n + 1 -%}
    <turn {{ ns.n }}>{{ 'model' if m.role == 'assistant' else m['role'] }}
{% if loop.first and ns.system %}{{ ns.system }}

{% endif -%}
    {{ words(m.content).strip() }}<end>
{% endfor -%}
{%- if add_generation_prompt -%}{{ '<turn ' ~ (ns.n + 1) ~ '>model\\n' }}{%- endif -%}
""",
    "tags": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    "thoughts": """{%- set ns = namespace(last=messages|length - 1) -%}
{%- for message in messages[::-1] -%}
    {%- set index = (messages|length - 1) - loop.index0 -%}
    {%- if message.role == "user" and not(message.content.startswith('[') and message.content.endswith(']')) -%}
        {%- set ns.last = index -%}{%- break -%}
    {%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
    {%- if message.role == 'system' -%}{%- continue -%}{%- endif -%}
    {%- set content = message.content -%}
    {%- if message.role == 'assistant' and '</think>' in content -%}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
    {%- endif -%}
    {{- '<' ~ message.role ~ (' new' if loop.index0 >= ns.last else '') ~ '>' ~ content.rstrip() ~ '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<assistant>' -}}{%- if enable_thinking is defined and enable_thinking is false -%}
{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}{%- endif -%}""",
}
TALKS = {
    "ask": [("user", "What is on the table?")],
    "system": [("system", "  Be short. "), ("user", "What?"), ("assistant", " A cup.\n"), ("user", "Which colour? ")],
    "odd": [("user", "é 中 <image> <|over|> 'quoted' \"twice\" {{ no }} {% x %}\n\n"),
            ("assistant", "<think>\nhm\n</think>\n\nred"),
            ("user", "[x]")],
}

SMALL_VARS = {"x": "  Hello, World \u4e2d\u00e9 ", "l": [3, 1, 2],
              "d": {"b": 1, "a": "two", "items2": [1, "q\"\\\n\t\u4e2d\x01", None, True, 1.5]},
              "e": [], "n": None, "t": True, "f": 2.5, "i": 7, "names": [{"k": "v", "o": {"p": 1}}, {"k": "w"}], "s": "a,b,,c",
              "lines": "one\ntwo\n\nthree"}
SMALL = [
    # white space
    "a\n{% if t %}\nb\n{% endif %}\nc\n",
    "a\n  {% if t %}  \n  b\n  {% endif %}\nc\n\n",
    "a {%- if t -%} b {%- endif -%} c",
    "a {% if t %} b {% endif %} c",
    "  {# note #}\nx",
    "x {#- note -#} y",
    "{% if t +%}\nb{% endif %}",
    "  {%+ if t %}b{% endif %}",
    "a\r\nb\r\n{% if t %}\r\nc{% endif %}\r\n",
    "{{ 1 }}\n{{ 2 }}\n",
    "  {{- x -}}  |",
    "\u00a0 {%- if t %}z{% endif %}",
    "x{# a #}\n\ny",
    "{% for i in l %}\n  {{ i }}\n{% endfor %}\n",
    "{{ '{{' }}{{ '%}' }}",
    "{{ {'a': {'b': 1}}['a']['b'] }}",
    "x{{ \"\" }}y\n\n\n",
    "{% set a = 1 %}\n  {% set b = 2 %}\n{{ a + b }}",
    "\t{% if t %}\ty{% endif %}\n",
    "one {{+ 1 }}",
    "{#-#}-#}z",
    # literals and operators
    "{{ 1 + 2 * 3 - 4 // 3 % 5 }}",
    "{{ 7 // -2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }}",
    "{{ 7 / 2 }} {{ 6 / 3 }}",
    "{{ -i }} {{ +i }} {{ - 2 + 3 }}",
    "{{ 1.0 }} {{ 0.1 + 0.2 }} {{ 1e20 }} {{ 1.5e-7 }} {{ f * 2 }} {{ 100000.0 }} {{ 123456789012345680.0 }}",
    "{{ true }} {{ False }} {{ none }} {{ undefined_name }}",
    "{{ 'a' 'b' \"c\" }}",
    "{{ 'a\\tb\\x41\\u4e2d\\101\\q\\\\' }}",
    "{{ \"it's\" ~ 'a \"q\"' }}",
    "{{ 1 ~ 2 ~ none ~ true ~ 'x' }}",
    "{{ 'a' + 'b' * 1 if false else 'c' }}",
    "{{ 1 < 2 }} {{ 2 <= 2 }} {{ 3 > 4 }} {{ 4 >= 4 }} {{ 1 == 1.0 }} {{ 1 != '1' }} {{ 'a' < 'b' }} {{ 'Z' "
    "< 'a' }} {{ 'ab' > 'a' }}",
    "{{ 'b' in d }} {{ 'z' in d }} {{ 2 in l }} {{ 5 not in l }} {{ 'lo' in x }} {{ 'q' not in x }} {{ 1 in "
    "undefined_name }}",
    "{{ not t }} {{ not not t }} {{ t and 'yes' }} {{ '' or 'no' }} {{ n or 0 or 'last' }} {{ t and n }}",
    "{{ not 'a' == 'b' }}",
    "{{ 'one' if t else 'two' }} {{ 'one' if n }} {{ 'x' if e else 'y' if n else 'z' }}",
    "{{ 2 if t else 1 + 5 }}",
    "{{ (1, 2)[0] }} {{ [1, 2,][1] }} {{ (1,)[0] }} {{ ()|length }}",
    "{{ ([1] + [2]) | length }}",
    "{{ [1, [2, 3]] == [1, [2, 3]] }} {{ {'a': 1} == {'a': 1} }} {{ {'a': 1} == {'a': 2} }}",
    "{{ 2 * 3 ~ 4 }}",
    "{{ 'a' ~ (1 + 2) }}",
    "{{ (3 - 5) * -1 }}",
    "{{ 10 % 4 == 2 and 3 > 2 }}",
    "{{ true == 1 }}",
    # members, slices
    "{{ l[0] }} {{ l[-1] }} {{ l[9] }}|{{ d.a }} {{ d['b'] }} {{ d.zz }}|{{ names[0].o.p }}",
    "{{ x[2:7] }}|{{ x[:4] }}|{{ x[-4:] }}|{{ x[::2] }}|{{ x[::-1] }}|{{ x[3] }}|{{ x[-2] }}",
    "{{ l[1:] | join(',') }} {{ l[:-1] | join(',') }} {{ l[::-1] | join }} {{ l[5:] | length }} {{ l[-9:2] | "
    "join }} {{ l[2:0:-1] | join }}",
    "{{ x[20:30] }}|{{ x[5:2] }}|{{ x[n:3] }}",
    # filters
    "{{ x | trim }}|{{ s | upper }}|{{ 'AbC d' | lower }}|{{ 'hELLO wORLD' | capitalize }}|{{ 'hello wORLD "
    "x1y'.title() }}",
    "{{ x | length }} {{ l | length }} {{ d | length }} {{ l | count }} {{ undefined_name | length }}",
    "{{ d | tojson }}",
    "{{ d | tojson(indent=2) }}",
    "{{ e | tojson }} {{ {} | tojson(indent=4) }} {{ 'x' | tojson }} {{ n | tojson }} {{ [t, 1, 2.5] | tojson }}",
    "{{ undefined_name | default('dd') }} {{ n | default('dd') }} {{ n | default('dd', true) }} {{ '' | "
    "d('e', boolean=true) }} {{ undefined_name | default }}|",
    "{{ l | join(', ') }} {{ names | join(';', attribute='k') }} {{ 'abc' | join('-') }}",
    "{{ l | first }} {{ l | last }} {{ s | first }} {{ s | last }} {{ e | first }}|",
    "{{ i | string ~ 'x' }} {{ '12' | int + 1 }} {{ 'zz' | int }} {{ 'zz' | int(5) }} {{ '2.5' | float }} {{ "
    "3.9 | int }}",
    "{% for k, v in d | items %}{{ k }};{% endfor %}",
    "{% for k, v in d.items() %}{{ k }};{% endfor %}{{ d.keys() | join(',') }} {{ d.get('b') }} {{ "
    "d.get('q', 'none') }}",
    "{{ names | map(attribute='k') | join(',') }} {{ ['a', 'b'] | map('upper') | join(',') }}",
    "{{ names | selectattr('k', 'equalto', 'v') | list | length }} {{ names | rejectattr('o') | "
    "map(attribute='k') | join }}",
    "{{ names | selectattr('o', 'defined') | list | length }} {{ [1, 2, 3, 4] | select('odd') | join(',') }} "
    "{{ [0, 1, ''] | reject | list | length }}",
    "{{ s | replace(',', ';') }} {{ s.replace(',', '', 1) }}",
    "{{ l | reverse | join(',') }} {{ s | reverse }}",
    "{{ lines | indent }}|{{ lines | indent(2, true) }}|{{ lines | indent(1, first=true, blank=true) }}",
    "{{ s | safe }} {{ l | list | join }}",
    # tests
    "{{ x is defined }} {{ zz is defined }} {{ zz is undefined }} {{ zz is not defined }} {{ n is none }} {{ "
    "x is string }} {{ i is number }} {{ f is number }} {{ d is mapping }} {{ l is iterable }} {{ x is "
    "sequence }} {{ d is iterable }}",
    "{{ t is true }} {{ t is false }} {{ 1 is true }} {{ i is odd }} {{ i is even }} {{ i is divisibleby 7 "
    "}} {{ i is divisibleby(2) }} {{ i is integer }} {{ f is float }} {{ t is boolean }} {{ t is integer }} "
    "{{ i is eq 7 }} {{ 1 is in l }}",
    "{{ x is string and l is not string }} {{ not x is string }} {{ 'y' if x is defined else 'n' }} {{ x is "
    "not none and t }}",
    # methods
    "{{ x.strip() }}|{{ x.lstrip() }}|{{ x.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcab'.lstrip('ba') "
    "}}|{{ 'a.b\u4e2d'.rstrip('\u4e2d.') }}",
    "{{ s.split(',') | length }} {{ s.split(',')[1] }} {{ s.split(',', 1)[1] }} {{ s.rsplit(',', 1)[0] }} {{ "
    "' a  b\tc '.split() | join('|') }}",
    "{{ x.startswith('  H') }} {{ x.endswith('x') }} {{ s.startswith(('q', 'a')) }} {{ 'Ab'.upper() }} {{ "
    "'Ab'.lower() }} {{ 'ab cd'.title() }} {{ 'aBc'.capitalize() }}",
    "{{ s.find('c') }} {{ s.find('z') }} {{ '\u4e2dx'.find('x') }} {{ s.count(',') }} {{ '-'.join(['a', 'b']) }} "
    "{{ '12'.isdigit() }} {{ ''.isdigit() }}",
    "{{ lines.splitlines() | join('/') }} {{ 'prefix-x'.removeprefix('prefix-') }} {{ "
    "'x.txt'.removesuffix('.txt') }}",
    "{{ 'a</t>b</t>c'.split('</t>')[-1] }} {{ 'abc'.split('z')[0] }}",
    # loops, scopes
    "{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ "
    "loop.revindex }}{{ loop.revindex0 }};{% endfor %}{{ i }}",
    "{% for i in l %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }}|{% endfor %}",
    "{% for i in l %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for i in e %}x{% else %}empty{% endfor %}",
    "{% for i in [1,2,3,4] if i is even %}{{ i }}{{ loop.last }}{% endfor %}",
    "{% for c in 'a\u4e2db' %}[{{ c }}]{% endfor %}",
    "{% set v = 1 %}{% for i in l %}{% set v = v + 1 %}{{ v }}{% endfor %}{{ v }}",
    "{% if t %}{% set v = 5 %}{% endif %}{{ v }}",
    "{% set ns = namespace(v=0, w='a') %}{% for i in l %}{% set ns.v = ns.v + i %}{% endfor %}{{ ns.v }}{{ "
    "ns.w }}{{ ns.q is defined }}",
    "{% for a, b in [(1, 2), [3, 4]] %}{{ a }}-{{ b }} {% endfor %}",
    "{% for i in range(3) %}{{ i }}{% endfor %}{% for i in range(5, 0, -2) %}{{ i }}{% endfor %}{{ range(1, "
    "4) | list | tojson }}",
    "{% for i in l %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% if i == 2 %}{% break %}{% endif %}{% "
    "endfor %}",
    "{% for i in l %}{% for j in l %}{% if j == 2 %}{% break %}{% endif %}{{ i }}{{ j }} {% endfor %}{{ "
    "loop.index }};{% endfor %}",
    "{% set a, b = 1, 'z' %}{{ a }}{{ b }}",
    "{% set block %} in {{ i }} {% endset %}[{{ block }}]{{ block | length }}",
    "{% set q = [1, 2] + [i] %}{{ q | tojson }}",
    "{% macro m(a, b='B', c=none) %}({{ a }}{{ b }}{{ c }}{{ i }}){% endmacro %}{{ m(1) }}{{ m(1, c=2) }}{{ "
    "m(a='x', b='y') }}{{ m(1, 2, 3) | upper }}",
    "{% macro r(n) %}{{ n }}{% if n > 0 %}{{ r(n - 1) }}{% endif %}{% endmacro %}{{ r(4) }}",
    "{% macro m() %}{{ v is defined }}{% endmacro %}{% for v in l %}{{ m() }}{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}",
    "{% for m in names %}{% set z = m.k %}{% if loop.first %}{{ z }}{% endif %}{% endfor %}{{ z is defined }}",
    "{% if n %}a{% elif i == 7 %}b{% elif t %}c{% else %}d{% endif %}",
    "{% if 'o' in names[0] and names[0].o.p == 1 %}ok{% endif %}",
    "{{ dict(a=1, b='c') | tojson }}",
    "{{ {'a': 1, 'b': [1, 2], 'c': {'d': none}} | tojson }}",
    "{% if tools is not none and tools is defined %}x{% endif %}y",
    "{{ strftime_now2 is defined }}",
    "{{- x }}{%- for i in l %} {{ i -}} {% endfor -%} end",
]


def main():
    cases = []

    def add(name, template, variables):
        want = _compile_jinja_template(template).render(**variables)
        cases.append({"name": name, "template": template, "vars": variables, "want": want})

    for name, template in CHATS.items():
        for talk, turns in TALKS.items():
            for last in (True, False):
                parts = name.startswith("pictures")
                messages = [{"role": r, "content": [{"type": "text", "text": t}] if parts else t} for r, t in turns]
                if name in ("pictures", "pictures-first", "either") and talk == "system":
                    messages[1]["content"] = [{"type": "image"}, {"type": "text", "text": turns[1][1]}]
                v = {"messages": messages, "add_generation_prompt": last, "bos_token": "<s>", "eos_token": "</s>",
                     "tools": None, "documents": None}
                add(f"{name}/{talk}/{'open' if last else 'closed'}", template, v)
    for i, template in enumerate(SMALL):
        add(f"small/{i}", template, SMALL_VARS)
    shared = [dict(c, vars="small") if c["vars"] is SMALL_VARS else c for c in cases]
    text = json.dumps({"small": SMALL_VARS, "chats": CHATS, "cases": [
        dict(c, template={"chat": c["name"].split("/")[0]}) if not c["name"].startswith("small") else c for c in shared]},
        ensure_ascii=True, indent=0) + "\n"
    if "--check" in sys.argv:
        same = open(GOLDEN).read() == text
        print("the same" if same else "cases.json differs")
        return 0 if same else 1
    os.makedirs(os.path.dirname(GOLDEN), exist_ok=True)
    with open(GOLDEN, "w") as f:
        f.write(text)
    print(f"{len(cases)} cases, {len(text)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
