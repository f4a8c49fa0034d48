#!/bin/sh
# Run a command of manage.py with the settings and permissions of the services: amalga doctor, amalga create_admin ann …
set -eu

[ -t 0 ] && terminal=--pty || terminal=--pipe
exec systemd-run --quiet --wait --collect "$terminal" \
    --property=DynamicUser=yes --property=User=amalga --property=EnvironmentFile=/etc/amalga/environment \
    --property=WorkingDirectory="${AMALGA_FOLDER:-/srv/amalga/current}" --property=ProtectHome=yes --setenv=HOME=/tmp \
    "${AMALGA_FOLDER:-/srv/amalga/current}/.venv/bin/python" manage.py "$@"
