"""The ground of every kernel compiled for the CPU: the compiler, the launch, exp and its kin.

Kernels are written for Numba over float32 arrays. How a launch is cut into tasks depends on shapes
alone, and every sum over tasks runs in a fixed order, so the same inputs give the same bits
whatever the number of threads.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

try:
    import numba
except ImportError as error:
    raise ImportError(
        "runtime.scan is cpu, which needs numba: pip install numba, "
        "or set runtime.scan to reference"
    ) from error

LANES = 16  # one AVX-512 register, two of AVX2, four of NEON
GROUPS = 64  # at most so many groups of sequences, each with its own partial sums

# Reordered sums and fused multiply-adds, no more: infinities and NaNs keep their meaning.
REORDER = {"contract", "reassoc", "nsz"}
CONTRACT = {"contract"}  # where reordering would undo a rounding


def compiled(*signature: Any, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function: at once for a ``signature``, else at its first call.

    The result is kept on disk where Numba finds a folder to write to (``NUMBA_CACHE_DIR``), for as
    long as the function's file and this package stay what they are: Numba itself would look at the
    function's file alone, and not at the helpers inlined from here.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            made = numba.njit(error_model="numpy", cache=True, **options)(function)
            made._cache._cache_file._source_stamp = _sources(function.__code__.co_filename)
        except (RuntimeError, OSError):  # no such folder: each process compiles for itself
            made = numba.njit(error_model="numpy", **options)(function)
        if signature:
            made.compile(signature)
            made.disable_compile()
        kernel: Callable[..., Any] = made
        return kernel

    return decorate


@functools.cache
def _sources(file: str) -> str:
    """A digest of ``file`` and of this package."""
    digest = hashlib.sha256()
    for path in (Path(file), *sorted(Path(__file__).parent.glob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def inlined(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a helper into whoever calls it.

    With a body of its own it would have two, one optimised alone and one beside its caller. Which
    of them runs depends on whether this process compiled or found the result on disk, and they
    round differently: two runs of one training would not give the same bits.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] = numba.njit(error_model="numpy", forceinline=True, **options)(
            function
        )
        return compiled

    return decorate


# --- Launching ----------------------------------------------------------------------------------


def share(kernel: Callable[..., Any], tasks: int, *arguments: Tensor | np.ndarray | Any) -> None:
    """Run ``kernel(*arguments, first, last)`` over all of ``tasks``, on as many threads as torch.

    The threads are Python's, since kernels let go of the interpreter: nothing waits in a spin, a
    forked process may call kernels too, and what Numba compiles is one plain function.
    """
    views = [x.detach().numpy() if isinstance(x, Tensor) else x for x in arguments]
    threads = min(torch.get_num_threads(), tasks)
    if threads == 1:
        kernel(*views, 0, tasks)
        return
    pieces = min(tasks, 8 * threads)  # a thread that is held up takes fewer of them
    waiting = iter([(i * tasks // pieces, (i + 1) * tasks // pieces) for i in range(pieces)])

    def work() -> None:
        for first, last in waiting:
            kernel(*views, first, last)

    helpers = [_pool(threads).submit(work) for _ in range(threads - 1)]
    work()
    for helper in helpers:
        helper.result()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="s2tx-kernel")


os.register_at_fork(after_in_child=_pool.cache_clear)
