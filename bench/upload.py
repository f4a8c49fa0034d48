"""Measure uploads: the page in Chromium, the form without JavaScript, and their peers.

The peers are boto3, plain PUTs of the browser, bare parts with checksums, and Uppy (`bench/upload_peers.py`).
`make bench-upload` runs this against the embedded Postgres and storage. Each case runs RUNS times, all clients in turn,
so that a change of the machine's speed affects all of them; the median counts.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django
from playwright.sync_api import BrowserContext, sync_playwright

from bench.report import save_results
from bench.upload_peers import PARTS, PUT, UPPY, browser_peers, delete_uploads, serving_peers, storage_client
from bench.web import Cost, Web
from tests.support.chromium import ARGUMENTS, find

MIB = 1024**2
CHUNK = MIB
FORM_BATCH = 100
PART_BYTES = 16 * MIB
BOTO3, PAGE, FORM = "boto3 upload_file", "page in Chromium", "form without JavaScript"
PAGE_SECONDS = 600
Client = Callable[[Sequence[Path]], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--large-mib", type=int, default=1024)
    parser.add_argument("--small-files", type=int, default=1000)
    parser.add_argument("--clients", default="", help="measure only clients whose names contain this")
    options = parser.parse_args()
    cookie = prepare()
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder,
        Web() as web,
        chromium() as context,
        serving_peers(Path(folder)) as peers_url,
    ):
        context.add_cookies([{"name": cookie[0], "value": cookie[1], "url": web.url}])
        large = [write(Path(folder) / "large.bin", options.large_mib * MIB)]
        small = [write(Path(folder) / f"small-{number:04}.bin", 10 * 1024) for number in range(options.small_files)]
        clients: dict[str, Client] = {
            BOTO3: upload_with_boto3,
            **browser_peers(context, peers_url, PART_BYTES),
            PAGE: lambda files: upload_with_page(context, web.url, files),
            FORM: lambda files: upload_with_form(web.url, cookie, files),
        }
        clients = {name: client for name, client in clients.items() if options.clients in name}
        for client in clients.values():
            warm_up(client, small)
        rows = [
            *measure(web, f"1 file of {options.large_mib} MiB", large, clients, options.runs),
            *measure(web, f"{options.small_files} files of 10 KiB", small, clients, options.runs),
        ]
    if options.clients:
        print(*rows, sep="\n")
    else:
        print(save_results("upload", rows, verdicts(rows)))


def prepare() -> tuple[str, str]:
    """Create tables, static files and a user client can upload; return the name and value of their session cookie."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amalga.settings")
    django.setup()
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.test import Client

    call_command("migrate", verbosity=0)
    call_command("collectstatic", verbosity=0, interactive=False)
    client = Client()
    client.force_login(User.objects.create_superuser("bench"))
    return settings.SESSION_COOKIE_NAME, client.cookies[settings.SESSION_COOKIE_NAME].value


def write(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        for start in range(0, size, CHUNK):
            file.write(os.urandom(min(CHUNK, size - start)))
    return path


def chromium() -> Any:
    return _Chromium()


class _Chromium:
    """One browser for the whole run, closed at the end in any case."""

    def __enter__(self) -> BrowserContext:
        self.playwright = sync_playwright().start()
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # Playwright's loop runs in this thread
        self.browser = self.playwright.chromium.launch(executable_path=find(), args=ARGUMENTS)
        return self.browser.new_context()

    def __exit__(self, *_: object) -> None:
        self.browser.close()
        self.playwright.stop()


def upload_with_boto3(files: Sequence[Path]) -> None:
    client = storage_client()
    for path in files:
        client.upload_file(str(path), os.environ["AWS_STORAGE_BUCKET_NAME"], f"bench/{uuid.uuid4().hex}")


def upload_with_page(context: BrowserContext, url: str, files: Sequence[Path]) -> None:
    """Choose the files on the upload page and wait for the receipt."""
    page = context.new_page()
    page.goto(f"{url}/upload/?folder={create_folder()}")
    page.locator("input[type=file][name=files]").set_input_files([str(path) for path in files])
    page.locator("[data-upload-form] button[type=submit]").click()
    page.locator("#tray [data-ref=receipt]:not([hidden])").wait_for(timeout=PAGE_SECONDS * 1000)
    receipt = page.locator("#tray [data-ref=verification]").inner_text()
    if f"{len(files):,} of {len(files):,} stored" not in receipt:
        raise RuntimeError(f"unexpected receipt: {receipt}")
    page.close()


def create_folder() -> int:
    """Return the id of a new folder, in which no name exists yet."""
    from uploads.models import Folder

    return Folder.objects.create(name=uuid.uuid4().hex).pk


def upload_with_form(url: str, cookie: tuple[str, str], files: Sequence[Path]) -> None:
    for start in range(0, len(files), FORM_BATCH):
        post_form(url, cookie, files[start : start + FORM_BATCH])


def post_form(url: str, cookie: tuple[str, str], files: Sequence[Path]) -> None:
    """Send the form as a browser without JavaScript does, streaming the files from disk."""
    jar = f"{cookie[0]}={cookie[1]}"
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PAGE_SECONDS)
    connection.request("GET", f"/upload/?folder={create_folder()}", headers={"Cookie": jar})
    response = connection.getresponse()
    jar += "; " + (response.headers["Set-Cookie"] or "").partition(";")[0]
    hidden = re.findall(r'name="(csrfmiddlewaretoken|submission|folder)" value="([^"]+)"', response.read().decode())
    boundary = uuid.uuid4().hex
    fields = [(f'name="{name}"', value.encode()) for name, value in dict(hidden).items()]
    heads = [part_head(boundary, disposition) for disposition, _ in fields]
    files_heads = [part_head(boundary, f'name="files"; filename="{path.name}"') for path in files]
    tail = f"--{boundary}--\r\n".encode()
    length = sum(len(head) + len(value) + 2 for head, (_, value) in zip(heads, fields, strict=True))
    length += sum(len(head) + path.stat().st_size + 2 for head, path in zip(files_heads, files, strict=True))
    length += len(tail)

    def body() -> Iterator[bytes]:
        for head, (_, value) in zip(heads, fields, strict=True):
            yield head + value + b"\r\n"
        for head, path in zip(files_heads, files, strict=True):
            yield head
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk
            yield b"\r\n"
        yield tail

    headers = {
        "Cookie": jar,
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(length),
        "Origin": url,
    }
    connection.request("POST", "/upload/", body=body(), headers=headers)
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(f"form: {response.status} {response.read()[:500]!r}")
    response.read()
    connection.close()


