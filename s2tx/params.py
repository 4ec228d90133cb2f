"""The one source of settings: ``params.yaml``, read into frozen typed sections.

A function takes the small section that it needs, never the whole tree. There are no defaults in
code: a key that is missing, unknown, of the wrong type or out of range fails with the file, the
dotted key, the value found and the cure.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from s2tx.errors import InputError
from s2tx.specs import Baseline, Pattern, Trained, check_seed, check_sizes
from s2tx.specs import check as _check
from s2tx.study_params import StudyParams
from s2tx.typed import typed


@dataclass(frozen=True)
class IngestParams:
    """Where the nightly run looks for new rows; ``s2tx ingest SOURCE`` reads none of this.

    ``name``: of the data set that they are of; null refuses those of another than the current one.
    ``time_column``, ``step``: where the file does not tell; with ``append`` the current ones hold.
    ``max_age_hours``: a night whose newest reading is older ends as failed; null asks nothing.
    """

    source: str | None
    name: str | None
    time_column: str | None
    step: str | None
    append: bool
    max_age_hours: float | None

    def __post_init__(self) -> None:
        for key in ("source", "name", "time_column", "step"):
            text = getattr(self, key)
            _check(text is None or text.strip() != "", key, text, "give one, or null for none")
        _check(
            not self.append or self.source is None or self.name is not None,
            "name",
            self.name,
            "say which data set the rows are of that append adds, or another's get mixed in",
        )
        limit = self.max_age_hours
        _check(
            limit is None or 0 < limit < math.inf,
            "max_age_hours",
            limit,
            "give more than 0 hours, or null for any age",
        )


@dataclass(frozen=True)
class DataParams:
    """How the current table is read and split."""

    split: Literal["auto", "ett", "ratio"]
    ratio: tuple[float, float, float]

    def __post_init__(self) -> None:
        _check(
            all(share > 0 for share in self.ratio) and abs(sum(self.ratio) - 1) < 1e-9,
            "ratio",
            self.ratio,
            "give three positive shares (train, validation, test) that add up to 1",
        )


@dataclass(frozen=True)
class ValidateParams:
    """What makes a table fit to train on; shares are of the rows of one variate."""

    irregular: Literal["auto", "insert", "positional", "refuse"]
    sentinels: tuple[float, ...]
    max_missing: float
    max_stuck_steps: int
    max_stuck_share: float
    range_tolerance: float
    max_outside_range: float
    physical_ranges: dict[str, tuple[float, float]]

    def __post_init__(self) -> None:
        for key in ("max_missing", "max_stuck_share", "max_outside_range"):
            share = getattr(self, key)
            _check(0 <= share <= 1, key, share, "give a share between 0 and 1")
        _check(self.max_stuck_steps >= 2, "max_stuck_steps", self.max_stuck_steps, "give 2 or more")
        _check(
            self.range_tolerance > 0, "range_tolerance", self.range_tolerance, "give more than 0"
        )
        for column, (low, high) in self.physical_ranges.items():
            _check(low < high, f"physical_ranges.{column}", (low, high), "give [low, high]")


@dataclass(frozen=True)
class InjectParams:
    """Seeded missing values: where the evaluation (and, if asked, the training) looks away."""

    pattern: Pattern
    rate: float
    block_steps: int
    seed: int
    train: bool

    def __post_init__(self) -> None:
        _check(0 <= self.rate < 1, "rate", self.rate, "give a share from 0 to below 1")
        _check(self.block_steps >= 1, "block_steps", self.block_steps, "give 1 or more")
        check_seed("seed", self.seed)


@dataclass(frozen=True)
class WindowParams:
    """One sample, in steps of the table: S <= L rows in, H rows out."""

    look_back: int
    short_look_back: int
    horizon: int

    def __post_init__(self) -> None:
        for key in ("look_back", "short_look_back", "horizon"):
            _check(getattr(self, key) >= 1, key, getattr(self, key), "give 1 or more steps")
        _check(
            self.short_look_back <= self.look_back,
            "short_look_back",
            self.short_look_back,
            f"give at most look_back ({self.look_back}), of which it is the newest steps",
        )


@dataclass(frozen=True)
class ModelParams:
    """The S2TX network (arXiv 2502.11340); the letters are those of ``s2tx/model/s2tx.py``."""

    name: Literal["s2tx"]
    width: int
    heads: int
    m_layers: int
    n_layers: int
    feed_forward: int
    dropout: float
    state: int
    conv: int
    expand: int
    global_patch: int
    global_stride: int | None
    global_patches: int | None
    local_patch: int
    local_stride: int
    window: int
    # Switches for ablation.
    cross_variate: bool
    cross_attention: bool
    bidirectional: bool
    local_window: bool
    revin: bool
    infill: bool
    infill_season: int | None
    infill_variates: bool
    masked_revin: bool
    mask_input: bool
    skip_missing: bool
    head_context: bool
    head_tokens: Literal["all", "newest"]
    variate_embedding: bool
    time_major: bool
    linear_member: bool
    season: int | None
    final_norm: Literal["layer", "batch"]
    local_norm: Literal["before", "after"]

    def __post_init__(self) -> None:
        check_sizes(self)
        for patch, stride in (
            ("global_patch", self.global_stride),
            ("local_patch", self.local_stride),
        ):
            longest = getattr(self, patch)
            name = patch.replace("patch", "stride")
            _check(stride is None or stride <= longest, name, stride, f"give at most {longest}")
        count = self.global_patches
        _check(count is None or count >= 3, "global_patches", count, "give 3 or more")
        _check(
            (self.global_stride is None) != (self.global_patches is None),
            "global_stride",
            self.global_stride,
            "give exactly one of global_stride and global_patches, and null for the other",
        )


@dataclass(frozen=True)
class MaskingParams:
    """Values hidden from training windows, drawn anew each time (see ``s2tx.training.masking``).

    ``share`` of the windows lose values, each by one of ``patterns``, at one of ``rates``.
    """

    share: float
    patterns: tuple[Pattern, ...]
    rates: tuple[float, ...]
    block_steps: int

    def __post_init__(self) -> None:
        _check(0 < self.share <= 1, "share", self.share, "give a share above 0, or no masking")
        for key in ("patterns", "rates"):
            _check(len(getattr(self, key)) >= 1, key, getattr(self, key), "give one or more")
        for at, rate in enumerate(self.rates):
            _check(0 < rate < 1, f"rates.{at}", rate, "give a share between 0 and 1")
        _check(self.block_steps >= 1, "block_steps", self.block_steps, "give 1 or more")


@dataclass(frozen=True)
class TrainParams:
    """One recipe of optimisation; rates per step, decay per optimiser step."""

    seed: int
    epochs: int
    batch_size: int
    learning_rate: float
    schedule: Literal["one_cycle", "cosine", "constant"]
    warmup: float
    weight_decay: float
    clip_norm: float
    loss: Literal["mse", "mae", "huber"]
    averaging: float | None
    patience: int | None
    select: Literal["best", "last"]
    stride: int
    masking: MaskingParams | None
    checkpoint_steps: int

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "stride", "checkpoint_steps"):
            _check(getattr(self, key) >= 1, key, getattr(self, key), "give 1 or more")
        for key in ("learning_rate", "clip_norm"):
            value = getattr(self, key)
            _check(0 < value < math.inf, key, value, "give a finite number above 0")
        check_seed("seed", self.seed)
        decay = self.weight_decay
        _check(0 <= decay < math.inf, "weight_decay", decay, "give 0, or a finite number above it")
        _check(0 < self.warmup < 1, "warmup", self.warmup, "give a share between 0 and 1")
        _check(
            self.averaging is None or 0 < self.averaging < 1,
            "averaging",
            self.averaging,
            "give a decay between 0 and 1, or null for none",
        )
        _check(
            self.patience is None or self.patience >= 1,
            "patience",
            self.patience,
            "give 1 or more epochs, or null for none",
        )
        _check(
            self.patience is None or self.select == "best",
            "patience",
            self.patience,
            "give select: best beside it, as the last epoch is then one that did not improve",
        )


Network = ModelParams | Baseline


@dataclass(frozen=True)
class BaselineParams:
    """What is trained on the same windows, to be scored beside the model."""

    network: Trained
    train: TrainParams


@dataclass(frozen=True)
class EvaluateParams:
    """How the test windows are scored; ``season`` in steps, null for what the step suggests, or
    the look-back if that is shorter.

    ``missing_rates`` are the points of the curve of error over missing inputs.
    """

    season: int | None
    batch_size: int
    missing_rates: tuple[float, ...]

    def __post_init__(self) -> None:
        _check(
            self.season is None or self.season >= 1, "season", self.season, "give 1 or more steps"
        )
        _check(self.batch_size >= 1, "batch_size", self.batch_size, "give 1 or more")
        rates = self.missing_rates
        _check(
            all(0 < rate < 1 and math.isclose(rate, round(rate, 2)) for rate in rates)
            and list(rates) == sorted(set(rates)),
            "missing_rates",
            rates,
            "give rising shares between 0 and 1, in whole percent, or [] for none",
        )


@dataclass(frozen=True)
class PromoteParams:
    """When a challenger takes the alias: it must win by the margin, and not by luck.

    ``max_missing_rise``: share by which its error with inputs missing may lie above its clean one;
    null asks nothing.
    """

    metric: Literal["mse", "mae"]
    min_gain: float
    confidence: float
    max_missing_rise: float | None
    resamples: int
    seed: int

    def __post_init__(self) -> None:
        _check(0 <= self.min_gain < 1, "min_gain", self.min_gain, "give a share from 0 to below 1")
        _check(
            0 < self.confidence < 1, "confidence", self.confidence, "give a share between 0 and 1"
        )
        bound = self.max_missing_rise
        _check(
            bound is None or 0 <= bound < math.inf,
            "max_missing_rise",
            bound,
            "give a share of 0 or more, or null for no bound",
        )
        _check(self.resamples >= 100, "resamples", self.resamples, "give 100 or more")
        check_seed("seed", self.seed)


@dataclass(frozen=True)
class RuntimeParams:
    """What the machine decides; no stage depends on it, every run records it."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["32-true", "bf16-mixed"]
    scan: Literal["auto", "reference", "cpu", "triton", "mamba_ssm"]
    layers: Literal["auto", "reference", "cpu"]
    threads: int | None

    def __post_init__(self) -> None:
        _check(self.threads is None or self.threads >= 1, "threads", self.threads, "give 1 or more")


