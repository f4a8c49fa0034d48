# One image for all: `web` as it is, and `python manage.py worker`, `sweep`, `migrate` … as its command.
# A base of another day: --build-arg PYTHON_IMAGE=python:3.13-slim-trixie. Dependabot proposes new digests every week.
ARG PYTHON_IMAGE=python:3.13-slim-trixie@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /app

# Amazon's authorities for RDS, which no system knows: put in when somebody says which digest they have.
ARG RDS_CA_URL=https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem
ARG RDS_CA_SHA256=
COPY deploy/image deploy/image
RUN python deploy/image/fetch_authorities.py "${RDS_CA_URL}" "${RDS_CA_SHA256}" certificates/rds.pem

# Everything has a wheel, a version and a hash: no compiler here, and nothing that requirements.txt does not name.
COPY requirements.txt ./
RUN python -m venv --without-pip /opt/amalga && \
    python -m pip --python /opt/amalga/bin/python install --quiet --only-binary :all: --require-hashes --no-deps \
        -r requirements.txt

COPY manage.py ./
COPY amalga amalga
COPY uploads uploads
COPY templates templates
COPY locale locale
# For an nginx beside the web server, which has an image of its own.
COPY deploy/nginx deploy/nginx
# The settings refuse to be without these; nothing is asked at these addresses, and nothing of them stays.
RUN SECRET_KEY=build ALLOWED_HOSTS=build DATABASE_URL=postgres://build@localhost/build AWS_STORAGE_BUCKET_NAME=build \
    /opt/amalga/bin/python manage.py collectstatic --no-input --verbosity 0 && \
    /opt/amalga/bin/python -m compileall -q amalga uploads

FROM ${PYTHON_IMAGE}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Amalga" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${REVISION}"
# HOME: libraries look there for a configuration of their own. SSL_CERT_FILE: psycopg's libpq looks nowhere by itself.
ENV PATH=/opt/amalga/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
WORKDIR /app

# LibreOffice and ffmpeg, for previews of Office documents and videos: --build-arg CONVERTERS=yes. The version is that
# of the base image's Debian on the day of the build, with its security updates.
ARG CONVERTERS=no
# hadolint ignore=DL3008
RUN case "${CONVERTERS}" in \
    yes) \
        apt-get update && \
        apt-get install --yes --no-install-recommends \
            libreoffice-writer-nogui libreoffice-calc-nogui libreoffice-impress-nogui ffmpeg && \
        rm -rf /var/lib/apt/lists/* ;; \
    no) ;; \
    *) echo "CONVERTERS must be yes or no, not ${CONVERTERS}" >&2; exit 1 ;; \
    esac

COPY --from=build /opt/amalga /opt/amalga
COPY --from=build /app /app

# Nobody in the image owns a file of it, and only /tmp is written to.
USER 10001:10001
VOLUME ["/tmp"]
EXPOSE 8000
# The worker and the commands have no port: switch it off where they run.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["python", "deploy/image/healthy.py"]
CMD ["python", "-m", "gunicorn", "-c", "amalga/gunicorn_conf.py", "amalga.wsgi"]
