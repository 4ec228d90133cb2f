"""Champion and challenger: the alias moves only to the model that was shown to be better.

Whatever cannot be shown (a score that is missing or not finite, a registry that does not answer, a
model that does not load) means *keep*. Every decision is a line of the ledger.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s2tx.data.table import Table
from s2tx.errors import InputError, S2TXError
from s2tx.params import Params
from s2tx.paths import Project
from s2tx.registry import ledger
from s2tx.registry.champion import load_version
from s2tx.registry.compare import compare, score_alone
from s2tx.registry.package import find_version, model_name
from s2tx.registry.store import connect
from s2tx.training.bundle import read_config, weights_hash

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Decision:
    """What was decided, and on what.

    Attributes:
        promoted: the alias moved to the challenger.
        reason: in words.
        name: of the registered model.
        champion: the version in service before the decision, if any.
        challenger: the version that asked.
        metric: ``mse`` or ``mae``, standardised.
        champion_score: of the champion, if both were scored.
        challenger_score: of the challenger, if it was scored.
        gain: share by which the challenger's error is lower.
        confidence: share of the bootstrap's resamples in which it wins by the margin.
        windows: test windows scored.
        data_sha256: of the raw table.
    """

    promoted: bool
    reason: str
    name: str
    champion: int | None
    challenger: int | None
    metric: str
    champion_score: float | None = None
    challenger_score: float | None = None
    gain: float | None = None
    confidence: float | None = None
    windows: int | None = None
    data_sha256: str | None = None


def promote(
    project: Project, params: Params, version: int | None = None, by: str | None = None
) -> Decision:
    """Let a challenger try for the alias ``champion``.

    Args:
        version: the challenger; by default the version of the model on disk. Only a version that
            is named here may come back after a rollback took it out of service.
        by: who or what decides; by default the person and machine.

    Raises:
        InputError: there is no validated table or no model on disk, or the model is not
            registered, or ``version`` is of none.
    """
    table = Table.read(project.table)
    name = model_name(table.card, params.window)
    kept = Decision(
        False, "", name, None, version, params.promote.metric, data_sha256=table.card.sha256
    )
    try:
        client = connect(project)
        kept = dataclasses.replace(kept, champion=ledger.champion(client, name))
        kept = dataclasses.replace(kept, challenger=_challenger(project, client, name, version))
    except InputError:
        raise
    except Exception as error:
        decision = _keep(kept, f"{type(error).__name__}: {error}")
    else:
        decision = _decide(project, params, client, table, kept, version is not None, by)
    if not decision.promoted:
        ledger.record(project, _line(decision, by))
    return decision


def rollback(
    project: Project, params: Params, to: int | None = None, by: str | None = None
) -> Decision:
    """Give the alias back to the champion before, or to a version, without scoring anything.

    Args:
        to: a version of the registered model; by default the previous champion of the ledger.
        by: who or what decides.

    Raises:
        InputError: nothing is in service, there is no earlier champion, or no such version.
        S2TXError: the registry does not answer, the version does not load, or the alias moved
            meanwhile.
    """
    card = Table.read(project.table).card
    name = model_name(card, params.window)
    client = connect(project)
    current = ledger.settled(project, client, name)
    reigns = ledger.reigns(ledger.read(ledger.path_of(project)), name)
    if to is None:
        if len(reigns) < 2 or current is None:
            raise InputError(
                f"the ledger knows no champion of {name} before version {current}",
                "Name a version with --to",
            )
        to = reigns[-2]
    _require(client, name, to)
    if to == current:
        raise InputError(f"version {to} of {name} is the champion already", "Name another one")
    load_version(client, name, to, params.runtime)
    reason = f"rolled back from version {current} to version {to}"
    decision = Decision(
        True, reason, name, current, to, params.promote.metric, data_sha256=card.sha256
    )
    ledger.move(project, client, name, current, to, _line(decision, by, action="rollback"))
    return decision


def _decide(
    project: Project,
    params: Params,
    client: MlflowClient,
    table: Table,
    kept: Decision,
    named: bool,
    by: str | None,
) -> Decision:
    """Judge, and move the alias if the challenger won; whatever fails, the champion stays."""
    try:
        withdrawn = ledger.withdrawn(ledger.read(ledger.path_of(project)), kept.name)
        if kept.challenger in withdrawn and not named:
            again = f"to let it try again, name it: s2tx promote --version {kept.challenger}"
            return _keep(kept, f"version {kept.challenger} was rolled back; {again}")
        decision = _judge(params, client, table, kept)
        if decision.promoted and decision.challenger is not None:
            line = _line(decision, by)
            ledger.move(project, client, kept.name, kept.champion, decision.challenger, line)
        return decision
    except Exception as error:
        by_hand = f"To put it in service unscored: s2tx rollback --to {kept.challenger}"
        kind = "" if isinstance(error, S2TXError) else f"{type(error).__name__}: "
        return _keep(kept, f"{kind}{error} {by_hand}")


def _judge(params: Params, client: MlflowClient, table: Table, kept: Decision) -> Decision:
    """The verdict on ``kept.challenger``, nothing moved yet.

    Raises:
        S2TXError: a model does not load, or the two cannot be compared.
    """
    name, champion, challenger = kept.name, kept.champion, kept.challenger
    assert challenger is not None
    if champion == challenger:
        return _keep(kept, f"version {challenger} is the champion already")
    new = load_version(client, name, challenger, params.runtime)
    if champion is None:
        alone, windows = score_alone(new, table, params)
        return dataclasses.replace(
            kept,
            promoted=True,
            reason=f"version {challenger} is the first champion: its score is finite",
            challenger_score=alone,
            windows=windows,
        )
    verdict = compare(load_version(client, name, champion, params.runtime), new, table, params)
    scored = dataclasses.replace(
        kept,
        champion_score=verdict.champion,
        challenger_score=verdict.challenger,
        gain=verdict.gain,
        confidence=verdict.confidence,
        windows=verdict.windows,
    )
    rule = params.promote
    figures = (
        f"{rule.metric} {verdict.challenger:.4f} against {verdict.champion:.4f} "
        f"({verdict.gain:+.2%}) on {verdict.windows} windows, confidence {verdict.confidence:.2f}"
    )
    if verdict.wins:
        return dataclasses.replace(scored, promoted=True, reason=f"better: {figures}")
    asked = f"a gain above {rule.min_gain:.2%} with confidence {rule.confidence:.2f} is asked for"
    return _keep(scored, f"{figures}; {asked}")


def _keep(kept: Decision, reason: str) -> Decision:
    return dataclasses.replace(kept, promoted=False, reason=f"keep: {reason}")


def _challenger(project: Project, client: MlflowClient, name: str, version: int | None) -> int:
    """The version that was named, or that of the model on disk.

    Raises:
        InputError: there is none.
    """
    if version is not None:
        _require(client, name, version)
        return version
    fingerprint = str(read_config(project.model)["fingerprint"])
    found = find_version(client, name, fingerprint, weights_hash(project.model))
    if found is None:
        raise InputError(f"the model on disk is no version of {name}", "Run: s2tx register")
    return found


def _require(client: MlflowClient, name: str, version: int) -> None:
    entries = client.search_model_versions(f"name = '{name}'")
    known = sorted(int(entry.version) for entry in entries)
    if version not in known:
        raise InputError(f"{name} has no version {version}", f"It has {known}")


def _line(decision: Decision, by: str | None, action: str | None = None) -> ledger.Line:
    line: ledger.Line = dataclasses.asdict(decision)
    del line["promoted"]
    chosen = action or ("promote" if decision.promoted else "keep")
    return {"action": chosen, **line, **({"by": by} if by else {})}
