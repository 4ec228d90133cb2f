"""A trained model on disk must come back the same, in the open, and be refused when it is not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from s2tx import zoo
from s2tx.data.scaling import Scaler
from s2tx.errors import InputError
from s2tx.params import Params
from s2tx.training.bundle import CONFIG, WEIGHTS, Bundle, weights_hash
from tests.builders import make_params, make_table

CPU = torch.device("cpu")


@pytest.fixture(params=["s2tx", "dlinear"])
def bundle(request: pytest.FixtureRequest, params: Params) -> Bundle:
    small = make_params(params)
    table = make_table()
    spec = small.model if request.param == "s2tx" else small.baseline.network
    torch.manual_seed(0)
    network = zoo.build(spec, small.window, 3, small.runtime, CPU).eval()
    scaler = Scaler.fit(table.values[:400])
    return Bundle(network, small.window, scaler, CPU, spec, table.card, "f" * 64, (-9999.0,))


def test_what_is_saved_comes_back(bundle: Bundle, params: Params, tmp_path: Path) -> None:
    """Protects served forecasts from differing by a bit from the trained model's."""
    bundle.save(tmp_path / "model")
    loaded = Bundle.load(tmp_path / "model", params.runtime, CPU)
    values = make_table(missing=0.1).values
    assert np.array_equal(loaded.forecast(values), bundle.forecast(values))
    for field in ("spec", "card", "window", "fingerprint", "sentinels"):
        assert getattr(loaded, field) == getattr(bundle, field)


def test_saving_twice_gives_the_same_bytes(bundle: Bundle, tmp_path: Path) -> None:
    """Protects the weight hash, by which a run is recognised."""
    bundle.save(tmp_path / "a")
    bundle.save(tmp_path / "b")
    for name in (WEIGHTS, CONFIG):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert weights_hash(tmp_path / "a") == weights_hash(tmp_path / "b")


def test_only_safetensors_and_json_are_written(bundle: Bundle, tmp_path: Path) -> None:
    """Protects from a pickle in what is served."""
    bundle.save(tmp_path / "model")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [CONFIG, "model", WEIGHTS]


def test_forecast_is_in_own_units_and_reads_the_newest_rows(bundle: Bundle) -> None:
    """Protects from standardised forecasts, and from reading anything but the last L rows."""
    values = make_table(missing=0.05).values
    forecast = bundle.forecast(values)
    assert forecast.shape == (6, 3)
    x = bundle.scaler.transform(values[-48:])
    seen = torch.from_numpy(~np.isnan(x))[None]
    with torch.no_grad():
        y = bundle.network(torch.from_numpy(np.nan_to_num(x)).float()[None], seen)[0].numpy()
    np.testing.assert_allclose(forecast, y * bundle.scaler.std + bundle.scaler.mean, rtol=1e-5)
    assert np.array_equal(bundle.forecast(values[-48:]), forecast)


@pytest.mark.parametrize("shape", [(47, 3), (60, 2), (60,)])
def test_rows_that_do_not_fit_are_refused(bundle: Bundle, shape: tuple[int, ...]) -> None:
    """Protects from a shape error deep inside the network."""
    with pytest.raises(InputError, match="reads 48 rows of 3 variates"):
        bundle.forecast(np.zeros(shape))


def test_another_format_is_refused(bundle: Bundle, params: Params, tmp_path: Path) -> None:
    """Protects from half-reading a bundle of a later version."""
    bundle.save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / CONFIG).read_text())
    (tmp_path / "model" / CONFIG).write_text(json.dumps({**config, "format": 99}))
    with pytest.raises(InputError, match="format 99"):
        Bundle.load(tmp_path / "model", params.runtime, CPU)
    with pytest.raises(InputError, match="holds no trained model"):
        Bundle.load(tmp_path / "nowhere", params.runtime, CPU)
