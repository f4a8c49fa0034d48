"""Trying the store out, as an operator wants to know it: who we are to it, whether it answers, what it honours."""

from uploads.s3.trial.conditions import belongs_to_another, honors_owner, try_conditions
from uploads.s3.trial.credentials import Credentials, credentials_in_use
from uploads.s3.trial.digests import PREFIX, Tried, clear_leftovers, try_mode
from uploads.s3.trial.edge import Edge, look_at_the_edge
from uploads.s3.trial.preflight import Preflight, preflight
from uploads.s3.trial.reach import moment, reach
from uploads.s3.trial.strangers import open_to_all

__all__ = [
    "PREFIX",
    "Credentials",
    "Edge",
    "Preflight",
    "Tried",
    "belongs_to_another",
    "clear_leftovers",
    "credentials_in_use",
    "honors_owner",
    "look_at_the_edge",
    "moment",
    "open_to_all",
    "preflight",
    "reach",
    "try_conditions",
    "try_mode",
]
