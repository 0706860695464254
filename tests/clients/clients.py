"""The clients that drive the daemon: name, what pip installs, the file that uses it. Each gets an
environment of its own, so that none holds another at an old version."""

CLIENTS = [
    # name, packages, script
    ("openai", ["openai"], "use_openai.py"),
    ("anthropic", ["anthropic"], "use_anthropic.py"),
    ("ollama", ["ollama"], "use_ollama.py"),
    ("litellm", ["litellm"], "use_litellm.py"),
    ("langchain", ["langchain-openai"], "use_langchain.py"),
    ("llama-index", ["llama-index-llms-openai-like"], "use_llama_index.py"),
    ("instructor", ["instructor", "openai"], "use_instructor.py"),
    ("pydantic-ai", ["pydantic-ai-slim[openai]"], "use_pydantic_ai.py"),
    ("llm", ["llm"], "use_llm.py"),
    ("lm-eval", ["lm-eval[api]"], "use_lm_eval.py"),
    ("agent", ["openai"], "use_agent.py"),
    ("schemathesis", ["schemathesis"], "use_schemathesis.py"),
]
