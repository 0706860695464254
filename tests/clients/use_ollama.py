"""ollama, the official client: chat, generate, streams, format, tools, thinking, model lists."""
import json

import ollama

from feature import BASE, HI, MODEL, TOOL, feature, main, refused

client = ollama.Client(host=BASE, timeout=120)
PET = {"type": "object", "properties": {"kind": {"enum": ["dog", "cat"]}}, "required": ["kind"],
       "additionalProperties": False}


def short(**more):
    return dict({"num_predict": 10, "seed": 3}, **more)


@feature("list, show, ps")
def models():
    assert [m.model for m in client.list().models] == [MODEL + ":latest"]
    shown = client.show(MODEL)
    assert "completion" in shown.capabilities and shown.details.family
    assert [m.model for m in client.ps().models] == [MODEL + ":latest"]


@feature("chat")
def chat():
    r = client.chat(model=MODEL, messages=HI, options=short())
    assert r.message.content and r.done and r.done_reason in ("stop", "length")
    assert r.eval_count <= 10 and r.prompt_eval_count > 0 and r.total_duration > 0
    assert client.chat(model=MODEL + ":latest", messages=HI, options=short()).message == r.message


@feature("chat stream")
def stream():
    parts = list(client.chat(model=MODEL, messages=HI, options=short(), stream=True))
    whole = client.chat(model=MODEL, messages=HI, options=short()).message.content
    assert "".join(p.message.content for p in parts) == whole
    assert [p.done for p in parts] == [False] * (len(parts) - 1) + [True]


@feature("chat async")
async def chat_async():
    c = ollama.AsyncClient(host=BASE)
    assert (await c.chat(model=MODEL, messages=HI, options=short())).message.content
    text = ""
    async for p in await c.chat(model=MODEL, messages=HI, options=short(), stream=True):
        text += p.message.content
    assert text


@feature("generate")
def generate():
    r = client.generate(model=MODEL, prompt="Once upon a time", raw=True, options=short())
    assert r.response and r.done
    r = client.generate(model=MODEL, prompt="Hi.", system="Be kind.", options=short())
    assert r.response is not None
    parts = client.generate(model=MODEL, prompt="Hi.", options=short(), stream=True)
    assert [p.done for p in parts][-1]


@feature("options")
def options():
    r = client.chat(model=MODEL, messages=HI, keep_alive="5m", options=short(
        temperature=0.7, top_k=20, top_p=0.9, min_p=0.05, stop=["zzz"], repeat_penalty=1.1,
        presence_penalty=0.1, frequency_penalty=0.1, num_ctx=4096))
    assert r.message.content


@feature("format: a schema")
def schema():
    r = client.chat(model=MODEL, messages=HI, format=PET, options=short(num_predict=60))
    assert json.loads(r.message.content)["kind"] in ("dog", "cat")
    r = client.generate(model=MODEL, prompt="Hi.", format=PET, options=short(num_predict=60))
    assert json.loads(r.response)["kind"] in ("dog", "cat")


@feature("tools, and a history with their calls")
def tools():
    r = client.chat(model=MODEL, messages=HI, tools=[TOOL], options=short())
    assert r.message.role == "assistant"
    talk = HI + [{"role": "assistant", "content": "", "tool_calls": [
        {"function": {"name": "weather", "arguments": {"city": "Rome"}}}]},
        {"role": "tool", "tool_name": "weather", "content": "Sun."}]
    assert client.chat(model=MODEL, messages=talk, tools=[TOOL], options=short()).done


@feature("think")
def think():
    r = client.chat(model=MODEL, messages=HI, think=True, options=short())
    assert r.message.thinking
    r = client.chat(model=MODEL, messages=HI, think=False, options=short())
    assert r.message.content and not r.message.thinking


@feature("refusals")
def refusals():
    e = refused(ollama.ResponseError, lambda: client.chat(model="llama9", messages=HI), "llama9")
    assert e.status_code == 404
    refused(ollama.ResponseError, lambda: client.chat(model=MODEL, messages=HI,
                                                      options={"temperature": 9}), "temperature")
    refused(ollama.ResponseError, lambda: client.embed(model=MODEL, input="dog"), "embeddings")


main()