def part_head(boundary: str, disposition: str) -> bytes:
    kind = "Content-Type: application/octet-stream\r\n" if "filename" in disposition else ""
    return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n{kind}\r\n".encode()


def warm_up(client: Client, files: Sequence[Path]) -> None:
    """Upload some files twice, so that all workers have loaded what they load once."""
    for _ in range(2):
        client(files[:200])


def measure(web: Web, case: str, files: Sequence[Path], clients: dict[str, Client], runs: int) -> list[dict[str, Any]]:
    costs: dict[str, list[Cost]] = {name: [] for name in clients}
    for _ in range(runs):
        for name, client in clients.items():
            with web.measured() as cost:
                client(files)
            costs[name].append(cost)
            print(f"{case}, {name}: {cost.wall_s:.2f} s", file=sys.stderr, flush=True)
            delete_uploads()
            time.sleep(1)
    size = sum(path.stat().st_size for path in files)
    return [row(case, name, costs_of_client, size=size, files=len(files)) for name, costs_of_client in costs.items()]


def row(case: str, client: str, costs: Sequence[Cost], *, size: int, files: int) -> dict[str, Any]:
    wall = statistics.median(cost.wall_s for cost in costs)
    cpu = statistics.median(cost.web_cpu_s for cost in costs)
    return {
        "case": case,
        "client": client,
        "wall_s": round(wall, 3),
        "wall_min_s": round(min(cost.wall_s for cost in costs), 3),
        "wall_max_s": round(max(cost.wall_s for cost in costs), 3),
        "mib_per_second": round(size / MIB / wall, 2),
        "web_cpu_s": round(cpu, 3),
        "web_cpu_ms_per_file": round(cpu * 1000 / files, 2),
        "web_growth_mib": round(max(cost.web_growth_mib for cost in costs), 2),
        "runs": len(costs),
    }


def verdicts(rows: Sequence[dict[str, Any]]) -> list[str]:
    half = len(rows) // 2
    large, small = ({row["client"]: row for row in of_case} for of_case in (rows[:half], rows[half:]))

    def ratio(case: dict[str, Any], peer: str, limit: float) -> str:
        times = case[PAGE]["wall_s"] / case[peer]["wall_s"]
        return f"page against {peer}: {times:.2f} times its wall time (at most {limit})"

    overhead = large[PAGE]["wall_s"] - large[PARTS]["wall_s"]
    return [
        f"large, {ratio(large, UPPY, 1)}",
        f"large, {ratio(large, BOTO3, 1.15)}",
        f"large, page beyond {PARTS}: {overhead:.2f} s (at most 0.3)",
        f"large, page: {large[PAGE]['web_cpu_s']:.2f} CPU seconds of the web (at most 0.2), "
        f"{large[PAGE]['web_growth_mib']:.1f} MiB of growth (at most 10)",
        f"small, {ratio(small, PUT, 1.3)}",
        f"small, {ratio(small, FORM, 1)}",
        f"small, page: {small[PAGE]['web_cpu_ms_per_file']:.2f} ms web CPU a file (at most 3)",
    ]


if __name__ == "__main__":
    main()
