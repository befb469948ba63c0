"""Set-up of every test: types and shapes are checked while the code runs, and hypothesis repeats itself exactly.

The import hook must stand before the first import of `fusion_ui`; it wraps only what is imported after it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import jaxtyping

# Where files run side by side, each has a core to itself: threads of two processes would wait for each other.
if os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["OMP_NUM_THREADS"] = "1"

TESTS = Path(__file__).resolve().parent
sys.path.insert(0, str(TESTS))  # the oracles and tiny models beside the tests, under any import mode

jaxtyping.install_import_hook("fusion_ui", "type_checks.check_types")

import pytest  # noqa: E402
from hypothesis import settings as hypothesis_settings  # noqa: E402

# No deadline: this machine may be busy. Derandomised: a failure here is a failure everywhere, today and tomorrow.
hypothesis_settings.register_profile("fusion-ui", deadline=None, derandomize=True, max_examples=30)
hypothesis_settings.load_profile("fusion-ui")


@pytest.fixture(autouse=True)
def forget_settings():
    """Settings are read once a process: a test that changes the environment leaves none of them to the next one."""
    from fusion_ui.settings import read_settings

    read_settings.cache_clear()
    yield
    read_settings.cache_clear()


@pytest.fixture
def settings(tmp_path: Path):
    """Settings whose cache is this test's own; the environment's FUSION_UI_CACHE_DIR stays untouched."""
    from fusion_ui.settings import Settings

    return Settings(cache_dir=tmp_path / "cache")


@pytest.fixture(scope="session")
def workspace():
    """A workspace over this machine's own cache, where the demo is prepared once."""
    from fusion_ui.settings import read_settings
    from fusion_ui.workspace import Workspace

    return Workspace(read_settings())


@pytest.fixture(scope="session")
def demo(workspace):
    """The demo project, fetched and assembled if this is the first time."""
    return workspace.prepare_demo()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine, whose client has the owner's token in its environment."""
    from hub_server import HubServer

    monkeypatch.setenv("HF_TOKEN", "hf_ofTheOwner")
    with HubServer() as server:
        server.redirect(monkeypatch, tmp_path / "hub")
        yield server
        assert "hf_ofTheOwner" not in server.tokens, "the owner's token was sent"
