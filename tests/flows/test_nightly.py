"""The night: DVC's own order, nothing promoted after a failure, one night at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import logging
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from filelock import FileLock, Timeout

from flows import nightly as night
from flows import server, stages, summary
from s2tx.data import ingest as arrivals
from s2tx.data import versions
from s2tx.data.findings import Finding
from s2tx.data.ingest import Ingested
from s2tx.errors import InputError, S2TXError
from s2tx.forecasting import forecaster
from s2tx.params import Params
from s2tx.paths import Project
from s2tx.registry import ledger
from s2tx.registry import promote as gate
from s2tx.registry.store import connect
from tests.tiny import put_on_disk, tiny_bundle, tiny_table

ROOT = Path(__file__).parents[2]
NAME = "s2tx-tiny-h6"


@pytest.fixture(scope="module", autouse=True)
def prefect() -> Iterator[None]:
    """One temporary server for all of these tests, and none of the user's own settings."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def calls(project: Project, tiny: Params, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the flow asked of DVC, in order; DVC itself is not run."""
    made: list[str] = []

    def reproduce(_: Project, stage: str, on_line: object) -> None:
        made.append(stage)
        on_line(f"{stage} says hello")  # type: ignore[operator]

    monkeypatch.setattr(versions, "stage_order", lambda _: ["zeta", "alpha", "mid"])
    monkeypatch.setattr(versions, "reproduce", reproduce)
    monkeypatch.setattr(versions, "pull", lambda _: made.append("pull"))
    monkeypatch.setattr(night, "load_params", lambda _: tiny)
    for name in ("ingest", "commit", "register", "promote", "forecast", "pull"):
        impatient = getattr(stages, name).with_options(retries=2, retry_delay_seconds=0)
        monkeypatch.setattr(stages, name, impatient)
    del project
    return made


def test_the_night_from_top_to_bottom(
    project: Project, calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A second list of stages in the flow would rot: the order is DVC's, whatever it is."""
    with caplog.at_level(logging.INFO):
        made = night.nightly(root=str(project.root))
    assert made is not None
    assert calls == ["zeta", "alpha", "mid"]
    assert (made.registered.version, made.forecast.version) == (1, 1)
    assert made.decision.promoted
    assert made.forecast.path.exists()
    assert "alpha says hello" in caplog.text
    text = str(made)
    for told in (
        "s2tx            MSE 0.5000  MAE 0.4000  MSE, inputs missing 0.6000",
        "repeat_last     MSE 1.0000",
        f"{NAME} version 1, new",
        "of repeat_last",
        str(made.forecast.path),
        str(project.report),
        "mlflow server",
        "prefect server start",
        "missing in the look-back: 2.1% of load",
    ):
        assert told in text
    assert ledger.read(ledger.path_of(project))[0]["by"] == "nightly"
    again = night.nightly(root=str(project.root))
    assert again is not None
    assert not again.registered.new
    assert not again.decision.promoted
    assert again.forecast == made.forecast


@pytest.mark.parametrize(
    ("error", "code"),
    [(InputError("column x is text", "Mend it"), 2), (S2TXError("the disk is full."), 1)],
)
def test_after_a_failed_stage_nothing_is_promoted(
    project: Project,
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: S2TXError,
    code: int,
) -> None:
    """The night stops there, with the stage's message and its exit code, and is not retried.

    And nothing is forecast from rows that were not validated.
    """

    def fail(_: Project, stage: str, __: object) -> None:
        calls.append(stage)
        if stage == "alpha":
            raise error

    monkeypatch.setattr(versions, "reproduce", fail)
    monkeypatch.setattr(night, "ROOT", project.root)
    monkeypatch.setattr(night, "nightly", _here(project))
    assert night.main([]) == code
    assert str(error) in capsys.readouterr().err
    assert calls == ["zeta", "alpha"]
    assert ledger.champion(connect(project), NAME) is None
    assert not project.forecasts.exists()


@pytest.fixture
def failing(
    project: Project, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, S2TXError], None]:
    """After a good night, whose forecast it takes away and whose champion stays: fails a stage."""

    def fail(at: str, error: S2TXError) -> None:
        assert night.nightly(root=str(project.root)) is not None
        shutil.rmtree(project.forecasts)
        calls.clear()

        def reproduce(_: Project, stage: str, __: object) -> None:
            calls.append(stage)
            if stage == at:
                raise error

        monkeypatch.setattr(versions, "stage_order", lambda _: ["validate", "train", "report"])
        monkeypatch.setattr(versions, "reproduce", reproduce)

    return fail


