"""Protects the embedded series: rebuilt anywhere, it is the one that data.dvc tracks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from s2tx import fingerprint
from s2tx.data import demo
from s2tx.paths import Project

ROOT = Path(__file__).parents[2]
SHA256 = "9c8b5e78509de534bcc9747de2fbb3df7a1301d4ed691c17fbe197b415516265"


def test_rebuilds_byte_for_byte(tmp_path: Path) -> None:
    """A changed generator would make `s2tx ingest substation-demo` give another series."""
    path = tmp_path / "demo.csv"
    demo.make_demo().to_csv(path, index=False, lineterminator="\n")
    assert path.stat().st_size < 1_300_000
    assert fingerprint.of_file(path) == SHA256


def test_the_tracked_version_is_the_generated_one() -> None:
    """The committed store and the generator must not drift apart."""
    store = ROOT / "dvcstore" / "files" / "md5"
    cards = [
        json.loads(path.read_text())
        for path in store.rglob("*")
        if path.is_file() and path.suffix != ".dir" and path.read_bytes()[:1] == b"{"
    ]
    assert any(card["sha256"] == SHA256 and card["synthetic"] for card in cards)
    assert SHA256 in {fingerprint.of_file(path) for path in store.rglob("*") if path.is_file()}


def test_the_store_is_small() -> None:
    """Every clone carries the committed store."""
    sizes = [path.stat().st_size for path in (ROOT / "dvcstore").rglob("*") if path.is_file()]
    assert sum(sizes) <= 2_000_000


def test_another_seed_is_another_series() -> None:
    """A generator that ignores its seed would look reproducible and be fixed."""
    assert not demo.make_demo(1).equals(demo.make_demo(2))


def test_what_the_card_promises() -> None:
    """Cycles, thermal lag, regime change, outages: without them the demo would teach nothing."""
    frame = demo.make_demo()
    assert frame.shape == (demo.ROWS, 8)
    load, oil = frame["high_useful"], frame["oil_temperature"]
    assert load.autocorr(24) > 0.6
    assert load.autocorr(168) > load.autocorr(24 * 5)  # weekly: the same weekday is nearer
    lags = [oil.corr(load.shift(lag)) for lag in range(10)]
    assert 2 <= int(np.argmax(lags)) <= 6
    middle = frame.set_index("date")["middle_useful"]
    before, after = middle.loc["2024-01-15":"2024-02-11"], middle.loc["2024-02-19":"2024-03-17"]  # type: ignore[misc]
    assert after.mean() > 1.15 * before.mean()
    missing = frame[list(demo.VARIATES)].isna()
    assert missing.mean().between(0.004, 0.03).all()
    runs = missing["high_useful"].astype(int).diff().eq(1).sum()
    assert missing["high_useful"].sum() / runs > 3  # outages, not only single drops
    assert oil.diff().diff().kurt() > 3  # heavier than normal


def test_summer_is_warm() -> None:
    """The yearly cycle must turn the right way round."""
    oil = demo.make_demo().set_index("date")["oil_temperature"]
    assert oil[oil.index.month == 7].mean() > oil[oil.index.month == 1].mean() + 5


@pytest.mark.slow
def test_passes_the_project_s_own_rules(params, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The default data set must go through the default settings without an error."""
    from s2tx.data.read import read_raw
    from s2tx.data.validate import validate

    path = tmp_path / "substation-demo.csv"
    demo.make_demo().to_csv(path, index=False, lineterminator="\n")
    table, report = validate(read_raw(path), params.validate, params.data, params.window)
    assert table is not None
    assert report.findings == ()
    assert Project(tmp_path).data.exists() is False
