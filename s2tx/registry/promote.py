"""Champion and challenger: the alias moves only to the model that was shown to be better.

The first champion has to be better than the naive forecasts. Whatever cannot be shown (a score that
is missing or not finite, a model that does not load) means *keep*. Where the gate itself fails (a
registry that does not answer, a fault in the code, a setting that the machine cannot serve) the
champion stays as well, and the error goes on. Every decision is a line of the ledger, and so is
every failure that is not the input's.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s2tx.data.missing import Mask, read_mask
from s2tx.data.table import Card, Table
from s2tx.errors import InputError, S2TXError
from s2tx.params import Params, PromoteParams
from s2tx.paths import Project
from s2tx.registry import ledger, tracking
from s2tx.registry.champion import MachineError, UnloadableError, load_version
from s2tx.registry.compare import (
    Errors,
    IncomparableError,
    Verdict,
    compare,
    compare_with_naive,
    require_unseen,
)
from s2tx.registry.package import (
    current_card,
    current_table,
    find_version,
    model_name,
    require_current,
)
from s2tx.registry.store import address, connect, guarded, without_password
from s2tx.training.bundle import read_config, weights_hash

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Decision:
    """What was decided, and on what.

    Attributes:
        promoted: the alias moved to the challenger, or back to an earlier version.
        reason: in words.
        name: of the registered model.
        champion: the version in service before the decision, if any.
        challenger: the version that asked, or that was gone back to.
        metric: ``mse`` or ``mae``, standardised.
        naive: the forecast that stood in for a champion, if there was none.
        champion_score: of the champion, or of what stood in for it, if both were scored.
        champion_masked_score: the same under the injected mask of missing inputs.
        challenger_score: of the challenger, if it was scored.
        challenger_masked_score: the same under the injected mask of missing inputs.
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
    naive: str | None = None
    champion_score: float | None = None
    champion_masked_score: float | None = None
    challenger_score: float | None = None
    challenger_masked_score: float | None = None
    gain: float | None = None
    confidence: float | None = None
    windows: int | None = None
    data_sha256: str | None = None


@guarded
def promote(
    project: Project, params: Params, version: int | None = None, by: str | None = None
) -> Decision:
    """Let a challenger try for the alias ``champion``.

    Both are scored with the inputs as they are and under the mask that the inject stage wrote,
    which is the one that evaluate reads.

    Args:
        version: the challenger; by default the version of the model on disk. Only a version that
            is named here may come back after a rollback took it out of service.
        by: who or what decides; by default the person and machine.

    Raises:
        InputError: there is no validated table of the current data, no injected mask of it or no
            model on disk, or the model is of another data set or window or not registered, or
            ``version`` is of none, or ``params`` ask for what the machine or the table lacks.
        UnreachableError: the registry does not answer; the champion stays.
    """
    table = current_table(project)
    mask = _read_mask(project, table)
    name = model_name(table.card, params.window)
    kept = Decision(
        False, "", name, None, version, params.promote.metric, data_sha256=table.card.sha256
    )
    try:
        client = connect(project)
        kept = dataclasses.replace(kept, champion=ledger.champion(client, name))
        challenger = _challenger(project, params, client, table.card, version)
        kept = dataclasses.replace(kept, challenger=challenger)
        decision = _decide(project, params, client, table, mask, kept, version is not None, by)
    except InputError:
        raise
    except Exception as error:
        reason = without_password(f"{type(error).__name__}: {error}", address(project))
        failed = _keep(kept, reason)
        ledger.record(project, _line(failed, by))
        raise
    if not decision.promoted:
        ledger.record(project, _line(decision, by))
    return decision


@guarded
def rollback(
    project: Project, params: Params, to: int | None = None, by: str | None = None
) -> Decision:
    """Give the alias back to the champion before, or to a version, without scoring anything.

    Args:
        to: a version of the registered model; by default the previous champion of the ledger.
        by: who or what decides.

    Raises:
        InputError: there are no data, there is no earlier champion to go back to, or no such
            version, or it is in service already.
        S2TXError: the registry does not answer, the version does not load, or the alias moved
            meanwhile.
    """
    card = current_card(project)
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
    if current is None:
        reason = f"nothing was in service: version {to} is, unscored"
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
    mask: Mask,
    kept: Decision,
    named: bool,
    by: str | None,
) -> Decision:
    """Judge, and move the alias if the challenger won; where nothing can be shown, keep.

    Nor does a challenger become the first champion where the ledger knows of one before: somebody
    took the alias away, or the registry lost it.

    Raises:
        UnreachableError: the registry does not answer any more.
        InputError: the params do not suit the machine or the table, which says nothing of a model.
        MachineError: a model could not be taken in, which says nothing of it either.
    """
    try:
        lines = ledger.read(ledger.path_of(project))
        again = f"s2tx promote --version {kept.challenger}"
        if kept.challenger in ledger.withdrawn(lines, kept.name) and not named:
            reason = f"version {kept.challenger} was rolled back; to let it try again, name it"
            return _keep(kept, f"{reason}: {again}")
        reigns = ledger.reigns(lines, kept.name)
        weights = _weights(client, kept)
        # Its own promotion may have been interrupted before the alias moved: that is made up for.
        # The weights tell, for in a registry that was begun anew another model has the number.
        own = reigns[-1:] == [kept.challenger] and (
            ledger.promoted(lines, kept.name).get(reigns[-1]) == weights
        )
        if kept.champion is None and reigns and not own and not named:
            reason = f"version {reigns[-1]} was champion by the ledger, and no version is now"
            back = f"s2tx rollback --to {reigns[-1]}"
            return _keep(kept, f"{reason}; put it back: {back}, or begin anew: {again}")
        decision = _judge(params, client, table, mask, kept)
        if decision.promoted and decision.challenger is not None:
            line = {**_line(decision, by), ledger.WEIGHTS: weights}
            ledger.move(project, client, kept.name, kept.champion, decision.challenger, line)
        return decision
    except (InputError, MachineError):
        raise
    except S2TXError as error:
        connect(project)  # an outage looks like a model that does not load, and says nothing of it
        return _keep(kept, str(error))


