"""The command line: thin, and quick to answer because heavy imports wait until they are used."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point: run a command, and turn a failure a person can act on into its exit code."""
    # A waiting OpenMP thread must not spin: on a busy machine that costs far more than it saves.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from s2tx.cli.app import app
    from s2tx.errors import S2TXError

    try:
        app()
    except S2TXError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
