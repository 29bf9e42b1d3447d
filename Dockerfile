# Trains on a GPU. CUDA's libraries come as wheels with TensorFlow, the driver comes from
# the host. `docker/check.sh` tests all of this without an engine.
#
# Licences: this project is MIT. The image also contains MinAtar (GPL-3.0) and ale-py
# (GPL-2.0); whoever distributes an image has to observe both.
FROM python:3.11-slim-bookworm

# Further extras, and the Debian packages that they need. For dmc: EXTRAS=",dmc" and
# LIBRARIES="libegl1 libgl1 libgl1-mesa-dri libopengl0", with MUJOCO_GL=egl.
ARG EXTRAS=""
ARG LIBRARIES=""

# XLA's cache is in the volume, so that the next container finds it.
ENV MPLCONFIGDIR=/tmp/matplotlib \
    NVIDIA_DRIVER_CAPABILITIES=compute,graphics,utility \
    NVIDIA_VISIBLE_DEVICES=all \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 \
    TF_CPP_MIN_LOG_LEVEL=3 \
    XDG_CACHE_HOME=/logdir/.cache

RUN if [ -n "$LIBRARIES" ]; then \
      apt-get update && \
      apt-get install --yes --no-install-recommends $LIBRARIES && \
      rm -rf /var/lib/apt/lists/*; \
    fi

RUN useradd --create-home --uid 1000 dreamer && \
    install --directory --owner 1000 /logdir

WORKDIR /app

# The dependencies are a layer that only setup.cfg changes: the other files that the
# package's build reads are still empty.
COPY pyproject.toml setup.cfg ./
COPY dreamerv2_transfer/__init__.py dreamerv2_transfer/
RUN touch configs.yaml LICENSE README.md && \
    pip install ".[gpu${EXTRAS}]"

COPY . .
RUN pip install --no-deps --force-reinstall . && \
    rm -rf build ./*.egg-info && \
    ln -s /logdir logdir

USER 1000
VOLUME /logdir

# Quick, because TensorFlow would take GPU memory from the training.
HEALTHCHECK --interval=5m --timeout=1m --start-period=2m \
  CMD ["python", "-m", "dreamerv2_transfer.doctor", "--quick", "True"]

ENTRYPOINT ["python", "/app/launch/train.py"]
CMD ["--help"]
