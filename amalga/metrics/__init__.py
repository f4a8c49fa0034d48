"""What is counted for Prometheus. `files` is for gunicorn's first process and is imported before the rest."""
