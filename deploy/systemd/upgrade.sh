#!/bin/sh
# Deploy a version on this host, as root: upgrade.sh SOURCE SITE. SOURCE is a folder with the source of that version (a
# clone or an unpacked archive), SITE the address that users open. If it does not start or respond, the previous version is
# restored.
set -eu
umask 022

source=${1:?upgrade.sh SOURCE SITE}
site=${2:?upgrade.sh SOURCE SITE}
home=/srv/amalga
units=/etc/systemd/system
nginx=/etc/nginx/amalga
new=$home/$(date -u +%Y%m%dT%H%M%SZ)
previous=$(readlink "$home/current" || true)

mkdir -p "$new"
cp -R "$source/." "$new"
"${PYTHON:-python3}" -m venv "$new/.venv"
"$new/.venv/bin/python" -m pip install --quiet --only-binary :all: --require-hashes --no-deps \
    -r "$new/requirements.txt"
# As in the Dockerfile: the settings require these, and nothing connects to them.
(
    cd "$new"
    export SECRET_KEY=build ALLOWED_HOSTS=build DATABASE_URL=postgres://build@localhost/build AWS_STORAGE_BUCKET_NAME=build
    .venv/bin/python manage.py collectstatic --no-input --verbosity 0
    .venv/bin/python -m compileall -q amalga uploads
)
export AMALGA_FOLDER="$new"
"$new/deploy/systemd/amalga.sh" check --deploy --fail-level ERROR
"$new/deploy/systemd/amalga.sh" migrate --noinput

# The limits and locations of nginx are those of the deployed version.
configure_nginx() {
    if [ -d "$nginx" ] && [ -d "$1/deploy/nginx" ]; then
        cp "$1"/deploy/nginx/*.conf "$nginx" && systemctl try-reload-or-restart nginx.service
    fi
}

# Each step runs only if the one before succeeded: `set -e` has no effect within an `if`.
deploy() {
    cp -R "$1"/deploy/systemd/amalga-* "$units/" &&
        ln -sfn "$1" "$home/next" &&
        mv -T "$home/next" "$home/current" &&
        systemctl daemon-reload &&
        systemctl enable --quiet --now amalga-web.socket amalga-sweep.timer amalga-night.timer amalga-week.timer &&
        systemctl enable --quiet amalga-web.service amalga-worker.service &&
        systemctl restart amalga-web.service amalga-worker.service &&
        configure_nginx "$1"
}

if deploy "$new" && "$new/.venv/bin/python" "$new/deploy/smoke.py" "$site"; then
    echo "Deployed: $new"
elif [ -z "$previous" ]; then
    echo "It does not respond, and there is no previous version." >&2
    exit 1
elif deploy "$previous"; then
    echo "It did not respond. Restored the previous version: $previous" >&2
    exit 1
else
    echo "It did not respond, and the previous version does not start either: $previous" >&2
    exit 1
fi
