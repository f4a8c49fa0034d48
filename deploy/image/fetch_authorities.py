"""Download certificate authorities into the image: fetch_authorities.py URL SHA256 FILE. Needs no library.

The checksum is required, so that all builds trust the same authorities, and a changed file is reviewed before it is
trusted. Without a checksum nothing is downloaded. To print the current one: curl URL | sha256sum
"""

import hashlib
import sys
import urllib.request
from pathlib import Path

SECONDS = 30
MAX_BYTES = 4 * 1024**2


def fetch(url: str, digest: str, target: Path) -> None:
    """Download the file. Raises SystemExit if its SHA-256 is not `digest`."""
    with urllib.request.urlopen(url, timeout=SECONDS) as response:  # noqa: S310 - the URL is an argument of the build
        content = response.read(MAX_BYTES)
    actual = hashlib.sha256(content).hexdigest()
    if actual != digest.lower():
        raise SystemExit(f"{url} has the SHA-256 {actual}, not {digest}: review the change before you use it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


if __name__ == "__main__":
    url, digest, target = sys.argv[1:]
    if digest:
        fetch(url, digest, Path(target))
    else:
        sys.stdout.write("No checksum is given, so no certificate authorities are added to the image.\n")