@dataclass(frozen=True)
class Params:
    """The whole file, one field a section."""

    ingest: IngestParams
    data: DataParams
    validate: ValidateParams
    inject: InjectParams
    window: WindowParams
    model: ModelParams
    train: TrainParams
    baseline: BaselineParams
    evaluate: EvaluateParams
    promote: PromoteParams
    study: StudyParams
    runtime: RuntimeParams

    def __post_init__(self) -> None:
        season, longest = self.evaluate.season, self.window.look_back
        _check(
            season is None or season <= longest,
            "evaluate.season",
            season,
            f"give at most window.look_back ({longest}), since nothing before it is repeated",
        )


def load_params(path: Path) -> Params:
    """Read and check ``params.yaml``.

    Raises:
        InputError: the file is not readable (see ``s2tx.yaml_core``), or a key is missing, unknown,
            of the wrong type or out of range; every fault is listed with its dotted key.
    """
    from s2tx import yaml_core

    tree = yaml_core.read(path)
    try:
        params: Params = typed(Params, tree, "")
    except ValueError as error:
        raise InputError(f"{path}: {error}", "Mend the file and run again") from None
    return params


def as_dict(section: Any) -> dict[str, Any]:
    """A section as plain JSON-able values, in the order of its fields."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(section)))
    return plain
