#!/usr/bin/env python3
"""RWKV .pth files become models with the same bits, and what is none is refused by name.

  pth.py BUILD                 with torch, if this Python has it, and without
  pth.py --corpus FOLDER       small files for tests/fuzz/fuzz_pth.c

Stored checkpoints under the RWKV project's own names are saved as PyTorch does, converted, and must
give the logits that they gave before.
"""
import collections
import io
import json
import os
import pickle
import subprocess
import sys
import tempfile
import zipfile

from respell import HERE, Tensor, load, rwkv7, store

STORAGES = {"F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage",
            "F64": "DoubleStorage"}
failures = 0


def say(ok, text):
    global failures
    failures += not ok
    print(("ok   " if ok else "FAIL ") + text, flush=True)


# ---- what torch.save writes, without torch ------------------------------------------------------

class Named:
    """Pickles as a reference to module.name, whether that can be imported or not."""
    def __init__(self, module, name):
        self.module, self.name = module, name


class Storage:
    def __init__(self, kind, key, n):
        self.kind, self.key, self.n = kind, key, n


class Call:
    def __init__(self, function, *args):
        self.function, self.args = function, args


class Saver(pickle._Pickler):  # the one in Python: its dispatch can be added to
    dispatch = dict(pickle._Pickler.dispatch)

    def persistent_id(self, x):
        if isinstance(x, Storage):
            return "storage", Named("torch", x.kind), x.key, "cpu", x.n
        return None

    def save_named(self, x):
        self.write(b"c" + x.module.encode() + b"\n" + x.name.encode() + b"\n")

    def save_call(self, x):
        self.save(x.function)
        self.save(x.args)
        self.write(b"R")
    dispatch[Named], dispatch[Call] = save_named, save_call


def strides(shape):
    out, step = [], 1
    for n in reversed(shape):
        out.insert(0, step)
        step *= n
    return tuple(out)


def tensor(t, key, first=0, stride=None):
    n = 1
    for size in t.shape:
        n *= size
    return Call(Named("torch._utils", "_rebuild_tensor_v2"), Storage(STORAGES[t.dtype], key, n),
                first, tuple(t.shape), stride or strides(t.shape), False, collections.OrderedDict())


def pickled(x, protocol=2):
    out = io.BytesIO()
    Saver(out, protocol).dump(x)
    return out.getvalue()


def archive(path, data, storages, method=zipfile.ZIP_STORED, order=b"little", name="data.pkl"):
    with zipfile.ZipFile(path, "w", method) as z:
        z.writestr("archive/" + name, data)
        z.writestr("archive/byteorder", order)
        for key, raw in storages.items():
            z.writestr("archive/data/" + key, raw)
        z.writestr("archive/version", b"3\n")


def save(path, tensors, **how):
    keys = {name: str(i) for i, name in enumerate(tensors)}
    archive(path, pickled({name: tensor(t, keys[name]) for name, t in tensors.items()}),
            {keys[name]: t.data for name, t in tensors.items()}, **how)


def save_by_torch(torch, path, tensors):
    types_of = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    torch.save({name: torch.frombuffer(bytearray(t.data), dtype=types_of[t.dtype]).reshape(t.shape)
                for name, t in tensors.items()}, path)


# ---- the tests ----------------------------------------------------------------------------------

def convert(pth, out):
    return subprocess.run([BUILD + "/recurd-convert", pth, out], capture_output=True, text=True)


def logits(folder, ids):
    out = ids + ".npy"
    r = subprocess.run([BUILD + "/recurd-eval", "--model", folder, "--tokens", ids, "--logits", out],
                       capture_output=True, text=True)
    if r.returncode:
        return r.stderr.strip()
    with open(out, "rb") as f:
        return f.read()


def models(temporary):
    for version in ("v4", "v5_0", "v5_1", "v5_2", "v6"):
        folder = f"{HERE}/rwkv/own_{version}"
        yield version, folder, load(folder + "/model.safetensors")
    with open(HERE + "/public/rwkv7/config.json", encoding="utf-8") as f:
        config, tensors = rwkv7(json.load(f), load(HERE + "/public/rwkv7/model.safetensors"))
    folder = temporary + "/own_v7"
    os.makedirs(folder, exist_ok=True)
    with open(folder + "/config.json", "w", encoding="utf-8") as f:
        json.dump(config, f)
    store(folder + "/model.safetensors", tensors)
    yield "v7", folder, tensors


def as_gguf(version, pth, want, ids):
    """The format has versions 6 and 7; others are refused by name."""
    r = convert(pth, pth + ".gguf")
    if version < "v6":
        say(r.returncode == 1 and "GGUF has no architecture" in r.stderr and
            not os.path.exists(pth + ".gguf"), f"RWKV {version} as GGUF: {r.stderr.strip()}")
        return
    got = r.stderr.strip() if r.returncode else logits(pth + ".gguf", ids)
    same = isinstance(got, bytes) and got == want
    say(same, f"RWKV {version} as GGUF: "
        f"{'same bits' if same else got if isinstance(got, str) else 'other bits'}")


