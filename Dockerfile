# CPU image: converts, trains, evaluates, predicts, exports and serves.
#
#   docker build -t mindspore-ssd .
#   docker run --rm -v "$PWD/data:/data" -v "$PWD/runs:/runs" mindspore-ssd \
#       train.py +experiment=demo data=/data/shapes output=/runs/demo
#   docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/runs:/runs:ro" mindspore-ssd \
#       predict.py checkpoint=/runs/demo/checkpoints/best.ckpt serve=true host=0.0.0.0
#
# Any command of the project can stand where train.py does; without one the image lists them.

FROM python:3.11-slim-bookworm AS packages
# The packages go into an environment of their own, so that the second stage carries no pip cache.
RUN python -m venv /opt/venv
COPY requirements.lock /tmp/requirements.lock
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check -r /tmp/requirements.lock

FROM python:3.11-slim-bookworm
# MindSpore's compute library needs OpenMP's runtime, which the slim image lacks.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends "libgomp1=12.*" \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 ssd \
    && mkdir --parents /data /runs \
    && chown ssd:ssd /data /runs
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY LICENSE README.md convert.py train.py eval.py predict.py export.py mindspore_hub_conf.py \
    run_distribute_train.sh setup.cfg pyproject.toml ./
COPY conf conf
COPY data_tools data_tools
COPY training training
COPY benchmarks benchmarks
# msrun starts the `python` that stands first on the path. AVX2 keeps oneDNN off its slow kernels on
# AVX-512 machines. Matplotlib wants a folder it may write to.
ENV PATH=/opt/venv/bin:$PATH \
    ONEDNN_MAX_CPU_ISA=AVX2 \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Data sets and runs are mounted; neither belongs in the image.
VOLUME ["/data", "/runs"]
# The page of predict.py serve=true.
EXPOSE 8000
USER 10001
ENTRYPOINT ["python"]
CMD ["-c", "print('commands: convert.py train.py eval.py predict.py export.py; each takes --help')"]
