"""Amalga on a laptop: Postgres and S3 from wheels, with all their data under `.local/`.

`python -m amalga.local COMMAND…` starts both, runs the command with the environment variables that the settings read,
and stops them afterwards. To the app these servers are like real ones.
"""
