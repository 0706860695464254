"""llm, the command line tool, with a model of its extra-openai-models.yaml."""
import os
import subprocess

from feature import BASE, BIN, MODEL, feature, main

HOME = os.path.join(os.environ["HOME"], "llm")
os.makedirs(HOME, exist_ok=True)
with open(os.path.join(HOME, "extra-openai-models.yaml"), "w", encoding="utf-8") as f:
    f.write("- model_id: here\n  model_name: %s\n  api_base: %s/v1\n  supports_schema: true\n"
            "  supports_tools: true\n" % (MODEL, BASE))
    f.write("- model_id: text\n  model_name: %s\n  api_base: %s/v1\n  completion: true\n"
            % (MODEL, BASE))


def llm(*args):
    r = subprocess.run([os.path.join(BIN, "llm"), *args], capture_output=True, text=True,
                       timeout=120, stdin=subprocess.DEVNULL,
                       env=dict(os.environ, LLM_USER_PATH=HOME, OPENAI_API_KEY="none"))
    assert r.returncode == 0, r.stderr.strip()
    return r.stdout


@feature("prompt")
def prompt():
    assert llm("-m", "here", "--no-stream", "-o", "max_tokens", "10", "Tell me about a dog.").strip()


@feature("stream, system, a second turn")
def stream():
    assert llm("-m", "here", "-s", "Be kind.", "-o", "max_tokens", "10", "A dog.").strip()
    assert llm("-c", "-o", "max_tokens", "10", "And a cat?").strip()


@feature("schema")
def schema():
    text = llm("-m", "here", "--schema", '{"type": "object", "properties": {"kind": {"enum": '
               '["dog", "cat"]}}, "required": ["kind"], "additionalProperties": false}', "A dog.")
    assert "kind" in text


@feature("tools")
def tools():
    assert llm("-m", "here", "--functions", "def weather(city: str) -> str:\n    'Of a city.'\n"
               "    return city", "-o", "max_tokens", "10", "A dog.") is not None


@feature("completion")
def completion():
    assert llm("-m", "text", "-o", "max_tokens", "10", "Once upon a time").strip()


main()
