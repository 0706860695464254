"""llama.cpp through llama-cpp-python, as a process that answers lines of JSON on standard input:
{"do": "generate", "ids": [...], "n": N}, {"do": "logits", "ids": [...], "out": PATH},
{"do": "quit"}. Its first line says how long loading took.

    peer.py FILE.gguf THREADS
"""
import json
import sys
import time

import llama_cpp as ll
import numpy as np

CONTEXT = 2048


def rss_mib():
    with open("/proc/self/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024


class Peer:
    def __init__(self, path, threads):
        self.quiet = ll.llama_log_callback(lambda level, text, data: None)
        ll.llama_log_set(self.quiet, None)
        ll.llama_backend_init()
        t0 = time.monotonic()
        self.model = ll.llama_model_load_from_file(path.encode(), ll.llama_model_default_params())
        if not self.model:
            sys.exit(f"{path}: llama.cpp does not load it")
        params = ll.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = CONTEXT, CONTEXT, 512
        params.n_threads = params.n_threads_batch = threads
        self.context = ll.llama_init_from_model(self.model, params)
        if not self.context:
            sys.exit(f"{path}: llama.cpp makes no context for it")
        self.load = time.monotonic() - t0
        self.vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(self.model))
        self.batch = ll.llama_batch_init(CONTEXT, 0, 1)

    def clear(self):
        ll.llama_memory_clear(ll.llama_get_memory(self.context), True)

    def decode(self, ids, pos, every):
        b = self.batch
        b.n_tokens = len(ids)
        for i, t in enumerate(ids):
            b.token[i], b.pos[i], b.n_seq_id[i] = t, pos + i, 1
            b.seq_id[i][0] = 0
            b.logits[i] = every or i == len(ids) - 1
        if ll.llama_decode(self.context, b):
            sys.exit("llama_decode fails")

    def row(self, i):
        return np.ctypeslib.as_array(ll.llama_get_logits_ith(self.context, i), (self.vocab,))

    def generate(self, ids, n):
        self.clear()
        t0 = time.monotonic()
        self.decode(ids, 0, False)
        out = [int(self.row(-1).argmax())]
        t1 = time.monotonic()
        while len(out) < n:
            self.decode(out[-1:], len(ids) + len(out) - 1, True)
            out.append(int(self.row(-1).argmax()))
        t2 = time.monotonic()
        return {"ids": out, "prompt": len(ids) / (t1 - t0), "rss": rss_mib(),
                "decode": (n - 1) / (t2 - t1) if n > 1 else 0}

    def logits(self, ids, path):
        self.clear()
        self.decode(ids, 0, True)
        np.save(path, np.stack([self.row(i) for i in range(len(ids))]))
        return {}


def main():
    peer = Peer(sys.argv[1], int(sys.argv[2]))
    print(json.dumps({"load": peer.load, "rss": rss_mib()}), flush=True)
    for line in sys.stdin:
        ask = json.loads(line)
        if ask["do"] == "quit":
            break
        answer = (peer.generate(ask["ids"], ask["n"]) if ask["do"] == "generate"
                  else peer.logits(ask["ids"], ask["out"]))
        print(json.dumps(answer), flush=True)


main()
