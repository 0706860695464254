"""flash-linear-attention without a GPU: import this before anything of it. Its Triton kernels are
interpreted; kernels that cannot be are replaced by the library's own definitions of them (its
naive_* functions), and those of other packages by what they are defined to compute. Two layers
stay out of reach: Mamba-3 and MoBA are kernels of other packages throughout.
"""
import inspect
import os
import sys

os.environ["TRITON_INTERPRET"] = "1"

import torch
import triton.runtime.autotuner

# Nothing is timed: the first way to launch a kernel is as right as any.
triton.runtime.autotuner.Autotuner._bench = lambda self, *args, **keys: [0.0, 0.0, 0.0]

import fla.layers.simple_gla
import fla.models  # registers the families
from fla.ops.abc.naive import naive_recurrent_abc
from fla.ops.attnres import naive_attnres
from fla.ops.cyfa.naive import naive_recurrent_cyfa
from fla.ops.deltaformer.naive import naive_deltaformer_attn
from fla.ops.log_linear_attn.naive import naive_log_linear_attn
from fla.ops.mesa_net.naive import naive_mesa_net_exact
from fla.ops.nsa.naive import naive_nsa
from fla.ops.parallax.naive import naive_parallax
from fla.ops.path_attn.naive import naive_path_attn
from fla.ops.rwkv7 import fused_recurrent_rwkv7
from torch.nn.functional import normalize, softplus


def attend(q, k, v, causal=True, window_size=(-1, -1), **_):
    """flash_attn_func by its definition: [B, T, heads, d], a window of window_size[0] + 1 keys."""
    T, each = q.shape[1], q.shape[2] // k.shape[2]
    k, v = k.repeat_interleave(each, 2), v.repeat_interleave(q.shape[2] // v.shape[2], 2)
    s = torch.einsum("bthd,bshd->bhts", q, k) * q.shape[3] ** -.5
    age = torch.arange(T)[:, None] - torch.arange(T)[None, :]
    seen = (age >= 0) & ((age <= window_size[0]) if window_size[0] >= 0 else (age >= 0))
    return torch.einsum("bhts,bshd->bthd", s.masked_fill(~seen, float("-inf")).softmax(-1), v)


def scan(x, dt, A, B, C, D, dt_bias, z=None, dt_limit=(0.0, float("inf")), **_):
    """mamba_chunk_scan_combined by its definition: x [b, T, H, P], dt [b, T, H], B, C [b, T, G, N];
    head h reads group h / (H/G)."""
    dt = softplus(dt + dt_bias).clamp(*dt_limit)
    B, C = (t.repeat_interleave(x.shape[2] // t.shape[2], 2) for t in (B, C))
    S, y = torch.zeros(*x[:, 0].shape, B.shape[-1]), []
    for t in range(x.shape[1]):
        S = S * (A * dt[:, t]).exp()[..., None, None]
        S = S + (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, :, None]
        y.append((S * C[:, t, :, None]).sum(-1) + x[:, t] * D.reshape(x.shape[2], -1))
    y = torch.stack(y, 1)
    return (y if z is None else y * torch.nn.functional.silu(z)), S


def additive_gate(x, **_):
    """fused_additive_gate by its definition: x [B, T, H, K] over the running sum of exp(x)."""
    z = x.logcumsumexp(1)
    return (x - z).exp(), torch.cat((z[:, :1], z[:, :-1]), 1) - z, z[:, -1:]


def heads_first(f):
    return lambda q, k, v, s, **_: tuple(
        x.transpose(1, 2) if torch.is_tensor(x) else x
        for x in f(*(x.transpose(1, 2) for x in (q, k, v, s))))


def path(q, k, v, w, beta, g, **_):
    g = torch.zeros(q.shape[:3]) if g is None else g
    return naive_path_attn(q, k, v, w, beta, g, scale=q.shape[-1] ** -.5), None


def mesa(q, k, v, g, beta, lamb, **_):
    return naive_mesa_net_exact(normalize(q, dim=-1), normalize(k, dim=-1), v, g, lamb, beta)


def only_known(f):
    """f, leaving out the keywords that it does not have."""
    known = inspect.signature(f).parameters
    return lambda *a, **keys: f(*a, **{k: x for k, x in keys.items() if k in known})


layers, models = "fla.layers.", "fla.models."
REPLACED = [  # where, which name, by what
    ("fla.", "flash_attn_func", attend),
    (layers, "autocast_to_fp16", lambda x: x),  # what flash attention needs, not what is computed
    (layers, "mamba_chunk_scan_combined", scan),
    (layers + "abc", "chunk_abc", heads_first(naive_recurrent_abc)),
    (models, "fused_attnres", only_known(naive_attnres)),
    # this kernel calls the fast sine of a GPU
    (layers + "cyfa", "fused_recurrent_cyfa", naive_recurrent_cyfa),
    (layers + "deltaformer", "deltaformer_attn", only_known(naive_deltaformer_attn)),
    ("fla.", "fused_additive_gate", additive_gate),
    (layers + "log_linear_mamba2", "chunk_log_linear_attn",
     lambda **keys: (only_known(naive_log_linear_attn)(**keys), None)),
    (layers + "mesa_net", "chunk_mesa_net", mesa),
    (layers + "nsa", "parallel_nsa", only_known(naive_nsa)),
    (layers + "parallax", "parallel_parallax", only_known(naive_parallax)),
    (layers + "path_attn", "parallel_path_attn", path),
    (layers + "rwkv7", "chunk_rwkv7", only_known(fused_recurrent_rwkv7)),
]


def replace(where, name, by):
    for module in [m for n, m in sys.modules.items() if n.startswith(where)]:
        if hasattr(module, name):
            setattr(module, name, by)


for row in REPLACED:
    replace(*row)

# Without a GPU these two would refuse, or take a path that mixes up the groups of B and C.
for kind in (fla.layers.mamba2.Mamba2, fla.layers.log_linear_mamba2.LogLinearMamba2):
    kind.forward = lambda self, hidden_states, **_: (
        self.cuda_kernels_forward(hidden_states)[0], None, None)
# These two define themselves in PyTorch beside their kernels.
for kind in (fla.layers.based.BasedLinearAttention, fla.layers.rebased.ReBasedLinearAttention):
    kind.forward = lambda self, x, **_: (self.forward_reference(x), None, None)


def token_by_token(model):
    """Recurrent kernels at every length: many of the chunked ones cannot be interpreted."""
    for m in model.modules():
        if hasattr(m, "mode") and "fused_recurrent" in inspect.getsource(type(m).forward):
            m.mode = "fused_recurrent"
    return model.float().eval()
