"""langchain-openai: chat models, bound tools, structured answers by all three methods."""
from typing import Literal

import pydantic
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI

from feature import BASE, KEY, MODEL, feature, main

ASK = [SystemMessage("Be kind."), HumanMessage("Tell me about a dog.")]


class Pet(pydantic.BaseModel):
    """An animal."""
    kind: Literal["dog", "cat"]


@tool
def weather(city: Literal["Rome", "Oslo"]) -> str:
    """The weather of a city."""
    return city


def chat(**fields):
    return ChatOpenAI(model=MODEL, base_url=BASE + "/v1", api_key=KEY, max_retries=0, timeout=120,
                      **dict({"max_tokens": 400}, **fields))


@feature("invoke")
def invoke():
    r = chat(max_tokens=10).invoke(ASK)
    assert r.content and r.usage_metadata["output_tokens"] <= 10


@feature("stream, batch")
def stream():
    assert "".join(c.content for c in chat(max_tokens=10).stream(ASK))
    assert len(chat(max_tokens=4).batch([ASK, ASK])) == 2


@feature("async")
async def asynchronous():
    assert (await chat(max_tokens=8).ainvoke(ASK)).content
    assert "".join([c.content async for c in chat(max_tokens=8).astream(ASK)])


@feature("bind_tools")
def tools():
    r = chat().bind_tools([weather], tool_choice="required").invoke(ASK)
    assert r.tool_calls[0]["name"] == "weather" and r.tool_calls[0]["args"]["city"]
    talk = ASK + [AIMessage("", tool_calls=r.tool_calls),
                  ToolMessage("Sun.", tool_call_id=r.tool_calls[0]["id"])]
    assert chat(max_tokens=8).bind_tools([weather]).invoke(talk) is not None


@feature("bind_tools stream")
def tools_stream():
    whole = None
    for c in chat().bind_tools([weather], tool_choice="weather").stream(ASK):
        whole = c if whole is None else whole + c
    assert whole.tool_calls[0]["name"] == "weather"


@feature("with_structured_output function_calling")
def function_calling():
    assert isinstance(chat().with_structured_output(Pet, method="function_calling").invoke(ASK), Pet)


@feature("with_structured_output json_schema")
def json_schema():
    assert isinstance(chat().with_structured_output(Pet, method="json_schema").invoke(ASK), Pet)


@feature("with_structured_output json_mode")
def json_mode():
    # The method asks for any object; the words must do the rest, which is too much for this model.
    r = chat(temperature=0, extra_body={"regex": None}).with_structured_output(
        None, method="json_mode", include_raw=True).invoke(ASK)
    assert r["raw"].content.lstrip().startswith("{"), r["raw"].content


@feature("completions")
def completions():
    assert OpenAI(model=MODEL, base_url=BASE + "/v1", api_key=KEY, max_tokens=8,
                  max_retries=0).invoke("Once upon a time")


@feature("responses")
def responses():
    assert chat(use_responses_api=True, max_tokens=20).invoke(ASK).text


main()
