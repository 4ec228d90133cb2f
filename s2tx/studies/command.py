"""What the command lines of the studies share: they also run where Typer is not installed."""

from __future__ import annotations

import argparse
from pathlib import Path


def parser_of(name: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of ``s2tx study NAME``, with the folders that every study reads and writes."""
    parser = argparse.ArgumentParser(
        prog=f"s2tx study {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data-dir", type=Path, help="folder of the published CSV files")
    parser.add_argument("--results", type=Path, help="folder of the records (default: results)")
    return parser


def add_models(parser: argparse.ArgumentParser) -> None:
    """The folder of the grid's weights, for a study that reads or writes them."""
    parser.add_argument("--models", type=Path, help="folder of the weights (artifacts/grid)")
