"""The points by which a bucket is judged, in the order in which they are put right."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uploads.s3.posture import access, keeping
from uploads.s3.posture.aims import Aims

# what an answer holds beside the document, and a put must be told again
BESIDE = {"TransitionDefaultMinimumObjectSize"}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One setting of a bucket.

    `call` is what boto3 names it behind get_ and put_, `right` what IAM names it behind s3:Get and s3:Put. `absent` is
    S3's word for "was never set", "" where that is an empty answer. A put takes the document as `argument`, and an
    answer has it under that name too, unless the `answer_is_document`. `without`: what to do where a store has no such
    thing.
    """

    subject: str
    call: str
    right: str
    argument: str
    wanted: Callable[[Any, Aims], Any]
    tell: Callable[[Any, Aims], access.Told]
    without: str
    absent: str = ""
    answer_is_document: bool = False

    def document(self, answer: dict[str, Any]) -> Any:
        if self.answer_is_document:
            return {name: value for name, value in answer.items() if name != "ResponseMetadata"}
        found = answer.get(self.argument)
        return json.loads(found) if isinstance(found, str) else found

    def sent(self, document: Any) -> dict[str, Any]:
        """The arguments of the put."""
        if self.argument == "Policy":
            return {self.argument: json.dumps(document)}
        inside = {name: value for name, value in document.items() if name not in BESIDE}
        beside = {name: value for name, value in document.items() if name in BESIDE}
        return {self.argument: inside, **beside}


POINTS = (
    Point(
        subject="public access",
        call="public_access_block",
        right="BucketPublicAccessBlock",
        argument="PublicAccessBlockConfiguration",
        absent="NoSuchPublicAccessBlockConfiguration",
        wanted=access.wanted_blocks,
        tell=access.tell_blocks,
        without="make sure by its own means that nobody reads the bucket without a signature",
    ),
    Point(
        subject="object ownership",
        call="bucket_ownership_controls",
        right="BucketOwnershipControls",
        argument="OwnershipControls",
        absent="OwnershipControlsNotFoundError",
        wanted=access.wanted_owner,
        tell=access.tell_owner,
        without="make sure that no object gets an access list of its own",
    ),
    Point(
        subject="policy",
        call="bucket_policy",
        right="BucketPolicy",
        argument="Policy",
        absent="NoSuchBucketPolicy",
        wanted=access.wanted_policy,
        tell=access.tell_policy,
        without="let it answer by https alone",
    ),
    Point(
        subject="encryption",
        call="bucket_encryption",
        right="EncryptionConfiguration",
        argument="ServerSideEncryptionConfiguration",
        absent="ServerSideEncryptionConfigurationNotFoundError",
        wanted=access.wanted_encryption,
        tell=access.tell_encryption,
        without="encrypt its disks",
    ),
    Point(
        subject="versioning",
        call="bucket_versioning",
        right="BucketVersioning",
        argument="VersioningConfiguration",
        answer_is_document=True,
        wanted=keeping.wanted_versions,
        tell=keeping.tell_versions,
        without="what is overwritten or removed cannot be brought back: back the bucket up",
    ),
    Point(
        subject="lifecycle",
        call="bucket_lifecycle_configuration",
        right="LifecycleConfiguration",
        argument="LifecycleConfiguration",
        absent="NoSuchLifecycleConfiguration",
        answer_is_document=True,
        wanted=keeping.wanted_lifecycle,
        tell=keeping.tell_lifecycle,
        without="only `manage.py sweep` clears unfinished uploads away: keep it running",
    ),
    Point(
        subject="CORS",
        call="bucket_cors",
        right="BucketCORS",
        argument="CORSConfiguration",
        absent="NoSuchCORSConfiguration",
        answer_is_document=True,
        wanted=keeping.wanted_cors,
        tell=keeping.tell_cors,
        without="let its server answer our pages' preflights; `manage.py doctor` asks as a browser does",
    ),
)
