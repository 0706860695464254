#!/usr/bin/env python3
"""Keys that recurd ignores, against the libraries whose configs have them.

  keys.py {transformers|fla} BUILD [-v] DIR ...

Of every DIR (a golden set) each key of the library's own config class is changed, alone. recurd's
plan as text then changes (read), or the config is refused (refused). Otherwise the library must
give the same logits with the changed key (ignored), or have no such model (impossible), or recurd
must have the library's logits from a checkpoint made with it (equal: the shapes of tensors say it,
or the text of a plan leaves it out). Anything else is a fault: a key that recurd ignores though it
changes the result. -v lists the keys. Without the library the test says so and passes.
"""
import json
import os
import subprocess
import sys
import tempfile

library, build, *folders = sys.argv[1:]
try:
    if library == "fla":
        import fla_on_cpu
    else:
        import from_transformers
    import torch
    import transformers
except (ImportError, OSError) as e:
    print(f"skipped: {library} is not here ({e}); requirements.txt has what it takes")
    sys.exit(0)

import oracle

transformers.utils.logging.set_verbosity_error()

# How results are returned, not which; and what names the model.
NOT_TRIED = {"architectures", "dtype", "id2label", "is_encoder_decoder", "label2id", "model_type",
             "output_attentions", "output_hidden_states", "problem_type", "return_dict",
             "torch_dtype", "transformers_version", "use_cache"}
WORDS = {"act": ["relu", "gelu"], "activation": ["relu", "identity"],
         "feature_map": ["relu", "elu"], "norm": ["sum", "l2"]}
VOCAB = 160
LENGTHS = (1, 21) if library == "fla" else (1, 9, 50)


