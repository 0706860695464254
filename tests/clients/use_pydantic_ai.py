"""pydantic-ai: agents with text, native and tool output, and streams."""
from typing import Literal

import pydantic
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from feature import BASE, KEY, MODEL, feature, main


class Pet(pydantic.BaseModel):
    """An animal."""
    kind: Literal["dog", "cat"]


def agent(**fields):
    model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=BASE + "/v1", api_key=KEY))
    return Agent(model, retries=0, system_prompt="Be kind.",
                 model_settings={"max_tokens": 400, "seed": 5}, **fields)


@feature("text")
async def text():
    assert (await agent().run("Tell me about a dog.")).output


@feature("stream")
async def stream():
    async with agent().run_stream("Tell me about a dog.") as r:
        assert "".join([d async for d in r.stream_text(delta=True)])


@feature("output by a tool")
async def tool():
    assert isinstance((await agent(output_type=ToolOutput(Pet)).run("A dog.")).output, Pet)


@feature("output by a schema")
async def native():
    assert isinstance((await agent(output_type=NativeOutput(Pet)).run("A dog.")).output, Pet)


@feature("several turns")
async def turns():
    one = await agent().run("Tell me about a dog.")
    two = await agent().run("And a cat?", message_history=one.all_messages())
    assert two.usage().input_tokens > one.usage().input_tokens


main()
