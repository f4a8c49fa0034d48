"""What an upload costs: boto3's own client, our page in Chromium, our form without JavaScript.

`make bench-upload` runs it against the embedded Postgres and S3. Each case runs RUNS times, the three ways
in turn, so that a change of the machine's speed meets all of them; medians count.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import os
import re
import statistics
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import boto3
import brotli
import django
from botocore.config import Config
from playwright.sync_api import BrowserContext, sync_playwright

from bench.table import keep
from bench.web import Cost, Web
from tests.support.chromium import ARGUMENTS, find

MIB = 1024**2
CHUNK = MIB
FORM_BATCH = 100
PAGE_SECONDS = 600
PAGE_LIMIT_KIB = 60
UNPACK: dict[str | None, Callable[[bytes], bytes]] = {None: bytes, "gzip": gzip.decompress, "br": brotli.decompress}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--large-mib", type=int, default=1024)
    parser.add_argument("--small-files", type=int, default=1000)
    options = parser.parse_args()
    cookie = prepare()
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder, Web() as web, chromium() as context:
        context.add_cookies([{"name": cookie[0], "value": cookie[1], "url": web.url}])
        cases = {
            f"1 file of {options.large_mib} MiB": [write(Path(folder) / "large.bin", options.large_mib * MIB)],
            f"{options.small_files} files of 10 KiB": [
                write(Path(folder) / f"small-{number:04}.bin", 10 * 1024) for number in range(options.small_files)
            ],
        }
        ways: dict[str, Callable[[Sequence[Path]], None]] = {
            "boto3 upload_file": boto3_way,
            "page in Chromium": lambda files: page_way(context, web.url, files),
            "form without JavaScript": lambda files: form_way(web.url, cookie, files),
        }
        warm_up(ways, cases)
        rows = [row for case, files in cases.items() for row in measure(web, case, files, ways, options.runs)]
        weight = page_weight(web.url, cookie)
    notes = [f"page (gzip) with scripts and styles (brotli): {weight / 1024:.1f} KiB (at most {PAGE_LIMIT_KIB})"]
    print(keep("upload", rows, [*notes, *verdicts(rows)]))


def prepare() -> tuple[str, str]:
    """Tables, static files, a person who may upload; the cookie of a session of theirs."""
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
    """One browser for the whole run, closed whatever happens."""

    def __enter__(self) -> BrowserContext:
        self.playwright = sync_playwright().start()
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # Playwright's loop runs in this thread
        self.browser = self.playwright.chromium.launch(executable_path=find(), args=ARGUMENTS)
        return self.browser.new_context()

    def __exit__(self, *_: object) -> None:
        self.browser.close()
        self.playwright.stop()


def boto3_way(files: Sequence[Path]) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"],
        config=Config(request_checksum_calculation="when_required", response_checksum_validation="when_required"),
    )
    for path in files:
        client.upload_file(str(path), os.environ["AWS_STORAGE_BUCKET_NAME"], f"bench/{uuid.uuid4().hex}")


def page_way(context: BrowserContext, url: str, files: Sequence[Path]) -> None:
    """Choose the files on the upload page and wait for the receipt."""
    page = context.new_page()
    page.goto(f"{url}/upload/")
    page.locator("input[type=file][name=files]").set_input_files([str(path) for path in files])
    page.locator("[data-upload-form] button[type=submit]").click()
    page.locator("#tray [data-ref=receipt]:not([hidden])").wait_for(timeout=PAGE_SECONDS * 1000)
    title = page.locator("#tray-title").inner_text()
    if f"{len(files):,} of {len(files):,} stored" not in title:
        raise RuntimeError(f"the page says: {title}")
    page.close()


def form_way(url: str, cookie: tuple[str, str], files: Sequence[Path]) -> None:
    for start in range(0, len(files), FORM_BATCH):
        post_form(url, cookie, files[start : start + FORM_BATCH])


def post_form(url: str, cookie: tuple[str, str], files: Sequence[Path]) -> None:
    """Send the form as a browser without JavaScript does, streaming the files from disk."""
    jar = f"{cookie[0]}={cookie[1]}"
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PAGE_SECONDS)
    connection.request("GET", "/upload/", headers={"Cookie": jar})
    answer = connection.getresponse()
    jar += "; " + (answer.headers["Set-Cookie"] or "").partition(";")[0]
    hidden = re.findall(r'name="(csrfmiddlewaretoken|submission)" value="([^"]+)"', answer.read().decode())
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
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"the form was answered {answer.status}: {answer.read()[:500]!r}")
    answer.read()
    connection.close()


def part_head(boundary: str, disposition: str) -> bytes:
    kind = "Content-Type: application/octet-stream\r\n" if "filename" in disposition else ""
    return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n{kind}\r\n".encode()


def warm_up(ways: dict[str, Callable[[Sequence[Path]], None]], cases: dict[str, list[Path]]) -> None:
    """Load what is loaded once, in every worker, so that growth is what an upload takes."""
    *_, small = cases.values()
    for way in ways.values():
        for _ in range(2):
            way(small[:200])


def measure(
    web: Web, case: str, files: Sequence[Path], ways: dict[str, Callable[[Sequence[Path]], None]], runs: int
) -> list[dict[str, Any]]:
    costs: dict[str, list[Cost]] = {who: [] for who in ways}
    for _ in range(runs):
        for who, way in ways.items():
            with web.measured() as cost:
                way(files)
            costs[who].append(cost)
            print(f"{case}, {who}: {cost.wall_s:.2f} s", file=sys.stderr, flush=True)
            time.sleep(1)
    size = sum(path.stat().st_size for path in files)
    return [row(case, who, found, size=size, files=len(files)) for who, found in costs.items()]


def row(case: str, who: str, costs: Sequence[Cost], *, size: int, files: int) -> dict[str, Any]:
    wall = statistics.median(cost.wall_s for cost in costs)
    cpu = statistics.median(cost.web_cpu_s for cost in costs)
    return {
        "case": case,
        "who": who,
        "wall_s": round(wall, 3),
        "wall_min_s": round(min(cost.wall_s for cost in costs), 3),
        "wall_max_s": round(max(cost.wall_s for cost in costs), 3),
        "mib_s": round(size / MIB / wall, 2),
        "web_cpu_s": round(cpu, 3),
        "web_cpu_ms_per_file": round(cpu * 1000 / files, 2),
        "web_growth_mib": round(max(cost.web_growth_mib for cost in costs), 2),
        "runs": len(costs),
    }


def verdicts(rows: Sequence[dict[str, Any]]) -> list[str]:
    (boto3_large, page_large, _), (_, page_small, form_small) = rows[:3], rows[3:]
    ratio = page_large["wall_s"] / boto3_large["wall_s"]
    against_form = page_small["wall_s"] / form_small["wall_s"]
    return [
        f"large, page against boto3: {ratio:.2f} times its wall time (at most 1.15)",
        f"large, page: {page_large['web_cpu_s']:.2f} CPU seconds of the web (at most 0.2), "
        f"{page_large['web_growth_mib']:.1f} MiB of growth (at most 10)",
        f"small, page against form: {against_form:.2f} times its wall time (at most 1)",
        f"small, page: {page_small['web_cpu_ms_per_file']:.2f} ms web CPU a file (at most 3)",
    ]


def page_weight(url: str, cookie: tuple[str, str]) -> int:
    """Bytes on the wire of the upload page with every script and style it loads, imports included."""
    seen: set[str] = set()
    waiting, total = [f"{url}/upload/"], 0
    while waiting:
        address = waiting.pop()
        if address in seen:
            continue
        seen.add(address)
        request = urllib.request.Request(  # noqa: S310  (our own address)
            address, headers={"Cookie": f"{cookie[0]}={cookie[1]}", "Accept-Encoding": "gzip, br"}
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            raw = answer.read()
            unpack = UNPACK[answer.headers.get("Content-Encoding")]
        total += len(raw) if "/static/" in address else len(gzip.compress(raw))
        text = unpack(raw).decode()
        pattern = r"""(?:src|href)=["']([^"']+\.(?:js|css))["']|(?:from|import)\s*\(?["']([^"']+\.js)["']"""
        waiting += [urljoin(address, a or b) for a, b in re.findall(pattern, text)]
    return total


if __name__ == "__main__":
    main()
