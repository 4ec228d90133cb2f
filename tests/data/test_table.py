"""The table that stages exchange must come back as it was, and be refused when it is not one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from s2tx.data.table import Table
from s2tx.errors import InputError
from tests.builders import make_table


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    """Protects values, times and the card on their way through the file."""
    table = make_table(missing=0.1)
    table.write(tmp_path / "table.parquet")
    read = Table.read(tmp_path / "table.parquet")
    assert read.card == table.card
    assert read.times.equals(table.times)
    np.testing.assert_array_equal(read.values, table.values)


def test_the_same_table_is_the_same_file(tmp_path: Path) -> None:
    """Protects DVC from calling an unchanged table changed."""
    for name in ("a", "b"):
        make_table(missing=0.1).write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    """Protects a stage from a traceback of the Parquet library."""
    path = tmp_path / "table.parquet"
    with pytest.raises(InputError, match="does not exist"):
        Table.read(path)
    path.write_bytes(b"not parquet at all")
    with pytest.raises(InputError, match="is not Parquet"):
        Table.read(path)
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(InputError, match="carries no card"):
        Table.read(path)
