# A Hugging Face Docker Space, and any other machine: uid 1000, port 7860, nothing written outside the home directory.
FROM python:3.11-slim
# cu130 in its place brings torch with CUDA, which is gigabytes that a machine without a GPU cannot use.
ARG TORCH=cpu
RUN useradd --create-home --uid 1000 user
USER 1000
ENV HOME=/home/user \
    PATH=/home/user/.local/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    FUSION_UI_HOST=0.0.0.0 \
    FUSION_UI_LOG_FORMAT=json
WORKDIR /home/user/app
COPY --chown=1000 requirements.txt ./
RUN pip install --no-cache-dir --user --extra-index-url "https://download.pytorch.org/whl/$TORCH" -r requirements.txt
COPY --chown=1000 . ./
# Fetch and assemble the demo while building, so that a visitor never waits for it and it starts without a network.
RUN pip install --no-cache-dir --user --no-deps --editable . && python -m fusion_ui demo
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=3m CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://localhost:{os.environ.get('FUSION_UI_PORT', 7860)}/healthz\", timeout=4)"]
# Told to stop, it needs up to FUSION_UI_STOP_SECONDS (8) and two more.
CMD ["python", "app.py"]
