"""The container without a container engine: its file linted, its steps carried out one by one in a clean directory."""

from __future__ import annotations

import fnmatch
import io
import json
import os
import re
import shutil
import signal
import socket
import string
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dockerfile_parse import DockerfileParser
from dotenv import dotenv_values
from huggingface_hub import SpaceCard

from fusion_ui.settings import Settings, read_settings

ROOT = Path(__file__).parent.parent
DOCKERFILE = ROOT / "Dockerfile"
# Carried out before anything else in every process of the container: what leaves the machine is noted and refused.
NO_NETWORK = """
import sys
def refuse(event, arguments):
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            with open({log!r}, "a") as log:
                print(address[0], file=log)
            raise OSError("there is no network")
    if event == "socket.getaddrinfo" and arguments[0] not in (None, "127.0.0.1", "::1", "localhost", "0.0.0.0"):
        with open({log!r}, "a") as log:
            print(arguments[0], file=log)
        raise OSError("there is no network")
sys.addaudithook(refuse)
"""


def steps() -> list[tuple[str, str]]:
    parser = DockerfileParser(fileobj=io.BytesIO(DOCKERFILE.read_bytes()))
    return [(step["instruction"], step["value"]) for step in parser.structure if step["instruction"] != "COMMENT"]


def values_of(instruction: str) -> list[str]:
    return [value for name, value in steps() if name == instruction]


def test_the_dockerfile_has_no_lint():
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, "--format", "json", DOCKERFILE], capture_output=True, text=True)
    assert json.loads(found.stdout) == [], found.stdout


def test_what_a_space_needs_stands_in_the_file():
    assert values_of("FROM") == ["python:3.11-slim"]
    assert values_of("USER") == ["1000"] and "--uid 1000" in values_of("RUN")[0]
    assert values_of("EXPOSE") == ["7860"] == [str(Settings.model_fields["port"].default)]
    assert values_of("ARG") == ["TORCH=cpu"] and "/$TORCH" in values_of("RUN")[1]
    assert all("--chown=1000" in value for value in values_of("COPY"))
    assert values_of("CMD")[0].startswith("["), "the shell form would not pass SIGTERM on"


def test_the_front_matter_asks_for_no_more_than_a_push_needs():
    card = SpaceCard((ROOT / "README.md").read_text(encoding="utf-8")).data
    assert (card.sdk, card.app_port, card.hf_oauth) == ("docker", 7860, True)
    assert card.hf_oauth_scopes == ["contribute-repos"]
    assert len(card.short_description) <= 60


def test_no_secret_is_copied_into_the_image():
    kept = set(copied_files())
    assert Path("app.py") in kept and Path("assets/demo/manifest.json") in kept
    assert not [file for file in kept if file.name.startswith(".env") or file.parts[0] in (".git", "tests")]


def test_the_example_configuration_leaves_a_container_open_to_its_host():
    given = {name for line in values_of("ENV") for name in re.findall(r"(FUSION_UI_[A-Z_]+)=", line)}
    assert "FUSION_UI_HOST" in given and not given & set(dotenv_values(ROOT / ".env.example"))


def test_the_example_configuration_names_every_setting_with_its_default_and_no_secret(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in os.environ if name.startswith("FUSION_UI_")]:
        monkeypatch.delenv(name)
    example = ROOT / ".env.example"
    named = re.findall(r"^#? ?FUSION_UI_([A-Z_]+)=", example.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name.lower() for name in named] == list(Settings.model_fields)
    secret = [f"FUSION_UI_{name}".upper() for name, f in Settings.model_fields.items() if "Secret" in str(f.annotation)]
    assert secret and not set(secret) & set(dotenv_values(example))
    plain = Settings()
    for name, value in dotenv_values(example).items():
        monkeypatch.setenv(name, str(value))
    assert Settings() == plain, "a value is not the default"


# the steps -----------------------------------------------------------------------------------------------------------


