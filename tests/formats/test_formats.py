"""Every format of weights against the `gguf` package of PyPI: decoded values of random blocks, equal
to the byte (a NaN equals a NaN), directly and through a panel; Q8_0 encoded equal to the byte; errors
of the other encoders against the package's, where it has them, or a bound.

    python3 tests/formats/test_formats.py build/formatcheck [blocks]

The package is installed into build/venv-formats when it is not there; without network the test
says so and passes. FP8, which GGUF lacks, is compared with a table of all 256 values."""
import os
import subprocess
import sys
import venv

CHECK = sys.argv[1]
BLOCKS = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
VENV = os.environ.get("FORMATS_VENV", os.path.join(os.path.dirname(CHECK), "venv-formats"))
PYTHON = os.path.join(VENV, "bin", "python")


def enter():
    """Runs this file again inside the environment that has the package."""
    if os.path.realpath(sys.prefix) == os.path.realpath(VENV):
        return
    try:
        if not os.path.exists(PYTHON):
            venv.create(VENV, with_pip=True)
        if subprocess.run([PYTHON, "-c", "import gguf"], capture_output=True).returncode:
            subprocess.run([PYTHON, "-m", "pip", "install", "-q", "gguf"], check=True,
                           capture_output=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as e:
        print(f"skipped: the gguf package could not be installed ({e})")
        sys.exit(0)
    sys.exit(subprocess.run([PYTHON] + sys.argv).returncode)


enter()
import numpy as np  # noqa: E402
import gguf  # noqa: E402
from gguf.quants import dequantize, quantize  # noqa: E402

NAMES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K",
         "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"]
rng = np.random.default_rng(20261128)
failures = 0


def run(what, name, data, n):
    return subprocess.run([CHECK, what, name.lower(), str(n)], input=data.tobytes(),
                          stdout=subprocess.PIPE, check=True).stdout


def say(ok, text):
    global failures
    failures += not ok
    print(("ok   " if ok else "FAIL ") + text, flush=True)


def equal(a, b):
    nan = np.isnan(a) & np.isnan(b)
    return int(np.count_nonzero((a.view(np.uint32) != b.view(np.uint32)) & ~nan))


def decoded(name):
    kind = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    piece, wrong, panel = 50_000, 0, 0
    for at in range(0, BLOCKS, piece):
        n = min(piece, BLOCKS - at)
        data = rng.integers(0, 256, (n, size), dtype=np.uint8)
        with np.errstate(all="ignore"):
            want = np.ascontiguousarray(dequantize(data, kind), dtype=np.float32).reshape(-1)
        wrong += equal(np.frombuffer(run("decode", name, data, n), np.float32), want)
        if block > 1:
            panel += equal(np.frombuffer(run("panel", name, data, n), np.float32), want)
    say(not wrong and not panel, f"{name:7} {BLOCKS} blocks of {block}, {wrong} values differ, "
        f"{panel} after a panel")


def foreign_e4m3():
    """All bytes as e4m3 by another library, and its name; None: there is none."""
    try:
        import torch
        return torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float().numpy(), "torch"
    except ImportError:
        pass
    try:
        subprocess.run([PYTHON, "-m", "pip", "install", "-q", "ml_dtypes"], check=True,
                       capture_output=True, timeout=120)
        import ml_dtypes
        return (np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32),
                "ml_dtypes")
    except (ImportError, OSError, subprocess.SubprocessError) as e:
        print(f"skipped: no other library for e4m3 could be had ({e})")
        return None, None


def fp8():
    n = min(BLOCKS, 20_000)
    data = rng.integers(0, 256, (n, 132), dtype=np.uint8)
    scales = rng.normal(0, 0.01, n).astype(np.float32)
    data[:, 128:] = scales.view(np.uint8).reshape(n, 4)
    q = np.arange(256)
    mag = np.where(q & 0x78, np.exp2((q >> 3 & 15) - 7.0) * (1 + (q & 7) / 8), (q & 7) * 2.0**-9)
    table = np.where(q & 0x80, -mag, mag).astype(np.float32)
    table[[0x7f, 0xff]] = np.nan
    theirs, whose = foreign_e4m3()
    if whose:
        say(not equal(theirs, table), f"FP8     all 256 bytes as {whose} has them")
    want = (table[data[:, :128]] * scales[:, None]).reshape(-1)
    wrong = sum(equal(np.frombuffer(run(w, "fp8", data, n), np.float32), want)
                for w in ("decode", "panel"))
    say(not wrong, f"FP8     {n} blocks of 128, {wrong} values differ")


def encoded(name, bound):
    """Root of the mean squared error over that of the values, of normally distributed weights."""
    kind = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    n = 20_000
    x = rng.normal(0, 0.02, (n, block)).astype(np.float32)
    ours = np.frombuffer(run("encode", name, x, n), np.uint8).reshape(n, size)
    back = dequantize(ours, kind).reshape(n, block)
    error = float(np.sqrt(np.mean((back - x) ** 2) / np.mean(x**2)))
    text = f"{name:7} encoded: error {error:.5f} of the values, at most {bound}"
    if name == "Q8_0":
        differ = int(np.count_nonzero(ours != quantize(x, kind).reshape(n, size)))
        say(differ == 0, f"{name:7} encoded: {differ} bytes differ from the package's")
    say(error <= bound, text)


for name in NAMES:
    decoded(name)
fp8()
for name, bound in (("Q8_0", 0.006), ("Q6_K", 0.02), ("Q4_K", 0.08), ("Q4_0", 0.095)):
    encoded(name, bound)
print(f"{failures} failures")
sys.exit(failures > 0)
