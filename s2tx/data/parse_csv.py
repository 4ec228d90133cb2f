"""CSV text -> columns of text and numbers, every fault named by its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from s2tx.data.findings import Finding, some
from s2tx.errors import InputError

Parsed = tuple[pd.DataFrame, tuple[str, ...], tuple[Finding, ...]]

_SIGNATURES = {
    b"PAR1": "Parquet (rename it to .parquet)",
    b"\x1f\x8b": "gzip (unpack it first)",
    b"PK\x03\x04": "a zip archive or a spreadsheet (export it as CSV)",
    b"\xff\xfe": "UTF-16 text (save it as UTF-8)",
    b"\xfe\xff": "UTF-16 text (save it as UTF-8)",
}
_OTHER_DELIMITERS = {";": "semicolon", "\t": "tab", "|": "bar"}
_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "NULL", "null", "None", "#N/A", "<NA>"]


def parse_csv(path: Path) -> Parsed:
    """Parse comma-separated text with one header line.

    Returns:
        The columns (float64 where every cell is a number, else text), where each row stands, and
        what was odd.

    Raises:
        InputError: no text, another delimiter, no header, a name used twice, or a line with more
            or fewer fields than the header.
    """
    text, findings = _decode(path)
    header, places, tidy = _check_lines(path, text)
    if "�" in "".join(header):
        broken = [name for name in header if "�" in name]
        findings.append(
            Finding(
                "warning",
                "encoding",
                None,
                f"{path.name}, line 1: broken characters in the names {some(broken)}",
                "The names are kept as they are; mend the header if you can",
            )
        )
    if not text.endswith("\n"):
        findings.append(
            Finding(
                "warning",
                "last line",
                None,
                f"{path.name} does not end with a line break: its last value may be cut",
                f"Compare the last line with its origin: {text.rsplit(chr(10), 1)[-1][:80]!r}",
            )
        )
    cells = pd.read_csv(
        io.StringIO(text if tidy else _without_blank_lines(text)),
        header=0,
        names=header,
        index_col=False,
        keep_default_na=False,
        na_values=_MISSING,
        skipinitialspace=True,
        low_memory=False,
    )
    return cells, places, tuple(findings)


def _decode(path: Path) -> tuple[str, list[Finding]]:
    content = path.read_bytes()
    for signature, kind in _SIGNATURES.items():
        if content.startswith(signature):
            raise InputError(
                f"{path.name} is not CSV but {kind}", "Give comma-separated UTF-8 text"
            )
    if b"\0" in content:
        line = content[: content.index(b"\0")].count(b"\n") + 1
        raise InputError(
            f"{path.name}, line {line}: a NUL byte; this is binary data or a damaged file",
            "Write the file again as UTF-8 text",
        )
    try:
        text, findings = content.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        text = content.decode("latin-1")
        findings = [
            Finding(
                "warning",
                "encoding",
                None,
                f"{path.name}, line {line}: byte {content[error.start]:#04x} is not UTF-8; "
                "the file was read as Latin-1",
                "Save the file as UTF-8",
            )
        ]
    return text.replace("\r\n", "\n").replace("\r", "\n"), findings


def _check_lines(path: Path, text: str) -> tuple[list[str], tuple[str, ...], bool]:
    """The header, where each row stands, and whether pandas will see the same rows."""
    records = _records(path, text)
    try:
        header_line, header = next(records)
    except StopIteration:
        raise InputError(f"{path.name} holds only blank lines", "Write the file again") from None
    _check_header(path, header)
    lines = []
    for line, fields in records:
        if len(fields) != len(header):
            raise InputError(
                f"{path.name}, line {line}: {len(fields)} fields, the header has {len(header)}",
                "The line is cut or has a comma too many: mend it, or write the file again",
            )
        lines.append(line)
    if not lines:
        raise InputError(f"{path.name} has a header and no rows", "Bring a table with rows")
    tidy = lines[-1] - header_line == len(lines) and header_line == 1
    return header, tuple(f"line {line}" for line in lines), tidy


def _records(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Each line that is not blank, with its number and fields."""
    reader = csv.reader(io.StringIO(text), skipinitialspace=True, strict=True)
    start = 1
    try:
        for fields in reader:
            if any(field.strip() for field in fields) or len(fields) > 1:
                yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path.name}, line {reader.line_num}: {error}", "Mend the quotes on this line"
        ) from None


def _check_header(path: Path, header: list[str]) -> None:
    if len(header) == 1:
        for mark, kind in _OTHER_DELIMITERS.items():
            if mark in header[0]:
                raise InputError(
                    f"{path.name}, line 1: fields are separated by {kind} ({mark!r}), not by comma",
                    "Save it with commas between fields and a point as decimal mark",
                )
        raise InputError(
            f"{path.name}, line 1: one column only ({header[0][:60]!r})",
            "Bring one column of timestamps and one or more of numbers, separated by commas",
        )
    unnamed = [number for number, name in enumerate(header, 1) if not name.strip()]
    if unnamed:
        raise InputError(
            f"{path.name}, line 1: column {unnamed[0]} has no name",
            "Name it, or drop it (an index column written by mistake?)",
        )
    doubles = sorted({name for name in header if header.count(name) > 1})
    if doubles:
        raise InputError(
            f"{path.name}, line 1: columns of the same name: {some(doubles)}",
            "Give each column its own name",
        )
    if all(_is_number(name) for name in header[1:]) and header[0][:1].isdigit():
        raise InputError(
            f"{path.name}, line 1: values where the column names should be ({some(header, 3)})",
            "Put a header line first, such as: date,load,temperature",
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _without_blank_lines(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if line.strip()) + "\n"
