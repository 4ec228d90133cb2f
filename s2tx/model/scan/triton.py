"""The selective scan for the GPU: the kernels of ``triton_kernels`` as one differentiable step.

It needs Triton, which torch for CUDA brings along, and no compiler. With ``TRITON_INTERPRET=1`` in
the environment of the process the same kernels run, slowly, on a CPU.

Letters: N sequences, I channels, L steps, K state, G groups of channels, J blocks of channels in a
group.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

try:
    import triton
except ImportError as error:
    raise ImportError(
        'runtime.scan is triton, which is not installed: pip install -e ".[triton]", '
        "or set runtime.scan to auto"
    ) from error

from s2tx.model.scan import triton_kernels as kernels
from s2tx.model.scan.checks import check, check_axes

# How the work is cut follows from shapes alone, and not from N: a window gives the same bits
# whatever else is in its batch.
STEPS = 16  # a tile's steps, and the steps between two stored states
_HELD = 2  # states of a channel that one thread holds; with STEPS, what fits in its registers
_CHANNELS, _THREADS, _WARP = 32, 256, 32  # of a program, at most; threads of a warp
_REGISTERS = 128  # of a thread going forward: two full programs share a multiprocessor
_GROUPS = 63  # directions travel as the bits of one number

_Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]

INTERPRETED = not isinstance(kernels.forward, triton.JITFunction)
_DEVICE = "cpu" if INTERPRETED else "cuda"


class _Cut(NamedTuple):
    """How a program's tile is laid out: ``P * Q`` states of ``I`` channels; see the kernels."""

    P: int
    I: int  # noqa: E741
    Q: int

    @classmethod
    def of(cls, channels: int, K: int) -> _Cut:
        """For ``channels`` in a group: powers of two that fill at most ``_THREADS`` threads."""
        states = triton.next_power_of_2(K)
        held = min(_HELD, states)
        lanes = states // held
        room = min(_CHANNELS, max(1, _THREADS // lanes))
        return cls(held, min(triton.next_power_of_2(channels), room), lanes)

    @property
    def warps(self) -> int:
        return min(max(1, self.I * self.Q // _WARP), _THREADS // _WARP)


class _Scan(torch.autograd.Function):
    """The kernels as one differentiable step; each gradient in its input's type."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
        z: Tensor | None, delta_bias: Tensor | None, softplus: bool, reverse: tuple[bool, ...],
    ) -> Tensor:  # fmt: skip
        y, states = _run(u, delta, A, B, C, D, z, delta_bias, softplus, reverse, keep=True)
        ctx.save_for_backward(u, delta, A, B, C, D, z, delta_bias, states)
        ctx.softplus, ctx.reverse = softplus, reverse
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        u, delta, A, B, C, D, z, delta_bias, states = ctx.saved_tensors
        (dy,) = grads
        (N, I, L), K, G = u.shape, A.shape[1], B.shape[1]  # noqa: E741
        J = states.shape[2]
        du, ddelta = torch.empty_like(u), torch.empty_like(delta)
        dz = None if z is None else torch.empty_like(z)
        empty = functools.partial(u.new_empty if u.numel() else u.new_zeros, dtype=torch.float32)
        dA = empty((N, I, K))
        dD = None if D is None else empty((N, I))
        dbias = None if delta_bias is None else empty((N, I))
        # One block has the whole sum: it needs no wider type to be added up in.
        dB, dC = (
            empty((J, N, G, L, K), dtype=x.dtype if J == 1 else torch.float32) for x in (B, C)
        )
        _launch(
            kernels.backward, (u, delta, A, B, C, D, z, delta_bias), ctx.softplus, ctx.reverse,
            dy, *dy.stride(), states, *_strided(du), *_strided(ddelta), *_strided(dz),
            dA, dB, dC, dD, dbias, N,
        )  # fmt: skip
        return (
            du,
            ddelta,
            dA.sum(0).to(A.dtype),
            _add(dB).to(B.dtype).transpose(2, 3),
            _add(dC).to(C.dtype).transpose(2, 3),
            None if dD is None or D is None else dD.sum(0).to(D.dtype),
            dz,
            None if dbias is None else dbias.sum(0).to(delta_bias.dtype),
            None,
            None,
        )


def _add(parts_JNGLK: Tensor) -> Tensor:
    return parts_JNGLK[0] if len(parts_JNGLK) == 1 else parts_JNGLK.sum(0)


def _strided(x: Tensor | None) -> tuple[Tensor | int | None, ...]:
    """A tensor (N, I, L) and its strides, as a kernel takes them; an absent one has strides 0."""
    return (None, 0, 0, 0) if x is None else (x, *x.stride())


def _launch(
    kernel: Any, inputs: _Inputs, softplus: bool, reverse: tuple[bool, ...],
    *rest: Tensor | int | None,
) -> None:  # fmt: skip
    """Start ``kernel`` on the inputs of a scan and what follows them; wait for nothing."""
    u, delta, A, B, C, D, z, bias = inputs
    (N, I, L), K, G = u.shape, A.shape[1], len(reverse)  # noqa: E741
    cut = _Cut.of(I // G, K)
    J = triton.cdiv(I // G, cut.I)
    if u.numel() == 0:
        return
    full = cut.warps * _WARP == _THREADS and kernel is kernels.forward
    on = torch.cuda.device(u.device) if u.is_cuda else contextlib.nullcontext()
    with on:
        kernel[(N * G * J,)](
            *_strided(u), *_strided(delta), A.contiguous(),
            B, *B.stride(), C, *C.stride(),
            None if D is None else D.contiguous(),
            *_strided(z),
            None if bias is None else bias.contiguous(),
            *rest, G, J, I // G, L, K, sum(back << g for g, back in enumerate(reverse)),
            SOFTPLUS=softplus, STEPS=STEPS, P=cut.P, I=cut.I, Q=cut.Q,
            num_warps=cut.warps, enable_fp_fusion=True, maxnreg=_REGISTERS if full else None,
        )  # fmt: skip


def _run(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
    delta_bias: Tensor | None, softplus: bool, reverse: tuple[bool, ...], keep: bool,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """The output, and, to keep, the states before each tile: (N, G, J, tiles, P * I * Q)."""
    (N, I, L), G = u.shape, len(reverse)  # noqa: E741
    cut = _Cut.of(I // G, A.shape[1])
    # The layout of the linear map that follows.
    y = torch.empty(N, L, I, dtype=u.dtype, device=u.device).transpose(1, 2)
    states = None
    if keep:
        shape = (N, G, triton.cdiv(I // G, cut.I), triton.cdiv(L, STEPS), cut.P * cut.I * cut.Q)
        states = torch.empty(shape, dtype=torch.float32, device=u.device)
    inputs = (u, delta, A, B, C, D, z, delta_bias)
    _launch(kernels.forward, inputs, softplus, reverse, y, states)
    return y, states


def _check(u: Tensor, A: Tensor, groups: int, others: dict[str, Tensor | None]) -> None:
    """Refuse what the kernels, which check no bounds, would read wrongly."""
    check_axes(u, A)
    I = u.shape[1]  # noqa: E741
    if not 1 <= groups <= _GROUPS or I % groups:
        raise ValueError(
            f"reverse names {groups} groups, into which {I} channels cannot be cut "
            f"(1 to {_GROUPS} equal ones can)"
        )
    for name, value in {"u": u, "A": A, **others}.items():
        if value is None:
            continue
        if value.device.type != _DEVICE or value.device != u.device:
            raise ValueError(
                f"the triton scan got {name} on {value.device} and needs every input on one "
                f"{_DEVICE} device: set runtime.scan to auto"
            )
    check("triton", u, A, groups, others)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    softplus: bool = False,
    reverse: tuple[bool, ...] = (False,),
) -> Tensor:
    """See ``s2tx.model.scan.reference.selective_scan``: same arguments, same meaning.

    Arrays of any strides are read in place, in their own type, and computed in float32. The first
    call with new types, options or strides of another kind compiles for some seconds; Triton keeps
    the result on disk. Nothing waits for the device: a call may be captured in a CUDA graph.

    Raises:
        TypeError: an input is in a type wider than float32, or no floating point.
        ValueError: an input has the wrong shape, or the inputs are not on one CUDA device.
    """
    others = {"delta": delta, "B": B, "C": C, "D": D, "z": z, "delta_bias": delta_bias}
    _check(u, A, len(reverse), others)
    inputs = (u, delta, A, B, C, D, z, delta_bias)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs):
        y: Tensor = _Scan.apply(*inputs, softplus, reverse)  # type: ignore[no-untyped-call]
        return y
    return _run(*inputs, softplus, reverse, keep=False)[0]
