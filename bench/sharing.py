"""Measure share links: `make bench-sharing`.

Three comparisons over gunicorn behind the shipped nginx, in turn, so that a change of the machine's speed meets both
sides: a download by link and the redirect of a member, the page of a shared folder with ten thousand files and the
library list of a member, and requests of a member with and without a thousand guesses per second. The last one also
without nginx. `--guesses` runs only that one, for a shorter time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from typing import Any

from amalga.local.processes import free_port
from bench.load import Run, behind_nginx, run
from bench.load_fixtures import FILES, create_fixtures
from bench.report import save_results
from bench.web import Web

ROUNDS = 5
SECONDS = 4.0
CONCURRENCY = 4
GUESSES_PER_SECOND, GUESS_SECONDS, SHORT_GUESS_SECONDS = 1_000, 10.0, 4.0
MAX_DOWNLOAD, MAX_PAGE, MAX_P95 = 1.2, 1.5, 2.0
ADDRESSES = {"one address": 1, "1,000 addresses": 1_000}
MEMBER_MIX = {"list": 1, "redirect": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guesses", action="store_true")
    options = parser.parse_args()
    seconds = SHORT_GUESS_SECONDS if options.guesses else GUESS_SECONDS
    members = create_fixtures()
    links, folder_page = _share(members)
    guest = {"sessions": [{"cookie": "", "token": ""}], "paths": {"redirect": links, "list": [folder_page]}}
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        bare = stack.enter_context(Web(log=log, PORT=str(free_port()), WEB_CONCURRENCY="2"))
        web = behind_nginx(stack, log=log, WEB_CONCURRENCY="2")
        if not options.guesses:
            # not behind nginx, whose limit of link requests this machine reaches: waiting threads cost more for each
            rows += _compare(bare, "redirect", members, guest, "download")
            rows += _compare(bare, "list", members, guest, "page")
        rows += _guess(web, members, "behind nginx", seconds)
        rows += _guess(bare, members, "without nginx", seconds)
    if options.guesses:
        print("\n".join(_guess_verdicts(rows, seconds)))
    else:
        print(save_results("sharing", rows, _verdicts(rows)))


def _share(members: dict[str, Any]) -> tuple[list[str], str]:
    """Share the files that members download, and a folder that holds all files; return the paths of the links."""
    from django.contrib.auth.models import User

    from uploads.models import File, Folder, Visibility
    from uploads.services import share_links
    from uploads.services.share_links import ShareOptions

    creator = User.objects.get(username="bench-manager")
    options = ShareOptions(days=7)
    downloads = []
    for path in members["paths"]["redirect"][:200]:
        file = File.objects.listed().by_permanent_id(path.split("/")[2]).get()
        _link, token = share_links.share_file(file, options, by=creator)
        downloads.append(f"/s/{token}/download")
    folder = Folder.objects.create(name="All of it", created_by=creator)
    File.objects.listed().update(folder=folder, visibility=Visibility.TEAM)
    _link, token = share_links.share_folder(folder, options, by=creator)
    return downloads, f"/s/{token}/"


def _compare(web: Web, kind: str, member: dict[str, Any], guest: dict[str, Any], subject: str) -> list[dict[str, Any]]:
    """Return a row each for a member and a guest: the web CPU of a request, the median of the rounds."""
    plans = {f"{subject}: member": {**member, "mix": {}}, f"{subject}: guest with link": {**member, **guest}}
    cpu: dict[str, list[float]] = {case: [] for case in plans}
    runs: dict[str, list[Run]] = {case: [] for case in plans}
    for number in range(ROUNDS + 1):
        for case, plan in plans.items():
            result = run(web, plan, {kind: 1}, users=CONCURRENCY, seconds=SECONDS)
            if number:  # the first is not counted
                cpu[case].append(result.cpu_s * 1000 / max(1, len(result.ms)))
                runs[case].append(result)
    rows: list[dict[str, Any]] = []
    for case in plans:
        statuses = sum((result.statuses for result in runs[case]), Counter[str]())
        answered = sum(len(result.ms) for result in runs[case])
        rows.append(
            {
                "case": case,
                "web_cpu_ms": round(statistics.median(cpu[case]), 2),
                "p95_ms": statistics.median(result.percentile(0.95) for result in runs[case]),
                "responses": answered,
                "errors": statuses.total() - answered,
            }
        )
    rows[1]["ratio"] = round(rows[1]["web_cpu_ms"] / rows[0]["web_cpu_ms"], 2)
    return rows


def _guess(web: Web, members: dict[str, Any], where: str, seconds: float) -> list[dict[str, Any]]:
    """Return rows of one member without pauses: alone, and while links are guessed."""
    rows = []
    for case, addresses in ADDRESSES.items():
        alone = run(web, members, MEMBER_MIX, users=1, seconds=seconds)
        command = [sys.executable, "-m", "bench.sharing_guesses", web.url, str(GUESSES_PER_SECOND), str(seconds)]
        guesser = subprocess.Popen([*command, str(addresses)], stdout=subprocess.PIPE, text=True)
        beside = run(web, members, MEMBER_MIX, users=1, seconds=seconds)
        text, _stderr = guesser.communicate()
        guesses = json.loads(text)
        cases = {f"member alone, before {case}, {where}": alone, f"member while {case} guess, {where}": beside}
        for name, result in cases.items():
            errors = result.statuses.total() - len(result.ms)
            rows.append(
                {"case": name, "p95_ms": result.percentile(0.95), "responses": len(result.ms), "errors": errors}
            )  # fmt: skip
        hits = sum(count for status, count in guesses["statuses"].items() if status in {"200", "302", "410"})
        rows[-1] |= {
            "ratio": round(beside.percentile(0.95) / alone.percentile(0.95), 2),
            "guesses_per_second": guesses["per_second"],
            "guessed_links": hits,
            "guess_statuses": json.dumps(guesses["statuses"], sort_keys=True),
        }
    return rows


def _verdicts(rows: list[dict[str, Any]]) -> list[str]:
    ratios = {row["case"]: row["ratio"] for row in rows if "ratio" in row}
    return [
        f"download by link: {ratios['download: guest with link']} times the web CPU of a member's redirect "
        f"(at most {MAX_DOWNLOAD})",
        f"page of a shared folder with {FILES:,} files: {ratios['page: guest with link']} times the web CPU of the "
        f"library list (at most {MAX_PAGE})",
        *_guess_verdicts(rows, GUESS_SECONDS),
        "gunicorn: 2 processes of 8 threads; Postgres, S3, members and guests on the same machine.",
    ]


def _guess_verdicts(rows: list[dict[str, Any]], seconds: float) -> list[str]:
    guessed = [row for row in rows if "guesses_per_second" in row]
    return [
        *(
            f"p95 of a {row['case']} {GUESSES_PER_SECOND:,} links per second for {seconds:.0f} s: "
            f"{row['ratio']} times that without (at most {MAX_P95}); {row['guess_statuses']}"
            for row in guessed
        ),
        f"links found: {sum(row['guessed_links'] for row in guessed)} (at most 0)",
    ]


if __name__ == "__main__":
    main()
