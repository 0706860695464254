"""litellm: one call, its providers for OpenAI, Anthropic and Ollama."""
import json

import litellm

from feature import BASE, HI, KEY, MODEL, TOOL, feature, main, refused

litellm.telemetry = False
litellm.suppress_debug_info = True
PROVIDERS = {"openai": ("openai/" + MODEL, BASE + "/v1"), "anthropic": ("anthropic/" + MODEL, BASE),
             "ollama": ("ollama_chat/" + MODEL, BASE),
             "llama-server": ("llamafile/" + MODEL, BASE + "/v1")}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "pet", "strict": True, "schema": {
    "type": "object", "properties": {"kind": {"enum": ["dog", "cat"]}}, "required": ["kind"],
    "additionalProperties": False}}}


def ask(provider, **fields):
    model, base = PROVIDERS[provider]
    return litellm.completion(model=model, api_base=base, api_key=KEY, messages=HI, num_retries=0,
                              timeout=120, **dict({"max_tokens": 10}, **fields))


def provider(name):
    @feature(name)
    def whole():
        assert ask(name).choices[0].message.content

    @feature(name + " stream")
    def stream():
        assert "".join(c.choices[0].delta.content or "" for c in ask(name, stream=True))


for one in PROVIDERS:
    provider(one)


@feature("openai async")
async def asynchronous():
    model, base = PROVIDERS["openai"]
    r = await litellm.acompletion(model=model, api_base=base, api_key=KEY, messages=HI,
                                  max_tokens=8)
    assert r.choices[0].message.content


@feature("openai tools")
def tools():
    r = ask("openai", tools=[TOOL], tool_choice="required", max_tokens=400)
    call = r.choices[0].message.tool_calls[0].function
    assert call.name == "weather" and set(json.loads(call.arguments)) == {"city"}


@feature("anthropic tools")
def anthropic_tools():
    r = ask("anthropic", tools=[TOOL], tool_choice="required", max_tokens=400)
    assert r.choices[0].message.tool_calls[0].function.name == "weather"


@feature("openai, ollama response_format")
def schema():
    for name in ("openai", "ollama"):
        r = ask(name, response_format=SCHEMA, max_tokens=60)
        assert json.loads(r.choices[0].message.content)["kind"] in ("dog", "cat")


@feature("text completion")
def text():
    r = litellm.text_completion(model="text-completion-openai/" + MODEL, api_base=BASE + "/v1",
                                api_key=KEY, prompt="Once", max_tokens=8)
    assert r.choices[0].text


@feature("refusals")
def refusals():
    refused(litellm.BadRequestError, lambda: ask("openai", temperature=3), "temperature")


main()
