"""Look at one point of a bucket, compare, put it right."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from uploads.s3.asked import Said, asking
from uploads.s3.client import client
from uploads.s3.posture.aims import Aims
from uploads.s3.posture.points import Point


class Standing(StrEnum):
    AS_WANTED = "as wanted"
    DIFFERS = "differs"
    LACKING = "lacking"  # the store has no such thing
    UNKNOWN = "unknown"  # it could not be read
    FAILED = "failed"  # it could not be written
    APPLIED = "applied"


@dataclass(frozen=True)
class Looked:
    """One point as it stands. `lines`: what differs, as (what, now, wanted). `reason` and `advice` in words."""

    subject: str
    standing: Standing
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    reason: str = ""
    advice: str = ""
    now: Any = None  # the store's own document
    wanted: Any = None


def look(point: Point, aims: Aims) -> Looked:
    """Never raises for what the store says; that stands in the answer."""
    try:
        now = _read(point, aims.bucket)
        wanted = point.wanted(now, aims)
        lines = _differences(point.tell(now, aims), point.tell(wanted, aims))
    except Said as said:
        return _failed(point, said)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        reason = "the store's answer makes no sense"
        return Looked(point.subject, Standing.UNKNOWN, reason=reason, advice="look at it by the store's own means")
    standing = Standing.DIFFERS if lines else Standing.AS_WANTED
    return Looked(point.subject, standing, lines, now=now, wanted=wanted)


def put_right(point: Point, aims: Aims, looked: Looked) -> Looked:
    """Write what `looked` found to differ. Safe to repeat; never raises for what the store says."""
    try:
        with asking(f"put_{point.call}"):
            getattr(client(), f"put_{point.call}")(Bucket=aims.bucket, **point.sent(looked.wanted))
    except Said as said:
        return _failed(point, said, looked)
    return Looked(point.subject, Standing.APPLIED, looked.lines)


def tiering_configurations(bucket: str) -> list[Any]:
    """The bucket's Intelligent-Tiering configurations; none where the store knows no such thing. Raises Said."""
    found: list[Any] = []
    more: dict[str, Any] = {}
    while True:
        try:
            answer = _ask("list_bucket_intelligent_tiering_configurations", Bucket=bucket, **more)
        except Said as said:
            if said.lacks_it:
                return []
            raise
        found += answer.get("IntelligentTieringConfigurationList") or []
        if not (answer.get("IsTruncated") and answer.get("NextContinuationToken")):
            return found
        more = {"ContinuationToken": answer["NextContinuationToken"]}


def _read(point: Point, bucket: str) -> Any:
    try:
        answer = _ask(f"get_{point.call}", Bucket=bucket)
    except Said as said:
        if point.absent and said.code == point.absent:
            return None
        raise
    return point.document(answer)


def _ask(call: str, **arguments: Any) -> Any:
    s3 = client()
    operation = s3.meta.method_to_api_mapping[call]
    s3.meta.events.register(f"before-parse.s3.{operation}", _refuse_a_listing, unique_id=f"amalga-{operation}")
    with asking(operation):
        return getattr(s3, call)(**arguments)


def _refuse_a_listing(operation_model: Any, response_dict: Any, **_: Any) -> None:
    """Some stores overlook the question and list the bucket, which boto3 would read as "nothing is set"."""
    with contextlib.suppress(TypeError):
        if response_dict["status_code"] < 300 and b"<ListBucketResult" in response_dict["body"][:1000]:
            raise Said(operation_model.name, "NotImplemented")


def _differences(now: dict[str, str], wanted: dict[str, str]) -> list[tuple[str, str, str]]:
    both = {**now, **wanted}
    lines = [(what, now.get(what, "none"), wanted.get(what, "none")) for what in both]
    return [line for line in lines if line[1] != line[2]]


def _failed(point: Point, said: Said, looked: Looked | None = None) -> Looked:
    lines = looked.lines if looked else []
    if said.lacks_it:
        reason = f"this store has no {point.subject} setting"
        return Looked(point.subject, Standing.LACKING, reason=reason, advice=point.without)
    standing = Standing.FAILED if looked else Standing.UNKNOWN
    done, right = ("written", f"s3:Put{point.right}") if looked else ("read", f"s3:Get{point.right}")
    if said.is_denied:
        return Looked(point.subject, standing, lines, f"may not be {done} by these credentials", f"allow {right}")
    return Looked(point.subject, standing, lines, f"could not be {done}: {said.code}", "look that up at the store")
