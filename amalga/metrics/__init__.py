"""Prometheus metrics. gunicorn's first process imports `multiprocess` before the others."""
