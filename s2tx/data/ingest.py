"""Bring a table in: a candidate is validated beside ``data/`` before anything there changes.

``data/`` holds ``dataset.json`` (the card) and the raw table, byte for byte, under a name that
contains its hash. A new version writes its table first and replaces the card last: the card is the
point at which the version changes, so a kill at any moment leaves the old version or the new one,
never a part. What ingest wrote and no card names any more is swept away by the next one; files of
other hands stay. Before a version is replaced, it is recorded in DVC, so that none is ever lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from s2tx import fingerprint
from s2tx.data import append as appending
from s2tx.data import history, versions
from s2tx.data import source as sources
from s2tx.data.advice import few_windows, unfit_season
from s2tx.data.findings import Finding, Report
from s2tx.data.read import CARD_FILE, Raw, clean_name, read_card, read_current, read_raw
from s2tx.data.table import Card
from s2tx.data.validate import validate
from s2tx.errors import InputError, S2TXError
from s2tx.locks import held
from s2tx.params import Params
from s2tx.paths import Project, write_beside, write_text

LOCK = "ingest.lock"  # in the cache
LOCK_PATIENCE = 600.0  # seconds to wait for another ingest
_LONGEST_NAME = 100  # files and models are called by it, with more behind
_OURS = re.compile(r"\..+\.part|.+-(?P<hash>[0-9a-f]{12})\.\w+")  # of a killed ingest, or a table


@dataclass(frozen=True)
class Ingested:
    """What an ingest did.

    Attributes:
        card: of the version that is current now.
        rows: T of its raw table.
        new_rows: how many of them the version before did not have, where rows were appended.
        changed: whether the current version is another than before.
        findings: warnings, of the validation, of settings that do not suit the table, and of what
            could not be pushed.
    """

    card: Card
    rows: int
    new_rows: int
    changed: bool
    findings: tuple[Finding, ...]


def ingest(
    project: Project,
    params: Params,
    source: str,
    *,
    file: Path | None = None,
    append: bool = False,
    backwards: bool = False,
    name: str | None = None,
    time_column: str | None = None,
    step: str | None = None,
    begin: bool = True,
    night: bool = False,
) -> Ingested:
    """Make ``source`` the current version of the data, or add its rows to it.

    One writer at a time. Twice the same is no change, yet completes what an interrupted ingest left
    unversioned. A push that fails loses nothing: it is a finding that names the command for later.

    Args:
        project: whose ``data/`` it is.
        params: rules of validation, split and windows.
        source: a name of the catalog, a path to a CSV or Parquet file, or an http(s) address.
        file: a copy of the catalog's file, where it cannot be downloaded.
        append: add the rows to the current version, and readings to its empty cells; where both
            have a reading, they must agree.
        backwards: take a table that ends before the current version of its name does.
        name: of the data set, with ``append`` the current one's; by default the current one's
            where it came from a source of the same name (or with ``append``), else the catalog's,
            else the stem.
        time_column: where the file has several columns of timestamps.
        step: where the rows do not tell, such as ``"15min"``; ``append`` keeps the card's.
        begin: whether a data set of another name may take the place of the current one.
        night: it is the night itself that brings the rows; by hand, none may be at work.

    Raises:
        InputError: the candidate cannot be read or is not fit. It lies in ``quarantine/`` with its
            report, and ``data/`` and ``data.dvc`` are as they were.
        S2TXError: the source cannot be reached, a night is at work, or DVC failed.
    """
    versions.require_repository(project)
    with _one_writer(project) as scratch:
        if not night:
            _require_no_night(project)
        path, entry = sources.bring(source, file, project.cache / "downloads", scratch)
        origin = sources.origin(source, entry)
        current = read_card(project) if append or (project.data / CARD_FILE).exists() else None
        if current is not None and sources.origin(current.source, None) == origin and name is None:
            name = current.name  # as it was given once; a night can say nothing of its source
        before = read_current(project) if append else None
        label = name or (before.card.name if before else entry.name if entry else path.stem)
        _require_name(label)
        _require_place(project, current, label, origin, append=append, begin=begin)
        new_rows = 0
        try:
            if before is not None:
                arrived = read_raw(path, time_column=before.card.time_column, step=before.card.step)
                raw, new_rows = appending.merge(before, arrived, scratch, params.validate.sentinels)
                if raw is before:
                    return _finish(project, params, before.card, raw, 0, changed=False)
                path = scratch / raw.card.file
            else:
                raw = read_raw(
                    path, name=name, time_column=time_column, step=step, entry=entry, source=origin
                )
                _same_shape(current, raw.card)
        except InputError as error:
            _quarantine(project, label, path, _unread(label, path, error), error)
        findings = _judge(project, params, path, raw, None if append else current, backwards)
        card = dataclasses.replace(raw.card, file=_stored_name(raw.card, path))
        changed = _swap(project, path, card, current)
        return _finish(project, params, card, raw, new_rows, changed=changed, findings=findings)


@contextlib.contextmanager
def _one_writer(project: Project) -> Iterator[Path]:
    """Hold the lock of ``data/`` and an empty folder to work in; the system frees a killed lock."""
    with held(project.cache / LOCK, LOCK_PATIENCE):
        scratch = project.cache / "candidate"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        yield scratch
        shutil.rmtree(scratch, ignore_errors=True)


def await_others(project: Project) -> None:
    """Wait for the end of an ingest by hand, for a night that holds its lock already: what comes
    later sees that.

    Raises:
        S2TXError: it takes longer than ``LOCK_PATIENCE``.
    """
    with held(project.cache / LOCK, LOCK_PATIENCE):
        pass


def _require_no_night(project: Project) -> None:
    """Leave the data to a night that is at work: it would find neither its model nor a forecast.

    Raises:
        S2TXError: one is.
    """
    from filelock import FileLock, Timeout

    try:
        FileLock(project.night).acquire(blocking=False).lock.release()
    except Timeout:
        raise S2TXError(
            "a night is at work on this project and reads the data. Wait for its end, or end it."
        ) from None


def _require_name(label: str) -> None:
    """A name must tell a data set from others once it is clean.

    Raises:
        InputError: it is too long, or has letters and none that a registered model may have.
    """
    clean = clean_name(label)
    if len(clean) > _LONGEST_NAME:
        raise InputError(
            f"the name {label!r} is longer than {_LONGEST_NAME} characters",
            "Give a shorter one with --name",
        )
    if re.search(r"[^\W\d_]", label) and not re.search("[A-Za-z]", label):
        raise InputError(
            f"the data set would be called {clean!r}, as others whose names are in the script of "
            f"{label!r} would",
            "Give it a name of letters from A to Z with --name",
        )


def _require_place(
    project: Project, current: Card | None, label: str, origin: str, *, append: bool, begin: bool
) -> None:
    """The data set may be what the current version is, or may begin.

    Raises:
        InputError: it may not.
    """
    if current is None and not begin and (project.root / "data.dvc").exists():
        raise InputError(
            f"there is no {project.data / CARD_FILE}, and data.dvc names a version of the data",
            "Bring it back first: dvc pull data.dvc, or the night with --pull",
        )
    if current is not None and clean_name(label) != current.name and (append or not begin):
        raise _other(current.name, clean_name(label), origin, append)


def _other(current: str, name: str, origin: str, append: bool) -> InputError:
    """Why rows may not come in: they are, or would be, of another data set than the current one."""
    if append:
        return InputError(
            f"{origin} is of the data set {name!r}, and the current version of {current!r}",
            f"Bring {name} back whole first: s2tx ingest SOURCE --name {name}",
        )
    # A first model of its name has no champion to beat: nobody is asked at night.
    return InputError(
        f"{origin} would begin the data set {name!r} in the place of {current!r}",
        f"Set ingest.name in params.yaml: to {current} if it goes on with that, to {name} if it is "
        "another",
    )


def _same_shape(current: Card | None, card: Card) -> None:
    """A name keeps its columns and step: a model trained on it must go on working."""
    if current is None or current.name != card.name:
        return
    for field, words in (("time_column", "time column"), ("variates", "columns"), ("step", "step")):
        old, new = getattr(current, field), getattr(card, field)
        if old != new:
            raise InputError(
                f"{card.file} has the {words} {new!r}, the current version of {card.name} has "
                f"{old!r}",
                "Mend the file, give it another name with --name, or say time column and step as "
                "it was read before, with --time-column and --step",
            )


def _judge(
    project: Project, params: Params, path: Path, raw: Raw, current: Card | None, backwards: bool
) -> tuple[Finding, ...]:
    """Warnings about a candidate; one that is refused is put aside.

    Args:
        current: whose place a whole table takes; None where its rows are added.

    Raises:
        InputError: it is not fit, or was cut short, perhaps.
    """
    name = raw.card.name
    table, report = validate(raw, params.validate, params.data, params.window)
    if table is None:
        _quarantine(project, name, path, report, report.refusal(path.name))
    warnings = (*report.warnings, *few_windows(params, table))
    if current is None or current.name != name or _damaged(project, current):
        return warnings
    before = read_current(project)
    try:
        if not backwards:
            history.require_most(before, raw)
    except InputError as error:
        _quarantine(project, name, path, report, error)
    if (before.times.tz is None) != (raw.times.tz is None):
        return warnings  # no stamp of one is one of the other
    return (*warnings, *history.changes(before, raw, params.validate.sentinels))


def _unread(name: str, path: Path, error: InputError) -> Report:
    finding = Finding("error", "read", None, error.what, error.cure)
    sha256 = fingerprint.of_file(path) if path.is_file() else ""
    return Report(clean_name(name), sha256, 0, 0, "none", (finding,))


def _quarantine(
    project: Project, name: str, path: Path, report: Report, error: InputError
) -> NoReturn:
    """Put a refused candidate aside, with the reason, and refuse it."""
    if not path.is_file():
        raise error
    sha256 = fingerprint.of_file(path)
    cell = project.quarantine / f"{clean_name(name)}-{sha256[:12]}"
    with write_beside(cell / path.name) as part:
        shutil.copyfile(path, part)
    write_text(cell / "report.json", report.to_json())
    raise InputError(error.what, f"{error.cure}. The file and its report are in {cell}") from error


def _stored_name(card: Card, path: Path) -> str:
    return f"{card.name}-{card.sha256[:12]}{path.suffix.lower()}"


def _damaged(project: Project, card: Card) -> bool:
    stored = project.data / card.file
    return not stored.is_file() or fingerprint.of_file(stored) != card.sha256


def _swap(project: Project, path: Path, card: Card, current: Card | None) -> bool:
    """Put a table in the place of the current version; whether that changes anything."""
    if card == current and not _damaged(project, card):
        return False
    if current is not None:  # it may never have been recorded, after an interruption
        _sweep(project, current)
        versions.add_data(project)
    _replace(project, path, card)
    return True


def _replace(project: Project, path: Path, card: Card) -> None:
    """Table first, card last."""
    with write_beside(project.data / card.file) as part:
        shutil.copyfile(path, part)
    _flush(project.data)
    write_text(project.data / CARD_FILE, card.to_json())
    _flush(project.data)


def _flush(folder: Path) -> None:
    """Make a replacement last through a power cut, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def _sweep(project: Project, card: Card) -> None:
    """Remove what ingest wrote and the card does not name: older tables, parts of a killed one."""
    for path in project.data.iterdir():
        if path.is_file() and path.name != card.file and _is_ours(path):
            path.unlink()


def _is_ours(path: Path) -> bool:
    """By its name, and a table by its content too: another's name may end in twelve digits."""
    match = _OURS.fullmatch(path.name)
    return match is not None and match["hash"] in (None, fingerprint.of_file(path)[:12])


def _finish(
    project: Project,
    params: Params,
    card: Card,
    raw: Raw,
    new_rows: int,
    *,
    changed: bool,
    findings: tuple[Finding, ...] = (),
) -> Ingested:
    """Version what stands in ``data/``; done again after an interruption, it completes it."""
    _sweep(project, card)
    versions.add_data(project)
    findings += (*unfit_season(params, card), *_attempt(versions.push, project))
    return Ingested(card, len(raw.frame), new_rows, changed, findings)


def _attempt(push: Callable[[Project], None], project: Project) -> tuple[Finding, ...]:
    try:
        push(project)
    except S2TXError as error:
        return (
            Finding(
                "warning",
                "push",
                None,
                f"the data are versioned here, but were not copied to the remote: {error}",
                "Run later: dvc push data.dvc",
            ),
        )
    return ()
