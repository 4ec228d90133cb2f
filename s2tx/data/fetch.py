"""The one door to HTTP: downloads that resume, are checked by hash and kept for offline use."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from s2tx import fingerprint
from s2tx.errors import InputError, S2TXError

ATTEMPTS = 5
TIMEOUT = (10.0, 60.0)  # seconds to connect, seconds without a byte
_CHUNK = 1 << 16


def fetch(
    addresses: Sequence[str],
    folder: Path,
    *,
    sha256: str | None = None,
    file: str | None = None,
    pause: float = 1.0,
) -> Path:
    """Download a file into ``folder``, or find it there.

    With a known hash, a copy in the folder is used without the network. Without one, the address
    is asked again, since it may publish new rows. A cut download goes on where it stopped, if the
    server can; a file whose hash is wrong never gets the good name. Of several processes that want
    the same file one downloads, and the others wait.

    Args:
        addresses: tried in turn.
        folder: the download cache; made if absent.
        sha256: of the right file.
        file: the name to keep it under; by default the address's own.
        pause: seconds before the second attempt, doubled each time.

    Raises:
        InputError: the hash is wrong, or every address is malformed or refused by its server.
        S2TXError: no server gave the file, and one may do so later.
    """
    from filelock import FileLock

    address_key = hashlib.sha256(addresses[0].encode()).hexdigest()[:12]
    target = folder / f"{(sha256 or address_key)[:12]}-{file or name_of(addresses[0])}"
    if _holds(target, sha256):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    # Waits without end: a holder that hears nothing gives up, and the system frees a dead one.
    with FileLock(target.with_name(target.name + ".lock")):
        if not _holds(target, sha256):  # the one before us may have brought it
            _bring(addresses, target, sha256, pause)
    return target


def _holds(target: Path, sha256: str | None) -> bool:
    return bool(sha256) and target.is_file() and fingerprint.of_file(target) == sha256


def _bring(addresses: Sequence[str], target: Path, sha256: str | None, pause: float) -> None:
    """The body of ``fetch``, for one at a time."""
    part = target.with_name(target.name + ".part")
    if not sha256 and not _tag_file(part).exists():
        _discard(part)  # nothing could tell whether the rest is of the same version
    failed: list[tuple[str, _FetchError]] = []
    for address in addresses:
        try:
            resumed = _download(address, part, pause)
            if resumed and sha256 and fingerprint.of_file(part) != sha256:
                _discard(part)  # the halves may be of two versions: once more, whole
                _download(address, part, pause)
        except _FetchError as error:
            failed.append((address, error))
            continue
        found = fingerprint.of_file(part)
        if sha256 and found != sha256:
            _discard(part)
            raise InputError(
                f"{public(address)} gave a file with sha256 {found}, expected {sha256}: it "
                "changed, or something on the way altered it. It was thrown away",
                "Try again, or give a copy that you trust with --from FILE",
            )
        part.replace(target)
        _discard(part)
        return
    told = "; ".join(_hidden(f"{address}: {error}", address) for address, error in failed)
    # A set of the catalog alone has a known hash and takes --from.
    or_else = ", or bring the file by other means and give it with --from FILE" if sha256 else ""
    if all(isinstance(error, _RefusedError) for _, error in failed):
        raise InputError(told, f"Check the address{or_else}")
    raise S2TXError(
        f"{told}. Check the network (what was received is kept, a new try resumes){or_else}."
    )


def name_of(address: str) -> str:
    """The file name at the end of an address.

    Raises:
        InputError: it is malformed.
    """
    try:
        path = urlsplit(address).path
    except ValueError as error:
        raise InputError(_hidden(f"{address}: {error}", address), "Check the address") from None
    return Path(unquote(path)).name or "download"


def public(address: str) -> str:
    """An address without user, password and query, which may hold a key."""
    return re.split("[?#]", re.sub("://[^/?#]*@", "://", address))[0]


def _hidden(text: str, address: str) -> str:
    """``text`` without what is not public of an address in it, also as ``requests`` writes it, and
    without the query of any other, to which a server may have led."""
    from requests.utils import requote_uri

    secrets = re.findall("://([^/?#]*)@|([?#][^#]*)", address)
    for secret in filter(None, itertools.chain(*secrets)):
        for form in (secret, requote_uri(secret.replace("%", "%25")), requote_uri(secret)):
            if form[0] in "?#":
                text = text.replace(form, "***")
            text = text.replace(f"//{form}@", "//***@")
    return re.sub(r"\?[^\s'\")>]+", "***", re.sub("://[^/?#\\s]*@", "://***@", text))


class _FetchError(Exception):
    """This address did not give the file."""


class _RefusedError(_FetchError):
    """Nor will it, if it is asked again."""


def _download(address: str, part: Path, pause: float) -> bool:
    """Bring the whole body into ``part``; true if any of it was there before."""
    import requests

    resumed = False
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        held = part.stat().st_size if part.exists() else 0
        try:
            done, appended = _receive(address, part, held)
            resumed = resumed or appended
            if done:
                return resumed
            reason = "the connection was cut"
        except requests.HTTPError as error:
            status = error.response.status_code
            if status == 416:  # what is held is no part of what is there now
                _discard(part)
            elif status < 500 and status not in (408, 429):
                raise _RefusedError(
                    f"the server answered {status} {error.response.reason}"
                ) from None
            reason = f"the server answered {status}"
        except ValueError as error:  # a malformed address, whichever library says so
            raise _RefusedError(f"{type(error).__name__}: {error}") from None
        except (requests.RequestException, OSError) as error:
            reason = f"{type(error).__name__}: {error}"
    raise _FetchError(f"{reason} ({ATTEMPTS} attempts)")


def _receive(address: str, part: Path, held: int) -> tuple[bool, bool]:
    """One request; (the body is complete, it was appended to what was held)."""
    import requests

    tag_file = _tag_file(part)
    tag = tag_file.read_text() if tag_file.exists() else None
    # Compressed transfer would make byte positions meaningless.
    headers = {"Accept-Encoding": "identity"}
    if held:
        headers["Range"] = f"bytes={held}-"
        if tag:
            headers["If-Range"] = tag
    with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416 and answer.headers.get("Content-Range") == f"bytes */{held}":
            return True, True  # cut after the last byte
        answer.raise_for_status()
        appended = answer.status_code == 206
        start = held if appended else 0
        coded = answer.headers.get("Content-Encoding", "identity") != "identity"
        if coded and held:  # positions are those of the coded body, and this is none: once more
            _discard(part)
            return False, False
        tag = answer.headers.get("ETag", "")
        if tag and not tag.startswith("W/") and not coded:
            tag_file.write_text(tag)
        else:
            tag_file.unlink(missing_ok=True)
        # What was asked for is not always what comes: of a coded body the length is another.
        length = None if coded else answer.headers.get("Content-Length")
        total = start + int(length) if length else None
        received = start
        with part.open("ab" if appended else "wb") as stream, _progress(part, total) as advance:
            advance(start)
            with contextlib.suppress(
                requests.ConnectionError, requests.exceptions.ChunkedEncodingError
            ):
                for chunk in answer.iter_content(_CHUNK):
                    stream.write(chunk)
                    received += len(chunk)
                    advance(len(chunk))
                return total is None or received == total, appended
        return False, appended


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)


@contextlib.contextmanager
def _progress(part: Path, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, silence elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(part.name.removesuffix(".part"), total=total)
        yield lambda count: bar.update(task, advance=count)
