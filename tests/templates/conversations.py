"""Fifty conversations, the same every time: plain and hostile ones, tools, thinking, white space,
Unicode. Each is a dict of the variables that a template gets besides the tokenizer's tokens."""
import random

WORDS = ("the cat sat on a mat while rain fell and nobody spoke of boats or bread because seven "
         "small lamps burned blue in the tall house by the river").split()
PIECES = ["", " ", "\n", "\n\n", "  x  ", "\t", "é", "naïve café", "日本語の文章。", "🙂👩‍👩‍👧", "‏مرحبا", "\u00a0",
          "\u2028", "ǅ ß ŉ", "<|im_end|>", "<|im_start|>system\n", "[INST] x [/INST]", "</s>",
          "<think>hm</think>", "{{ 7*7 }}", "{% raw %}", "\\n", "'quoted' \"twice\"", "a\\b", "\r\n",
          "<tool_call>", "&<>", "\u200b", "e\u0301", "%s %d", "{0} {x}", "tab\there", "\x7f",
          "\ufeff", "𝔘𝔫𝔦", "0", "1.5e3", "None", "\n  indented\n    more\n"]


def text(r, hard=False):
    n = r.randint(1, 14)
    out = [r.choice(WORDS) for _ in range(n)]
    if hard or r.random() < 0.35:
        for _ in range(r.randint(1, 4)):
            out.insert(r.randint(0, len(out)), r.choice(PIECES))
        if r.random() < 0.5:
            out.insert(0, r.choice(["", " ", "\n", "\n\n", "\t "]))
            out.append(r.choice(["", " ", "\n", "\n\n", " \n"]))
    return " ".join(out)


def value(r, depth=0):
    kind = r.randint(0, 8 if depth < 2 else 5)
    if kind == 0:
        return r.choice([0, 1, -3, 42, 10 ** 12])
    if kind == 1:
        return r.choice([0.5, 1.0, -2.25, 1e21, 3.14159, 1e-7, 100.0])
    if kind == 2:
        return r.choice([True, False])
    if kind == 3:
        return None
    if kind <= 5:
        return text(r, hard=r.random() < 0.3)
    if kind <= 7:
        return {r.choice(WORDS): value(r, depth + 1) for _ in range(r.randint(0, 3))}
    return [value(r, depth + 1) for _ in range(r.randint(0, 3))]


def schema(r, depth=0):
    kind = r.choice(["string", "integer", "number", "boolean", "array", "object"])
    s = {"type": kind}
    if r.random() < 0.8:
        s["description"] = text(r)
    if kind == "string" and r.random() < 0.4:
        s["enum"] = r.sample(WORDS, 3)
    if r.random() < 0.2:
        s["default"] = value(r, 2)
    if kind == "array":
        s["items"] = schema(r, depth + 1) if depth < 2 else {"type": "string"}
    if kind == "object":
        s["properties"] = {} if depth >= 2 else {
            r.choice(WORDS) + str(i): schema(r, depth + 1) for i in range(r.randint(1, 3))}
        if s["properties"] and r.random() < 0.7:
            s["required"] = r.sample(list(s["properties"]), 1)
    return s


def tool(r, i):
    names = [r.choice(WORDS) + "_" + str(k) for k in range(r.randint(0, 4))]
    parameters = {"type": "object", "properties": {n: schema(r) for n in names}}
    if names:
        parameters["required"] = names[:r.randint(0, len(names))]
    f = {"name": "%s_%d" % (r.choice(["get_weather", "search", "add", "run_code"]), i),
         "description": text(r), "parameters": parameters}
    if r.random() < 0.2:
        f["strict"] = True
    return {"type": "function", "function": f}


def call(r, i, tools, as_text):
    import json
    name = r.choice(tools)["function"]["name"]
    args = {r.choice(WORDS): value(r) for _ in range(r.randint(0, 3))}
    return {"id": "call%05d" % i, "type": "function",
            "function": {"name": name, "arguments": json.dumps(args) if as_text else args}}


def conversation(seed):
    r = random.Random(seed)
    messages, v = [], {}
    with_tools = seed % 5 in (2, 3)
    thinks = seed % 5 in (3, 4)
    tools = [tool(r, i) for i in range(r.randint(1, 3))] if with_tools else []
    as_text = seed % 10 < 3  # arguments as the API has them; templates want them parsed
    if r.random() < 0.6:
        messages.append({"role": "developer" if seed % 17 == 9 else "system", "content": text(r)})
    serial = 0
    for turn in range(r.randint(1, 4)):
        content = text(r, hard=seed % 3 == 0)
        if seed % 11 == 5:
            content = [{"type": "text", "text": content}, {"type": "text", "text": text(r)}]
        messages.append({"role": "user", "content": content})
        if with_tools and r.random() < 0.8:
            calls = [call(r, serial + k, tools, as_text) for k in range(r.randint(1, 2))]
            serial += len(calls)
            m = {"role": "assistant", "content": r.choice([None, "", text(r)]),
                 "tool_calls": calls}
            if thinks and r.random() < 0.6:
                m["reasoning_content"] = text(r)
            messages.append(m)
            for c in calls:
                messages.append({"role": "tool", "tool_call_id": c["id"],
                                 "name": c["function"]["name"], "content": text(r)})
        answer = text(r)
        m = {"role": "assistant", "content": answer}
        if thinks:
            if r.random() < 0.5:
                m["reasoning_content"] = text(r)
            else:
                m["content"] = "<think>\n" + text(r) + "\n</think>\n\n" + answer
        messages.append(m)
    if r.random() < 0.85:
        if messages[-1]["role"] == "assistant" and r.random() < 0.8:
            messages.append({"role": "user", "content": text(r)})
        v["add_generation_prompt"] = True
    else:
        v["add_generation_prompt"] = False
    if tools:
        v["tools"] = tools
    if seed % 7 == 3:
        v["enable_thinking"] = bool(seed % 2)
    if seed % 13 == 6:
        v["reasoning_effort"] = r.choice(["low", "medium", "high"])
    if seed % 19 == 8:
        v["documents"] = [{"title": text(r), "text": text(r)} for _ in range(2)]
    v["messages"] = messages
    return v


def conversations(n=50):
    return [conversation(i) for i in range(n)]
