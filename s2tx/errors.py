"""The two kinds of failure that a person can act on, and the exit codes they become."""

from __future__ import annotations


class S2TXError(Exception):
    """Something failed that is not the user's input: exit code 1."""

    exit_code = 1


class InputError(S2TXError):
    """A file, column, row or setting is not usable: exit code 2, and nothing was changed.

    The message names the thing, the value found and the cure.
    """

    exit_code = 2

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(f"{what.rstrip('.')}. {cure.rstrip('.')}.")
        self.what = what
        self.cure = cure