def _weights(client: MlflowClient, kept: Decision) -> str:
    """The hash of the challenger's weights in the registry; a version without one does not load."""
    return _tag(client, kept.name, kept.challenger, tracking.WEIGHTS) or ""


def _tag(client: MlflowClient, name: str, version: int | None, key: str) -> str | None:
    value: str | None = client.get_model_version(name, str(version)).tags.get(key)
    return value


def _judge(
    params: Params, client: MlflowClient, table: Table, mask: Mask, kept: Decision
) -> Decision:
    """The verdict on ``kept.challenger``, nothing moved yet.

    Raises:
        S2TXError: a model does not load, a score is not finite, or the two cannot be compared.
    """
    name, champion, challenger = kept.name, kept.champion, kept.challenger
    assert challenger is not None
    if champion == challenger:
        return _keep(kept, f"version {challenger} is the champion already")
    new = load_version(client, name, challenger, params.runtime)
    try:
        seen = _tag(client, name, challenger, tracking.SEEN)
        require_unseen(new, "challenger", seen, table, params)
        if champion is None:
            return _judged(compare_with_naive(new, table, mask, params), params.promote, kept)
        old = load_version(client, name, champion, params.runtime)
        seen = _tag(client, name, champion, tracking.SEEN)
        require_unseen(old, "champion", seen, table, params)
        return _judged(compare(old, new, table, mask, params), params.promote, kept)
    except (UnloadableError, IncomparableError) as error:  # the challenger itself loads
        by_hand = _by_hand(kept)
        back = isinstance(error, UnloadableError)
        cure = f"Go back with: s2tx rollback, or {by_hand}" if back else f"To {by_hand}"
        raise type(error)(f"{error} {cure}") from error


def _judged(verdict: Verdict, rule: PromoteParams, kept: Decision) -> Decision:
    """The decision that a verdict means; the first champion, too, has something to beat."""
    scored = dataclasses.replace(
        kept,
        naive=verdict.naive,
        champion_score=verdict.champion.clean,
        champion_masked_score=verdict.champion.masked,
        challenger_score=verdict.challenger.clean,
        challenger_masked_score=verdict.challenger.masked,
        gain=verdict.gain,
        confidence=verdict.confidence,
        windows=verdict.windows,
    )
    of_whom = f" of {verdict.naive}" if verdict.naive else ""
    figures = (
        f"{rule.metric} {verdict.challenger.clean:.4f} against {verdict.champion.clean:.4f}"
        f"{of_whom} ({verdict.gain:+.2%}) on {verdict.windows} windows, "
        f"confidence {verdict.confidence:.2f}; "
        f"{_masked(verdict.challenger)} against {_masked(verdict.champion)} with inputs missing"
    )
    unmet = []
    if not verdict.wins:
        gain, sure = f"{rule.min_gain:.2%}", f"{rule.confidence:.2f}"
        unmet.append(f"a gain above {gain} with confidence {sure} is asked for")
    if not verdict.challenger.within(rule):
        bound = f"{rule.max_missing_rise:.2%}"
        unmet.append(f"with inputs missing a rise of at most {bound} is asked for")
    if unmet and verdict.naive:
        unmet.append(f"nothing is in service: to {_by_hand(kept)}")
    if unmet:
        return _keep(scored, "; ".join([figures, *unmet]))
    return dataclasses.replace(scored, promoted=True, reason=f"better: {figures}")


def _by_hand(kept: Decision) -> str:
    version = kept.challenger
    return f"put version {version} in service unscored: s2tx rollback --to {version}"


def _masked(errors: Errors) -> str:
    return f"{errors.masked:.4f} ({errors.rise:+.2%})"


def _keep(kept: Decision, reason: str) -> Decision:
    return dataclasses.replace(kept, promoted=False, reason=f"keep: {reason}")


def _read_mask(project: Project, table: Table) -> Mask:
    """The injected mask of ``table``.

    Raises:
        InputError: it is absent, damaged, or of a table of another size.
    """
    mask = read_mask(project.evaluate_mask)
    if mask.visible.shape != table.values.shape:
        sizes = (mask.visible.shape, table.values.shape)
        ours, theirs = (" x ".join(map(str, size)) for size in sizes)
        raise InputError(
            f"{project.evaluate_mask} masks {ours} cells, and {project.table} has {theirs}",
            "Make it anew with: dvc repro inject",
        )
    return mask


def _challenger(
    project: Project, params: Params, client: MlflowClient, card: Card, version: int | None
) -> int:
    """The version that was named, or that of the model on disk.

    Raises:
        InputError: there is none, or the model on disk is of another data set or window.
    """
    name = model_name(card, params.window)
    if version is not None:
        _require(client, name, version)
        return version
    require_current(project, params, card)
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
