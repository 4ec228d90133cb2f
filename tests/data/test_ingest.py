"""Protects the versions: a kill at any point, a second try or a dead remote loses nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from s2tx import fingerprint
from s2tx.data import demo, versions
from s2tx.data import ingest as ingest_module
from s2tx.data.catalog import Entry
from s2tx.data.ingest import ingest
from s2tx.data.read import CARD_FILE, read_card, read_current
from s2tx.errors import InputError, S2TXError
from s2tx.params import Params, load_params
from s2tx.paths import Project
from tests.data.conftest import ROWS, good_frame, snapshot, write

ROOT = Path(__file__).parents[2]


def test_data_hold_the_file_byte_for_byte_and_its_card(project, small, frame, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The hash on the card must be the hash of what was brought."""
    source = write(frame, tmp_path / "my table!.csv")
    done = ingest(project, small, str(source))
    assert done.changed
    assert (done.rows, done.card.name, done.card.step) == (ROWS, "my-table", "1h")
    assert done.card == read_card(project)
    assert {p.name for p in project.data.iterdir()} == {CARD_FILE, done.card.file}
    stored = project.data / done.card.file
    assert stored.read_bytes() == source.read_bytes()
    assert done.card.sha256 == fingerprint.of_file(source)
    assert str(tmp_path) not in (project.data / CARD_FILE).read_text()


