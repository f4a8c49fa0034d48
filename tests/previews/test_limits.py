"""A hostile file can take over the sandbox process but not the worker."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from amalga import capacity
from tests.support.pictures import as_file, two_halves
from uploads import previews
from uploads.previews import PreviewFailed, render, sandbox

pytestmark = pytest.mark.slow

MIB = 1024**2
WAIT_SECONDS = 120.0  # on a busy machine

# What a compromised decoder could do; each runs instead of the code of the sandbox.
ATTACKS = {
    "eats memory": "x = bytearray(8 * 1024**3)",
    "eats time": "import time; time.sleep(600)",
    "eats the processor": "while True: pass",
    "fills the disk": "open(folder + '/picture.webp', 'wb').write(bytes(64 * 1024**2))",
    "dies": "import os; os.kill(os.getpid(), 11)",
    "says nothing": "pass",
    "tells nonsense": "open(folder + '/report.json', 'w').write('[1')",
    "tells a list": "open(folder + '/report.json', 'w').write('[]')",
    "tells lies": "tell({'sizes': {'thumbnail': [10**9, 1], 'picture': [1, 1]}}); write(b'RIFF....WEBP')",
    "gives a page": "tell({'sizes': {'thumbnail': [1, 1], 'picture': [1, 1]}}); write(b'<script>alert(1)</script>')",
    "gives too much": "tell({'sizes': {'thumbnail': [1, 1], 'picture': [1, 1]}}); write(b'RIFF....WEBP' * 1000**2)",
    "points elsewhere": "tell({'sizes': {}}); import os; os.symlink('/etc/passwd', folder + '/thumbnail.webp')",
}
START = """
import json, sys
sys.path.insert(0, {project!r})
from uploads.previews import sandbox
sandbox.MAX_CPU_SECONDS = 2
folder = sys.argv[4]
def tell(what): open(folder + '/report.json', 'w').write(json.dumps(what))
def write(body): [open(folder + '/' + look + '.webp', 'wb').write(body) for look in ('thumbnail', 'picture')]
sandbox.limit()
"""


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """`replaced(code)` makes the sandbox process run this code under its usual limits."""
    start = subprocess.Popen

    def replace(code: str) -> None:
        script = tmp_path / "child.py"
        script.write_text(START.format(project=str(Path(__file__).parents[2])) + code)

        def instead(command: list[str], **options: object) -> subprocess.Popen[bytes]:
            return start([sys.executable, str(script), *command[3:]], **options)  # type: ignore[call-overload,no-any-return]

        monkeypatch.setattr("uploads.previews.renderer.subprocess.Popen", instead)

    return replace


def rendered(tmp_path: Path, *, seconds: float = WAIT_SECONDS) -> dict[str, previews.Picture]:
    file, folder = tmp_path / "file", tmp_path / "drawn"
    file.write_bytes(as_file(two_halves()))
    folder.mkdir()
    return render(file, "image/png", folder, seconds=seconds)


@pytest.mark.parametrize("what", ATTACKS)
def test_hostile_sandbox_process_is_stopped_and_its_output_rejected(
    what: str, replaced: Callable[[str], None], tmp_path: Path
) -> None:
    replaced(ATTACKS[what])
    with pytest.raises(PreviewFailed):
        rendered(tmp_path, seconds=2.0 if what == "eats time" else WAIT_SECONDS)
    assert [
        sandbox for sandbox in psutil.Process().children(recursive=True) if "child.py" in str(sandbox.cmdline())
    ] == []


def test_processes_started_in_the_sandbox_are_killed(replaced: Callable[[str], None], tmp_path: Path) -> None:
    replaced("import subprocess; p = subprocess.Popen(['sleep', '300']); open(folder + '/pid', 'w').write(str(p.pid))")
    with pytest.raises(PreviewFailed):
        rendered(tmp_path)
    pid, end = int((tmp_path / "drawn" / "pid").read_text()), time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_sandbox_has_no_secrets_in_its_environment(
    replaced: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "very secret")
    replaced("import os; open(folder + '/env', 'w').write(str(dict(os.environ)))")
    with pytest.raises(PreviewFailed):
        rendered(tmp_path)
    assert "AWS" not in (tmp_path / "drawn" / "env").read_text()
    assert "SECRET" not in (tmp_path / "drawn" / "env").read_text()


def test_sandbox_sets_its_limits_before_importing_a_decoder() -> None:
    code = "import sys, resource; from uploads.previews import sandbox; sandbox.limit();"
    code += "print('PIL' in sys.modules, 'django' in sys.modules, resource.getrlimit(resource.RLIMIT_AS)[0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", str(sandbox.memory_limit(capacity.memory_limit()))]


@pytest.mark.parametrize(
    ("machine_mebibytes", "mebibytes"), [(256, 384), (640, 384), (1024, 768), (1456, 1200), (64 * 1024, 1200)]
)
def test_memory_limit_depends_on_the_machine(machine_mebibytes: int, mebibytes: int) -> None:
    assert sandbox.memory_limit(machine_mebibytes * MIB) == mebibytes * MIB


def test_sandbox_has_the_highest_oom_score() -> None:
    code = "from uploads.previews import sandbox; sandbox.limit(); print(open('/proc/self/oom_score_adj').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1000"


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run the sandbox in a container of 1 GiB, like the smallest worker task on AWS."""
    (tmp_path / "memory.max").write_text(str(1024 * MIB))
    start = subprocess.Popen
    code = f"from pathlib import Path; from amalga import capacity; whole = capacity.memory_limit;\
capacity.memory_limit = lambda: whole(Path({str(tmp_path)!r}));\
import runpy, sys; sys.argv = ['child', *sys.argv[1:]];\
 runpy.run_module('uploads.previews.sandbox', run_name='__main__')"
    monkeypatch.setattr(
        "uploads.previews.renderer.subprocess.Popen",
        lambda command, **options: start([sys.executable, "-c", code, *command[3:]], **options),
    )


def jpeg(width: int, height: int, **options: Any) -> bytes:
    return as_file(Image.linear_gradient("L").resize((width, height)).convert("RGB"), "JPEG", quality=50, **options)


def test_photos_of_200_megapixels_are_rendered_in_1_gib(small_machine: None, tmp_path: Path) -> None:
    for number, options in enumerate(({}, {"progressive": True})):
        file, folder = tmp_path / "file", tmp_path / str(number)
        file.write_bytes(jpeg(16_320, 12_240, **options))
        folder.mkdir()
        assert render(file, "image/jpeg", folder, seconds=WAIT_SECONDS)["picture"].width == 1600


def test_image_that_exceeds_the_memory_is_too_large(small_machine: None, tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "drawn"
    Image.new("RGBA", (10_000, 10_000), (1, 2, 3, 4)).save(file, "PNG", compress_level=1)
    folder.mkdir()
    with pytest.raises(PreviewFailed, match="too_large"):
        render(file, "image/png", folder, seconds=WAIT_SECONDS)


def test_png_of_100_megapixels_is_rendered_within_the_limits(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "drawn"
    Image.new("RGBA", (10_000, 10_000), (1, 2, 3, 4)).save(file, "PNG", compress_level=1)
    folder.mkdir()
    assert render(file, "image/png", folder, seconds=WAIT_SECONDS)["picture"].width == 1600
