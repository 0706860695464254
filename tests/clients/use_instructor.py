"""instructor: answers as objects, by tools and by schema."""
from typing import Literal

import instructor
import openai
import pydantic

from feature import BASE, HI, KEY, MODEL, feature, main


class Pet(pydantic.BaseModel):
    kind: Literal["dog", "cat"]
    legs: Literal[2, 4]


def client(mode, kind=openai.OpenAI):
    return instructor.from_openai(kind(base_url=BASE + "/v1", api_key=KEY, max_retries=0,
                                       timeout=120), mode=mode)


def mode(name):
    @feature(name)
    def whole():
        r = client(getattr(instructor.Mode, name)).chat.completions.create(
            model=MODEL, messages=HI, response_model=Pet, max_retries=0, max_tokens=400)
        assert isinstance(r, Pet)


for one in ("TOOLS", "TOOLS_STRICT", "JSON_SCHEMA"):
    mode(one)


@feature("partial stream")
def partial():
    parts = list(client(instructor.Mode.TOOLS).chat.completions.create_partial(
        model=MODEL, messages=HI, response_model=Pet, max_retries=0, max_tokens=400))
    assert parts[-1].kind in ("dog", "cat")


@feature("async")
async def asynchronous():
    r = await client(instructor.Mode.JSON_SCHEMA, openai.AsyncOpenAI).chat.completions.create(
        model=MODEL, messages=HI, response_model=Pet, max_retries=0, max_tokens=400)
    assert isinstance(r, Pet)


main()
