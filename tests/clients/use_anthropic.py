"""anthropic, the official client: messages, streams, tools, thinking, counting."""
import anthropic

from feature import BASE, CITY, HI, KEY, MODEL, feature, main, refused

client = anthropic.Anthropic(base_url=BASE, api_key=KEY, max_retries=0, timeout=120)
TOOL = {"name": "weather", "description": "The weather of a city.", "input_schema": CITY}


@feature("messages")
def messages():
    r = client.messages.create(model=MODEL, messages=HI, max_tokens=12, system="Be kind.",
                               stop_sequences=["zzz"], extra_body={"temperature": 0.5})
    assert r.content[0].type == "text" and r.content[0].text and r.role == "assistant"
    assert r.stop_reason in ("end_turn", "max_tokens") and r.usage.output_tokens > 0


@feature("messages async")
async def messages_async():
    async with anthropic.AsyncAnthropic(base_url=BASE, api_key=KEY, max_retries=0) as c:
        r = await c.messages.create(model=MODEL, messages=HI, max_tokens=8)
        assert r.content[0].text


@feature("messages stream")
def stream():
    kinds = [e.type for e in client.messages.create(model=MODEL, messages=HI, max_tokens=8,
                                                    stream=True)]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert "content_block_delta" in kinds and "message_delta" in kinds


@feature("messages .stream()")
def stream_helper():
    with client.messages.stream(model=MODEL, messages=HI, max_tokens=8) as s:
        text = "".join(s.text_stream)
        final = s.get_final_message()
    assert text and final.content[0].text == text


@feature("tools any, named")
def tools():
    for choice in ({"type": "any"}, {"type": "tool", "name": "weather"}):
        r = client.messages.create(model=MODEL, messages=HI, max_tokens=400, tools=[TOOL],
                                   tool_choice=choice)
        call = [b for b in r.content if b.type == "tool_use"][0]
        assert call.name == "weather" and set(call.input) == {"city"} and call.id
        assert r.stop_reason == "tool_use"


@feature("tools stream")
def tools_stream():
    with client.messages.stream(model=MODEL, messages=HI, max_tokens=400, tools=[TOOL],
                                tool_choice={"type": "any"}) as s:
        final = s.get_final_message()
    assert [b.name for b in final.content if b.type == "tool_use"] == ["weather"]


@feature("history with tool_use and tool_result")
def history():
    talk = HI + [{"role": "assistant", "content": [
        {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1",
                                      "content": [{"type": "text", "text": "Sun."}]}]}]
    assert client.messages.create(model=MODEL, messages=talk, max_tokens=8, tools=[TOOL]).role


@feature("thinking")
def thinking():
    r = client.messages.create(model=MODEL, messages=HI, max_tokens=1100,
                               thinking={"type": "enabled", "budget_tokens": 1024})
    assert r.content[0].type == "thinking"


@feature("cache_control, usage with cache reads")
def cache():
    system = [{"type": "text", "text": "A story of a dog. " * 40,
               "cache_control": {"type": "ephemeral"}}]
    for _ in range(2):
        r = client.messages.create(model=MODEL, messages=HI, max_tokens=4, system=system)
    assert r.usage.cache_read_input_tokens > 100, r.usage


@feature("count_tokens")
def count():
    n = client.messages.count_tokens(model=MODEL, messages=HI).input_tokens
    r = client.messages.create(model=MODEL, messages=HI, max_tokens=1).usage
    assert n == r.input_tokens + (r.cache_read_input_tokens or 0) + (
        r.cache_creation_input_tokens or 0)


@feature("refusals")
def refusals():
    refused(anthropic.NotFoundError, lambda: client.messages.create(
        model="claude-9", messages=HI, max_tokens=4), "claude-9")
    refused(anthropic.BadRequestError, lambda: client.messages.create(
        model=MODEL, messages=HI, max_tokens=0), "max_tokens")


main()
