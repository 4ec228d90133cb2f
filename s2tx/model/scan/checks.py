"""What every compiled scan refuses, since its kernels check no bounds and compute in float32."""

from __future__ import annotations

import torch
from torch import Tensor


def check(scan: str, u: Tensor, A: Tensor, groups: int, others: dict[str, Tensor | None]) -> None:
    """Refuse types and shapes that do not go together; ``groups`` cut the channels of ``u``.

    Raises:
        TypeError: an input is in a type wider than float32, or no floating point.
        ValueError: an input has the wrong shape.
    """
    (N, I, L), K = u.shape, A.shape[1]  # noqa: E741
    shapes: dict[str, tuple[int, ...]] = {
        "u": (N, I, L), "delta": (N, I, L), "A": (I, K), "B": (N, groups, K, L),
        "C": (N, groups, K, L), "D": (I,), "z": (N, I, L), "delta_bias": (I,),
    }  # fmt: skip
    for name, value in {"u": u, "A": A, **others}.items():
        if value is None:
            continue
        if value.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise TypeError(
                f"the {scan} scan computes in float32 and got {name} in {value.dtype}: "
                f"set runtime.scan to reference"
            )
        if value.shape != shapes[name]:
            raise ValueError(
                f"{name} must be {shapes[name]} to go with u, A and reverse, "
                f"not {tuple(value.shape)}"
            )


def check_axes(u: Tensor, A: Tensor) -> None:
    """Refuse a ``u`` that is not (N, I, L), and an ``A`` that is not (I, K).

    Raises:
        ValueError: names both shapes.
    """
    if u.dim() != 3 or A.dim() != 2:
        raise ValueError(
            f"u must be (N, I, L) and A (I, K), not {tuple(u.shape)} and {tuple(A.shape)}"
        )
