"""llama.cpp, as a process that answers lines of JSON on standard input:

    {"do": "generate", "ids": [...], "n": N}   {"do": "logits", "ids": [...], "out": PATH}
    {"do": "streams", "n": N, "vocab": V, "seconds": S}

Its first line says how long loading took. By cyllama where that is there, else llama-cpp-python.

    peer.py FILE.gguf THREADS STREAMS
"""
import json
import sys
import time

import numpy as np

CONTEXT = 2048


def rss_mib():
    with open("/proc/self/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024


class Cyllama:
    def __init__(self, path, threads, streams):
        from cyllama.llama import llama_cpp as ll

        class Model(ll.LlamaModel):  # the context asks its model for this, which has it elsewhere
            n_vocab = property(lambda self: self.get_vocab().n_vocab)

        ll.disable_logging()
        self.model = Model(path_model=path, params=ll.LlamaModelParams(), verbose=False)
        params = ll.LlamaContextParams()
        params.n_ctx, params.n_batch, params.n_ubatch = CONTEXT, CONTEXT, 512
        params.n_threads = params.n_threads_batch = threads
        params.n_seq_max = streams
        self.context = ll.LlamaContext(model=self.model, params=params, verbose=False)
        self.batch = ll.LlamaBatch(n_tokens=CONTEXT, embd=0, n_seq_max=streams)
        self.greedy = ll.LlamaSampler(ll.LlamaSamplerChainParams())
        self.greedy.add_greedy()

    def clear(self):
        self.context.kv_cache_clear()

    def decode(self, ids, pos, every):
        self.batch.reset()
        for i, t in enumerate(ids):
            self.batch.add(t, pos + i, [0], every or i == len(ids) - 1)
        if self.context.decode(self.batch):
            sys.exit("llama_decode fails")

    def step(self, ids, pos):
        """One token of each of so many sequences."""
        self.batch.reset()
        for i, t in enumerate(ids):
            self.batch.add(t, pos, [i], True)
        if self.context.decode(self.batch):
            sys.exit("llama_decode fails")

    def choose(self):
        return self.greedy.sample(self.context, -1)

    def row(self, i):
        return np.array(self.context.get_logits_ith(i), np.float32)


class LlamaCppPython:
    def __init__(self, path, threads, streams):
        import llama_cpp as ll
        self.ll = ll
        ll.llama_backend_init()
        self.model = ll.llama_model_load_from_file(path.encode(), ll.llama_model_default_params())
        params = ll.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = CONTEXT, CONTEXT, 512
        params.n_threads = params.n_threads_batch = threads
        params.n_seq_max = streams
        params.kv_unified = True  # else each sequence has its share of the context alone
        self.context = self.model and ll.llama_init_from_model(self.model, params)
        if not self.context:
            sys.exit(f"{path}: llama.cpp does not load it")
        self.vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(self.model))
        self.batch = ll.llama_batch_init(CONTEXT, 0, 1)

    def clear(self):
        self.ll.llama_memory_clear(self.ll.llama_get_memory(self.context), True)

    def decode(self, ids, pos, every):
        b = self.batch
        b.n_tokens = len(ids)
        for i, t in enumerate(ids):
            b.token[i], b.pos[i], b.n_seq_id[i] = t, pos + i, 1
            b.seq_id[i][0] = 0
            b.logits[i] = every or i == len(ids) - 1
        if self.ll.llama_decode(self.context, b):
            sys.exit("llama_decode fails")

    def step(self, ids, pos):
        """One token of each of so many sequences."""
        b = self.batch
        b.n_tokens = len(ids)
        for i, t in enumerate(ids):
            b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = t, pos, 1, True
            b.seq_id[i][0] = i
        if self.ll.llama_decode(self.context, b):
            sys.exit("llama_decode fails")

    def choose(self):
        return int(self.row(-1).argmax())

    def row(self, i):
        p = self.ll.llama_get_logits_ith(self.context, i)
        return np.ctypeslib.as_array(p, (self.vocab,))


def generate(peer, ids, n):
    peer.clear()
    t0 = time.monotonic()
    peer.decode(ids, 0, False)
    out = [peer.choose()]
    t1 = time.monotonic()
    while len(out) < n:
        peer.decode(out[-1:], len(ids) + len(out) - 1, True)
        out.append(peer.choose())
    t2 = time.monotonic()
    return {"ids": out, "prompt": len(ids) / (t1 - t0), "decode": (n - 1) / (t2 - t1),
            "rss": rss_mib()}


STREAM_TOKENS = 48  # of a sequence: with 32 of them, what the context holds


def streams(peer, n, vocab, seconds):
    """Tokens a second of n sequences together, without choosing among them."""
    peer.clear()
    peer.step([7] * n, 0)
    t0, done, pos = time.monotonic(), 0, 1
    while time.monotonic() - t0 < seconds or not done:
        if pos == STREAM_TOKENS:
            peer.clear()
            pos = 0
        peer.step([(131 * i + 7 * pos) % vocab for i in range(n)], pos)
        pos += 1
        done += n
    return {"rate": done / (time.monotonic() - t0)}


def logits(peer, ids, path):
    peer.clear()
    peer.decode(ids, 0, True)
    np.save(path, np.stack([peer.row(i) for i in range(len(ids))]))
    return {}


def main():
    try:
        import cyllama  # noqa: F401
        kind = Cyllama
    except ImportError:
        kind = LlamaCppPython
    t0 = time.monotonic()
    peer = kind(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps({"load": time.monotonic() - t0, "rss": rss_mib()}), flush=True)
    for line in sys.stdin:
        ask = json.loads(line)
        if ask["do"] == "generate":
            answer = generate(peer, ask["ids"], ask["n"])
        elif ask["do"] == "streams":
            answer = streams(peer, ask["n"], ask["vocab"], ask["seconds"])
        else:
            answer = logits(peer, ask["ids"], ask["out"])
        print(json.dumps(answer), flush=True)


main()
