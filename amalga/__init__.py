"""Amalga: a team's library of files in its own S3 bucket."""

__version__ = "0.1.0"
