"""Protects downloads: cut ones resume, wrong bytes are never kept, the cache works offline."""

from __future__ import annotations

import gzip
import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from s2tx.data import fetch
from s2tx.errors import InputError, S2TXError

BODY = bytes(range(256)) * 4000
CHUNK = 1 << 16
GOOD = hashlib.sha256(BODY).hexdigest()


class Server:
    """A local server of one file that can cut, refuse, change and forget."""

    def __init__(self) -> None:
        self.body, self.tag = BODY, '"one"'
        self.cuts: list[int] = []  # bytes after which the next answers break off
        self.statuses: list[int] = []  # what the next answers say instead
        self.ranges: list[str | None] = []
        self.resumable = True
        self.delay = 0.0  # seconds between the head of an answer and its body
        self.zipped = False  # answers come compressed, whatever was asked for
        self.leads_to: str | None = None  # another address
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.address = f"http://127.0.0.1:{self.http.server_port}/data/my%20table.csv"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        if self.statuses:
            request.send_error(self.statuses.pop(0))
            return
        if self.leads_to is not None:
            request.send_response(302)
            request.send_header("Location", self.leads_to)
            request.end_headers()
            return
        start = 0
        fresh = request.headers.get("If-Range") in (None, self.tag)
        if wanted and self.resumable and fresh:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(self.body):
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(self.body)}")
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
        rest = gzip.compress(self.body) if self.zipped else self.body[start:]
        request.send_response(206 if start else 200)
        if self.zipped:
            request.send_header("Content-Encoding", "gzip")
        request.send_header("Content-Length", str(len(rest)))
        request.send_header("ETag", self.tag)
        request.end_headers()
        time.sleep(self.delay)
        request.wfile.write(rest[: self.cuts.pop(0)] if self.cuts else rest)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def get(server: Server, folder: Path, sha256: str | None = GOOD) -> Path:
    return fetch.fetch([server.address], folder, sha256=sha256, pause=0.01)


def kept(folder: Path) -> list[Path]:
    """What lies there, but for the locks."""
    return [path for path in folder.iterdir() if path.suffix != ".lock"]


def test_downloads_and_names(server: Server, tmp_path: Path) -> None:
    """The plain case."""
    path = get(server, tmp_path)
    assert path.read_bytes() == BODY
    assert path.name.endswith("my table.csv")
    assert kept(tmp_path) == [path]


@pytest.mark.parametrize(("sha256", "asked"), [(GOOD, 1), (None, 3)])
def test_downloads_at_once_do_not_meet(
    server: Server, tmp_path: Path, sha256: str | None, asked: int
) -> None:
    """Protects the part file from a second writer, and the server from sending what is here."""
    server.delay = 0.2
    with ThreadPoolExecutor(3) as pool:
        ends = [pool.submit(get, server, tmp_path, sha256) for _ in range(3)]
        paths = {end.result() for end in ends}
    assert [path.read_bytes() for path in paths] == [BODY]
    assert kept(tmp_path) == [*paths]
    assert server.ranges == [None] * asked


def test_a_cut_connection_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    """Without Range, a large file over a bad line would never arrive."""
    server.cuts = [300_000, 200_000]
    assert get(server, tmp_path).read_bytes() == BODY
    assert server.ranges[0] is None
    starts = [int((wanted or "").strip("bytes=-")) for wanted in server.ranges[1:]]
    assert starts[0] == 300_000 // CHUNK * CHUNK  # what came after the last whole chunk is lost
    assert starts[1] == starts[0] + 200_000 // CHUNK * CHUNK


