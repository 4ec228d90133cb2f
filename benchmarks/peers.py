"""Whom the benchmarks compare with: other people's code, and the first version of our own.

Most peers come with ``pip install -c constraints.txt -e ".[bench]"``. ``mamba-ssm`` cannot: its
build wants a CUDA compiler. Only its reference function, plain torch, is used here; this puts the
sources where ``selective_scan_ref`` below finds them, outside the environment::

    MAMBA_SKIP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE .venv/bin/pip install \\
        --no-build-isolation --no-deps --target .cache/mamba-ssm mamba-ssm

A peer that is not there raises an ``ImportError`` that names the cure.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import io
import logging
import subprocess
import sys
import tarfile
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from benchmarks.project import ROOT
from s2tx.params import ModelParams, WindowParams

BENCH = 'pip install -c constraints.txt -e ".[bench]"'
MAMBA_SSM = ROOT / ".cache" / "mamba-ssm"
FIRST = "04dc959"  # the last commit before the compiled sublayers: every stage, and the fused scan
FIRST_ROOT = ROOT / ".cache" / "first-version" / FIRST

Scan = Callable[..., Tensor]


def versions() -> dict[str, str | None]:
    """What is installed of everything that is timed; None for what is not."""
    found: dict[str, str | None] = {}
    for name in ("torch", "numba", "numpy", "mambapy", "transformers", "neuralforecast", "einops"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    places = importlib.metadata.distributions(name="mamba-ssm", path=[str(MAMBA_SSM)])
    found["mamba-ssm"] = next((place.version for place in places), None)
    return found


def _peer(module: str, cure: str = BENCH) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} is not there ({error}): {cure}") from error


# --- The scan -----------------------------------------------------------------------------------
# Each takes (u, delta, A, B, C, D, z, delta_bias) as ours does, but B and C as (N, K, L), and
# applies softplus to delta.


def mambapy() -> Scan:
    """``mambapy``'s parallel scan, with the discretisation of its ``MambaBlock``."""
    pscan = _peer("mambapy.pscan").pscan

    def scan(
        u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor,
        D: Tensor, z: Tensor, delta_bias: Tensor,
    ) -> Tensor:  # fmt: skip
        u_NLI, delta_NLI = u.transpose(1, 2), delta.transpose(1, 2)
        dt = F.softplus(delta_NLI + delta_bias).unsqueeze(-1)
        states = pscan(torch.exp(dt * A), dt * B.transpose(1, 2).unsqueeze(2) * u_NLI.unsqueeze(-1))
        y_NLI = (states @ C.transpose(1, 2).unsqueeze(-1)).squeeze(3) + D * u_NLI
        y: Tensor = (y_NLI * F.silu(z.transpose(1, 2))).transpose(1, 2)
        return y

    return scan


def transformers_slow() -> Scan:
    """The sequential path of ``transformers``' Mamba, which runs where no kernel is installed."""
    module = _peer("transformers.models.mamba.modeling_mamba")
    try:
        selective_scan = module.mamba_selective_scan
    except AttributeError:
        raise ImportError(f"transformers is too old to lend its scan: {BENCH}") from None

    def scan(*inputs: Tensor) -> Tensor:
        y: Tensor = selective_scan(*inputs, delta_softplus=True)
        return y

    return scan


def selective_scan_ref() -> Scan:
    """``mamba_ssm``'s reference, out of a package that cannot be imported without its kernels.

    Stand-ins, gone again afterwards, take the place of the compiled extension, of the one Triton
    module that is imported on the way, and of the package's own ``__init__``.
    """
    cure = "see the top of benchmarks/peers.py"
    if not (MAMBA_SSM / "mamba_ssm").is_dir():
        raise ImportError(f"mamba_ssm is not in {MAMBA_SSM.relative_to(ROOT)}: {cure}")
    _peer("einops")
    stubs = {
        name: types.ModuleType(name)
        for name in ("mamba_ssm", "selective_scan_cuda", "mamba_ssm.ops.triton.layer_norm")
    }
    stubs["mamba_ssm"].__path__ = [str(MAMBA_SSM / "mamba_ssm")]
    vars(stubs["mamba_ssm.ops.triton.layer_norm"])["_layer_norm_fwd"] = None
    with _forgotten("mamba_ssm", "selective_scan_cuda"):
        sys.modules.update(stubs)
        found = _peer("mamba_ssm.ops.selective_scan_interface", cure).selective_scan_ref

    def scan(*inputs: Tensor) -> Tensor:
        y: Tensor = found(*inputs, delta_softplus=True)
        return y

    return scan


