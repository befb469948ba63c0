# A Hugging Face Docker Space, and any other machine: uid 1000, port 7860, nothing written outside the home directory.
FROM python:3.11-slim
RUN useradd --create-home --uid 1000 user
USER user
ENV HOME=/home/user PATH=/home/user/.local/bin:$PATH PYTHONUNBUFFERED=1 FUSION_UI_HOST=0.0.0.0
WORKDIR /home/user/app
COPY --chown=user requirements.txt .
# The CPU build of torch: the default one brings gigabytes of GPU libraries that a CPU Space cannot use.
RUN pip install --no-cache-dir --user --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.txt
COPY --chown=user . .
# Fetch and assemble the demo while building, so that a visitor never waits for it.
RUN python -m fusion_ui demo
EXPOSE 7860
CMD ["python", "app.py"]