@pytest.mark.usefixtures("unjudged")
def test_twice_the_same_changes_nothing(project, small, frame, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A nightly run without new rows must not make a new version."""
    source = str(write(frame, tmp_path / "my.csv"))
    ingest(project, small, source)
    before = snapshot(project.root), (project.data / CARD_FILE).stat().st_mtime_ns
    again = ingest(project, small, source)
    assert not again.changed
    assert (snapshot(project.root), (project.data / CARD_FILE).stat().st_mtime_ns) == before


def test_a_new_version_replaces_the_old_whole(project, small, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Two tables in data/ would be versioned together for ever."""
    ingest(project, small, str(write(good_frame(), tmp_path / "my.csv")))
    done = ingest(project, small, str(write(good_frame(ROWS + 24), tmp_path / "my.csv")))
    assert done.changed
    assert {p.name for p in project.data.iterdir()} == {CARD_FILE, done.card.file}
    assert len(read_current(project).frame) == ROWS + 24


def test_append_adds_what_is_new(project, small, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Overlapping rows agree, new ones follow, columns find their place in any order."""
    longer = good_frame(ROWS + 24)
    longer.loc[ROWS - 3, "oil"] = np.nan
    ingest(project, small, str(write(longer.head(ROWS), tmp_path / "my.csv")))
    new = longer.iloc[ROWS - 10 :][["oil", "date", "load", "wind"]]
    done = ingest(project, small, str(write(new, tmp_path / "night.csv")), append=True)
    assert (done.changed, done.rows, done.new_rows) == (True, ROWS + 24, 24)
    assert done.card.name == "my"
    merged = read_current(project)
    pd.testing.assert_frame_equal(merged.frame, longer, check_dtype=False)
    again = ingest(project, small, str(tmp_path / "night.csv"), append=True)
    assert (again.changed, again.new_rows, again.rows) == (False, 0, ROWS + 24)


@pytest.mark.usefixtures("unjudged")
def test_append_fills_what_was_empty_and_loses_nothing(project, small, frame, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Protects late readings, which used to end every later night, and the ones that are there."""
    frame.loc[ROWS - 3, ["oil", "wind"]] = np.nan
    ingest(project, small, str(write(frame, tmp_path / "my.csv")))
    frame.loc[ROWS - 3, "oil"] = 7.5
    source = str(write(frame.tail(5), tmp_path / "night.csv"))
    done = ingest(project, small, source, append=True)
    assert (done.changed, done.rows, done.new_rows) == (True, ROWS, 0)
    pd.testing.assert_frame_equal(read_current(project).frame, frame, check_dtype=False)
    assert not ingest(project, small, source, append=True).changed
    frame.loc[ROWS - 3, "oil"] = np.nan
    source = str(write(frame.tail(5), tmp_path / "night.csv"))
    with pytest.raises(InputError, match=r"'oil': at \S+ \S+ it has nan, the current .* has 7\.5"):
        ingest(project, small, source, append=True)


@pytest.mark.usefixtures("unjudged")
def test_append_takes_a_sentinel_for_an_empty_cell(project, small, frame, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Protects a late reading in the place of -9999, and a reading that -9999 would hide; the name
    of the file that brings it is no matter, however long."""
    frame.loc[ROWS - 3, "oil"] = -9999.0
    ingest(project, small, str(write(frame, tmp_path / "my.csv")))
    source = str(write(frame.tail(5), tmp_path / f"{'n' * 150}.csv"))
    assert not ingest(project, small, source, append=True).changed
    frame.loc[ROWS - 3, "oil"] = 7.5
    done = ingest(project, small, str(write(frame.tail(5), Path(source))), append=True)
    assert (done.changed, done.card.name) == (True, "my")
    pd.testing.assert_frame_equal(read_current(project).frame, frame, check_dtype=False)


@pytest.mark.usefixtures("unjudged")
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_append_keeps_fractions_of_a_second(project, small, tmp_path, zone) -> None:  # type: ignore[no-untyped-def]
    """Protects a logger's stamps at half seconds from being other stamps after one append."""
    longer = good_frame(ROWS + 24)
    longer["date"] = (longer["date"] + pd.Timedelta("500ms")).dt.tz_localize(zone)
    ingest(project, small, str(write(longer.head(ROWS), tmp_path / "my.csv")))
    source = str(write(longer, tmp_path / "night.csv"))
    assert ingest(project, small, source, append=True).new_rows == 24
    pd.testing.assert_frame_equal(read_current(project).frame, longer, check_dtype=False)
    assert not ingest(project, small, source, append=True).changed


@pytest.mark.usefixtures("unjudged")
def test_append_where_stamps_repeat(project, small, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Protects a clock that is set back: an hour's second row is not a wrong copy of its first."""
    longer = good_frame(ROWS + 24)
    longer.loc[[ROWS - 50, ROWS + 5], "date"] = longer["date"][[ROWS - 51, ROWS + 4]].to_numpy()
    positional = dataclasses.replace(
        small, validate=dataclasses.replace(small.validate, irregular="positional")
    )
    source = str(write(longer.head(ROWS), tmp_path / "my.csv"))
    ingest(project, positional, source)
    assert not ingest(project, positional, source, append=True).changed
    night = write(longer.tail(24 + 60), tmp_path / "night.csv")
    assert ingest(project, positional, str(night), append=True).new_rows == 24
    pd.testing.assert_frame_equal(read_current(project).frame, longer, check_dtype=False)
    longer.loc[ROWS - 50, "wind"] = 77.0
    with pytest.raises(InputError, match=r"column 'wind': at 2024-\S+ \S+ it has 77\.0"):
        ingest(project, positional, str(write(longer, tmp_path / "wrong.csv")), append=True)


@pytest.mark.usefixtures("unjudged")
def test_append_of_one_row(project, small, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Every hour one row: too few to find a step, and the card knows it."""
    ingest(project, small, str(write(good_frame(), tmp_path / "my.csv")))
    row = good_frame(ROWS + 1).tail(1)
    assert ingest(project, small, str(write(row, tmp_path / "now.csv")), append=True).new_rows == 1


@pytest.mark.usefixtures("unjudged")
def test_append_in_two_orders_is_one_table(project, small, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The merged file has one canonical form, so the same rows have the same hash."""
    longer = good_frame(ROWS + 20)
    hashes = set()
    for cuts in ((ROWS, ROWS + 20), (ROWS, ROWS + 7, ROWS + 20)):
        source = str(write(longer.head(ROWS), tmp_path / "my.csv"))
        ingest(project, small, source, backwards=True)
        for cut in cuts[1:]:
            part = write(longer.iloc[cut - 20 : cut], tmp_path / "part.csv")
            done = ingest(project, small, str(part), append=True)
        hashes.add(done.card.sha256)
    assert len(hashes) == 1


def test_append_needs_a_version(project, small, frame, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """There is nothing to append to: say so, and what to do."""
    with pytest.raises(InputError, match="no current version"):
        ingest(project, small, str(write(frame, tmp_path / "my.csv")), append=True)


class Killed(BaseException):
    """A kill: nothing in the program may catch it."""


def _die_at(monkeypatch: pytest.MonkeyPatch, step: str, call: int, after: bool) -> None:
    """End at the given call of a step, before or after its work."""
    module = versions if step == "add_data" else ingest_module
    work, calls = getattr(module, step), [0]

    def dying(*args: object, **kwargs: object) -> object:
        calls[0] += 1
        if calls[0] != call:
            return work(*args, **kwargs)
        if after:
            work(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(module, step, dying)


@pytest.mark.usefixtures("unjudged")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("step", "call"),
    [
        ("_sweep", 1),
        ("add_data", 1),
        ("_replace", 1),
        ("_flush", 1),
        ("write_text", 1),
        ("_flush", 2),
        ("_sweep", 2),
        ("add_data", 2),
        ("_finish", 1),
    ],
)
def test_a_kill_anywhere_leaves_one_whole_version(  # type: ignore[no-untyped-def]
    step, call, after, served: Project, small: Params, tmp_path, monkeypatch
) -> None:
    """The old version or the new one, readable, at every moment; the next ingest completes it."""
    project, old = served, read_card(served)
    source = str(write(good_frame(ROWS + 24), tmp_path / "my.csv"))
    recorded: list[str] = []
    record = versions.add_data

    def add(project: Project) -> None:
        recorded.append(read_card(project).sha256)
        record(project)

    monkeypatch.setattr(versions, "add_data", add)
    with monkeypatch.context() as patch:
        _die_at(patch, step, call, after)
        with pytest.raises(Killed):
            ingest(project, small, source)

    current = read_current(project)
    assert len(current.frame) in (ROWS, ROWS + 24)
    if len(current.frame) == ROWS + 24:
        assert old.sha256 in recorded  # before it went
    done = ingest(project, small, source)
    assert len(read_current(project).frame) == ROWS + 24
    assert {p.name for p in project.data.iterdir()} == {CARD_FILE, done.card.file}
    assert (project.root / "data.dvc").read_text() == repr(snapshot(project.data))


def test_a_kill_in_the_middle_of_a_copy(project, small, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Half a file under a temporary name is swept away, and never read."""
    ingest(project, small, str(write(good_frame(), tmp_path / "my.csv")))
    left = project.data / ".my-123.csv.abc.part"
    left.write_text("half")
    text = "a table that no card names"
    stray = project.data / f"my-{hashlib.sha256(text.encode()).hexdigest()[:12]}.csv"
    stray.write_text(text)
    assert len(read_current(project).frame) == ROWS
    ingest(project, small, str(tmp_path / "my.csv"))
    assert not left.exists()
    assert not stray.exists()


@pytest.mark.usefixtures("unjudged")
def test_what_ingest_did_not_write_stays(project, small, frame) -> None:  # type: ignore[no-untyped-def]
    """A user's own files in data/, the source among them, are in no version: they would be lost."""
    project.data.mkdir()
    source, other = (
        write(frame, project.data / "my.csv"),
        project.data / "precious-202401312300.csv",
    )
    other.write_text("t,x\n")
    for _ in range(2):  # a night reads the same source again
        ingest(project, small, str(source))
    assert source.exists()
    assert other.read_text() == "t,x\n"


@pytest.mark.usefixtures("unjudged")
def test_a_source_keeps_what_it_was_told_once(project, small, frame, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A night knows no --name: under another name its model would have no champion to beat."""
    source = str(write(frame, tmp_path / "my.csv"))
    told = ingest(project, small, source, name="plant7")
    again = ingest(project, small, source)
    assert (again.changed, again.card) == (False, told.card)
    assert again.card.name == "plant7"
    other = ingest(project, small, str(write(frame, tmp_path / "other.csv")))
    assert other.card.name == "other"


@pytest.mark.usefixtures("unjudged")
@pytest.mark.parametrize("append", [False, True])
def test_a_night_begins_no_data_set_that_nobody_named(  # type: ignore[no-untyped-def]
    project, small, frame, tmp_path, append
) -> None:
    """Protects a champion from a night after another table was brought in by hand: the next model
    would be the first of its name, with nobody to beat."""
    source = str(write(frame, tmp_path / "my.csv"))
    assert ingest(project, small, source, begin=False).card.name == "my"  # the very first may
    ingest(project, small, str(write(frame, tmp_path / "other.csv")))
    before = snapshot(project.data)
    told = r"my\.csv .*'my'.*'other'.*" + ("--name my" if append else r"ingest\.name.* to other")
    with pytest.raises(InputError, match=told):
        ingest(project, small, source, append=append, name="my" if append else None, begin=False)
    assert snapshot(project.data) == before
    if not append:
        assert ingest(project, small, source, name="my").card.name == "my"


@pytest.mark.usefixtures("unjudged")
def test_a_night_without_data_begins_nothing_where_git_knows_of_some(  # type: ignore[no-untyped-def]
    project, small, frame, tmp_path
) -> None:
    """Protects a clone whose data were not pulled from a version that takes the place of them."""
    source = str(write(frame, tmp_path / "my.csv"))
    (project.root / "data.dvc").write_text("outs: []")
    with pytest.raises(InputError, match=r"dvc pull data\.dvc"):
        ingest(project, small, source, begin=False)
    assert (project.root / "data.dvc").read_text() == "outs: []"
    assert ingest(project, small, source, name="my").card.name == "my"


@pytest.mark.usefixtures("unjudged")
def test_the_name_of_a_night_may_be_the_one_that_is_there(project, small, frame, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Protects nights that are told what they bring, as appending ones are too."""
    ingest(project, small, str(write(frame.head(ROWS - 5), tmp_path / "my.csv")), name="plant 7")
    source = str(write(frame.tail(20), tmp_path / "night.csv"))
    done = ingest(project, small, source, append=True, name="plant 7", begin=True)
    assert (done.card.name, done.rows) == ("plant-7", ROWS)


@pytest.mark.usefixtures("unjudged")
def test_a_table_that_ends_earlier_is_refused(project, small, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A download that was cut short at a line's end must not take the place of the whole."""
    ingest(project, small, str(write(good_frame(), tmp_path / "my.csv")))
    before = snapshot(project.data)
    source = str(write(good_frame(ROWS - 1), tmp_path / "my.csv"))
    with pytest.raises(InputError, match=r"ends at .*, the current version of my at .*--append"):
        ingest(project, small, source)
    assert snapshot(project.data) == before
    assert ingest(project, small, source, backwards=True).rows == ROWS - 1


@pytest.mark.usefixtures("unjudged")
def test_what_a_whole_table_changes_is_told(project, small, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Protects nights from a source that forgets its oldest rows, or tells its readings anew."""
    ingest(project, small, str(write(good_frame(), tmp_path / "my.csv")))
    longer = good_frame(ROWS + 24)
    told = ingest(project, small, str(write(longer, tmp_path / "my.csv"))).findings
    assert not [each for each in told if each.check in ("rows gone", "readings changed")]
    other = longer.iloc[30:].copy()
    other.loc[100, "load"] += 1
    other.loc[101, "oil"] = np.nan
    source = str(write(other, tmp_path / "my.csv"))
    found = {each.check: each for each in ingest(project, small, source).findings}
    first = good_frame()["date"]
    assert f"lacks 30 of the {ROWS + 24} rows of the version before, the first of {first[0]}" in (
        found["rows gone"].message
    )
    assert "has 2 readings otherwise than" in found["readings changed"].message
    assert f"in column 'load' at {first[100]}: " in found["readings changed"].message
    assert "git checkout" in found["readings changed"].cure
    before = snapshot(project.data)
    source = str(write(longer.tail(ROWS // 2 - 20), tmp_path / "my.csv"))
    with pytest.raises(InputError, match=r"my\.csv has \d+ of the \d+ rows of .*--backwards"):
        ingest(project, small, source)
    assert snapshot(project.data) == before
    ingest(project, small, source, backwards=True)


@pytest.mark.usefixtures("unjudged")
def test_an_unrecorded_version_is_recorded_before_it_goes(  # type: ignore[no-untyped-def]
    project, small, tmp_path, monkeypatch
) -> None:
    """After a kill before `dvc add`, other data must not wipe out what was never recorded."""
    ingest(project, small, str(write(good_frame(), tmp_path / "my.csv")))
    source = str(write(good_frame(ROWS + 24), tmp_path / "my.csv"))
    with monkeypatch.context() as patch:
        _die_at(patch, "add_data", 2, after=False)
        with pytest.raises(Killed):
            ingest(project, small, source)
    seen = []
    monkeypatch.setattr(versions, "add_data", lambda p: seen.append(read_card(p).sha256))
    lost = read_card(project).sha256
    ingest(project, small, str(write(good_frame(ROWS + 48), tmp_path / "my.csv")))
    assert seen[0] == lost


def test_a_dead_remote_is_a_warning(project, small, frame, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """The data are safe here; the night goes on, and the command for later is named."""

    def fail(_: Project) -> None:
        raise S2TXError("no route to host")

    monkeypatch.setattr(versions, "push", fail)
    done = ingest(project, small, str(write(frame, tmp_path / "my.csv")))
    assert done.changed
    (finding,) = done.findings
    assert finding.check == "push"
    assert "dvc push data.dvc" in finding.cure


def test_a_season_that_is_not_the_tables_is_a_warning(project, small, frame, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The table is fit, and the setting is not: told when it comes in, and every night after."""
    odd = dataclasses.replace(small, model=dataclasses.replace(small.model, infill_season=7))
    source = str(write(frame, tmp_path / "my.csv"))
    for done in (ingest(project, odd, source), ingest(project, odd, source)):
        (finding,) = done.findings
        assert finding.check == "season"
        assert "infill_season in params.yaml to 24" in finding.cure


@pytest.mark.usefixtures("unjudged")
def test_one_writer_at_a_time(project, small, frame, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Two ingests at once would sweep away each other's files."""
    from filelock import FileLock

    monkeypatch.setattr(ingest_module, "LOCK_PATIENCE", 0.1)
    source = str(write(frame, tmp_path / "my.csv"))
    project.cache.mkdir()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with FileLock(project.cache / "ingest.lock"):
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    try:
        with pytest.raises(S2TXError, match=r"another process has held .*ingest\.lock"):
            ingest(project, small, source)
    finally:
        done.set()
        thread.join()
    assert ingest(project, small, source).changed


@pytest.mark.parametrize("way", ["path", "from"])
def test_a_file_that_cannot_be_read_is_said(
    way, project, small, known, tmp_path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    """Protects from a traceback where the system refuses a file, or a name is too long for it."""

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    plain, overlong = tmp_path / "small.csv", tmp_path / f"{'a' * 300}.csv"
    for path, why in ((overlong, "File name too long"), (plain, "Permission denied")):
        source, file = (str(path), None) if way == "path" else (known.name, path)
        with pytest.raises(InputError, match=rf"{path.name} cannot be read \({why}\)"):
            ingest(project, small, source, file=file)
        monkeypatch.setattr(Path, "open", refuse)


def test_a_name_that_no_file_can_have_is_refused(project, small, frame, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Protects ``data/`` and ``quarantine/`` from a name that the file system refuses."""
    source = str(write(frame, tmp_path / "my.csv"))
    with pytest.raises(InputError, match=r"'b{300}' is longer than 100 characters.*--name"):
        ingest(project, small, source, name="b" * 300)
    assert not project.data.exists()


@pytest.mark.parametrize("stem", ["负荷", "нагрузка", "负荷 1", "_φ_"])
def test_a_name_that_cleaning_empties_is_refused(project, small, frame, tmp_path, stem) -> None:  # type: ignore[no-untyped-def]
    """Protects two data sets from being taken for one, of which the second replaces the first."""
    source = str(write(frame, tmp_path / f"{stem}.csv"))
    with pytest.raises(InputError, match=r"the data set would be called '.*--name"):
        ingest(project, small, source)
    assert not project.data.exists()
    ingest(project, small, source, name="load")
    assert ingest(project, small, source).card.name == "load"  # it was named once


def test_an_address_of_another_kind_is_told(project, small) -> None:  # type: ignore[no-untyped-def]
    """Protects from the advice to check a path that is none, and the key in it from the log."""
    with pytest.raises(InputError, match="no address of http") as told:
        ingest(project, small, "s3://bucket/load.csv?key=hidden")
    assert "hidden" not in str(told.value)


def test_no_repository_is_said_first(small, frame, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Data that cannot be versioned are not taken."""
    with pytest.raises(InputError, match=r"is no DVC repository.*dvc init"):
        ingest(Project(tmp_path), small, str(write(frame, tmp_path / "my.csv")))


def test_the_demo_comes_from_its_generator(project: Project, params: Params) -> None:
    """`s2tx ingest substation-demo` needs no file and no network, and says it is synthetic."""
    done = ingest(project, params, "Substation-Demo")
    assert done.card.synthetic
    assert done.rows == demo.ROWS
    assert done.card.source == "s2tx.data.demo"


@pytest.fixture
def known(frame, tmp_path, monkeypatch) -> Entry:  # type: ignore[no-untyped-def]
    """A catalog entry whose file is small and at hand."""
    from s2tx.data import catalog

    path = write(frame, tmp_path / "small.csv")
    entry = Entry(
        "Small",
        ("http://127.0.0.1:9/small.csv",),
        fingerprint.of_file(path),
        "small.csv",
        ROWS,
        3,
        "1h",
        "ratio",
        "positional",
        "none",
        "for tests",
    )
    monkeypatch.setattr(catalog, "ENTRIES", (entry,))
    return entry


def test_from_a_file_instead_of_the_network(project, small, known, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Behind a firewall, a copy with the right hash is as good as a download."""
    done = ingest(project, small, "small", file=tmp_path / "small.csv")
    assert (done.card.name, done.card.irregular) == ("Small", "positional")
    assert done.card.source == known.addresses[0]
    (tmp_path / "small.csv").write_text("altered")
    with pytest.raises(InputError, match=rf"the published Small has {known.sha256}"):
        ingest(project, small, "small", file=tmp_path / "small.csv")


@pytest.mark.usefixtures("known")
def test_a_known_file_keeps_its_declaration(project, small, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The published file, brought by path, is split as the field splits it."""
    (tmp_path / "small.csv").rename(tmp_path / "renamed.csv")
    done = ingest(project, small, str(tmp_path / "renamed.csv"))
    assert (done.card.name, done.card.irregular) == ("Small", "positional")


@pytest.mark.usefixtures("unjudged")
@pytest.mark.parametrize("end", ["plant.csv", "plant?format=csv", "plant?format=parquet"])
def test_from_an_address(end, project, small, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A nightly address gives today's rows, under its name, with an ending or without; no
    secret stays."""
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    (tmp_path / "www").mkdir()

    def publish(rows: int) -> None:
        path = tmp_path / "www" / end.partition("?")[0]
        good_frame(rows).to_parquet(path) if "parquet" in end else write(good_frame(rows), path)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "www"))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{end}"
        publish(ROWS)
        assert ingest(project, small, address).card.name == "plant"
        publish(ROWS + 5)
        assert ingest(project, small, address).rows == ROWS + 5
        asked = (
            address.replace("//", "//me:secret@") + ("&" if "?" in end else "?") + "token=sesame#t"
        )
        named = ingest(project, small, asked, name="mine").card
        assert named.source == address.split("?")[0]
        leaky = dataclasses.replace(named, source=asked)  # as earlier versions wrote it
        (project.data / CARD_FILE).write_text(leaky.to_json())
        assert ingest(project, small, asked).card == named
        server.shutdown()
    for file in project.root.rglob("*"):
        assert not file.is_file() or not re.search(b"secret|sesame", file.read_bytes()), file


@pytest.mark.slow
def test_real_dvc_end_to_end(frame, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Any earlier version comes back with git and DVC alone, and a refusal changes nothing."""
    root = tmp_path / "a real project"
    root.mkdir()
    scripts = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": scripts + os.pathsep + os.environ["PATH"]}

    def run(*words: str, cwd: Path = root) -> str:
        done = subprocess.run(
            words, cwd=cwd, env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout

    dvc = (sys.executable, "-m", "dvc")
    run("git", "init", "-q")
    run("git", "config", "user.email", "test@example.org")
    run("git", "config", "user.name", "Test")
    run(*dvc, "init", "-q")
    run(*dvc, "config", "core.analytics", "false")
    run(*dvc, "remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    params = load_params(ROOT / "params.yaml")
    window = dataclasses.replace(params.window, look_back=48, short_look_back=24, horizon=12)
    params = dataclasses.replace(params, window=window)
    project = Project(root)

    first = ingest(project, params, str(write(frame, tmp_path / "my.csv")))
    assert first.findings == ()
    run("git", "add", "data.dvc", ".gitignore", ".dvc", ".dvcignore")
    run("git", "commit", "-qm", "one")
    second = ingest(project, params, str(write(good_frame(ROWS + 24), tmp_path / "my.csv")))
    assert second.changed
    run("git", "commit", "-qam", "two")

    before = snapshot(project.data), (root / "data.dvc").read_bytes()
    with pytest.raises(InputError):
        ingest(project, params, str(write(frame.assign(load=1.0), tmp_path / "my.csv")))
    assert (snapshot(project.data), (root / "data.dvc").read_bytes()) == before
    assert run(*dvc, "status", "data.dvc").startswith("Data and pipelines are up to date")

    clone = tmp_path / "a clone"
    run("git", "clone", "-q", str(root), str(clone), cwd=tmp_path)
    versions.pull(Project(clone))
    assert snapshot(clone / "data") == snapshot(project.data)
    run("git", "checkout", "-q", "HEAD~1", cwd=clone)
    versions.pull(Project(clone))
    assert read_card(Project(clone)) == first.card
    assert json.loads((clone / "data" / CARD_FILE).read_text())["file"] == first.card.file

    run(*dvc, "remote", "modify", "store", "url", "/proc/nowhere")
    third = ingest(project, params, str(write(good_frame(ROWS + 48), tmp_path / "my.csv")))
    assert third.changed
    assert [finding.check for finding in third.findings] == ["push"]
