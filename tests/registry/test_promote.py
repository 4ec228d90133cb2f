"""The alias moves to the better model only, and every decision leaves its reason."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import pytest
import torch

from s2tx.data.read import CARD_FILE
from s2tx.errors import InputError, S2TXError
from s2tx.forecasting import SERVE
from s2tx.params import Params
from s2tx.paths import Project, write_text
from s2tx.registry import champion, ledger, tracking
from s2tx.registry import promote as gate
from s2tx.registry.champion import MachineError, load_champion
from s2tx.registry.package import register
from s2tx.registry.promote import promote, rollback
from s2tx.registry.store import UnreachableError, connect
from s2tx.training.bundle import Bundle
from tests.tiny import CPU, put_on_disk, tiny_bundle, tiny_table

NAME = "s2tx-tiny-h6"
GOOD, WORSE, WORST = 0.0, 1.0, 1.1  # deviations off; what is naive errs as 1.2 does


def _registered(project: Project, tiny: Params, shift: float) -> int:
    put_on_disk(project, tiny_bundle(tiny_table(), tiny, shift=shift))
    return register(project, tiny, SERVE).version


def _champion(project: Project) -> int | None:
    return ledger.champion(connect(project), NAME)


def _lines(project: Project) -> list[ledger.Line]:
    return ledger.read(ledger.path_of(project))


def test_the_first_model_has_the_naive_forecasts_to_beat(project: Project, tiny: Params) -> None:
    """Protects service from a model that repeating the last value beats, and from an empty registry
    that lets anything in; the ledger says what stood in for a champion."""
    _registered(project, tiny, 1.3)
    kept = promote(project, tiny)
    assert not kept.promoted
    assert re.search(r"mse 2\.\d+ against 2\.\d+ of repeat_last \(-", kept.reason)
    assert kept.reason.endswith(
        "nothing is in service: to put version 1 in service unscored: s2tx rollback --to 1"
    )
    assert _champion(project) is None
    assert rollback(project, tiny, to=1).reason == "nothing was in service: version 1 is, unscored"
    connect(project).delete_registered_model_alias(NAME, ledger.ALIAS)
    ledger.path_of(project).unlink()
    _registered(project, tiny, WORSE)
    decision = promote(project, tiny, by="a test")
    assert decision.promoted
    assert decision.reason.startswith("better: mse 1.9")
    assert decision.challenger_score is not None
    assert _champion(project) == 2
    (line,) = _lines(project)
    assert (line["action"], line["from"], line["to"], line["by"]) == ("promote", None, 2, "a test")
    assert line["data_sha256"] == tiny_table().card.sha256
    assert line["challenger_score"] == decision.challenger_score
    assert (line["naive"], line["champion"]) == ("repeat_last", None)
    _registered(project, tiny, GOOD)
    assert promote(project, tiny).naive is None  # there is a champion now


def test_better_is_promoted_and_worse_is_not(project: Project, tiny: Params) -> None:
    """The whole point of the gate, in both directions, with both scores on record."""
    _registered(project, tiny, WORSE)
    promote(project, tiny)
    _registered(project, tiny, WORST)
    kept = promote(project, tiny)
    assert not kept.promoted
    assert (kept.champion, kept.challenger) == (1, 2)
    assert _champion(project) == 1
    _registered(project, tiny, GOOD)
    moved = promote(project, tiny)
    assert moved.promoted
    assert moved.gain is not None
    assert moved.gain > 0
    assert moved.confidence is not None
    assert moved.confidence > 0.9
    assert _champion(project) == 3
    assert [line["action"] for line in _lines(project)] == ["promote", "keep", "promote"]
    for line in _lines(project)[1:]:
        assert line["champion_score"] is not None
        assert line["reason"]


def test_the_champion_does_not_replace_itself(project: Project, tiny: Params) -> None:
    """A repeated night finds its own model in service."""
    _registered(project, tiny, GOOD)
    promote(project, tiny)
    again = promote(project, tiny)
    assert not again.promoted
    assert "already" in again.reason


def test_as_good_is_not_better(project: Project, tiny: Params) -> None:
    """The same weights under another fingerprint tie; a tie keeps the champion."""
    _registered(project, tiny, GOOD)
    promote(project, tiny)
    same = dataclasses.replace(tiny_bundle(tiny_table(), tiny, shift=GOOD), fingerprint="other")
    put_on_disk(project, same)
    assert register(project, tiny, SERVE).version == 2
    decision = promote(project, tiny)
    assert not decision.promoted
    assert decision.gain == 0.0


def test_the_margin_is_asked_for(project: Project, tiny: Params) -> None:
    """A gain below promote.min_gain is not worth a change."""
    _registered(project, tiny, WORSE)
    promote(project, tiny)
    _registered(project, tiny, GOOD)
    strict = dataclasses.replace(tiny, promote=dataclasses.replace(tiny.promote, min_gain=0.99))
    assert not promote(project, strict).promoted
    assert _champion(project) == 1


def _bounded(tiny: Params, bound: float) -> Params:
    """GOOD rises by 0.5 % with inputs missing, -WORSE falls."""
    return dataclasses.replace(
        tiny, promote=dataclasses.replace(tiny.promote, max_missing_rise=bound)
    )


def test_the_bound_on_missing_inputs_is_asked_for(project: Project, tiny: Params) -> None:
    """Better on clean inputs is not enough where readings fail; both figures are on record."""
    _registered(project, tiny, -WORSE)
    assert promote(project, _bounded(tiny, 0.004)).promoted
    _registered(project, tiny, GOOD)
    kept = promote(project, _bounded(tiny, 0.004))
    assert not kept.promoted
    assert "a rise of at most 0.40% is asked for" in kept.reason
    assert "a gain above" not in kept.reason
    assert _champion(project) == 1
    moved = promote(project, _bounded(tiny, 0.02))
    assert moved.promoted
    assert _champion(project) == 2
    first, *later = _lines(project)
    assert first["challenger_masked_score"] != first["challenger_score"]
    for line in later:
        assert line["champion_masked_score"] == first["challenger_masked_score"]
        for figure in ("champion_masked_score", "challenger_masked_score"):
            assert f"{line[figure]:.4f}" in line["reason"]
        assert 1.004 < line["challenger_masked_score"] / line["challenger_score"] < 1.02


def test_the_first_champion_must_keep_the_bound_too(project: Project, tiny: Params) -> None:
    """With nothing in service the bound is all that stands between a fragile model and it."""
    _registered(project, tiny, GOOD)
    kept = promote(project, _bounded(tiny, 0.004))
    assert not kept.promoted
    assert "a rise of at most 0.40% is asked for" in kept.reason
    assert _champion(project) is None
    (line,) = _lines(project)
    assert line["challenger_masked_score"] > 1.004 * line["challenger_score"]
    assert promote(project, tiny).promoted  # nothing is asked


def test_the_mask_must_be_of_the_table(project: Project, tiny: Params) -> None:
    """A mask of yesterday's rows over today's would hide other readings, or none: exit code 2."""
    _registered(project, tiny, GOOD)
    tiny_table(601).write(project.table)
    with pytest.raises(InputError, match=r"600 x 2 .* 601 x 2.* dvc repro inject"):
        promote(project, tiny)
    project.evaluate_mask.unlink()
    with pytest.raises(InputError, match="dvc repro inject"):
        promote(project, tiny)
    assert not _lines(project)


def test_nan_is_never_promoted(project: Project, tiny: Params) -> None:
    """Neither as the first champion nor against one."""
    _registered(project, tiny, GOOD)
    bad = dataclasses.replace(
        tiny_bundle(tiny_table(), tiny, shift=float("nan")), fingerprint="nan"
    )
    promote(project, tiny)
    put_on_disk(project, bad)
    with pytest.raises(S2TXError, match="not finite"):
        register(project, tiny, SERVE)
    # One that turns bad only in the gate: scored, found not finite, kept out.
    _registered(project, tiny, WORSE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "load_version", lambda *_: bad)
        decision = promote(project, tiny)
    assert not decision.promoted
    assert decision.reason.endswith("a score is not finite: mse is nan.")  # no way to have it
    assert _champion(project) == 1


def test_other_variates_keep_the_champion(project: Project, tiny: Params) -> None:
    """Models of other columns cannot be scored side by side; the way round is named."""
    _registered(project, tiny, GOOD)
    promote(project, tiny)
    table = tiny_table()
    card = dataclasses.replace(table.card, variates=("load", "wind"))
    changed = dataclasses.replace(table, card=card)
    changed.write(project.table)
    other = dataclasses.replace(tiny_bundle(changed, tiny, shift=GOOD), fingerprint="other")
    put_on_disk(project, other)
    register(project, tiny, SERVE)
    decision = promote(project, tiny)
    assert not decision.promoted
    assert "variates" in decision.reason
    assert decision.reason.endswith(". To put version 2 in service unscored: s2tx rollback --to 2")
    assert rollback(project, tiny, to=2).promoted
    assert _champion(project) == 2


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_champion_that_is_damaged_is_kept_and_named(
    project: Project, tiny: Params, file: str
) -> None:
    """A changed file must be noticed by its hash before it forecasts, in wrong units say."""
    _registered(project, tiny, WORSE)
    promote(project, tiny)
    for damaged in (project.mlruns / "artifacts").rglob(f"artifacts/bundle/{file}"):
        content = damaged.read_bytes()
        spoiled = content[:-1] + b"\x7f" if file != "config.json" else content + b" "
        damaged.write_bytes(spoiled)
    _registered(project, tiny, GOOD)
    decision = promote(project, tiny)
    assert not decision.promoted
    assert "sha256" in decision.reason
    assert decision.reason.endswith(
        ". Go back with: s2tx rollback, or put version 2 in service unscored: s2tx rollback --to 2"
    )
    with pytest.raises(S2TXError, match=r"\. Go back with: s2tx rollback, or"):
        load_champion(project, NAME, CPU)


def _seen(project: Project, version: int, row: int) -> None:
    """As register tags a version that was trained here."""
    stamp = tiny_table().times[row].isoformat()
    connect(project).set_model_version_tag(NAME, str(version), tracking.SEEN, stamp)


def test_a_model_that_saw_test_rows_in_another_table_is_not_compared(
    project: Project, tiny: Params
) -> None:
    """Protects from a score by heart, of either model, the first and one that is named too; the
    raw file is another every night, and tells nothing."""
    for version, shift, row in ((1, WORSE, 480), (2, GOOD, 480)):
        _registered(project, tiny, shift)
        _seen(project, version, row)
    first = promote(project, tiny)
    assert not first.promoted
    assert "the challenger was trained and validated on rows up to" in first.reason
    _seen(project, 1, 400)
    assert promote(project, tiny, version=1).promoted
    kept = promote(project, tiny)
    assert not kept.promoted
    assert kept.reason.endswith(
        " Train anew: dvc repro. To put version 2 in service unscored: s2tx rollback --to 2"
    )
    _seen(project, 1, 480)
    _seen(project, 2, 479)
    kept = promote(project, tiny, version=2)
    assert "the champion was trained and validated on rows up to" in kept.reason
    assert kept.reason.endswith(
        "it has seen some of them. To put version 2 in service unscored: s2tx rollback --to 2"
    )
    assert _champion(project) == 1
    _seen(project, 1, 300)  # a champion that grew old
    assert promote(project, tiny).promoted


def test_a_challenger_that_is_damaged_offers_no_cure_that_harms(
    project: Project, tiny: Params
) -> None:
    """Protects the good champion from being undone, and service from weights nobody trained."""
    _registered(project, tiny, WORSE)
    promote(project, tiny)
    sound = set((project.mlruns / "artifacts").rglob("model.safetensors"))
    _registered(project, tiny, GOOD)
    for damaged in set((project.mlruns / "artifacts").rglob("model.safetensors")) - sound:
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x7f")
    decision = promote(project, tiny)
    assert not decision.promoted
    assert f"the weights of {NAME} version 2 have sha256" in decision.reason
    assert "s2tx" not in decision.reason.replace(NAME, "")


def test_a_champion_of_older_code_is_kept_and_explained(
    project: Project, tiny: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change of the network the old weights do not fit: say so, and promote nothing."""
    _registered(project, tiny, WORSE)
    promote(project, tiny)
    _registered(project, tiny, GOOD)
    old = Bundle.load

    def load(folder: Path, *rest: object) -> Bundle:
        if "shifted-by-1.0" in (folder / "config.json").read_text():
            raise RuntimeError("Missing key(s) in state_dict")
        return old(folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Bundle, "load", load)
    decision = promote(project, tiny)
    assert not decision.promoted
    assert "does not fit the model code" in decision.reason
    assert "s2tx rollback --to 2" in decision.reason
    with pytest.raises(S2TXError, match="does not fit the model code"):
        load_champion(project, NAME, CPU)


