"""A synthetic bucket of millions of objects that needs little CPU to list.

`python -m bench.listing_server --keys 1000000` answers ListObjectsV2 (prefix, delimiter, start-after, tokens,
max-keys, encoding-type), HEAD and GET of its objects, and accepts PUT and DELETE without storing anything, except
for the marker. Signatures are not checked. The entries are written to a file once; a page is a slice of it.
"""

from __future__ import annotations

import argparse
import asyncio
import mmap
import re
import socket
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import format_datetime
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

from bench.fsck_fixtures import KINDS, LAST_MODIFIED, MARKER_KEY, Entry, entries, marker_body

MAX_KEYS = 1000  # S3: of one page
SEND_BUFFER_BYTES = 4 * 1024**2
PLAIN = re.compile(r"[A-Za-z0-9/._-]+")  # keys that are the same with and without encoding-type=url
FACTS = re.compile(rb"<Key>(.+?)</Key>.*?&quot;(\w+)&quot;.*?<Size>(\d+)</Size>")
LAST_MODIFIED_IN_HEADERS = format_datetime(datetime.fromisoformat(LAST_MODIFIED), usegmt=True)
ZEROS = bytes(1024**2)
START_SECONDS = 300


class Bucket:
    """The entries of a bucket, rendered; they are counted from 0 in the order of their keys."""

    def __init__(self, listed: Iterable[Entry]) -> None:
        self.starts = array("Q", [0])
        with tempfile.TemporaryFile() as file:
            before = ""
            for entry in listed:
                if entry.key <= before or not PLAIN.fullmatch(entry.key):
                    raise ValueError(f"{entry.key} is out of order, or not plain")
                before = entry.key
                self.starts.append(self.starts[-1] + file.write(render(entry)))
            file.flush()
            self.file = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def entry(self, number: int) -> Entry:
        match = FACTS.search(self.slice(number, number + 1))
        if not match:
            raise IndexError(number)
        return Entry(match[1].decode(), int(match[3]), match[2].decode())

    def slice(self, first: int, end: int) -> bytes:
        return self.file[self.starts[first] : self.starts[end]]

    def place(self, key: str) -> int:
        """Return the number of the first entry whose key is this one or sorts after it."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.entry(middle).key < key else (low, middle)
        return low

    def find(self, key: str) -> Entry | None:
        number = self.place(key)
        entry = self.entry(number) if number < len(self) else None
        return entry if entry and entry.key == key else None


class Page(NamedTuple):
    body: bytes
    keys: int
    next_number: int | None  # the number of the entry that the next page begins with


def render(entry: Entry) -> bytes:
    return (
        f"<Contents><Key>{entry.key}</Key><LastModified>{LAST_MODIFIED}</LastModified>"
        f"<ETag>&quot;{entry.etag}&quot;</ETag><Size>{entry.size}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    ).encode()


def listing(bucket: Bucket, name: str, query: dict[str, str]) -> bytes:
    """Return the response to ListObjectsV2."""
    prefix, max_keys = query.get("prefix", ""), min(int(query.get("max-keys", MAX_KEYS)), MAX_KEYS)
    token = query.get("continuation-token")
    first = int(token) if token else _first(bucket, prefix, query.get("start-after", ""))
    end = bucket.place(prefix[:-1] + chr(ord(prefix[-1]) + 1)) if prefix else len(bucket)
    delimiter = query.get("delimiter")
    page = (
        _grouped(bucket, first, end, max_keys, prefix, delimiter) if delimiter else _flat(bucket, first, end, max_keys)
    )
    more = page.next_number is not None
    head = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{name}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{page.keys}</KeyCount>"
        f"<MaxKeys>{max_keys}</MaxKeys><IsTruncated>{'true' if more else 'false'}</IsTruncated>"
    )
    if delimiter:
        head += f"<Delimiter>{escape(delimiter)}</Delimiter>"
    if "encoding-type" in query:
        head += "<EncodingType>url</EncodingType>"
    if more:
        head += f"<NextContinuationToken>{page.next_number}</NextContinuationToken>"
    return head.encode() + page.body + b"</ListBucketResult>"


def _first(bucket: Bucket, prefix: str, after: str) -> int:
    return bucket.place(max(prefix, after + "\0") if after else prefix)


def _flat(bucket: Bucket, first: int, end: int, max_keys: int) -> Page:
    last = min(first + max_keys, end)
    return Page(bucket.slice(first, last), last - first, last if last < end else None)


def _grouped(bucket: Bucket, first: int, end: int, max_keys: int, prefix: str, delimiter: str) -> Page:
    """Keys that have the delimiter behind the prefix are grouped as common prefixes."""
    parts: list[bytes] = []
    while first < end and len(parts) < max_keys:
        key = bucket.entry(first).key
        cut = key.find(delimiter, len(prefix))
        if cut < 0:
            parts.append(bucket.slice(first, first + 1))
            first += 1
        else:
            common = key[: cut + len(delimiter)]
            parts.append(f"<CommonPrefixes><Prefix>{common}</Prefix></CommonPrefixes>".encode())
            first = bucket.place(common[:-1] + chr(ord(common[-1]) + 1))
    return Page(b"".join(parts), len(parts), first if first < end else None)


class Connection(asyncio.Protocol):
    """A persistent connection of a client, with responses in the order of its requests."""

    def __init__(self, bucket: Bucket, marker: list[bytes]) -> None:
        self.bucket = bucket
        self.marker = marker
        self.waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        while (end := self.waiting.find(b"\r\n\r\n")) >= 0:
            first, *lines = self.waiting[:end].decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _colon, value in (line.partition(":") for line in lines)}
            if headers.pop("expect", ""):
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            whole = end + 4 + int(headers.get("content-length", "0"))
            if len(self.waiting) < whole:
                return
            body, self.waiting = self.waiting[end + 4 : whole], self.waiting[whole:]
            method, address, _version = first.split(" ")
            self._respond(method, address, headers, body)

    def _respond(self, method: str, address: str, headers: dict[str, str], body: bytes) -> None:
        path, _mark, query = address.partition("?")
        parameters = dict(parse_qsl(query, keep_blank_values=True))
        name, _slash, key = unquote(path).lstrip("/").partition("/")
        if key:
            self._respond_object(method, key, headers, body)
        elif method == "GET" and "uploads" in parameters:
            self._send("200 OK", b"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>"
                       b"</ListMultipartUploadsResult>")  # fmt: skip
        elif method == "GET" and parameters.get("list-type") == "2":
            self._send("200 OK", listing(self.bucket, name, parameters))
        elif method == "POST" and "delete" in parameters:
            deleted = b"".join(b"<Deleted>%s</Deleted>" % element for element in re.findall(rb"<Key>.+?</Key>", body))
            self._send("200 OK", b"<DeleteResult>" + deleted + b"</DeleteResult>")
        elif method == "HEAD":
            self._send("200 OK")
        else:
            self._send("501 Not Implemented", _error("NotImplemented"))

    def _respond_object(self, method: str, key: str, headers: dict[str, str], body: bytes) -> None:
        if method == "DELETE":
            self._send("204 No Content")
        elif method == "PUT":
            if key == MARKER_KEY:
                self.marker[0] = body
            self._send("200 OK", b"", {"ETag": '"0"'})
        elif method == "GET" and key == MARKER_KEY:
            self._send("200 OK", self.marker[0], {"ETag": '"0"'})
        elif method in {"GET", "HEAD"} and (entry := self.bucket.find(key)):
            self._send_object(method, entry, headers.get("range", ""))
        else:
            self._send("404 Not Found", b"" if method == "HEAD" else _error("NoSuchKey"))

    def _send_object(self, method: str, entry: Entry, range_header: str) -> None:
        """Send as many zeros as the object has bytes, or the requested range of them."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", range_header)
        first = int(match[1]) if match else 0
        last = min(int(match[2] or entry.size), entry.size - 1) if match else entry.size - 1
        if match and first > last:
            self._send("416 Range Not Satisfiable", _error("InvalidRange"))
            return
        facts = {"ETag": f'"{entry.etag}"', "Last-Modified": LAST_MODIFIED_IN_HEADERS, "Accept-Ranges": "bytes"}
        if match:
            facts["Content-Range"] = f"bytes {first}-{last}/{entry.size}"
        length = last - first + 1
        self._send("206 Partial Content" if match else "200 OK", b"", facts, length=length)
        while method == "GET" and length > 0:
            self.transport.write(ZEROS[:length])
            length -= len(ZEROS)

    def _send(
        self, status: str, body: bytes = b"", headers: dict[str, str] | None = None, *, length: int | None = None
    ) -> None:
        """Send a response; `length` is for a body that follows later, or not at all."""
        fields = {"Content-Length": str(len(body) if length is None else length), **(headers or {})}
        if body:
            fields["Content-Type"] = "application/xml"
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.transport.write(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)