def copied_files() -> Iterator[Path]:
    """What ``COPY . .`` takes of this checkout: tracked and new files, but for those of .dockerignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    ignored = (ROOT / ".dockerignore").read_text().split()
    for name in listed.splitlines():
        parts = [name, *map(str, Path(name).parents)]
        is_ignored = any(fnmatch.fnmatch(part, each.removeprefix("**/")) for part in parts for each in ignored)
        if (ROOT / name).is_file() and not is_ignored:
            yield Path(name)


class Container:
    """A directory in which the file's steps are carried out, with the home directory's place inside it.

    The steps of pip are not: they would fetch what this environment holds already. It is checked that it does.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.here = root, root
        self.home, self.log = root / "home/user", root / "network.log"
        site, programs = root / "site", root / "bin"
        for folder in (site, programs):
            folder.mkdir(parents=True)
        self.site = site
        # A link would leave the virtual environment behind.
        (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (programs / "python").chmod(0o755)
        self.environment = {"PATH": f"{programs}:/usr/bin:/bin", "PYTHONPATH": str(site)}

    def unplug(self) -> None:
        (self.site / "sitecustomize.py").write_text(NO_NETWORK.format(log=str(self.log)))

    def place(self, path: str) -> Path:
        return self.root / path.lstrip("/") if path.startswith("/") else self.here / path

    def fill(self, text: str) -> str:
        return string.Template(text).safe_substitute(self.environment)

    def carry_out(self, instruction: str, value: str) -> None:
        if instruction in ("ARG", "ENV"):
            for name, given in re.findall(r"(\w+)=(\S+)", value):
                given = given.replace("/home/user", str(self.home))
                self.environment[name] = self.fill(given)
        elif instruction == "WORKDIR":
            self.here = self.place(value)
            self.here.mkdir(parents=True)
        elif instruction == "COPY":
            source, target = value.split()[-2:]
            for file in copied_files() if source == "." else [Path(source)]:
                kept = self.place(target) / file
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / file, kept)
        elif instruction == "RUN":
            for command in value.split(" && "):
                self.run(command)

    def run(self, command: str) -> None:
        if command.startswith("useradd"):
            self.home.mkdir(parents=True)
        elif command.startswith("pip install") and "-r " in command:
            kept = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "-r", "requirements.txt"]
            found = subprocess.run(kept, cwd=self.here, capture_output=True, text=True)
            assert found.returncode == 0 and "Would install" not in found.stdout, found.stderr
        elif command.startswith("pip install"):
            assert (self.here / "pyproject.toml").is_file()
        else:
            found = subprocess.run(
                command, shell=True, cwd=self.here, env=self.environment, capture_output=True, text=True, timeout=500
            )
            assert found.returncode == 0, found.stderr

    def start(self, command: str, log: str, **changes: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            json.loads(command), cwd=self.here, env=self.environment | changes,
            stdout=subprocess.DEVNULL, stderr=(self.root / log).open("a"), text=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def container(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> Container:
    """The image, built. What the demo is fetched from was fetched before: the downloads are laid where it looks."""
    made = Container(tmp_path_factory.mktemp("container"))
    for instruction, value in steps():
        if instruction == "RUN" and "fusion_ui demo" in value:
            cache = made.home / ".cache/fusion-ui"
            cache.mkdir(parents=True)
            shutil.copytree(read_settings().cache_dir / "downloads", cache / "downloads")
        made.carry_out(instruction, value)
    return made


def test_the_built_image_starts_without_a_network_is_healthy_and_stops_in_order(container: Container):
    container.unplug()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = {"FUSION_UI_PORT": str(probe.getsockname()[1])}
    (command,), (check,) = values_of("CMD"), values_of("HEALTHCHECK")
    server = container.start(command, "stderr", **port)
    try:
        check = check[check.index("CMD") + 3 :]
        end = time.monotonic() + 300
        while container.start(check, "checks", **port).wait(120):
            assert server.poll() is None and time.monotonic() < end, (container.root / "stderr").read_text()
            time.sleep(1)
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    finally:
        server.kill()
    assert container.start(check, "checks", **port).wait(120) != 0, "nothing answers any more"
    assert not container.log.exists(), f"it asked for {container.log.read_text()}"
    outside = {path.name for path in container.root.iterdir()} - {"home", "site", "bin", "stderr", "checks"}
    assert outside == set(), "something was written outside the home directory"
