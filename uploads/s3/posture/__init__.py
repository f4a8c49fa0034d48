"""How a bucket is set up: what is, what should be, and how to get there. Knows no row and no setting of the site."""

from uploads.s3.posture.aims import PUT_HEADERS, URLS_LAST_MILLISECONDS, Aims
from uploads.s3.posture.bucket import bucket_region, listed_among_ours, make_bucket, partition
from uploads.s3.posture.keeping import archive_tiers, dangers, unknown_classes
from uploads.s3.posture.look import Looked, Standing, look, put_right, tiering_configurations
from uploads.s3.posture.points import POINTS, Point

__all__ = [
    "POINTS",
    "PUT_HEADERS",
    "URLS_LAST_MILLISECONDS",
    "Aims",
    "Looked",
    "Point",
    "Standing",
    "archive_tiers",
    "bucket_region",
    "dangers",
    "listed_among_ours",
    "look",
    "make_bucket",
    "partition",
    "put_right",
    "tiering_configurations",
    "unknown_classes",
]
