"""The ledger survives a crash, and two promotions cannot both win."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from s2tx.paths import Project
from s2tx.registry import ledger
from s2tx.registry.store import connect

NAME = "s2tx-race-h1"


def _move(action: str, frm: int | None, to: int) -> ledger.Line:
    return {"name": NAME, "action": action, "from": frm, "to": to}


@pytest.fixture
def versions(project: Project) -> Project:
    """Three registered versions, none in service."""
    client = connect(project)
    client.create_registered_model(NAME)
    for _ in range(3):
        client.create_model_version(NAME, project.root.as_uri())
    return project


def test_lines_are_only_ever_added(tmp_path: Path) -> None:
    """History that can be rewritten is no history; each line says when and who."""
    path = tmp_path / "deep" / "ledger.jsonl"
    ledger.append(path, {"action": "keep", "reason": "ein Grund: ä"})
    before = path.read_bytes()
    ledger.append(path, {"action": "keep", "by": "nightly"})
    assert path.read_bytes().startswith(before)
    first, second = ledger.read(path)
    assert first["reason"] == "ein Grund: ä"
    assert first["by"] == ledger.who()
    assert first["time"].endswith("+00:00")
    assert second["by"] == "nightly"


@pytest.mark.parametrize("torn", [b'{"action": "pro', b"\xff\x00", b"{"])
def test_a_torn_line_costs_only_itself(tmp_path: Path, torn: bytes) -> None:
    """A crash in the middle of a line must hide neither what is before it nor what comes after."""
    path = tmp_path / "ledger.jsonl"
    ledger.append(path, {"action": "keep", "n": 1})
    with path.open("ab") as stream:
        stream.write(torn)
    assert [line["n"] for line in ledger.read(path)] == [1]
    ledger.append(path, {"action": "keep", "n": 2})
    assert [line["n"] for line in ledger.read(path)] == [1, 2]


def test_no_ledger_yet_is_an_empty_one(tmp_path: Path) -> None:
    """The first promotion finds no file."""
    assert ledger.read(tmp_path / "none.jsonl") == []


def test_a_move_needs_the_champion_it_was_decided_on(versions: Project) -> None:
    """Compare-and-set: a decision about a champion that is gone must not be carried out."""
    client = connect(versions)
    assert ledger.champion(client, NAME) is None
    assert ledger.champion(client, "no-such-model") is None
    ledger.move(versions, client, NAME, None, 1, {"action": "promote"})
    for stale in (None, 3):
        with pytest.raises(ledger.ConflictError, match="version 1"):
            ledger.move(versions, client, NAME, stale, 2, {"action": "promote"})
    assert ledger.champion(client, NAME) == 1
    assert len(ledger.read(ledger.path_of(versions))) == 1


def _race(root: str, new: int, start: object, results: object) -> None:
    project = Project(Path(root))
    client = connect(project)
    start.wait()  # type: ignore[attr-defined]
    try:
        ledger.move(project, client, NAME, 1, new, {"action": "promote"})
        results.put(new)  # type: ignore[attr-defined]
    except ledger.ConflictError:
        results.put(0)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_of_two_promotions_one_wins(versions: Project) -> None:
    """Two processes that saw the same champion: one moves the alias, the other is told."""
    client = connect(versions)
    ledger.move(versions, client, NAME, None, 1, {"action": "promote"})
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    racers = [
        context.Process(target=_race, args=(str(versions.root), new, start, results))
        for new in (2, 3)
    ]
    for racer in racers:
        racer.start()
    outcome = sorted(results.get(timeout=60) for _ in racers)
    for racer in racers:
        racer.join()
    assert outcome[0] == 0
    assert ledger.champion(client, NAME) == outcome[1]
    moves = [line["to"] for line in ledger.read(ledger.path_of(versions))]
    assert moves == [1, outcome[1]]


def test_a_crash_before_the_alias_moved_is_written_down(
    versions: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is on the disk before the alias moves; the next move tells what became of it."""
    client = connect(versions)
    ledger.move(versions, client, NAME, None, 1, {"action": "promote"})

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(client, "set_registered_model_alias", crash)
        with pytest.raises(KeyboardInterrupt):
            ledger.move(versions, client, NAME, 1, 2, {"action": "promote"})
    assert ledger.champion(client, NAME) == 1
    ledger.move(versions, client, NAME, 1, 3, {"action": "promote"})
    lines = ledger.read(ledger.path_of(versions))
    assert [(line["action"], line["to"]) for line in lines] == [
        ("promote", 1),
        ("promote", 2),
        ("settle", 1),
        ("promote", 3),
    ]
    assert ledger.reigns(lines, NAME) == [1, 3]


@pytest.mark.parametrize(
    ("moves", "reigns"),
    [
        ([], []),
        ([("promote", None, 1), ("promote", 1, 2), ("promote", 2, 3)], [1, 2, 3]),
        ([("promote", None, 1), ("promote", 1, 2), ("rollback", 2, 1)], [1]),
        ([("promote", None, 1), ("promote", 1, 2), ("rollback", 2, 1), ("promote", 1, 2)], [1, 2]),
        ([("promote", None, 1), ("promote", 1, 2), ("promote", 2, 1)], [1, 2, 1]),
        ([("promote", None, 1), ("rollback", 1, 7)], [1, 7]),
    ],
)
def test_a_rollback_returns_to_who_reigned_before(
    moves: list[tuple[str, int | None, int]], reigns: list[int]
) -> None:
    """Rolling back twice must go back two champions, not to and fro between two."""
    lines = [_move(*move) for move in moves]
    noise = [{"name": NAME, "action": "keep"}, {"name": "other", "action": "promote", "to": 9}]
    assert ledger.reigns([*noise, *lines], NAME) == reigns


def test_what_was_withdrawn_stays_out_until_named() -> None:
    """A rollback would be worth nothing if the next night promoted the same model again."""
    lines = [_move("promote", None, 1), _move("promote", 1, 2), _move("rollback", 2, 1)]
    assert ledger.withdrawn(lines, NAME) == {2}
    assert ledger.withdrawn([*lines, _move("promote", 1, 2)], NAME) == set()


def test_lines_are_json_a_script_can_read(versions: Project) -> None:
    """One object a line, so that `jq` and `tail` work."""
    ledger.record(versions, {"action": "keep"})
    text = ledger.path_of(versions).read_text()
    assert text.count("\n") == 1
    assert json.loads(text)["action"] == "keep"
