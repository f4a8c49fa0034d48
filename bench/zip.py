"""Measure ZIP downloads: 1,000 files of 2 MiB through the app, against reading them one after another with boto3.

`make bench-zip` runs it against the embedded Postgres and S3, both clients in turn, so that a change of the
machine's speed affects both; medians count.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import os
import statistics
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import boto3
from botocore.config import Config

from bench.report import save_results
from bench.upload import prepare
from bench.web import Web

if TYPE_CHECKING:
    from uploads.models import File

MIB = 1024**2
CHUNK = MIB
MIN_SPEED = 0.7
MAX_GROWTH_MIB = 30
WARM_UP = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--file-mib", type=float, default=2.048)
    options = parser.parse_args()
    cookie = prepare()
    files = store(options.files, int(options.file_mib * MIB))
    with Web() as web:
        for _time in range(WARM_UP):  # until each worker has its clients
            check(web.url, cookie, files[:10])
        clients: dict[str, Callable[[], int]] = {
            "boto3, one object after another": lambda: download_objects(files),
            "zip": lambda: download_zip(web.url, cookie, files),
        }
        for download_all in clients.values():
            download_all()  # once without counting
        rows = measure(web, clients, files, options.runs)
    print(save_results("zip", rows, verdicts(rows)))


def store(count: int, size: int) -> list[File]:
    """Create available files of this many random bytes, with their objects."""
    from django.contrib.auth.models import User

    from uploads.models import File

    owner = User.objects.get(username="bench")
    block = os.urandom(size)

    def put(number: int) -> File:
        body = number.to_bytes(8) + block[8:]
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        file = File(owner=owner, name=f"photo {number:05}.jpg", size=size, part_size=16 * MIB, checksum=digest)
        client().put_object(Bucket=os.environ["AWS_STORAGE_BUCKET_NAME"], Key=file.key, Body=body)
        return file

    with ThreadPoolExecutor(2) as pool:
        files = list(pool.map(put, range(count)))
    return publish(files)


def publish(files: Sequence[File]) -> list[File]:
    from django.utils import timezone

    from uploads.models import File, State

    for file in files:
        file.state, file.available_at, file.etag = State.AVAILABLE, timezone.now(), "0" * 32
    return File.objects.bulk_create(files)


def client() -> Any:
    return boto3.client(
        "s3",
        endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"],
        config=Config(request_checksum_calculation="when_required", response_checksum_validation="when_required"),
    )


def download_objects(files: Sequence[File]) -> int:
    """Read every object to its end; return the number of bytes."""
    s3, read = client(), 0
    for file in files:
        body = s3.get_object(Bucket=os.environ["AWS_STORAGE_BUCKET_NAME"], Key=file.key)["Body"]
        read += sum(len(chunk) for chunk in body.iter_chunks(CHUNK))
    return read


def download_zip(url: str, cookie: tuple[str, str], files: Sequence[File]) -> int:
    """Download the ZIP file to its end; return the number of bytes."""
    read = sum(len(chunk) for chunk in download(url, cookie, files))
    if read < sum(file.size for file in files):
        raise RuntimeError(f"the zip ended after {read} bytes")
    return read


def download(url: str, cookie: tuple[str, str], files: Sequence[File]) -> Iterator[bytes]:
    """Yield the ZIP file in chunks; raise http.client.IncompleteRead if it is shorter than announced."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)) as connection:
        token = "t" * 32
        names = {"Cookie": f"{cookie[0]}={cookie[1]}; {csrf_cookie()}={token}", "X-CSRFToken": token}
        form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": url}
        body = urlencode([("file", str(file.pk)) for file in files])
        connection.request("POST", "/files/zip", body, {**names, **form})
        with connection.getresponse() as response:
            if response.status != http.client.OK:
                raise RuntimeError(f"the app responded with {response.status}")
            remaining = int(response.headers["Content-Length"])
            while remaining:
                chunk = response.read(min(CHUNK, remaining))
                if not chunk:
                    raise http.client.IncompleteRead(b"", remaining)
                remaining -= len(chunk)
                yield chunk


def csrf_cookie() -> str:
    from django.conf import settings

    return str(settings.CSRF_COOKIE_NAME)


def check(url: str, cookie: tuple[str, str], files: Sequence[File]) -> None:
    """Compare the contents of a ZIP download with its manifest."""
    with TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder:
        path = Path(folder) / "some.zip"
        path.write_bytes(b"".join(download(url, cookie, files)))
        with zipfile.ZipFile(path) as archive:
            lines = archive.read("SHA256SUMS").decode().splitlines()
            matching = [
                _digest(archive.open(name)) == digest for digest, name in (line.split("  ", 1) for line in lines)
            ]
    if matching != [True] * len(files):
        raise RuntimeError("the zip does not match its manifest")


def _digest(file: IO[bytes]) -> str:
    with file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # ZipExtFile is one


def measure(web: Web, clients: dict[str, Callable[[], int]], files: Sequence[File], runs: int) -> list[dict[str, Any]]:
    times: dict[str, list[float]] = {client_name: [] for client_name in clients}
    costs: dict[str, list[tuple[float, float]]] = {client_name: [] for client_name in clients}
    for _run in range(runs):
        for client_name, download_all in clients.items():
            with web.measured() as cost:
                began = time.perf_counter()
                download_all()
                times[client_name].append(time.perf_counter() - began)
            costs[client_name].append((cost.web_cpu_s, cost.web_growth_mib))
    size = sum(file.size for file in files) / MIB
    return [
        {
            "case": f"{len(files)} files, {size:.0f} MiB",
            "client": client_name,
            "wall_s": statistics.median(times[client_name]),
            "wall_min_s": min(times[client_name]),
            "wall_max_s": max(times[client_name]),
            "mib_per_second": size / statistics.median(times[client_name]),
            "web_cpu_s": statistics.median(cpu for cpu, _growth in costs[client_name]),
            "web_growth_mib": max(growth for _cpu, growth in costs[client_name]),
            "runs": runs,
        }
        for client_name in clients
    ]


def verdicts(rows: Sequence[dict[str, Any]]) -> list[str]:
    plain, zipped = rows
    ratio = zipped["mib_per_second"] / plain["mib_per_second"]
    return [
        f"zip: {ratio:.2f} times the speed of boto3 (at least {MIN_SPEED})",
        f"zip: {zipped['web_growth_mib']:.1f} MiB of growth at its peak (at most {MAX_GROWTH_MIB})",
    ]


if __name__ == "__main__":
    main()
