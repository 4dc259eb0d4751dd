# One image for every service of compose.yaml: Label Studio with the plugin, the ML backend, the worker, the stages.
FROM python:3.11-slim-trixie

# `robopref backup` and `restore` run pg_dump and pg_restore; of the same version as compose.yaml's server.
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql-client-17 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home robopref
WORKDIR /opt/robopref

COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY preference preference
COPY labeling_config labeling_config
COPY importer importer
COPY qc_reports qc_reports
COPY ml_backend ml_backend
COPY robopref robopref
RUN pip install --no-cache-dir --constraint constraints.txt ".[ml,studio,weights]" \
 && install --directory --owner robopref /data /data/work /data/label-studio /project

USER robopref
WORKDIR /project
VOLUME ["/data/work", "/data/label-studio", "/project"]
ENTRYPOINT []
CMD ["robopref", "--help"]
