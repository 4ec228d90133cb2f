"""Peers do the same work as ours, or say why they do none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks import peers, scan
from benchmarks.measure import gather
from benchmarks.train_step import random_batch, training_step
from s2tx.params import Params
from tests.builders import make_params

SCANS = {
    "mambapy": peers.mambapy,
    "transformers": peers.transformers_slow,
    "mamba_ssm": peers.selective_scan_ref,
}


def test_an_absent_peer_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Protects from a peer that is left out in silence."""
    for module in ("mambapy.pscan", "transformers.models.mamba.modeling_mamba"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(peers, "ROOT", tmp_path)
    monkeypatch.setattr(peers, "MAMBA_SSM", tmp_path / "nowhere")
    made, not_run = gather(SCANS)
    assert not made
    assert peers.BENCH in not_run["mambapy"]
    assert peers.BENCH in not_run["transformers"]
    assert "benchmarks/peers.py" in not_run["mamba_ssm"]


@pytest.mark.parametrize("name", SCANS)
def test_a_peers_scan_has_our_gradients(name: str) -> None:
    made, not_run = gather({name: SCANS[name]})
    if not_run:
        pytest.skip(not_run[name])
    assert scan.agree(made)[name] < 1e-5
    assert "mamba_ssm" not in sys.modules  # which our own choice of a scan would take for a kernel


def test_our_cpu_scan_agrees() -> None:
    assert scan.agree({"cpu": scan.ours("cpu")})["cpu"] < 1e-5


def _networks(params: Params) -> dict[str, Callable[[], torch.nn.Module]]:
    model, window = params.model, params.window
    return {
        "PatchTST": lambda: peers.PatchTST(model, window.horizon, window.look_back),
        "PatchTST, fused": lambda: peers.PatchTST(model, window.horizon, 24, residual=False),
        "iTransformer": lambda: peers.ITransformer(model, window, 3),
        # Its scan for CPUs would be compiled only for this.
        "first version": lambda: peers.FirstVersion().network(model, window, 3, scan="reference"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["PatchTST", "PatchTST, fused", "iTransformer", "first version"])
def test_a_peer_has_our_contract_and_learns(params: Params, name: str) -> None:
    small = make_params(params)
    made, not_run = gather({name: _networks(small)[name]})
    if not_run:
        pytest.skip(not_run[name])
    x_BLD, y_BHD = random_batch(small.window, 4, 3)
    before = [each.clone() for each in made[name].parameters()]
    training_step(made[name], small.train, x_BLD, y_BHD)()
    assert made[name](x_BLD).shape == y_BHD.shape
    moved = zip(before, made[name].parameters(), strict=True)
    assert any(not torch.equal(old, new) for old, new in moved)


@pytest.mark.slow
def test_the_first_version_leaves_ours_in_place(params: Params) -> None:
    """Protects from a comparison of ours with ours."""
    import s2tx.zoo

    small = make_params(params)
    made, not_run = gather({"first": _networks(small)["first version"]})
    if not_run:
        pytest.skip(not_run["first"])
    source = type(made["first"]).forward.__code__.co_filename
    assert source.startswith(str(peers.FIRST_ROOT))
    assert sys.modules["s2tx.zoo"] is s2tx.zoo
    assert "s2tx.zoo" in sys.modules
    assert not str(sys.modules["s2tx.zoo"].__file__).startswith(str(peers.FIRST_ROOT))
