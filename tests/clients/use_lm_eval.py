"""lm-evaluation-harness: log-likelihoods, multiple choice and generation, with the daemon as model
and as tokenizer. The tasks are written here, since data sets are not to be fetched."""
import json
import os

import lm_eval
import lm_eval.tasks

from feature import BASE, MODEL, feature, main

FOLDER = os.path.join(os.environ["HOME"], "tasks")
ROWS = [{"q": "Lily went to the park with her", "a": " mom", "b": " law", "label": 0},
        {"q": "Once upon a", "a": " law", "b": " time", "label": 1}]
COMMON = """task: %s
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
doc_to_text: "{{q}}"
target_delimiter: ""
"""
TASKS = {
    "likelihood": "output_type: loglikelihood\ndoc_to_target: \"{{[a, b][label]}}\"\n"
                  "metric_list: [{metric: perplexity}, {metric: acc}]\n",
    "choice": "output_type: multiple_choice\ndoc_to_choice: \"{{[a, b]}}\"\n"
              "doc_to_target: label\nmetric_list: [{metric: acc}]\n",
    "generation": "output_type: generate_until\ndoc_to_target: \"{{a}}\"\n"
                  "generation_kwargs: {until: [\".\"], max_gen_toks: 12, temperature: 0}\n"
                  "metric_list: [{metric: exact_match}]\n",
}
os.makedirs(FOLDER, exist_ok=True)
DATA = os.path.join(FOLDER, "rows.jsonl")
with open(DATA, "w", encoding="utf-8") as f:
    f.writelines(json.dumps(r) + "\n" for r in ROWS)
for name, text in TASKS.items():
    with open(os.path.join(FOLDER, name + ".yaml"), "w", encoding="utf-8") as f:
        f.write(COMMON % ("here_" + name, DATA) + text)


def run(task, model="local-completions", path="/v1/completions", **fields):
    args = {"model": MODEL, "base_url": BASE + path, "num_concurrent": 1, "max_retries": 1,
            "tokenizer_backend": "remote"}
    r = lm_eval.simple_evaluate(
        model=model, model_args=args, tasks=["here_" + task], bootstrap_iters=0, log_samples=True,
        task_manager=lm_eval.tasks.TaskManager(include_path=FOLDER, include_defaults=False),
        **fields)
    return r["results"]["here_" + task], r["samples"]["here_" + task]


@feature("log-likelihoods")
def likelihood():
    r, _ = run("likelihood")
    assert 1 <= r["perplexity,none"] < 100, r


@feature("multiple choice")
def choice():
    r, samples = run("choice")
    assert r["acc,none"] == 1, [(s["arguments"], s["resps"]) for s in samples]


@feature("generation")
def generation():
    _, samples = run("generation")
    assert all(s["resps"][0][0] for s in samples)


@feature("generation through chat")
def chat():
    _, samples = run("generation", model="local-chat-completions", path="/v1/chat/completions",
                     apply_chat_template=True)
    assert all(s["resps"][0][0] for s in samples)


main()
