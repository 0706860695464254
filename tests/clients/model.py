"""The demo model with a chat template that knows tools, their calls, thinking and system turns: the
demo's own says nothing of them, and what clients do with tools is what is asked here."""
import os

TEMPLATE = """{{ bos_token }}{% if tools %}<|system|>
Answer with <tool_call>{"name": ..., "arguments": ...}</tool_call>:
{%- for t in tools %} {{ t | tojson }}{% endfor %}<|end|>
{% endif %}{% for m in messages %}<|{{ 'user' if m.role == 'tool' else \
'system' if m.role == 'developer' else m.role }}|>
{{ m.content or '' }}{% for c in m.tool_calls or [] %}<tool_call>{"name": "{{ c.function.name }}", \
"arguments": {{ c.function.arguments | tojson }}}</tool_call>
{%- endfor %}<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% if enable_thinking is defined and enable_thinking %}<think>
{% endif %}{% endif %}{# </think> #}"""


def make(demo, folder):
    """A copy of the demo model in `folder`, whose name is the model's."""
    os.makedirs(folder)
    for name in os.listdir(demo):
        os.symlink(os.path.join(demo, name), os.path.join(folder, name))
    with open(os.path.join(folder, "chat_template.jinja"), "w", encoding="utf-8") as f:
        f.write(TEMPLATE)
    return folder