def _break_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def test_an_unreachable_registry_promotes_nothing_and_says_so(
    project: Project, tiny: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects from an outage that passes for a decision: it must be tried again, and on record."""
    _break_the_connection(monkeypatch)
    with pytest.raises(UnreachableError, match="does not answer"):
        promote(project, tiny)
    (line,) = _lines(project)
    assert line["action"] == "keep"
    assert "does not answer" in line["reason"]


def test_a_registry_that_goes_away_in_the_gate_is_no_decision(
    project: Project, tiny: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a good challenger from an outage that looks like a model that does not load."""
    _registered(project, tiny, GOOD)

    def gone(*_: object) -> Bundle:
        _break_the_connection(monkeypatch)
        raise S2TXError("version 1 does not load")

    monkeypatch.setattr(gate, "load_version", gone)
    with pytest.raises(UnreachableError, match="does not answer"):
        promote(project, tiny)
    assert [line["action"] for line in _lines(project)] == ["keep"]


def test_a_fault_in_the_code_is_no_decision(
    project: Project, tiny: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects from a bug that keeps the old champion every night, with exit code 0."""
    _registered(project, tiny, GOOD)

    def faulty(*_: object) -> object:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(gate, "compare_with_naive", faulty)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        promote(project, tiny)
    assert _champion(project) is None
    (line,) = _lines(project)
    assert (line["action"], line["challenger"]) == ("keep", 1)
    assert line["reason"] == "keep: ZeroDivisionError: a bug"


def test_a_setting_that_the_machine_cannot_serve_is_no_decision(
    project: Project, tiny: Params
) -> None:
    """Protects from a wrong setting that keeps the champion every night, with exit code 0."""
    if torch.cuda.is_available():
        pytest.skip("this machine has what the setting asks for")
    _registered(project, tiny, GOOD)
    elsewhere = dataclasses.replace(tiny, runtime=dataclasses.replace(CPU, device="cuda"))
    with pytest.raises(InputError, match=r"runtime\.device is cuda"):
        promote(project, elsewhere)
    assert not _lines(project)


def test_a_version_of_another_format_is_at_fault_itself(
    project: Project, tiny: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a later release's night from failing over the champion of an earlier one: it says
    how to go on."""
    _registered(project, tiny, WORSE)
    promote(project, tiny)
    _registered(project, tiny, GOOD)
    read = champion.read_config

    def strict(folder: Path) -> dict[str, object]:
        config = read(folder)
        if config["fingerprint"] == "shifted-by-1.0":
            raise InputError("config.json has format 0; this version reads 1", "Train again")
        return config

    monkeypatch.setattr(champion, "read_config", strict)
    kept = promote(project, tiny)
    assert not kept.promoted
    assert "version 1 does not load (config.json has format 0" in kept.reason
    assert kept.reason.endswith("put version 2 in service unscored: s2tx rollback --to 2")


@pytest.mark.parametrize(
    "fault",
    [
        OSError(28, "No space left on device"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 12 bytes"),
        MemoryError(),
    ],
)
def test_a_machine_that_is_full_is_no_fault_of_the_champion(
    project: Project, tiny: Params, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """Protects a good champion from the advice to roll it back, and the night from looking well."""
    for shift in (WORST, WORSE):
        _registered(project, tiny, shift)
        promote(project, tiny)
    _registered(project, tiny, GOOD)

    def full(*_: object) -> Bundle:
        raise fault

    if isinstance(fault, OSError):  # MLflow hides it: to it the files seem absent
        monkeypatch.setattr(shutil, "copy2", full)
        monkeypatch.setattr(shutil, "copyfile", full)
        monkeypatch.setattr(shutil, "copytree", full)
    else:
        monkeypatch.setattr(Bundle, "load", full)
    for read in (promote, rollback, lambda *_: load_champion(project, NAME, CPU)):
        with pytest.raises(MachineError, match="could not take it in"):
            read(project, tiny)
    monkeypatch.undo()
    assert _champion(project) == 2
    kept = _lines(project)[-1]
    assert (kept["action"], kept["reason"][:19]) == ("keep", "keep: MachineError:")
    assert not any("Go back" in line["reason"] for line in _lines(project))


def test_a_champion_that_changed_meanwhile_is_not_overrun(
    project: Project, tiny: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other half of compare-and-set: who decided on an old champion must keep."""
    _registered(project, tiny, WORST)
    promote(project, tiny)
    _registered(project, tiny, WORSE)
    _registered(project, tiny, GOOD)
    judge = gate._judge

    def slow(*arguments: object) -> object:
        decision = judge(*arguments)  # type: ignore[arg-type]
        ledger.move(project, connect(project), NAME, 1, 2, {"action": "promote"})
        return decision

    monkeypatch.setattr(gate, "_judge", slow)
    decision = promote(project, tiny)
    assert not decision.promoted
    assert "meanwhile" in decision.reason
    assert _champion(project) == 2


def test_what_is_not_there_is_the_users_fault(project: Project, tiny: Params) -> None:
    """A wrong --version, or a model not registered yet, is exit code 2 and no decision."""
    with pytest.raises(InputError, match="s2tx register"):
        promote(project, tiny)
    _registered(project, tiny, GOOD)
    with pytest.raises(InputError, match="no version 7"):
        promote(project, tiny, version=7)
    with pytest.raises(InputError, match="no version 7"):
        rollback(project, tiny, to=7)
    shutil.rmtree(project.table.parent)
    with pytest.raises(InputError, match="dvc repro validate"):
        promote(project, tiny)
    assert not _lines(project)


def test_rollback_goes_back_one_champion_at_a_time(project: Project, tiny: Params) -> None:
    """Twice means two back, and where there is nothing before, it says so."""
    for shift in (WORST, WORSE, GOOD):
        _registered(project, tiny, shift)
        promote(project, tiny)
    assert _champion(project) == 3
    assert rollback(project, tiny).challenger == 2
    assert rollback(project, tiny, by="me").challenger == 1
    assert _champion(project) == 1
    with pytest.raises(InputError, match="no champion"):
        rollback(project, tiny)
    with pytest.raises(InputError, match="already"):
        rollback(project, tiny, to=1)
    assert _lines(project)[-1] | {"time": ""} == {
        **dict.fromkeys(("champion_score", "champion_masked_score", "gain", "confidence")),
        **dict.fromkeys(("challenger_score", "challenger_masked_score", "windows", "naive")),
        "time": "",
        "action": "rollback",
        "name": NAME,
        "champion": 2,
        "challenger": 1,
        "from": 2,
        "to": 1,
        "metric": "mse",
        "reason": "rolled back from version 2 to version 1",
        "data_sha256": tiny_table().card.sha256,
        "by": "me",
    }


def test_rollback_needs_no_valid_table(project: Project, tiny: Params) -> None:
    """Protects the way back on the day it is wanted: validate has just refused the data."""
    for shift in (WORSE, GOOD):
        _registered(project, tiny, shift)
        promote(project, tiny)
    project.table.unlink()
    with pytest.raises(InputError, match="dvc pull"):
        rollback(project, tiny)
    write_text(project.data / CARD_FILE, tiny_table().card.to_json())
    assert rollback(project, tiny).promoted
    assert _champion(project) == 1


def test_the_next_night_does_not_undo_a_rollback(project: Project, tiny: Params) -> None:
    """The better score would promote it again; only a person who names it may."""
    for shift in (WORSE, GOOD):
        _registered(project, tiny, shift)
        promote(project, tiny)
    rollback(project, tiny)
    decision = promote(project, tiny)
    assert not decision.promoted
    assert "s2tx promote --version 2" in decision.reason
    assert promote(project, tiny, version=2).promoted
    assert _champion(project) == 2


def test_an_alias_that_was_lost_is_no_first_champion(project: Project, tiny: Params) -> None:
    """Whoever deletes the alias must not let any model in unscored."""
    _registered(project, tiny, GOOD)
    promote(project, tiny)
    _registered(project, tiny, WORST)
    connect(project).delete_registered_model_alias(NAME, ledger.ALIAS)
    decision = promote(project, tiny)
    assert not decision.promoted
    assert "version 1 was champion" in decision.reason
    assert "s2tx rollback --to 1" in decision.reason
    assert _champion(project) is None
    rollback(project, tiny, to=1)
    assert not promote(project, tiny).promoted
    assert _champion(project) == 1


def test_a_registry_that_was_lost_lets_nobody_in(
    project: Project, tiny: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a new one another model is version 1 too, as the champion of the ledger was."""
    _registered(project, tiny, GOOD)
    promote(project, tiny)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'anew' / 'mlflow.db'}")
    assert _registered(project, tiny, WORST) == 1
    decision = promote(project, tiny)
    assert not decision.promoted
    assert "version 1 was champion" in decision.reason
    assert promote(project, tiny, version=1).promoted  # named, it begins anew


def test_a_version_without_a_hash_is_kept_out(project: Project, tiny: Params) -> None:
    """Whoever registers by hand leaves no tags: nothing can be shown of it, and the gate stands."""
    _registered(project, tiny, GOOD)
    connect(project).delete_model_version_tag(NAME, "1", tracking.WEIGHTS)
    decision = promote(project, tiny, version=1)
    assert not decision.promoted
    assert "does not load" in decision.reason


def test_a_promotion_that_was_interrupted_is_made_up_for(project: Project, tiny: Params) -> None:
    """The line was written and the alias not moved: the same model may try again."""
    _registered(project, tiny, GOOD)
    promote(project, tiny)
    connect(project).delete_registered_model_alias(NAME, ledger.ALIAS)
    assert promote(project, tiny).promoted
    assert _champion(project) == 1


def test_a_version_that_does_not_load_is_not_rolled_back_to(project: Project, tiny: Params) -> None:
    """A rollback is done in a hurry: it must not replace a working model by a broken one."""
    for shift in (WORSE, GOOD):
        _registered(project, tiny, shift)
        promote(project, tiny)
    run_id = connect(project).get_model_version(NAME, "1").run_id
    for folder in (project.mlruns / "artifacts" / run_id).rglob("model-*"):
        shutil.rmtree(folder)
    with pytest.raises(S2TXError, match="version 1 does not load"):
        rollback(project, tiny)
    assert _champion(project) == 2


def test_the_champion_is_the_model_that_was_registered(project: Project, tiny: Params) -> None:
    """What comes back from the registry forecasts exactly as what went in."""
    with pytest.raises(InputError, match="no champion"):
        load_champion(project, NAME, CPU)
    _registered(project, tiny, WORSE)
    promote(project, tiny)
    bundle, version = load_champion(project, NAME, CPU)
    values = tiny_table().values
    here = tiny_bundle(tiny_table(), tiny, shift=WORSE).forecast(values)
    assert version == 1
    assert (bundle.forecast(values) == here).all()
