"""openai, the official client: sync, async, streams, parsed answers, tools, refusals."""
import json
from typing import Literal

import openai
import pydantic

from feature import BASE, CITY, HI, KEY, MODEL, TOOL, feature, main, refused

client = openai.OpenAI(base_url=BASE + "/v1", api_key=KEY, max_retries=0, timeout=120)


def async_client():
    return openai.AsyncOpenAI(base_url=BASE + "/v1", api_key=KEY, max_retries=0, timeout=120)


class Pet(pydantic.BaseModel):
    kind: Literal["dog", "cat"]
    legs: Literal[2, 4]


@feature("models")
def models():
    assert [m.id for m in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL


@feature("completions")
def completions():
    r = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=8, logprobs=2,
                                  echo=True, temperature=0)
    assert r.choices[0].text.startswith("Once upon a time") and r.usage.completion_tokens == 8
    assert len(r.choices[0].logprobs.tokens) == r.usage.total_tokens
    r = client.completions.create(model=MODEL, prompt=["One", "Two"], max_tokens=3, n=2, best_of=3)
    assert [c.index for c in r.choices] == [0, 1, 2, 3]


@feature("completions stream")
def completions_stream():
    text, usage = "", None
    for c in client.completions.create(model=MODEL, prompt="Once", max_tokens=8, stream=True,
                                       stream_options={"include_usage": True}):
        text += c.choices[0].text if c.choices else ""
        usage = c.usage or usage
    assert text and usage.completion_tokens <= 8


@feature("chat")
def chat():
    r = client.chat.completions.create(model=MODEL, messages=HI, max_tokens=12, seed=1)
    assert r.choices[0].message.role == "assistant" and r.choices[0].message.content
    assert r.choices[0].finish_reason in ("stop", "length") and r._request_id
    again = client.chat.completions.create(model=MODEL, messages=HI, max_tokens=12, seed=1)
    assert again.choices[0].message.content == r.choices[0].message.content


@feature("chat stream")
def chat_stream():
    whole = client.chat.completions.create(model=MODEL, messages=HI, max_tokens=12, seed=2)
    text = ""
    for c in client.chat.completions.create(model=MODEL, messages=HI, max_tokens=12, seed=2,
                                            stream=True):
        text += c.choices[0].delta.content or ""
    assert text == whole.choices[0].message.content


@feature("chat async")
async def chat_async():
    async with async_client() as c:
        r = await c.chat.completions.create(model=MODEL, messages=HI, max_tokens=8)
        assert r.choices[0].message.content
        text = ""
        async for e in await c.chat.completions.create(model=MODEL, messages=HI, max_tokens=8,
                                                       stream=True):
            text += e.choices[0].delta.content or ""
        assert text


@feature("chat .stream()")
def chat_stream_helper():
    kinds = []
    with client.chat.completions.stream(model=MODEL, messages=HI, max_tokens=40,
                                        extra_body={"choice": ["A dog barks."]}) as s:
        for e in s:
            kinds.append(e.type)
        final = s.get_final_completion()
    assert "content.delta" in kinds and final.choices[0].message.content


@feature("chat logprobs, n, stop, system and developer turns, text parts")
def chat_fields():
    talk = [{"role": "system", "content": "Be kind."}, {"role": "developer", "content": "Short."},
            {"role": "user", "content": [{"type": "text", "text": "A "},
                                         {"type": "text", "text": "dog?"}]}]
    r = client.chat.completions.create(model=MODEL, messages=talk, max_completion_tokens=6, n=2,
                                       logprobs=True, top_logprobs=3, stop=["zzz", "qqq"], user="me",
                                       presence_penalty=0.1, frequency_penalty=0.1, top_p=0.9)
    assert len(r.choices) == 2 and len(r.choices[0].logprobs.content[0].top_logprobs) == 3


@feature("chat response_format json_object")
def json_object():
    ids = client.post("/../tokenize", body={"prompt": "}", "add_special_tokens": False},
                      cast_to=object)["tokens"]
    r = client.chat.completions.create(model=MODEL, messages=HI, max_tokens=50, temperature=0,
                                       response_format={"type": "json_object"},
                                       logit_bias={str(ids[-1]): 100})
    assert isinstance(json.loads(r.choices[0].message.content), dict)


@feature("chat .parse()")
def parse():
    r = client.chat.completions.parse(model=MODEL, messages=HI, response_format=Pet, max_tokens=60)
    assert isinstance(r.choices[0].message.parsed, Pet)


@feature("chat .parse() async")
async def parse_async():
    async with async_client() as c:
        r = await c.chat.completions.parse(model=MODEL, messages=HI, response_format=Pet,
                                           max_tokens=60)
        assert isinstance(r.choices[0].message.parsed, Pet)


@feature("chat .stream() parsed")
def stream_parsed():
    with client.chat.completions.stream(model=MODEL, messages=HI, response_format=Pet,
                                        max_tokens=60) as s:
        for _ in s:
            pass
        assert isinstance(s.get_final_completion().choices[0].message.parsed, Pet)


