"""Known data sets: where they are published, what they hold, how the field splits them.

The benchmark files are not ours to copy: the project knows the address, fetches the file and checks
its hash. ``positional`` keeps the rows as published, so that the field's window counts hold.
"""

from __future__ import annotations

from dataclasses import dataclass

from s2tx.data import demo
from s2tx.data.table import Irregular, Split
from s2tx.errors import InputError

_ETT = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/"
_TSL = "https://huggingface.co/datasets/thuml/Time-Series-Library/resolve/main/"
_CC_BY_ND = "CC BY-ND 4.0"
_UNSTATED = "none stated by its publisher"


@dataclass(frozen=True)
class Entry:
    """One known data set.

    Attributes:
        name: as the field writes it; looked up whatever its case.
        addresses: tried in turn; empty where the set is generated here.
        sha256: of the published file, or None where it is not known.
        file: the published file's name.
        rows: T, as published.
        variates: D.
        step: pandas frequency string.
        split: the field's split.
        irregular: what happens to duplicate stamps and gaps.
        licence: as far as it is stated.
        about: one line on what is measured.
        time_column: the name of the timestamp column.
        synthetic: made by a generator, not measured.
    """

    name: str
    addresses: tuple[str, ...]
    sha256: str | None
    file: str
    rows: int
    variates: int
    step: str
    split: Split
    irregular: Irregular
    licence: str
    about: str
    time_column: str = "date"
    synthetic: bool = False


def _ett(name: str, sha256: str, rows: int, step: str) -> Entry:
    about = "loads and oil temperature of an electricity transformer in China, 2016-2018"
    file = f"{name}.csv"
    return Entry(
        name, (_ETT + file,), sha256, file, rows, 7, step, "ett", "positional", _CC_BY_ND, about
    )


def _library(
    name: str, folder: str, file: str, sha256: str, rows: int, variates: int, step: str, about: str
) -> Entry:
    return Entry(
        name,
        (f"{_TSL}{folder}/{file}",),
        sha256,
        file,
        rows,
        variates,
        step,
        "ratio",
        "positional",
        _UNSTATED,
        about,
    )


ENTRIES: tuple[Entry, ...] = (
    _ett("ETTh1", "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066", 17_420, "1h"),
    _ett("ETTh2", "a3dc2c597b9218c7ce1cd55eb77b283fd459a1d09d753063f944967dd6b9218b", 17_420, "1h"),
    _ett(
        "ETTm1", "6ce1759b1a18e3328421d5d75fadcb316c449fcd7cec32820c8dafda71986c9e", 69_680, "15min"
    ),
    _ett(
        "ETTm2", "db973ca252c6410a30d0469b13d696cf919648d0f3fd588c60f03fdbdbadd1fd", 69_680, "15min"
    ),
    _library(
        "Weather",
        "weather",
        "weather.csv",
        "34ee981d07313e51da2a50bb600072c8ae4a69cb4b0651f4cb93a069d7a2ba63",
        52_696,
        21,
        "10min",
        "weather station of the Max Planck Institute for Biogeochemistry, Jena, 2020",
    ),
    _library(
        "ECL",
        "electricity",
        "electricity.csv",
        "7e45845d54c5219bad0ae6bc1b5316cf8ff9cead5d33fa998a5a51c2e4a497ad",
        26_304,
        321,
        "1h",
        "electricity use of 321 clients, 2012-2014",
    ),
    _library(
        "Traffic",
        "traffic",
        "traffic.csv",
        "cb06463d56fa17d87f47027cd9389ceae82a69eddee51cdb61480e120dab0b16",
        17_544,
        862,
        "1h",
        "occupancy of roads around San Francisco, 2015-2016",
    ),
    _library(
        "Exchange",
        "exchange_rate",
        "exchange_rate.csv",
        "48b4d9d3d508f5104162e85b9a6042e3557fde11aa9f2944eba8c0d0efc89842",
        7_588,
        8,
        "1D",
        "exchange rates of eight currencies, 1990-2010",
    ),
    _library(
        "Illness",
        "illness",
        "national_illness.csv",
        "93601f64d2566dc796ca4305adad8b8560c2db1a1ff04543c3bd813a7263570a",
        966,
        7,
        "7D",
        "influenza-like illness in the United States (CDC ILINet), 2002-2020",
    ),
    Entry(
        demo.NAME,
        (),
        None,
        f"{demo.NAME}.csv",
        demo.ROWS,
        len(demo.VARIATES),
        "1h",
        "ratio",
        "insert",
        "Apache-2.0",
        "synthetic: a transformer substation that never stood, made by s2tx.data.demo",
        synthetic=True,
    ),
)


def names() -> tuple[str, ...]:
    """Every name that ``find`` knows."""
    return tuple(entry.name for entry in ENTRIES)


def find(name: str) -> Entry:
    """The entry of that name, whatever its case.

    Raises:
        InputError: no such data set.
    """
    for entry in ENTRIES:
        if entry.name.lower() == name.lower():
            return entry
    raise InputError(
        f"{name!r} is neither a known data set nor a file that exists",
        f"Give a CSV or Parquet file, an http(s) address, or one of: {', '.join(names())}",
    )


def recognise(sha256: str) -> Entry | None:
    """The entry whose published file has this hash: a known file stays known under any name."""
    return next((entry for entry in ENTRIES if entry.sha256 == sha256), None)