def test_a_new_process_resumes_too(server: Server, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """What was received before a crash is not asked for again."""
    monkeypatch.setattr(fetch, "ATTEMPTS", 1)
    server.cuts = [400_000]
    with pytest.raises(S2TXError, match=r"cut.*resumes.*--from FILE"):
        get(server, tmp_path)
    assert get(server, tmp_path).read_bytes() == BODY
    assert server.ranges[-1] == f"bytes={400_000 // CHUNK * CHUNK}-"


def test_a_server_that_cannot_resume(server: Server, tmp_path: Path) -> None:
    """A second answer from the start must not be appended to the first half."""
    server.resumable, server.cuts = False, [200_000]
    assert get(server, tmp_path).read_bytes() == BODY


def test_a_file_that_changed_meanwhile(server: Server, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Two halves of two versions are no file."""
    monkeypatch.setattr(fetch, "ATTEMPTS", 1)
    server.cuts = [200_000]
    with pytest.raises(S2TXError):
        get(server, tmp_path, sha256=None)
    server.body, server.tag = BODY[::-1], '"two"'
    assert get(server, tmp_path, sha256=None).read_bytes() == BODY[::-1]


def test_a_broken_start_is_thrown_away(server: Server, tmp_path: Path) -> None:
    """Damaged bytes of an older try would spoil every later one."""
    part = tmp_path / f"{GOOD[:12]}-my table.csv.part"
    part.write_bytes(b"x" * 5000)
    assert get(server, tmp_path).read_bytes() == BODY


def test_wrong_bytes_never_get_the_good_name(server: Server, tmp_path: Path) -> None:
    """An altered file in the cache would be trusted for ever."""
    server.body = b"something else"
    with pytest.raises(InputError, match=rf"sha256 [0-9a-f]+, expected {GOOD}.*--from FILE"):
        get(server, tmp_path)
    assert kept(tmp_path) == []


def test_works_offline_from_the_cache(server: Server, tmp_path: Path) -> None:
    """A second ingest needs no network."""
    path = get(server, tmp_path)
    server.http.shutdown()
    server.http.server_close()
    assert get(server, tmp_path) == path


def test_a_damaged_cache_is_not_trusted(server: Server, tmp_path: Path) -> None:
    """A cached file is checked each time."""
    path = get(server, tmp_path)
    path.write_bytes(b"damaged")
    assert get(server, tmp_path).read_bytes() == BODY


def test_without_a_hash_the_address_is_asked_again(server: Server, tmp_path: Path) -> None:
    """A nightly address publishes new rows under the same name."""
    get(server, tmp_path, sha256=None)
    server.body, server.tag = b"newer", '"two"'
    assert get(server, tmp_path, sha256=None).read_bytes() == b"newer"


def test_server_errors_are_tried_again(server: Server, tmp_path: Path) -> None:
    """A busy server must not end the night."""
    server.statuses = [503, 500, 408, 429]
    assert get(server, tmp_path).read_bytes() == BODY


def test_the_next_address_is_tried(server: Server, tmp_path: Path) -> None:
    """A mirror helps only if it is asked."""
    server.statuses = [404]
    path = fetch.fetch([server.address, server.address], tmp_path, sha256=GOOD, pause=0.01)
    assert path.read_bytes() == BODY
    assert len(server.ranges) == 2


@pytest.mark.parametrize(("sha256", "way_out"), [(GOOD, True), (None, False)])
def test_no_network_says_what_to_do(tmp_path: Path, sha256: str | None, way_out: bool) -> None:
    """Offline, the message must name the way out, and none that an address does not have."""
    with pytest.raises(S2TXError, match=r"127\.0\.0\.1:9/.*Check the network") as outage:
        fetch.fetch(["http://127.0.0.1:9/x.csv"], tmp_path, sha256=sha256, pause=0.0)
    assert outage.value.exit_code == 1
    assert ("--from FILE" in str(outage.value)) is way_out


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_is_no_outage(server: Server, tmp_path: Path, status: int) -> None:
    """Protects a night from asking again, and a person from checking the network."""
    server.statuses = [status]
    with pytest.raises(InputError, match=rf"answered {status} .*Check the address\.$"):
        get(server, tmp_path, sha256=None)
    assert len(server.ranges) == 1
    server.statuses = [status, status]
    with pytest.raises(InputError, match=r"Check the address, or .*--from FILE"):
        fetch.fetch([server.address] * 2, tmp_path, sha256=GOOD)


def test_a_server_that_is_away_beside_one_that_refuses(server: Server, tmp_path: Path) -> None:
    """Protects the night's other try: the mirror may be back by then."""
    server.statuses = [404]
    with pytest.raises(S2TXError, match=r"404.*127\.0\.0\.1:9/.*Check the network") as outage:
        fetch.fetch([server.address, "http://127.0.0.1:9/x.csv"], tmp_path, pause=0.0)
    assert outage.value.exit_code == 1


@pytest.mark.parametrize(
    "address", ["http://", "http://[::1/x.csv", "http://a..b/x.csv", "http://host:99999/x.csv"]
)
def test_a_malformed_address_is_the_users(tmp_path: Path, address: str) -> None:
    """Protects from five tries, and from a traceback of whichever library finds it."""
    with pytest.raises(InputError, match=r"Check the address\.$") as refusal:
        fetch.fetch([address], tmp_path)
    assert address in refusal.value.what


def test_halves_of_two_versions_are_never_joined(server: Server, tmp_path: Path) -> None:
    """Without a hash or a strong tag, the rest of a cut download may be of another day's file."""
    server.tag = 'W/"weak"'
    server.cuts = [1000] * fetch.ATTEMPTS
    server.resumable = False
    with pytest.raises(S2TXError, match="cut"):
        get(server, tmp_path, sha256=None)
    server.resumable = True
    server.body = bytes(reversed(BODY))
    assert get(server, tmp_path, sha256=None).read_bytes() == server.body


def test_what_an_address_hides_is_not_told(server: Server, tmp_path: Path) -> None:
    """Protects keys in a query and passwords from the log of every night that fails."""
    own = server.address.removeprefix("http://")
    for host, refused in ((own, True), ("127.0.0.1:9/x.csv", False), ("[::1/x.csv", True)):
        server.statuses = [404] if refused else []
        secret = f"http://me:top secret@{host}?key=hid den%20&more#end"
        with pytest.raises(S2TXError) as told:
            fetch.fetch([secret], tmp_path, pause=0.0)
        assert host.split("/")[0] in str(told.value)
        for hidden in ("secret", "hid", "den", "more", "me:"):
            assert hidden not in str(told.value)
    assert fetch.public("https://a:b@h/x.csv?k=v#f") == "https://h/x.csv"
    server.statuses, server.body = [], b"other"
    with pytest.raises(InputError, match="expected") as wrong:
        fetch.fetch([f"{server.address}?key=hidden"], tmp_path, sha256=GOOD)
    assert "hidden" not in str(wrong.value)

    server.leads_to = "http://me:top@127.0.0.1:9/x.csv?Signature=hidden"
    with pytest.raises(S2TXError, match=r"127\.0\.0\.1.*Check the network") as led:
        fetch.fetch([server.address], tmp_path, pause=0.0)
    assert "hidden" not in str(led.value)
    assert "top" not in str(led.value)


@pytest.mark.parametrize("cuts", [[], [1000]])
def test_a_body_that_comes_compressed_is_whole(
    server: Server, tmp_path: Path, cuts: list[int]
) -> None:
    """Protects from a file that is whole and taken for cut, as its length is that of the coded
    one; and from one that goes on where the coded one was cut."""
    server.zipped, server.cuts = True, cuts
    assert get(server, tmp_path, sha256=None).read_bytes() == BODY
