"""Run LibreOffice and ffmpeg inside the child process, where they are installed. They share its limits."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from uploads.previews.renderer import MAX_SIDE, OFFICE

# No links to other files or addresses, no macros. The sandbox has no network in any case.
PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
<item oor:path="/org.openoffice.Office.Common/Security/Scripting">
<prop oor:name="DisableMacrosExecution" oor:op="fuse"><value>true</value></prop></item>
<item oor:path="/org.openoffice.Office.Common/Security/Scripting">
<prop oor:name="BlockUntrustedRefererLinks" oor:op="fuse"><value>true</value></prop></item>
<item oor:path="/org.openoffice.Office.Common/Security/Scripting">
<prop oor:name="MacroSecurityLevel" oor:op="fuse"><value>3</value></prop></item>
<item oor:path="/org.openoffice.Office.Writer/Content/Update">
<prop oor:name="Link" oor:op="fuse"><value>2</value></prop></item>
<item oor:path="/org.openoffice.Office.Calc/Content/Update">
<prop oor:name="Link" oor:op="fuse"><value>2</value></prop></item>
</oor:items>
"""
# Containers with one film inside. Playlists, which name other files, are not among them.
FORMATS = "asf,avi,flv,matroska,mov,mpeg,mpegts,ogg,webm"
POSTER_POSITIONS = 1, 0  # in seconds: the first frame of many films is black; some are shorter than a second


def to_pdf(document: Path, media_type: str, folder: Path, *, soffice: str) -> Path | None:
    """Return the document as PDF; None if LibreOffice cannot open it."""
    profile, source = folder / "profile", folder / f"document{OFFICE[media_type]}"
    (profile / "user").mkdir(parents=True)
    (profile / "user" / "registrymodifications.xcu").write_text(PROFILE)
    source.symlink_to(document.resolve())
    options = ["--headless", "--norestore", "--nolockcheck", "--convert-to", "pdf", "--outdir", str(folder)]
    _run([soffice, f"-env:UserInstallation={profile.resolve().as_uri()}", *options, str(source)], folder)
    pdf = source.with_suffix(".pdf")
    return pdf if pdf.exists() else None


def poster(video: Path, folder: Path, *, ffmpeg: str) -> Path | None:
    """Return a frame of the video as PNG, not larger than the preview; None if ffmpeg cannot decode one."""
    target = folder / "poster.png"
    scale = f"scale='min({MAX_SIDE},iw)':'min({MAX_SIDE},ih)':force_original_aspect_ratio=decrease"
    for position in POSTER_POSITIONS:
        _run(
            [ffmpeg, "-nostdin", "-loglevel", "quiet", "-threads", "1", "-protocol_whitelist", "file",
             "-format_whitelist", FORMATS, "-ss", str(position), "-i", str(video), "-map", "0:v:0", "-frames:v", "1",
             "-vf", scale, "-threads", "1",
             "-f", "image2", "-c:v", "png", str(target)], folder,
        )  # fmt: skip
        if target.exists() and target.stat().st_size:
            return target
    return None


def _run(command: list[str], folder: Path) -> None:
    environment = {"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder)}
    subprocess.run(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, check=False)
