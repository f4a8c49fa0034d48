"""This machine's clock against another one."""

from __future__ import annotations

from datetime import datetime

from uploads.services.doctor.told import Line, fail, ok, span, warn

# S3 refuses what was signed a quarter of an hour off; a signed URL lives for ten minutes and less.
FAIL_SECONDS = 300
WARN_SECONDS = 30
ADVICE = "let a time service (chrony, systemd-timesyncd) set the clocks"


def clock_line(subject: str, theirs: datetime, *, before: datetime, after: datetime, exact: bool) -> Line:
    """`theirs` was told between `before` and `after` by our clock; not `exact`: in whole seconds."""
    late, early = (theirs - after).total_seconds(), (before - theirs).total_seconds()
    off = max(0.0, late, early - (0 if exact else 1))
    if off <= WARN_SECONDS:
        return ok(subject, f"agrees with this machine's, {off:.0f} seconds off")
    told = f"{span(off)} {'ahead of' if late > 0 else 'behind'} this machine's"
    if off > FAIL_SECONDS:
        return fail(subject, told, f"{ADVICE}; signatures are refused like this")
    return warn(subject, told, ADVICE)
