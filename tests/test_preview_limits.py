"""A file may do what it likes to the child that draws it; the worker goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.pictures import as_file, two_halves
from uploads import previews
from uploads.previews import Unshowable, render

# What a decoder that was taken over could do, in the place of the child's own code.
EVIL = {
    "eats memory": "x = bytearray(8 * 1024**3)",
    "eats time": "import time; time.sleep(600)",
    "eats the processor": "while True: pass",
    "fills the disk": "open(folder + '/picture.webp', 'wb').write(bytes(64 * 1024**2))",
    "dies": "import os; os.kill(os.getpid(), 11)",
    "says nothing": "pass",
    "tells nonsense": "open(folder + '/told.json', 'w').write('[1')",
    "tells a list": "open(folder + '/told.json', 'w').write('[]')",
    "tells lies": "tell({'sizes': {'thumbnail': [10**9, 1], 'picture': [1, 1]}}); write(b'RIFF....WEBP')",
    "gives a page": "tell({'sizes': {'thumbnail': [1, 1], 'picture': [1, 1]}}); write(b'<script>alert(1)</script>')",
    "gives too much": "tell({'sizes': {'thumbnail': [1, 1], 'picture': [1, 1]}}); write(b'RIFF....WEBP' * 1000**2)",
    "points elsewhere": "tell({'sizes': {}}); import os; os.symlink('/etc/passwd', folder + '/thumbnail.webp')",
}
START = """
import json, sys
sys.path.insert(0, {project!r})
from uploads.previews.child import limit
folder = sys.argv[3]
def tell(what): open(folder + '/told.json', 'w').write(json.dumps(what))
def write(body): [open(folder + '/' + look + '.webp', 'wb').write(body) for look in ('thumbnail', 'picture')]
limit()
"""


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """`replaced(code)`: the child runs this, with the limits that are set before any file is read."""
    start = subprocess.Popen

    def replace(code: str) -> None:
        script = tmp_path / "child.py"
        script.write_text(START.format(project=str(Path(__file__).parents[1])) + code)

        def instead(command: list[str], **options: object) -> subprocess.Popen[bytes]:
            return start([sys.executable, str(script), *command[3:]], **options)  # type: ignore[call-overload,no-any-return]

        monkeypatch.setattr("uploads.previews.parent.subprocess.Popen", instead)

    return replace


def rendered(tmp_path: Path) -> dict[str, previews.Picture]:
    file, folder = tmp_path / "file", tmp_path / "drawn"
    file.write_bytes(as_file(two_halves()))
    folder.mkdir()
    return render(file, "image/png", folder)


@pytest.mark.parametrize("what", EVIL)
def test_whatever_the_child_does_it_ends_and_is_not_believed(
    what: str, replaced: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploads.previews.parent.WAIT_SECONDS", 2.0)
    replaced(EVIL[what])
    with pytest.raises(Unshowable):
        rendered(tmp_path)
    assert [child for child in psutil.Process().children(recursive=True) if "child.py" in str(child.cmdline())] == []


def test_what_the_child_started_ends_with_it(replaced: Callable[[str], None], tmp_path: Path) -> None:
    replaced("import subprocess; p = subprocess.Popen(['sleep', '300']); open(folder + '/pid', 'w').write(str(p.pid))")
    with pytest.raises(Unshowable):
        rendered(tmp_path)
    pid, end = int((tmp_path / "drawn" / "pid").read_text()), time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_child_knows_none_of_our_secrets(
    replaced: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "very secret")
    replaced("import os; open(folder + '/env', 'w').write(str(dict(os.environ)))")
    with pytest.raises(Unshowable):
        rendered(tmp_path)
    assert "AWS" not in (tmp_path / "drawn" / "env").read_text()
    assert "SECRET" not in (tmp_path / "drawn" / "env").read_text()


def test_the_child_has_its_limits_before_it_has_a_decoder() -> None:
    code = "import sys, resource; from uploads.previews import child; child.limit();"
    code += "print('PIL' in sys.modules, 'django' in sys.modules, resource.getrlimit(resource.RLIMIT_AS)[0])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "False", str(1200 * 1024**2)]


def test_a_picture_of_a_hundred_megapixels_fits_into_the_limits(tmp_path: Path) -> None:
    from PIL import Image

    file, folder = tmp_path / "file", tmp_path / "drawn"
    Image.new("RGBA", (10_000, 10_000), (1, 2, 3, 4)).save(file, "PNG", compress_level=1)
    folder.mkdir()
    assert render(file, "image/png", folder)["picture"].width == 1600
