"""The table that everything else works on: timestamps, variates and the card that declares them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from s2tx.errors import InputError
from s2tx.paths import write_beside

Split = Literal["ett", "ratio"]
Irregular = Literal["insert", "positional", "refuse"]
_CARD_KEY = b"s2tx.card"


@dataclass(frozen=True)
class Card:
    """What a data set declares of itself; it travels with the table as ``dataset.json``.

    Attributes:
        name: also names the registered model, so letters, digits, ``.``, ``_`` and ``-`` only.
        file: the raw table's file name inside ``data/``.
        sha256: of that file.
        time_column: name of the one timestamp column.
        step: pandas frequency string of the fixed step, such as ``"1h"`` or ``"15min"``.
        variates: names of the D numeric columns, in order.
        split: how the field splits it (``ett``: 12/4/4 months of 30 days).
        irregular: what happens to duplicate stamps and gaps (see ``params.yaml``).
        source: where it came from: an address, a path, or the generator's name.
        licence: the terms of the data, as far as they are stated.
        synthetic: made by a generator, not measured.
    """

    name: str
    file: str
    sha256: str
    time_column: str
    step: str
    variates: tuple[str, ...]
    split: Split
    irregular: Irregular
    source: str
    licence: str
    synthetic: bool = False

    @property
    def step_delta(self) -> pd.Timedelta:
        return pd.Timedelta(pd.tseries.frequencies.to_offset(self.step))  # type: ignore[arg-type]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Card:
        fields: dict[str, Any] = json.loads(text)
        return cls(**{**fields, "variates": tuple(fields["variates"])})


@dataclass(frozen=True, eq=False)
class Table:
    """A card and its rows.

    Attributes:
        card: the declaration.
        times: (T,) timestamps, ``datetime64[ns]``, UTC where the source named a zone.
        values: (T, D) float64 in the data's own units; NaN where a reading is missing.
    """

    card: Card
    times: pd.DatetimeIndex
    values: NDArray[np.float64]

    @property
    def observed(self) -> NDArray[np.bool_]:
        """(T, D) bool, true where there is a reading."""
        return ~np.isnan(self.values)

    def sha256(self) -> str:
        """Identity of the declaration, the timestamps and the values."""
        digest = hashlib.sha256(self.card.to_json().encode())
        digest.update(self.times.asi8.tobytes())
        digest.update(np.ascontiguousarray(self.values).tobytes())
        return digest.hexdigest()

    def frame(self) -> pd.DataFrame:
        """As a data frame: the time column first, then the variates."""
        frame = pd.DataFrame(self.values, columns=list(self.card.variates))
        frame.insert(0, self.card.time_column, self.times)
        return frame

    def write(self, path: Path) -> None:
        """Write Parquet with the card in its metadata, whole or not at all."""
        arrow = pa.Table.from_pandas(self.frame(), preserve_index=False)
        metadata = {**(arrow.schema.metadata or {}), _CARD_KEY: self.card.to_json().encode()}
        with write_beside(path) as part:
            pq.write_table(arrow.replace_schema_metadata(metadata), part)

    @classmethod
    def read(cls, path: Path) -> Table:
        """Read what ``write`` wrote.

        Raises:
            InputError: the file is absent, or is no table of this project.
        """
        try:
            arrow = pq.read_table(path)
        except FileNotFoundError:
            raise InputError(f"{path} does not exist", "Make it with: dvc repro validate") from None
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{path} is not Parquet ({error})", "Make it with: dvc repro validate"
            ) from None
        metadata = arrow.schema.metadata or {}
        if _CARD_KEY not in metadata:
            raise InputError(f"{path} carries no card", "Make it with: dvc repro validate")
        card = Card.from_json(metadata[_CARD_KEY].decode())
        frame = arrow.to_pandas()
        return cls(
            card=card,
            times=pd.DatetimeIndex(frame[card.time_column]),
            values=frame[list(card.variates)].to_numpy(np.float64),
        )
