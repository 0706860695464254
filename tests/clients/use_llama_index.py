"""llama-index with its OpenAI-like model: chat, streams, tools, structured answers."""
from typing import Literal

import pydantic
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

from feature import BASE, KEY, MODEL, feature, main

ASK = [ChatMessage(role="user", content="Tell me about a dog.")]


class Pet(pydantic.BaseModel):
    """An animal."""
    kind: Literal["dog", "cat"]


def llm(**fields):
    return OpenAILike(model=MODEL, api_base=BASE + "/v1", api_key=KEY, max_retries=0, timeout=120,
                      is_chat_model=True, is_function_calling_model=True,
                      context_window=4096, **dict({"max_tokens": 400}, **fields))


@feature("chat, complete")
def chat():
    assert llm(max_tokens=8).chat(ASK).message.content
    assert llm(max_tokens=8).complete("Once").text
    assert OpenAILike(model=MODEL, api_base=BASE + "/v1", api_key=KEY, max_tokens=8,
                      is_chat_model=False).complete("Once upon a time").text


@feature("stream, async")
async def stream():
    assert "".join(c.delta or "" for c in llm(max_tokens=8).stream_chat(ASK))
    assert (await llm(max_tokens=8).achat(ASK)).message.content


@feature("tools")
def tools():
    def weather(city: Literal["Rome", "Oslo"]) -> str:
        """The weather of a city."""
        return city
    tool = FunctionTool.from_defaults(weather)
    model = llm()
    r = model.chat_with_tools([tool], user_msg="Rome?", tool_required=True)
    calls = model.get_tool_calls_from_response(r)
    assert calls[0].tool_name == "weather" and calls[0].tool_kwargs["city"]


@feature("structured_predict")
def structured():
    for strict in (False, True):
        r = llm(should_use_structured_outputs=strict).structured_predict(
            Pet, PromptTemplate("A dog."))
        assert isinstance(r, Pet)


main()