def called(call):
    assert call.function.name == "weather" and call.id
    assert set(json.loads(call.function.arguments)) == {"city"}


@feature("tools auto, none")
def tools_auto():
    for choice in ("auto", "none"):
        r = client.chat.completions.create(model=MODEL, messages=HI, tools=[TOOL], max_tokens=8,
                                           tool_choice=choice)
        assert r.choices[0].message.content is not None
    client.chat.completions.create(model=MODEL, messages=HI, tools=[TOOL], max_tokens=8,
                                   parallel_tool_calls=False)


@feature("tools required, named")
def tools_required():
    for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
        r = client.chat.completions.create(model=MODEL, messages=HI, tools=[TOOL], max_tokens=400,
                                           tool_choice=choice)
        assert r.choices[0].finish_reason == "tool_calls", r.choices[0]
        called(r.choices[0].message.tool_calls[0])


@feature("tools stream")
def tools_stream():
    with client.chat.completions.stream(model=MODEL, messages=HI, tools=[TOOL], max_tokens=400,
                                        tool_choice="required") as s:
        kinds = {e.type for e in s}
        called(s.get_final_completion().choices[0].message.tool_calls[0])
    assert "tool_calls.function.arguments.done" in kinds


@feature("tools .parse() strict")
def tools_strict():
    class Weather(pydantic.BaseModel):
        city: Literal["Rome", "Oslo"]
    tool = openai.pydantic_function_tool(Weather)
    r = client.chat.completions.parse(model=MODEL, messages=HI, tools=[tool], max_tokens=400,
                                      tool_choice="required")
    assert isinstance(r.choices[0].message.tool_calls[0].function.parsed_arguments, Weather)


@feature("history with calls, results, content: null and names")
def history():
    call = {"id": "c1", "type": "function",
            "function": {"name": "weather", "arguments": "{\"city\": \"Rome\"}"}}
    talk = [dict(HI[0], name="ann"), {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "Sun."},
            {"role": "assistant", "content": None}, {"role": "user", "content": "Thanks."}]
    r = client.chat.completions.create(model=MODEL, messages=talk, tools=[TOOL], max_tokens=8)
    assert r.choices[0].message


@feature("reasoning_content")
def reasoning():
    r = client.chat.completions.create(model=MODEL, messages=HI, max_tokens=12,
                                       extra_body={"chat_template_kwargs": {
                                           "enable_thinking": True}})
    assert r.choices[0].message.reasoning_content


@feature("raw response, request id")
def raw():
    r = client.chat.completions.with_raw_response.create(model=MODEL, messages=HI, max_tokens=4)
    assert r.headers["x-request-id"] and r.parse().choices


@feature("responses")
def responses():
    r = client.responses.create(model=MODEL, input="Hi.", max_output_tokens=12)
    assert r.output_text and r.status in ("completed", "incomplete")


@feature("responses stream")
def responses_stream():
    kinds = [e.type for e in client.responses.create(model=MODEL, input="Hi.", stream=True,
                                                     max_output_tokens=12)]
    assert kinds[0] == "response.created" and "response.output_text.delta" in kinds
    assert kinds[-1] in ("response.completed", "response.incomplete")


@feature("responses .parse()")
def responses_parse():
    r = client.responses.parse(model=MODEL, input="Hi.", text_format=Pet, max_output_tokens=60)
    assert isinstance(r.output_parsed, Pet)


@feature("responses tools")
def responses_tools():
    tool = {"type": "function", "name": "weather", "parameters": CITY, "strict": True}
    r = client.responses.create(model=MODEL, input="Hi.", tools=[tool], tool_choice="required",
                                max_output_tokens=400)
    assert any(o.type == "function_call" and o.name == "weather" for o in r.output)


@feature("responses previous_response_id, retrieve, delete")
def responses_chain():
    one = client.responses.create(model=MODEL, input="My name is Ann.", max_output_tokens=8)
    two = client.responses.create(model=MODEL, input="And yours?", max_output_tokens=8,
                                  previous_response_id=one.id)
    assert two.usage.input_tokens > one.usage.input_tokens
    assert client.responses.retrieve(one.id).id == one.id
    client.responses.delete(one.id)
    refused(openai.NotFoundError, lambda: client.responses.retrieve(one.id), "response")


@feature("refusals name the field")
def refusals():
    e = refused(openai.NotFoundError, lambda: client.chat.completions.create(
        model="gpt-9", messages=HI), "gpt-9")
    assert e.code == "model_not_found"
    e = refused(openai.BadRequestError, lambda: client.chat.completions.create(
        model=MODEL, messages=HI, temperature=3), "temperature")
    assert e.param == "temperature"
    refused(openai.BadRequestError, lambda: client.chat.completions.create(
        model=MODEL, messages=HI, top_logprobs=21, logprobs=True), "top_logprobs")
    refused(openai.BadRequestError, lambda: client.completions.create(
        model=MODEL, prompt="a", suffix="b"), "suffix")


@feature("embeddings are refused in a sentence")
def embeddings():
    refused(openai.APIStatusError, lambda: client.embeddings.create(model=MODEL, input="dog"),
            "embeddings")


main()
