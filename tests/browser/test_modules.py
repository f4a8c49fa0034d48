"""Pure functions of the JavaScript modules, run in a browser."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from uploads.staticfiles import bundle_modules

SCRIPTS = Path(__file__).resolve().parents[2] / "uploads" / "static" / "uploads" / "js"
ORIGIN = "http://localhost:9"  # served by the test; without https, crypto.subtle works on localhost only


@pytest.fixture(scope="module")
def modules(browser: Browser) -> Any:
    """An empty page that can import the modules from the source tree."""
    page = browser.new_page()

    def serve(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if name.endswith(".js"):
            route.fulfill(body=(SCRIPTS / name).read_text(), content_type="text/javascript")
        else:
            route.fulfill(body="<!doctype html><title>modules</title>", content_type="text/html")

    page.route(f"{ORIGIN}/**", serve)
    page.goto(ORIGIN)
    yield page
    page.close()


def evaluate(page: Page, module: str, names: str, body: str) -> Any:
    return page.evaluate(
        f"async () => {{ const {{{names}}} = await import('{ORIGIN}/{module}.js'); {body} }}",
    )


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (48_123, "48 kB"),
        (999_600, "1 MB"),
        (12_400_000, "12.4 MB"),
        (2_100_000_000, "2.1 GB"),
        (5_000_000_000_000, "5 TB"),
    ],
)
def test_sizes_are_formatted_in_powers_of_ten(modules: Page, size: int, text: str) -> None:
    assert evaluate(modules, "i18n", "bytes", f"return bytes({size}, 'en')").replace("\u00a0", " ") == text


def test_percent_is_100_only_when_done(modules: Page) -> None:
    assert evaluate(modules, "i18n", "percent", "return [percent(999999, 1000000), percent(5, 5), percent(0, 0)]") == [
        99, 100, 0,
    ]  # fmt: skip


def test_byte_ranges_cover_the_file(modules: Page) -> None:
    body = "return [byteRange(1, 5, 12), byteRange(2, 5, 12), byteRange(3, 5, 12), byteRange(1, 5, 0)]"
    assert evaluate(modules, "parts", "byteRange", body) == [[0, 5], [5, 10], [10, 12], [0, 0]]


def test_missing_parts_are_listed_in_order(modules: Page) -> None:
    assert evaluate(modules, "parts", "missingParts", "return missingParts(5, new Set([1, 4]))") == [2, 3, 5]


def test_sign_batch_size_covers_one_minute(modules: Page) -> None:
    body = "return [0, 2e6, 1e3, 1e9].map((speed) => signBatchSize(speed, 16e6))"
    assert evaluate(modules, "parts", "signBatchSize", body) == [4, 8, 1, 24]


def test_backoff_doubles_with_jitter_up_to_maximum(modules: Page) -> None:
    body = """return [0, 1, 2, 20].map((attempt) => [backoff(attempt, () => 0), backoff(attempt, () => 1)])"""
    assert evaluate(modules, "retry", "backoff", body) == [
        [400, 800],
        [800, 1600],
        [1600, 3200],
        [7500, 15_000],
    ]


def test_first_success_ends_all_backoff_waits(modules: Page) -> None:
    body = """const shared = new LastSuccess(); const {signal} = new AbortController(); const woken = [];
        const waits = [1, 2].map((name) => {
            const policy = new RetryPolicy(shared);
            policy.attempts = 6;
            return policy.wait(signal).then(() => { woken.push(name); return policy; });
        });
        await sleep(20, signal); shared.record();
        const [policy] = await Promise.all(waits);
        const patient = policy.wait(signal).then(() => woken.push('patient'));
        shared.record(); await sleep(20, signal);
        const before = [...woken];
        shared.retryNow(); await patient;
        return [before, woken]"""
    assert evaluate(modules, "retry", "LastSuccess, RetryPolicy, sleep", body) == [[1, 2], [1, 2, "patient"]]


def test_retry_after_is_parsed_as_seconds_or_date_up_to_maximum(modules: Page) -> None:
    body = """const now = Date.parse('2026-01-01T00:00:00Z');
        return ['5', 2, null, '', 'Thu, 01 Jan 2026 00:00:10 GMT', '99999', 'soon']
            .map((value) => parseRetryAfter(value, now))"""
    assert evaluate(modules, "retry", "parseRetryAfter", body) == [5000, 2000, 0, 0, 10_000, 120_000, 0]


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (200, "", "stored"),
        (412, "PreconditionFailed", "stored"),
        (403, "AccessDenied", "sign"),
        (400, "ExpiredToken", "sign"),
        (400, "BadDigest", "hash"),
        (400, "InvalidRequest", "hash"),
        (400, "RequestTimeout", "wait"),
        (404, "NoSuchUpload", "gone"),
        (0, "", "wait"),
        (500, "InternalError", "wait"),
        (503, "SlowDown", "wait"),
        (405, "MethodNotAllowed", "refused"),
    ],
)
def test_response_of_storage_is_classified(modules: Page, status: int, code: str, verdict: str) -> None:
    text = f"<Error><Code>{code}</Code></Error>" if code else ""
    body = f"return classifyResponse({{status: {status}, text: '{text}'}})"
    assert evaluate(modules, "upload-file", "classifyResponse", body) == verdict


def test_sha256_is_base64(modules: Page) -> None:
    expected = base64.b64encode(hashlib.sha256(b"amalga").digest()).decode()
    assert evaluate(modules, "parts", "sha256", "return sha256(new Blob(['amalga']))") == expected


def test_file_key_ignores_unicode_form(modules: Page) -> None:
    body = """const facts = {folder: '', size: 1, modified: 5};
        return fileKey({...facts, name: 'Men\\u00fc'}) === fileKey({...facts, name: 'Menu\\u0308'})
            && fileKey({...facts, name: 'a'}) !== fileKey({...facts, name: 'a', modified: 6})"""
    assert evaluate(modules, "upload", "fileKey", body) is True


def test_token_of_unfinished_upload_is_used_once(modules: Page) -> None:
    body = """const file = new File(['x'], 'a.txt', {lastModified: 7});
        const tokenFor = tokenMatcher([{name: 'a.txt', folder: '', size: 1, modified: 7, token: 't'}]);
        return [tokenFor({file, folder: ''}), tokenFor({file, folder: ''}), tokenFor({file, folder: 'b'})]"""
    assert evaluate(modules, "upload", "tokenMatcher", body) == ["t", "", ""]


ENTRIES = """
    const last = (path) => path.split('/').at(-1);
    const file = (path) => ({fullPath: path, name: last(path), file: (yes) => yes(new File(['x'], last(path)))});
    const folder = (path, entries) => ({fullPath: path, name: last(path), isDirectory: true, createReader: () => {
        const left = [...entries];
        return {readEntries: (yes) => yes(left.splice(0, 100))};
    }});
    const gather = async (entries) => {
        const batch = {picked: [], failed: [], skipped: []};
        for await (const part of readEntries(entries)) for (const kind in batch) batch[kind].push(...part[kind]);
        return batch;
    };"""


def test_folders_are_read_recursively(modules: Page) -> None:
    body = f"""{ENTRIES}
        const broken = {{fullPath: '/d/broken', name: 'broken', file: (yes, no) => no(new Error())}};
        const many = Array.from({{length: 250}}, (_, i) => file(`/d/e/${{i}}`));
        const batch = await gather([folder('/d', [folder('/d/e', many), broken]), file('/top')]);
        return [batch.picked.length, batch.picked[0].folder, batch.picked.at(-1).folder, batch.failed]"""
    assert evaluate(modules, "drop-target", "readEntries", body) == [251, "d/e", "", ["d/broken"]]


def test_system_files_and_empty_folders_are_skipped(modules: Page) -> None:
    body = f"""{ENTRIES}
        const batch = await gather([folder('/d', [
            file('/d/.DS_Store'), file('/d/._a.txt'), file('/d/a.txt'), folder('/d/__MACOSX', [file('/d/__MACOSX/x')]),
            folder('/d/empty', []), folder('/d/tidy', [file('/d/tidy/Thumbs.db')]),
        ])]);
        const skipped = batch.skipped.map(({{kind, path}}) => `${{kind}} ${{path}}`);
        return [batch.picked.map(({{file}}) => file.name), skipped]"""
    picked, skipped = evaluate(modules, "drop-target", "readEntries", body)
    assert picked == ["a.txt"]
    assert skipped == [
        "system d/__MACOSX", "system d/._a.txt", "system d/.DS_Store",
        "empty d/empty", "empty d/tidy", "system d/tidy/Thumbs.db",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["desktop.ini", "DESKTOP.INI", "._x", "~$Budget.xlsx", ".~lock.a.odt#", "Icon\\r"])
def test_system_name_is_detected(modules: Page, name: str) -> None:
    assert evaluate(modules, "drop-target", "isSystemName", f"return isSystemName('{name}')")


@pytest.mark.parametrize(
    "name", [".env", ".gitignore", "thumbs.db.txt", "_x", "~backup", ".x", "Icon", "a desktop.ini"]
)
def test_ordinary_name_is_not_a_system_name(modules: Page, name: str) -> None:
    assert not evaluate(modules, "drop-target", "isSystemName", f"return isSystemName('{name}')")


def test_only_visible_rows_are_rendered(modules: Page) -> None:
    body = """return [visibleRange({scrollTop: 0, height: 100, count: 2000, rowHeight: 50, overscan: 2}),
        visibleRange({scrollTop: 5000, height: 100, count: 2000, rowHeight: 50, overscan: 2}),
        visibleRange({scrollTop: 0, height: 100, count: 1, rowHeight: 50, overscan: 2})]"""
    assert evaluate(modules, "virtual-list", "visibleRange", body) == [[0, 4], [98, 104], [0, 1]]


def test_actions_depend_on_phase(modules: Page) -> None:
    body = """return [['sending'], ['paused'], ['failed', true], ['failed'], ['finishing'], ['done'], ['canceled']]
        .map(([phase, retriable]) => actionsFor({phase, retriable}).join())"""
    expected = ["pause,cancel", "resume,cancel", "retry,remove", "remove", "", "", ""]
    assert evaluate(modules, "virtual-list", "actionsFor", body) == expected


def test_progress_is_announced_in_quarters(modules: Page) -> None:
    body = "return [[0, 10], [0, 26], [25, 49], [25, 80], [75, 100]].map(([last, now]) => nextStep(last, now))"
    assert evaluate(modules, "tray", "nextStep", body) == [0, 25, 0, 75, 0]


def test_batch_is_sent_when_full_or_no_more_items_are_expected(modules: Page) -> None:
    body = """const sent = []; let coming = 2;
        const batcher = new Batcher({max: 3, delay: 60000, expectsMore: () => coming > 0,
            send: async (items) => { sent.push(items); }});
        const all = [1, 2, 3, 4].map((item) => batcher.add(item));
        await Promise.resolve(); const early = sent.length;
        coming = 0; batcher.flushIfReady(); await Promise.all(all);
        return [early, sent]"""
    assert evaluate(modules, "concurrency", "Batcher", body) == [1, [[1, 2, 3], [4]]]


def test_semaphore_is_first_come_first_served(modules: Page) -> None:
    body = """const semaphore = new Semaphore(1); const {signal} = new AbortController(); const order = [];
        const given = new AbortController();
        const free = await semaphore.acquire(signal);
        const gone = semaphore.acquire(given.signal).catch(() => order.push('gone'));
        const next = semaphore.acquire(signal).then((release) => { order.push('next'); release(); });
        given.abort(); free(); free(); await gone; await next; await semaphore.acquire(signal);
        return order"""
    assert evaluate(modules, "concurrency", "Semaphore", body) == ["gone", "next"]


def test_semaphore_can_be_resized(modules: Page) -> None:
    body = """const semaphore = new Semaphore(3); const {signal} = new AbortController(); const order = [];
        const releases = [];
        for (let i = 0; i < 3; i += 1) releases.push(await semaphore.acquire(signal));
        semaphore.resize(1);
        const next = semaphore.acquire(signal).then(() => order.push('next'));
        releases[0](); releases[1](); await Promise.resolve(); order.push('two are free');
        releases[2](); await next;
        const more = semaphore.acquire(signal).then(() => order.push('more'));
        semaphore.resize(2); await more;
        return order"""
    assert evaluate(modules, "concurrency", "Semaphore", body) == ["two are free", "next", "more"]


def test_slow_connections_get_smaller_parts_and_fewer_at_once(modules: Page) -> None:
    body = "return [0, 1e5, 1e6, 4e6, 1e7].map(planFor).map((p) => [p.partBytes / 2 ** 20, p.concurrency])"
    plans = evaluate(modules, "parts", "planFor", body)
    assert plans[1:4] == [[5, 2], [8, 2], [8, 4]]
    assert plans[0] == plans[4]
    assert plans[0][1] == 4


def test_throughput_is_measured_over_last_seconds(modules: Page) -> None:
    body = """const meter = new ThroughputMeter();
        for (let at = 0; at <= 20000; at += 500) meter.add(500000, at);
        return [meter.read(20000), new ThroughputMeter().read(0)]"""
    speed, unknown = evaluate(modules, "parts", "ThroughputMeter", body)
    assert 900_000 < speed < 1_100_000
    assert unknown == 0


def test_summary_is_verified_only_if_every_file_is(modules: Page) -> None:
    body = """const done = (checksumStatus) => ({phase: 'done', size: 1, sent: 1, checksumStatus, note: ''});
        return [['verified_by_storage'], ['verified_by_storage', 'verified'], ['verified_by_storage', 'unverified']]
            .map((statuses) => summarize(statuses.map(done)).verified)"""
    assert evaluate(modules, "upload", "summarize", body) == [True, True, False]


def test_pasted_image_is_named_by_time(modules: Page) -> None:
    body = """const at = new Date(2026, 10, 3, 14, 2, 11);
        return [renamePasted(new File([], 'image.png'), at).name, renamePasted(new File([], 'cat.png'), at).name]"""
    assert evaluate(modules, "drop-target", "renamePasted", body) == [
        "pasted 2026-11-03 14.02.11.png",
        "cat.png",
    ]


# --- bundle of modules ------------------------------------------------------------------------


def test_bundle_isolates_module_scopes_and_runs_each_module_once(modules: Page) -> None:
    sources = {
        "main.js": 'import { a } from "./a.js";\nimport { b as other } from "./b.js";\nvar result = [a(), other];\n'
        "globalThis.result = result;\n",
        "a.js": 'import * as all from "./b.js";\nconst own = 1;\nexport function a() {\n  return own + all.b;\n}\n',
        "b.js": "globalThis.runs = (globalThis.runs ?? 0) + 1;\nconst own = 10;\nexport const b = own;\n",
    }
    bundle = bundle_modules("main.js", sources.__getitem__)
    assert modules.evaluate(f"() => {{ {bundle} return [result, runs]; }}") == [[11, 10], 1]


def test_bundle_leaves_out_comments_but_no_code() -> None:
    comments = "// @ts-check\n/** Two\n * lines. */\nfunction f() {\n  /** One line. */\n  // another\n}\n"
    code = "/** @type {any} */ (box).checked = 1;\nconst url = `\n  https://x/*y`; // at the end\n/* kept */\n"
    bundle = bundle_modules("main.js", lambda module: comments + code)
    assert bundle == bundle_modules("main.js", lambda module: "function f() {\n}\n" + code)
    assert code in bundle


@pytest.mark.parametrize(
    "source", ['import a from "./a.js";\n', "export default 1;\n", 'import { a } from "./main.js";\n']
)
def test_bundle_rejects_unsupported_imports_and_exports(source: str) -> None:
    with pytest.raises(ValueError, match=r"main\.js"):
        bundle_modules("main.js", lambda module: source)
