"""The rows of table.py that programs give: oclbench, steps, ocl_fault, and others.py beside them.
Each function takes the run and a device."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
OTHERS_S = 120  # fla is imported and compiles for as long as that


def products(bench, device):
    name = device.split(":", 1)[1]
    args = [bench.program("oclbench"), "--device", name, "--cache",
            os.path.join(bench.a.out, "kernels")]
    sizes = (4096, 8192)
    runs = [["--small"]] if bench.a.quick else [["--only", f"{n} x {n}, {n} rows"] for n in sizes]
    for i, more in enumerate(runs):
        text = bench.output(args + more, (f"products-{i}",), 60)
        bench.facts["card"] = text.splitlines()[0]
        copy = re.search(r"^copy.* ([\d.]+) GB/s", text, re.M)
        bench.copy_gbs = float(copy.group(1))
        bench.put(("products", "copy", "read and written"), bench.copy_gbs)
        for n, tflops in re.findall(r"^product bf16 (\d+) x \1, \1 rows .* ([\d.]+) TFLOP/s", text,
                                    re.M):
            if int(n) in sizes:
                bench.put(("products", "product bf16", f"{n}³"), float(tflops))


def family(bench, device, name):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(bench.size.families[name], os.path.join(folder, "config.json"))
        text = bench.output([bench.program("steps"), folder, device, "--prompt", "64",
                             *bench.size.family_streams], (f"family-{name}",), 60,
                            {"RECURD_OCL_CACHE": os.path.join(bench.a.out, "kernels")})
    line = r"^ *(\d+) streams: +([\d.]+) ms a step.* (\d+) launches, host +([\d.]+) us.* (\d+) GB/s"
    for n, ms, launches, host, gbs in re.findall(line, text, re.M):
        bench.put(("families", name, f"host time, {n} streams"), float(host),
                  f"{launches} launches, {ms} ms a step")
        if n == "1" and bench.copy_gbs:
            bench.put(("families", name, "weights, 1 streams"), float(gbs) / bench.copy_gbs * 100,
                      f"{gbs} GB/s")


def check(bench, device):
    bench.output([bench.program("ocl_fault"), device, "1", "1"], ("check",), 60)
    bench.put(("check", "states", "come back with their bits"), 0)


def others(bench, device):
    """Lines of JSON: {"key": [...], "value": ..., "note": ...} and {"fact": ..., "value": ...}."""
    bench.in_time()
    number = re.search(r":(\d+)$", device)
    args = [sys.executable, os.path.join(HERE, "others.py")]
    args += ["--quick"] if bench.a.quick else []
    env = dict(os.environ, CUDA_VISIBLE_DEVICES=number.group(1) if number else "0")
    with open(bench.log("others"), "w", encoding="utf-8") as err:
        p = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=err, text=True, env=env,
                             start_new_session=True)
        late = threading.Timer(OTHERS_S, os.killpg, (p.pid, signal.SIGKILL))  # its children too
        late.start()
        for line in p.stdout:
            said = json.loads(line)
            if "fact" in said:
                bench.facts[said["fact"]] = said["value"]
            elif tuple(said["key"]) in bench.rows:
                bench.put(tuple(said["key"]), None, said["note"], said["value"])
        late.cancel()
        if p.wait():
            with open(bench.log("others"), encoding="utf-8", errors="replace") as f:
                last = f.read().strip().splitlines()
            raise RuntimeError(last[-1] if last else f"ended by signal or limit ({p.returncode})")