@pytest.mark.parametrize(
    "error", [InputError("column x is text", "Mend it"), S2TXError("the loss is nan.")]
)
def test_a_failure_after_validate_costs_no_forecast(
    project: Project,
    calls: list[str],
    failing: Callable[[str, S2TXError], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: S2TXError,
) -> None:
    """Protects tomorrow: the standing champion forecasts, and the night is red all the same."""
    failing("train", error)
    monkeypatch.setattr(night, "ROOT", project.root)
    monkeypatch.setattr(night, "nightly", _here(project))
    assert night.main([]) == error.exit_code
    assert str(error) in capsys.readouterr().err
    assert calls == ["validate", "train"]
    assert len(list(project.forecasts.glob("*.csv"))) == 1
    assert len(ledger.read(ledger.path_of(project))) == 1  # the good night's decision


def test_rows_that_are_not_validated_are_not_forecast_from(
    project: Project, failing: Callable[[str, S2TXError], None]
) -> None:
    """Protects from yesterday's forecast under the name of today's."""
    failing("validate", S2TXError("the disk is full."))
    with pytest.raises(S2TXError, match="the disk is full"):
        night.nightly(root=str(project.root))
    assert not project.forecasts.exists()


def test_a_second_failure_hides_not_the_first(
    project: Project,
    failing: Callable[[str, S2TXError], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Protects the reason of the night: what is to be mended is what failed first."""
    failing("report", S2TXError("no space for the report."))
    monkeypatch.setattr(forecaster, "forecast", _away)
    with pytest.raises(S2TXError, match="no space for the report"):
        night.nightly(root=str(project.root))
    assert "no forecast either: away" in caplog.text


def test_a_silent_source_ends_a_night_as_failed_after_its_work(
    project: Project, calls: list[str], tiny: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects from green nights over a table that has not grown for weeks; nothing is lost."""
    limited = dataclasses.replace(tiny.ingest, max_age_hours=24.0)
    bounded = dataclasses.replace(tiny, ingest=limited)
    monkeypatch.setattr(night, "load_params", lambda _: bounded)
    with pytest.raises(InputError, match=r"hours ago, and ingest\.max_age_hours is 24"):
        night.nightly(root=str(project.root))
    assert calls == ["zeta", "alpha", "mid"]
    assert ledger.champion(connect(project), NAME) is not None
    assert len(list(project.forecasts.glob("*.csv"))) == 1


def test_where_the_alias_was_lost_the_log_says_how_to_put_it_back(
    project: Project, calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The forecast fails for want of a champion; why there is none is what is to be mended."""
    night.nightly(root=str(project.root))
    put_on_disk(project, tiny_bundle(tiny_table(), night.load_params(project.params), shift=2.0))
    connect(project).delete_registered_model_alias(NAME, ledger.ALIAS)
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(InputError, match=r"no forecast.*put it back: s2tx rollback --to 1"),
    ):
        night.nightly(root=str(project.root))
    assert "put it back: s2tx rollback --to 1" in caplog.text
    assert calls == ["zeta", "alpha", "mid"] * 2


def test_a_model_that_repeating_beats_is_not_forecast_with(
    project: Project, calls: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Protects from a first forecast that nobody should trust; the exit code and the last line say
    why there is none, and how to have it all the same."""
    params = night.load_params(project.params)
    put_on_disk(project, tiny_bundle(tiny_table(), params, shift=2.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(night, "ROOT", project.root)
        assert night.main([]) == 2
    told = capsys.readouterr().err
    assert "no model is in service: keep: mse" in told
    assert "of repeat_last" in told
    assert "s2tx rollback --to 1" in told
    assert not project.forecasts.exists()
    assert calls == ["zeta", "alpha", "mid"]
    gate.rollback(project, params, to=1)
    made = night.nightly(root=str(project.root))
    assert made is not None
    assert made.forecast.path.exists()


def _away(*_: object, **__: object) -> None:
    raise InputError("away", "Wait")


def _here(project: Project) -> object:
    """The flow, on the test's project."""
    flow = night.nightly
    return lambda pull: flow(pull=pull, root=str(project.root))


def test_refused_data_end_the_night_before_anything_ran(
    project: Project, calls: list[str], tiny: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad rows are no reason to train on yesterday's again; and trying thrice does not help."""
    sourced = dataclasses.replace(tiny, ingest=dataclasses.replace(tiny.ingest, source="new.csv"))
    monkeypatch.setattr(night, "load_params", lambda _: sourced)

    def refuse(*_: object, **__: object) -> None:
        calls.append("ingest")
        raise InputError("new.csv, line 3: text", "Mend it")

    monkeypatch.setattr(arrivals, "ingest", refuse)
    with pytest.raises(InputError, match="line 3"):
        night.nightly(root=str(project.root))
    assert calls == ["ingest"]


@pytest.mark.parametrize("name", [None, "plant7"])
def test_a_night_says_which_data_set_it_goes_on_with(
    project: Project,
    calls: list[str],
    tiny: Params,
    monkeypatch: pytest.MonkeyPatch,
    name: str | None,
) -> None:
    """Protects the champion from a table that somebody brought in by hand under another name."""
    fed = dataclasses.replace(tiny.ingest, source="new.csv", name=name, time_column="t", step="1D")
    monkeypatch.setattr(night, "load_params", lambda _: dataclasses.replace(tiny, ingest=fed))
    asked: dict[str, object] = {}

    def arrive(*_: object, **said: object) -> Ingested:
        asked.update(said)
        return Ingested(tiny_table().card, 600, 0, False, ())

    monkeypatch.setattr(arrivals, "ingest", arrive)
    monkeypatch.setattr(versions, "commit_data", lambda *_: None)
    night.nightly(root=str(project.root))
    assert (asked["name"], asked["begin"]) == (name, name is not None)
    assert (asked["time_column"], asked["step"]) == ("t", "1D")
    assert calls


@pytest.fixture
def arriving(calls: list[str], tiny: Params, monkeypatch: pytest.MonkeyPatch) -> list[Ingested]:
    """What each ingest of a night returns, in turn, the last one again; commits are noted."""
    card = tiny_table().card
    ends = [Ingested(card, 600, 0, True, ()), Ingested(card, 600, 0, False, ())]
    sourced = dataclasses.replace(tiny, ingest=dataclasses.replace(tiny.ingest, source="new.csv"))
    monkeypatch.setattr(night, "load_params", lambda _: sourced)

    def arrive(*_: object, **__: object) -> Ingested:
        calls.append("ingest")
        return ends.pop(0) if len(ends) > 1 else ends[0]

    monkeypatch.setattr(arrivals, "ingest", arrive)
    monkeypatch.setattr(versions, "commit_data", lambda _, message: calls.append(message))
    return ends


def test_a_commit_that_failed_is_tried_again(
    project: Project,
    calls: list[str],
    arriving: list[Ingested],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Protects the forecast from git, and git from a version that it never hears of: the night says
    so and goes on, and the next one tries again though it finds nothing new."""

    def refuse(*_: object) -> None:
        calls.append("commit")
        raise S2TXError("git commit data.dvc failed: who are you")

    monkeypatch.setattr(versions, "commit_data", refuse)
    made = night.nightly(root=str(project.root))
    assert calls[:5] == ["ingest", *["commit"] * 3, "zeta"]
    assert "ingest    data.dvc is not committed: git commit data.dvc failed: who are you" in str(
        made
    )
    assert not arriving[0].changed
    night.nightly(root=str(project.root))
    assert calls.count("commit") == 6


def test_a_push_that_failed_is_told(
    project: Project,
    calls: list[str],
    arriving: list[Ingested],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Protects from a remote that gets nothing for months, and nobody hears of it."""
    push = Finding("warning", "push", None, "not copied to the remote", "Run later: dvc push")
    arriving[:] = [dataclasses.replace(arriving[0], findings=(push,))]
    made = night.nightly(root=str(project.root))
    told = "not copied to the remote. Run later: dvc push."
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [told]
    assert f"ingest    {told}" in str(made)
    assert calls[:2] == ["ingest", "Ingest tiny, 600 rows"]


def test_what_fails_outside_is_tried_again(
    project: Project, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is away for a moment must not cost the night; a stage is never retried."""
    reach, tries = gate.connect, []

    def flaky(where: Project) -> object:
        tries.append(1)
        with monkeypatch.context() as patch:
            if len(tries) < 3:
                patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
                patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            return reach(where)

    monkeypatch.setattr(gate, "connect", flaky)
    made = night.nightly(root=str(project.root))
    assert made is not None
    assert made.decision.promoted
    lines = ledger.read(ledger.path_of(project))
    assert [line["action"] for line in lines] == ["keep", "keep", "promote"]
    assert stages.stage.retries == 0
    assert calls == ["zeta", "alpha", "mid"]


def test_a_gate_that_fails_ends_the_night(
    project: Project,
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Protects from nights that all look well while no model can be promoted: exit code 1."""
    reach = gate.connect

    def away(where: Project) -> object:
        with monkeypatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
            patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            return reach(where)

    monkeypatch.setattr(gate, "connect", away)
    monkeypatch.setattr(night, "ROOT", project.root)
    assert night.main([]) == 1
    assert "does not answer" in capsys.readouterr().err
    assert not project.forecasts.exists()
    assert calls == ["zeta", "alpha", "mid"]


def test_one_night_at_a_time(
    project: Project,
    calls: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After downtime Prefect starts every missed night at once: one works, the rest step aside."""
    project.cache.mkdir()
    with FileLock(project.night):
        assert night.nightly(root=str(project.root)) is None
        monkeypatch.setattr(night, "nightly", _here(project))
        assert night.main([]) == 0
    assert "Another night is at work" in capsys.readouterr().out
    assert not calls


def test_a_night_waits_for_an_ingest_by_hand(
    project: Project, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a night from a table that changes under it, and from being left out for the sake of
    a few minutes' work; one that hangs is told, and is no other night."""
    project.cache.mkdir()
    lock = FileLock(project.cache / arrivals.LOCK, thread_local=False).acquire().lock
    threading.Timer(1.0, lock.release).start()
    assert night.nightly(root=str(project.root)) is not None
    assert calls == ["zeta", "alpha", "mid"]
    monkeypatch.setattr(arrivals, "LOCK_PATIENCE", 0.1)
    with (
        FileLock(project.cache / arrivals.LOCK),
        pytest.raises(S2TXError, match=r"another process has held .*ingest\.lock for 0 s"),
    ):
        night.nightly(root=str(project.root))
    assert len(calls) == 3


def test_a_lock_deeper_in_the_night_is_no_other_night(
    project: Project, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects from exit code 0, and another night's blame, where a store's lock was held."""

    def wait(*_: object) -> None:
        raise Timeout("mlflow.db.lock")

    monkeypatch.setattr(night, "_night", wait)
    with pytest.raises(Timeout):
        night.nightly(root=str(project.root))
    with FileLock(project.night, blocking=False):  # and ours was given back
        assert not calls


def test_data_are_pulled_only_where_there_are_none(project: Project, calls: list[str]) -> None:
    """A pull over data that somebody just ingested would take them away again."""
    night.nightly(pull=True, root=str(project.root))
    assert calls[0] == "pull"
    project.data.mkdir()  # as a pull that was killed half-way leaves it
    calls.clear()
    night.nightly(pull=True, root=str(project.root))
    assert calls[0] == "pull"
    calls.clear()
    card = tiny_table().card
    (project.data / "dataset.json").write_text(card.to_json())
    stages.pull.fn(project)  # the card came, and its table did not
    assert calls == ["pull"]
    (project.data / card.file).touch()
    stages.pull.fn(project)
    assert calls == ["pull"]


def test_the_deployment_names_a_flow_that_exists() -> None:
    """prefect.yaml is only read by the worker's host, at night: a typo would be found there."""
    deployment = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"][0]
    path, name = deployment["entrypoint"].split(":")
    assert (ROOT / path).samefile(night.__file__)
    assert getattr(night, name).name == deployment["name"]
    assert deployment["concurrency_limit"]["limit"] == 1


def test_the_summary_names_the_server_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects a password from the log of every night."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@h:5000")
    assert summary._mlflow(tmp_path) == "see http://me:***@h:5000"


def test_a_schedule_can_check_the_parameters() -> None:
    """Prefect resolves their types away from this file: one that is imported here, such as Path,
    fails every night that is scheduled, and none that is run by hand.
    """
    for parameter in inspect.signature(night.nightly.fn).parameters.values():
        eval(parameter.annotation, {})


def test_a_schedule_that_is_none_is_refused_before_a_server_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service that ends with a traceback is started again, and again."""
    monkeypatch.setattr(server, "running", lambda: pytest.fail("a server was started"))
    assert night.main(["--serve", "--cron", "nonsense"]) == 2
    assert "'nonsense' is no schedule" in capsys.readouterr().err


def test_two_checkouts_do_not_share_a_deployment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protects the second of two on one server: each night would go to one of them alone."""
    names = []
    monkeypatch.setattr(server, "running", lambda: contextlib.nullcontext("pages"))
    monkeypatch.setattr(night.nightly, "serve", lambda **settings: names.append(settings["name"]))
    for place in ("a/plant & co", "b/plant & co", "a/plant & co/"):
        monkeypatch.setattr(night, "ROOT", tmp_path / place)
        assert night.main(["--serve"]) == 0
    first, second, again = names
    assert first == again != second
    for name in names:
        assert re.fullmatch("plant-co-[0-9a-f]{8}", name)


@pytest.mark.parametrize("begun", ["at its root", "elsewhere"])
def test_prefect_stays_at_home_and_has_patience(begun: str, tmp_path: Path) -> None:
    """Its database must lie in the project, and nothing be reported to anybody. A busy machine must
    not cost the night, which has its own server until it ends. Leases in a server's memory would
    end with it: after a power cut no night would begin again. So too where cron begins a night in
    another folder, and Prefect alone would not find its settings.
    """
    script = (
        ("import flows\n" if begun == "elsewhere" else "") + "from importlib import import_module\n"
        "from prefect.settings import get_current_settings as s; x = s()\n"
        "print(x.home)\n"
        "print(x.server.analytics_enabled, x.server.ephemeral.startup_timeout_seconds)\n"
        "leases = import_module(x.server.concurrency.lease_storage).ConcurrencyLeaseStorage\n"
        "print(leases.__module__.rpartition('.')[2])"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    child = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT if begun == "at its root" else tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    home, *others = child.stdout.splitlines()
    assert (ROOT / home).resolve() == ROOT / ".prefect", child.stderr
    assert others == ["False 180", "filesystem"]