def conversions(temporary, ids, how, saver):
    for version, folder, tensors in models(temporary):
        pth, out = f"{temporary}/{version}{how}.pth", f"{temporary}/{version}{how}"
        if version == "v7":  # as published: layer 0 has what it does not use
            for n in "012":
                tensors["blocks.0.att.v" + n] = tensors["blocks.1.att.v" + n]
        saver(pth, tensors)
        r = convert(pth, out)
        if r.returncode:
            say(False, f"RWKV {version}{how}: {r.stderr.strip()}")
            continue
        want, got = logits(folder, ids), logits(out, ids)
        same = isinstance(got, bytes) and got == want
        say(same, f"RWKV {version} saved{how}: {len(tensors)} tensors, "
            f"{'same bits' if same else got if isinstance(got, str) else 'other bits'}")
        as_gguf(version, pth, want, ids)
    r = convert(pth, out)
    say(r.returncode == 1 and "holds a model already" in r.stderr, f"refused: {r.stderr.strip()}")


def refusals(temporary):
    one = Tensor("F32", [2, 3], bytes(24))
    good = {"emb.weight": tensor(one, "0")}
    half = {"0": one.data[:20]}
    whole = {"0": one.data}
    cases = [
        ("os.system", pickled({"a": Call(Named("os", "system"), "true")}), whole, {}),
        ("builtins.eval", pickled(Call(Named("builtins", "eval"), "1")), whole, {}),
        ("torch.DoubleStorage", pickled({"a": tensor(Tensor("F64", [1], b""), "0")}), whole, {}),
        ("has 20 bytes", pickled(good), half, {}),
        ("member archive/data/0, which is not there", pickled(good), {}, {}),
        ("one after the other", pickled({"a": tensor(one, "0", 0, (1, 2))}), whole, {}),
        ("from 1 in storage", pickled({"a": tensor(one, "0", 1)}), whole, {}),
        ("not protocol 2", pickled(good, 4), whole, {}),
        ("is a number; a dictionary of tensors", pickled({"epoch": 3}), whole, {}),
        ("is a dictionary; a dictionary of tensors", pickled({"model": good}), whole, {}),
        ("a key of the dictionary is a number", pickled({1: good["emb.weight"]}), whole, {}),
        ("end without a stop", pickled(good)[:-1], whole, {}),
        ("the stack is empty", b"\x80\x020.".replace(b"0", b"R"), whole, {}),
        ("a place in the memo", b"\x80\x02h\x05.", whole, {}),
        ("opcode 0x5d", b"\x80\x02].", whole, {}),
        ("needs 4294967", b"\x80\x02X\xff\xff\xff\xff.", whole, {}),
        ("is compressed", pickled(good), whole, {"method": zipfile.ZIP_DEFLATED}),
        ("order \"big\"", pickled(good), whole, {"order": b"big"}),
        ("without data.pkl", pickled(good), whole, {"name": "data.txt"}),
        ("none of RWKV 4 to 7", pickled(good), whole, {})]
    for what, data, storages, how in cases:
        path = temporary + "/bad.pth"
        archive(path, data, storages, **how)
        r = convert(path, temporary + "/bad")
        lines = r.stderr.strip()
        say(r.returncode == 1 and what in lines and not os.path.exists(temporary + "/bad"),
            f"refused: {lines}")
    with open(temporary + "/bad.pth", "rb") as f:
        all_bytes = f.read()
    wrong = 0
    for cut in range(0, len(all_bytes), 7):
        with open(temporary + "/cut.pth", "wb") as f:
            f.write(all_bytes[:cut])
        wrong += convert(temporary + "/cut.pth", temporary + "/cut").returncode != 1
    say(wrong == 0, f"a file cut at {len(all_bytes) // 7} places is refused")


def corpus(folder):
    one = Tensor("BF16", [2, 3], bytes(12))
    tensors = {"emb.weight": one, "blocks.0.att.r_k": one}
    ordered = Call(Named("collections", "OrderedDict"))
    for name, data in (("dict", pickled({k: tensor(t, "0") for k, t in tensors.items()})),
                       ("ordered", pickled([ordered])), ("parameter", pickled({"a": Call(
                           Named("torch._utils", "_rebuild_parameter"), tensor(one, "0"), True,
                           collections.OrderedDict())})), ("numbers", pickled((1, 300, -5, 1 << 40)))):
        with open(f"{folder}/{name}", "wb") as f:
            f.write(b"\0" + data)
    save(folder + "/archive", tensors)
    with open(folder + "/archive", "rb") as f:
        data = f.read()
    with open(folder + "/archive", "wb") as f:
        f.write(b"\1" + data)


if sys.argv[1] == "--corpus":
    corpus(sys.argv[2])
    sys.exit(0)
BUILD = sys.argv[1]
with tempfile.TemporaryDirectory() as root:
    tokens = root + "/ids.json"
    with open(tokens, "w", encoding="utf-8") as ids_file:
        json.dump([(i * 37 + i * i * 11) % 150 for i in range(60)], ids_file)
    conversions(root, tokens, "", save)
    try:
        import torch as real
    except ImportError:
        print("skipped: .pth files saved by torch itself: this Python has no torch")
    else:
        conversions(root, tokens, " by torch", lambda p, t: save_by_torch(real, p, t))
    refusals(root)
print(f"pth: {failures} failures")
sys.exit(failures > 0)
