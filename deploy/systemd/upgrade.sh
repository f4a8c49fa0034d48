#!/bin/sh
# Brings a version into service on this host, as root: upgrade.sh SOURCE SITE. SOURCE is a folder with that version's source
# (a clone, an unpacked archive), SITE the address people type. When it does not start or does not answer, the version before
# comes back.
set -eu
umask 022

source=${1:?upgrade.sh SOURCE SITE}
site=${2:?upgrade.sh SOURCE SITE}
home=/srv/amalga
units=/etc/systemd/system
nginx=/etc/nginx/amalga
new=$home/$(date -u +%Y%m%dT%H%M%SZ)
before=$(readlink "$home/current" || true)

mkdir -p "$new"
cp -R "$source/." "$new"
"${PYTHON:-python3}" -m venv "$new/.venv"
"$new/.venv/bin/python" -m pip install --quiet --only-binary :all: --require-hashes --no-deps \
    -r "$new/requirements.txt"
# As in the Dockerfile: the settings refuse to be without these, and nothing is asked there.
(
    cd "$new"
    export SECRET_KEY=build ALLOWED_HOSTS=build DATABASE_URL=postgres://build@localhost/build AWS_STORAGE_BUCKET_NAME=build
    .venv/bin/python manage.py collectstatic --no-input --verbosity 0
    .venv/bin/python -m compileall -q amalga uploads
)
export AMALGA_FOLDER="$new"
"$new/deploy/systemd/amalga.sh" check --deploy --fail-level ERROR
"$new/deploy/systemd/amalga.sh" migrate --noinput

# Limits and locations are those of the version in service, where nginx stands before it.
proxy_for() {
    if [ -d "$nginx" ] && [ -d "$1/deploy/nginx" ]; then
        cp "$1"/deploy/nginx/*.conf "$nginx" && systemctl try-reload-or-restart nginx.service
    fi
}

# Each step by itself says whether the next is worth it: `set -e` does not count within an `if`.
into_service() {
    cp -R "$1"/deploy/systemd/amalga-* "$units/" &&
        ln -sfn "$1" "$home/next" &&
        mv -T "$home/next" "$home/current" &&
        systemctl daemon-reload &&
        systemctl enable --quiet --now amalga-web.socket amalga-sweep.timer amalga-night.timer amalga-week.timer &&
        systemctl enable --quiet amalga-web.service amalga-worker.service &&
        systemctl restart amalga-web.service amalga-worker.service &&
        proxy_for "$1"
}

if into_service "$new" && "$new/.venv/bin/python" "$new/deploy/smoke.py" "$site"; then
    echo "In service: $new"
elif [ -z "$before" ]; then
    echo "It does not answer, and there is no version before it." >&2
    exit 1
elif into_service "$before"; then
    echo "It did not answer. In service again: $before" >&2
    exit 1
else
    echo "It did not answer, and the version before does not start either: $before" >&2
    exit 1
fi
