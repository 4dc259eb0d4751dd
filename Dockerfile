# Two images for compose.yaml: `label-studio` is Label Studio with the plugin, `robopref` is everything else.
# What changes seldom comes first: after a change of the code only the last layers are made again.
FROM python:3.11-slim-trixie AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# The first user of most Linux machines has this number too, and can then read and write ./project from both sides.
RUN useradd --uid 1000 --create-home robopref
WORKDIR /opt/robopref


# A change of pyproject.toml installs again only what it changes of these lists.
FROM base AS wanted
COPY pyproject.toml deploy/requirements.py ./
RUN for image in label-studio torch robopref; do python requirements.py $image > $image.txt; done


FROM base AS label-studio
COPY constraints.txt ./
COPY --from=wanted /opt/robopref/label-studio.txt ./
RUN pip install --constraint constraints.txt --requirement label-studio.txt
# A new volume gets the owner of the folder in its place.
RUN install --directory --owner robopref --group robopref /data /data/label-studio /data/work /data/work/clips
COPY preference preference
COPY labeling_config labeling_config
ENV PYTHONPATH=/opt/robopref HOME=/tmp
RUN python -m compileall -q preference labeling_config
USER robopref
WORKDIR /data/label-studio
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=10s --start-period=5m CMD ["python", "-m", "labeling_config.server", "check"]
CMD ["python", "-m", "labeling_config.server", "serve"]


FROM base AS robopref
# `robopref backup` and `restore` run pg_dump and pg_restore; of the same version as compose.yaml's server.
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql-client-17 \
 && rm -rf /var/lib/apt/lists/*
# An index of CPU builds keeps CUDA (5 GB) out: PyTorch's installation page names it. Without one, a build that calls
# itself +cpu is taken where pip finds it, and else pip's default, which on Linux brings CUDA.
ARG TORCH_INDEX=""
ARG TORCH=""
COPY --from=wanted /opt/robopref/torch.txt ./
RUN if [ -n "$TORCH_INDEX" ]; then pip install --index-url "$TORCH_INDEX" ${TORCH:---requirement torch.txt}; \
    else pip install ${TORCH:---requirement torch.txt}; fi
COPY constraints.txt ./
COPY --from=wanted /opt/robopref/robopref.txt ./
RUN pip install --constraint constraints.txt --requirement robopref.txt
RUN install --directory --owner robopref --group robopref /data /data/work /data/work/clips /data/label-studio \
    /data/cache /backups /project
COPY pyproject.toml README.md LICENSE ./
COPY preference preference
COPY labeling_config labeling_config
COPY importer importer
COPY qc_reports qc_reports
COPY ml_backend ml_backend
COPY release release
COPY robopref robopref
RUN pip install --no-deps --no-build-isolation . && python -m compileall -q /usr/local/lib/python3.11/site-packages/robopref
ENV HOME=/tmp HF_HOME=/data/cache/huggingface TORCH_HOME=/data/cache/torch MPLCONFIGDIR=/tmp/matplotlib
USER robopref
WORKDIR /project
EXPOSE 9090
CMD ["robopref", "--help"]