@contextmanager
def _forgotten(*packages: str) -> Iterator[None]:
    """Import packages anew while it lasts; afterwards they are what they were."""

    def loaded() -> dict[str, types.ModuleType]:
        found = sys.modules.items()
        return {name: module for name, module in found if name.split(".")[0] in packages}

    before = loaded()
    for name in before:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in loaded():
            del sys.modules[name]
        sys.modules.update(before)


# --- Whole networks: (B, L, D) to (B, H, D), as ours ----------------------------------------------


class PatchTST(nn.Module):
    """``neuralforecast``'s PatchTST, each variate alone, with our width, depth and patches.

    Args:
        steps: the newest steps that it reads.
        residual: attention scores handed from layer to layer, as its authors do; without it, its
            attention is torch's fused one.
    """

    def __init__(
        self, params: ModelParams, horizon: int, steps: int, residual: bool = True
    ) -> None:
        super().__init__()
        self.steps = steps
        with _quiet():
            made = _peer("neuralforecast.models.patchtst").PatchTST(
                h=horizon,
                input_size=steps,
                encoder_layers=params.n_layers,
                n_heads=params.heads,
                hidden_size=params.width,
                linear_hidden_size=params.feed_forward,
                dropout=params.dropout,
                fc_dropout=params.dropout,
                patch_len=params.local_patch,
                stride=params.local_stride,
                res_attention=residual,
            )
        self.model: nn.Module = made.model

    def forward(self, x_BLD: Tensor, observed_BLD: Tensor | None = None) -> Tensor:  # noqa: ARG002
        x_BDS = x_BLD[:, -self.steps :].transpose(1, 2)
        y: Tensor = self.model(x_BDS.reshape(-1, 1, self.steps))
        return y.reshape(len(x_BDS), x_BDS.shape[1], -1).transpose(1, 2)


class ITransformer(nn.Module):
    """``neuralforecast``'s iTransformer, a variate a token, with our width and depth."""

    def __init__(self, params: ModelParams, window: WindowParams, n_variates: int) -> None:
        super().__init__()
        with _quiet():
            self.model: nn.Module = _peer("neuralforecast.models.itransformer").iTransformer(
                h=window.horizon,
                input_size=window.look_back,
                n_series=n_variates,
                hidden_size=params.width,
                n_heads=params.heads,
                e_layers=params.n_layers,
                d_ff=params.feed_forward,
                dropout=params.dropout,
            )

    def forward(self, x_BLD: Tensor, observed_BLD: Tensor | None = None) -> Tensor:  # noqa: ARG002
        y: Tensor = self.model({"insample_y": x_BLD})
        return y


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning greets with its seed, and seeds: neither is wanted here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        logging.disable(before)


# --- The first version of our own -----------------------------------------------------------------


class FirstVersion:
    """The package as of commit ``FIRST``, imported beside the present one.

    Modules are imported inside ``with first.imported():`` and keep working afterwards; imports
    that their functions make later would find the present package, so build inside it too.
    """

    def __init__(self) -> None:
        if not (FIRST_ROOT / "s2tx" / "zoo.py").exists():  # the last file of the archive
            command = ["git", "-C", str(ROOT), "archive", FIRST, "s2tx", "params.yaml"]
            try:
                packed = subprocess.run(command, check=True, capture_output=True).stdout
            except (OSError, subprocess.CalledProcessError) as error:
                cure = "git fetch --unshallow"
                raise ImportError(f"git does not give commit {FIRST} ({error}): {cure}") from error
            FIRST_ROOT.mkdir(parents=True, exist_ok=True)
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                archive.extractall(FIRST_ROOT, filter="data")

    @contextmanager
    def imported(self) -> Iterator[None]:
        """While it lasts, ``import s2tx`` means the first version."""
        with _forgotten("s2tx"):
            sys.path.insert(0, str(FIRST_ROOT))
            importlib.invalidate_caches()
            try:
                yield
            finally:
                sys.path.remove(str(FIRST_ROOT))

    def module(self, name: str) -> Any:
        """One of its modules."""
        with self.imported():
            return importlib.import_module(name)

    def network(
        self, params: ModelParams, window: WindowParams, n_variates: int, scan: str = "auto"
    ) -> nn.Module:
        """Its S2TX with our sizes and switches; what it has no word for is left out."""
        tree = yaml.safe_load((FIRST_ROOT / "params.yaml").read_text(encoding="utf-8"))
        ours = dataclasses.asdict(params)
        with self.imported():
            theirs = importlib.import_module("s2tx.params")
            model = {key: ours.get(key, value) for key, value in tree["model"].items()}
            network: nn.Module = importlib.import_module("s2tx.zoo").build(
                theirs.ModelParams(**model),
                theirs.WindowParams(**dataclasses.asdict(window)),
                n_variates,
                theirs.RuntimeParams(**tree["runtime"] | {"scan": scan}),
                torch.device("cpu"),
            )
        return network