def _error(code: str) -> bytes:
    element = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{element}'.encode()


@contextmanager
def served(kind: str, count: int, marker: str) -> Iterator[str]:
    """Run such a bucket in a separate process; yield its address."""
    command = [sys.executable, "-m", "bench.listing_server", "--kind", kind, "--keys", str(count), "--marker", marker]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().strip() if process.stdout else ""
            if not address:
                raise RuntimeError("the listing server did not start")
            yield address
        finally:
            process.terminate()


async def _serve(bucket: Bucket, marker: bytes, port: int) -> None:
    stored_marker = [marker]
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(bucket, stored_marker), "127.0.0.1", port
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument(
        "--kind", choices=KINDS, default="uploaded", help="of the keys: uploaded files, or photos of another bucket"
    )
    parser.add_argument(
        "--marker", default="00000000-0000-0000-0000-000000000000", help="the installation that it names"
    )
    parser.add_argument("--port", type=int, default=0, help="0: any free port, printed on stdout")
    options = parser.parse_args()
    started = time.perf_counter()
    bucket = Bucket(entries(options.kind, options.keys, options.marker))
    print(f"{len(bucket):,} entries in {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
    asyncio.run(_serve(bucket, marker_body(options.marker), options.port))


if __name__ == "__main__":
    main()
