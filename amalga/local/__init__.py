"""Amalga on a laptop: Postgres and S3 from their wheels, with all their data under `.local/`.

`python -m amalga.local COMMAND…` starts both, gives the command the variables that the settings
read, and stops them after it. The app cannot tell these servers from real ones.
"""
