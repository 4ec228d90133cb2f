"""A source of rows, wherever it is, as a file to check."""

from __future__ import annotations

import shutil
from pathlib import Path

from s2tx import fingerprint
from s2tx.data import catalog, demo, fetch
from s2tx.data.catalog import Entry
from s2tx.errors import InputError

_ENDINGS = (".csv", ".txt", ".parquet", ".pq")


def bring(
    source: str, file: Path | None, downloads: Path, scratch: Path
) -> tuple[Path, Entry | None]:
    """The candidate's file, and the catalog's entry if it is a known set.

    Args:
        source: a name of the catalog, a path, or an http(s) address.
        file: a copy of the catalog's file, where it cannot be downloaded.
        downloads: folder of what is fetched; a new try goes on there.
        scratch: folder that the file is copied to.

    Raises:
        InputError: there is no such source, or ``file`` is not that of the catalog.
        S2TXError: it cannot be reached.
    """
    address = source.startswith(("http://", "https://"))
    if "://" in source and not address:
        raise InputError(
            f"{fetch.public(source)!r} is no address of http or https",
            "Fetch the file by other means, and give its path",
        )
    if not address and (
        _known(source)
        or not (Path(source).suffix or _is_file(Path(source)) or Path(source).is_dir())
    ):
        entry = catalog.find(source)
        return _bring_known(entry, file, downloads, scratch), entry
    if file is not None:
        raise InputError(
            f"{fetch.public(source)!r} is itself a file", "Give --from with a name of the catalog"
        )
    if address:
        arrived = fetch.fetch([source], downloads)
        path = scratch / _with_kind(fetch.name_of(source), arrived)
        shutil.copyfile(arrived, path)
    else:
        path = Path(source)
    if not _is_file(path):
        return path, None  # reading it will say what is wrong
    kept = scratch / path.name  # what is checked is what is kept, whoever writes to the source
    if kept != path:
        shutil.copyfile(path, kept)
    return kept, catalog.recognise(fingerprint.of_file(kept))


def _with_kind(name: str, arrived: Path) -> str:
    """The name with the ending of what arrived, where an address does not say it."""
    if Path(name).suffix.lower() in _ENDINGS:
        return name
    with arrived.open("rb") as stream:
        return name + (".parquet" if stream.read(4) == b"PAR1" else ".csv")


def _bring_known(entry: Entry, file: Path | None, downloads: Path, scratch: Path) -> Path:
    path = scratch / entry.file
    if file is not None:
        if not _is_file(file):
            raise InputError(f"{file} does not exist", "Check the path given with --from")
        found = fingerprint.of_file(file)
        if entry.sha256 and found != entry.sha256:
            raise InputError(
                f"{file} has sha256 {found}, the published {entry.name} has {entry.sha256}",
                "Give the published file, or ingest yours by its path",
            )
        shutil.copyfile(file, path)
    elif entry.synthetic:
        demo.make_demo().to_csv(path, index=False, lineterminator="\n")
    else:
        shutil.copyfile(
            fetch.fetch(entry.addresses, downloads, sha256=entry.sha256, file=entry.file), path
        )
    return path


def _is_file(path: Path) -> bool:
    """Whether a file stands there.

    Raises:
        InputError: this user cannot read it, or no file can have such a name.
    """
    try:
        found = path.is_file()
        if found:
            path.open("rb").close()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror})", "Mend the path, or who may read the file"
        ) from None
    return found


def _known(source: str) -> bool:
    return source.lower() in {name.lower() for name in catalog.names()}


def origin(source: str, entry: Entry | None) -> str:
    """Where the data come from, in words that hold on every machine and let nobody in."""
    if entry is None:
        return fetch.public(source) if "://" in source else Path(source).name
    return entry.addresses[0] if entry.addresses else "s2tx.data.demo"
