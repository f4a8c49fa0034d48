"""Run a Dockerfile without a container engine: each instruction runs in a folder instead of a root file system.

It interprets stages, ARG, ENV, WORKDIR, COPY and RUN, and only records the rest. `/app` and `/opt/amalga`
are replaced by paths in the folder of the stage; the running Python replaces that of the base image.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

PLACES = re.compile(r"(?<![\w.}])/(?=(?:app|opt/amalga)(?:\b|/))")
STEP_SECONDS = 240


class Instruction(NamedTuple):
    name: str
    text: str

    def words(self) -> list[str]:
        """Return the words of the JSON form, or split the text like a shell."""
        return list(json.loads(self.text)) if self.text.startswith("[") else shlex.split(self.text)


def instructions(dockerfile: str) -> list[Instruction]:
    """Return the instructions in order, with continued lines joined and without comments."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [Instruction(*line.split(None, 1)) for line in joined.splitlines()]


def is_sent(path: str, ignore: list[str]) -> bool:
    """Return whether the build context includes a file: the last matching line of .dockerignore decides."""
    sent = True
    for line in ignore:
        pattern = line.removeprefix("!")
        if _is_about(pattern, path):
            sent = line.startswith("!")
    return sent


def _is_about(pattern: str, path: str) -> bool:
    """Return whether a pattern matches a path or a parent of it; `**/` matches any number of folders."""
    parts = path.split("/")
    heads = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
    if pattern.startswith("**/"):
        return any(fnmatch(part, pattern[3:]) for part in parts)
    return any(head.count("/") == pattern.count("/") and fnmatch(head, pattern) for head in heads)


def ignore_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


@dataclass
class Stage:
    """A build stage: its folder and its instructions."""

    name: str
    root: Path
    env: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    instructions: dict[str, Instruction] = field(default_factory=dict)

    def place(self, text: str) -> str:
        return PLACES.sub(f"{self.root}/", text)

    def environment(self) -> dict[str, str]:
        """Return the environment of a process in the image, with only PATH from ours."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path, **{name: self.place(text).replace("$PATH", path) for name, text in self.env.items()}}

    def command(self, words: list[str]) -> list[str]:
        return [self.place(word) for word in words]

    def cwd(self) -> Path:
        return Path(self.place(self.folder))


class Build:
    """Runs a Dockerfile below `folder`. `stages` are in order; the last one is the image."""

    def __init__(self, project: Path, folder: Path) -> None:
        self.project = project
        self.folder = folder
        self.stages: list[Stage] = []
        self._ignore = ignore_lines((project / ".dockerignore").read_text())

    def run(self) -> Stage:
        for instruction in instructions((self.project / "Dockerfile").read_text()):
            if instruction.name == "FROM":
                self._begin(instruction.words())
            elif self.stages:
                self._carry_out(self.stages[-1], instruction)
        return self.stages[-1]

    def _begin(self, words: list[str]) -> None:
        name = words[2] if len(words) > 1 else str(len(self.stages))
        root = self.folder / f"stage-{name}"
        root.mkdir()
        self.stages.append(Stage(name, root))

    def _carry_out(self, stage: Stage, instruction: Instruction) -> None:
        stage.instructions[instruction.name] = instruction
        match instruction.name:
            case "ENV":
                stage.env |= dict(word.split("=", 1) for word in instruction.words())
            case "ARG":
                name, _, value = instruction.text.partition("=")
                stage.env[name] = value
            case "WORKDIR":
                stage.folder = instruction.text
                stage.cwd().mkdir(parents=True)
            case "COPY":
                self._copy(stage, instruction.words())
            case "RUN":
                self._run(stage, instruction.text)

    def _copy(self, stage: Stage, words: list[str]) -> None:
        source = next((word.partition("=")[2] for word in words if word.startswith("--from=")), None)
        *what, where = [word for word in words if not word.startswith("--")]
        target = stage.cwd() / stage.place(where)
        for source_path in what:
            if source:
                origin = next(earlier for earlier in self.stages if earlier.name == source)
                # earlier stages are no longer written to, so hard links are safe
                shutil.copytree(
                    origin.place(source_path), target, symlinks=True, dirs_exist_ok=True, copy_function=os.link
                )
            else:
                self._copy_sent(source_path, target, is_folder=where.endswith("/"))

    def _copy_sent(self, source: str, target: Path, *, is_folder: bool) -> None:
        """Copy only files that .dockerignore does not exclude."""
        origin = self.project / source
        for path in [origin] if origin.is_file() else origin.rglob("*"):
            if path.is_file() and is_sent(path.relative_to(self.project).as_posix(), self._ignore):
                inner = target / path.name if is_folder else target / path.relative_to(origin)
                inner.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, inner)

    def _run(self, stage: Stage, text: str) -> None:
        # an engine discards the cache with the layer; here, pip's cache avoids repeated downloads
        env = {name: value for name, value in stage.environment().items() if name != "PIP_NO_CACHE_DIR"}
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name == "HOME"}
        done = subprocess.run(
            ["/bin/sh", "-ec", stage.place(text)], cwd=stage.cwd(), env={**pip, **env},
            capture_output=True, text=True, timeout=STEP_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