def others(key, value):
    """Other values for a key, by the kind of its value."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, 2 * value + 2, value // 2]
    if isinstance(value, float):
        return [value * .5 if value else .5]
    if isinstance(value, str):
        return [w for end, words in WORDS.items() if key.endswith(end) for w in words
                if w != value]
    if isinstance(value, list) and value:
        return ([[x * .5 + .01 for x in value]] if isinstance(value[0], float) else
                [value[1:] + value[:1], value[1:], value[:1] + value[:-1]])
    return [True, 2, .5] if value is None else []


def changes(config, where=()):
    """(path of a key, another value there)."""
    for key, value in config.items():
        if key in NOT_TRIED or key.startswith("_"):
            continue
        if isinstance(value, dict):
            yield from changes(value, where + (key,))
        for other in others(key, value):
            yield where + (key,), other


def changed(config, path, value):
    inner = changed(config[path[0]], path[1:], value) if len(path) > 1 else value
    return {**config, path[0]: inner}


class Family:
    def __init__(self, folder):
        self.config = transformers.AutoConfig.from_pretrained(folder).to_dict()
        self.file = json.load(open(os.path.join(folder, "config.json"), encoding="utf-8"))
        self.state = self.model(self.config, load=folder).state_dict()
        text = self.config.get("text_config", self.config)
        self.ids = oracle.prompts(min(VOCAB, text["vocab_size"]), LENGTHS)
        self.plan = self.planned(self.config)
        self.logits = self.run(self.model(self.config))

    def model(self, config, load=None):
        extra, auto = {}, transformers.AutoModelForCausalLM
        if library != "fla":
            extra, auto = from_transformers.EAGER, from_transformers.auto(self.config["model_type"])
        if load:
            model = auto.from_pretrained(load, dtype=torch.float32, **extra)
        else:
            keys = {k: v for k, v in config.items() if k not in ("model_type", "dtype")}
            config = transformers.AutoConfig.for_model(self.config["model_type"], **keys)
            model = auto.from_config(config, **extra)
            if {n: t.shape for n, t in model.state_dict().items()} == {
                    n: t.shape for n, t in self.state.items()}:
                model.load_state_dict(self.state)
            else:
                oracle.fill(model, 1, .8)
                model.other = True
        if library == "fla":
            return fla_on_cpu.token_by_token(model)
        from_transformers.exact_tables(model.float())
        return model.eval()

    def run(self, model):
        with torch.no_grad():
            return [model(ids, use_cache=False).logits[0] for ids in self.ids.values()]

    def planned(self, config):
        """recurd's plan of a config, None where it is refused."""
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
                json.dump(config, f)
            p = subprocess.run([os.path.join(build, "recurd-eval"), "--plan", folder,
                                "--load-format", "dummy"], capture_output=True, text=True)
            return p.stdout if p.returncode == 0 else None

    def golden(self, model):
        """Whether recurd has the logits of this model: True, False, or None where it is refused."""
        with tempfile.TemporaryDirectory() as folder:
            oracle.fill(model, 1, .8)
            want = {}
            for (n, ids), logits in zip(self.ids.items(), self.run(model)):
                want |= {f"tokens_{n}": ids[0].int(), f"pos_{n}": torch.arange(n).int(),
                         f"logits_{n}": logits.float().contiguous()}
            model.bfloat16().save_pretrained(folder)
            oracle.store(folder, want, {})
            if self.config["model_type"] == "olmo_hybrid":
                from_transformers.split_convolutions(folder)
            p = subprocess.run([os.path.join(build, "golden"), folder], capture_output=True,
                               text=True)
            said = p.stdout + p.stderr
            self.said = said.strip().splitlines()[-2 if said.startswith("|") else 0][:200]
            return True if p.returncode == 0 else None if "config.json" in said else False

    def differs(self, config):
        """The library's model of a config: None where it gives the same logits."""
        model = self.model(config)
        logits = self.run(model)
        same = all(a.shape == b.shape and (a - b).abs().max() < 1e-3
                   for a, b in zip(logits, self.logits))
        return None if same and not getattr(model, "other", False) else model

    def settle(self, some):
        """(key, verdict) of changes [(path, value)] that recurd ignores; halves where not all of
        them together are ignored by the library."""
        config = self.config
        for path, value in some:
            config = changed(config, path, value)
        try:
            model = self.differs(config)
        except Exception:  # no such model, so no such checkpoint
            model = False
        if model is None or len(some) == 1:
            right = model and self.golden(model)
            said = ("ignored" if model is None else "impossible" if model is False else
                    "equal" if right else "refused" if right is None else "FAULT")
            yield from ((".".join(path), said) for path, _ in some)
        elif some:
            yield from self.settle(some[:len(some) // 2])
            yield from self.settle(some[len(some) // 2:])

    def verdicts(self):
        """(key, verdict) of every change of every key."""
        rounds = []  # of changes of different keys
        for path, value in changes(self.config):
            plan = self.planned(changed(self.config, path, value))
            if plan != self.plan:
                yield ".".join(path), "refused" if plan is None else "read"
                continue
            free = [r for r in rounds if path not in (p for p, _ in r)]
            (free[0] if free else rounds.append([]) or rounds[-1]).append((path, value))
        for some in rounds:
            yield from self.settle(some)


def main():
    verbose = "-v" in folders
    faults = 0
    print("| model type | keys | read | refused | ignored | equal | impossible | faults |")
    print("| --- |" + " ---: |" * 7)
    for folder in [f for f in folders if f != "-v"]:
        try:
            family = Family(folder)
        except Exception as e:
            print(f"{folder}: not tried: {type(e).__name__}: {str(e)[:120]}")
            continue
        if family.plan is None:
            print(f"{folder}: not tried: recurd refuses what the library makes of this config")
            continue
        worst = ["impossible", "refused", "read", "ignored", "equal", "FAULT"]
        keys = {}
        for key, got in family.verdicts():
            if got == "FAULT":
                print(f"FAULT {family.config['model_type']}: {key}: {family.said}", flush=True)
            keys[key] = max(keys.get(key, got), got, key=worst.index)
        n = {v: sum(x == v for x in keys.values()) for v in worst}
        row = [family.config["model_type"], len(keys)] + [
            n[v] for v in ("read", "refused", "ignored", "equal", "impossible", "FAULT")]
        print("| " + " | ".join(map(str, row)) + " |", flush=True)
        for v in worst if verbose else []:
            print(f"  {v}: " + " ".join(k for k, x in keys.items() if x == v))
        faults += n["FAULT"]
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
