"""Environment, paths and limits: read once, then frozen.

Every field can be set by an environment variable with the prefix ``FUSION_UI_`` (``FUSION_UI_PORT=8000``).
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from fusion_ui.errors import SettingsError

ASSETS = Path(__file__).resolve().parent.parent / "assets"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def find_cache() -> Path:
    """This account's cache.

    Raises:
        SettingsError: the account has no home directory.
    """
    try:
        return Path(platformdirs.user_cache_dir("fusion-ui"))
    except RuntimeError:
        raise SettingsError(
            "This account has no home directory to keep a cache in. Name a directory with FUSION_UI_CACHE_DIR."
        ) from None


class Settings(BaseSettings):
    """What the environment says. Frozen: a run never changes its own settings."""

    model_config = SettingsConfigDict(env_prefix="FUSION_UI_", frozen=True, extra="ignore")

    cache_dir: Path = Field(default_factory=find_cache)
    host: str = "127.0.0.1"
    port: int = Field(default=7860, ge=1, le=65535)
    num_threads: int | None = Field(default=None, ge=1, le=256, description="torch threads; None: torch decides")
    github_url: str = Field(default="https://github.com", description="where raw files of repositories are fetched")
    connect_timeout: float = Field(default=10.0, gt=0, description="seconds to wait for a server to answer")
    max_tokens_per_batch: int = Field(
        default=768, ge=64, description="padded tokens of one forward pass, the step that nothing interrupts"
    )
    max_tokens_per_text: int = Field(default=128, ge=8, le=8192, description="longer texts are truncated")
    max_statistics_bytes: int = Field(default=4 << 30, ge=1 << 30, description="statistics kept on disk")
    max_results_bytes: int = Field(default=256 << 20, ge=1 << 20, description="logits kept on disk")
    max_history_bytes: int = Field(default=128 << 20, ge=1 << 20, description="histories kept on disk")
    max_downloads_bytes: int = Field(
        default=64 << 30, ge=1 << 30, description="public models of the hub kept for strangers, latest used"
    )
    max_model_bytes: int = Field(default=16 << 30, ge=1 << 20, description="weights of one model, fetched or uploaded")
    max_session_bytes: int = Field(default=32 << 30, ge=1 << 20, description="files that one visitor may bring")
    max_export_bytes: int = Field(default=8 << 30, ge=1 << 20, description="weights of a merge that the page hands out")
    max_request_bytes: int = Field(default=4 << 20, ge=1 << 16, description="one request, uploads apart")
    min_free_bytes: int = Field(default=1 << 30, ge=0, description="left free on the disk by uploads")
    max_sessions: int = Field(default=200, ge=1, description="pages open at once, of everybody")
    max_tabs_per_visitor: int = Field(default=12, ge=1, description="pages open at once in one browser")
    max_jobs: int = Field(default=4, ge=1, description="evaluations that go on at once; others wait in line")
    max_long_jobs: int = Field(default=2, ge=1, description="exports, searches and the like that go on at once")
    max_jobs_per_visitor: int = Field(default=4, ge=1, description="of each, going on or waiting, of one browser")
    max_waiting: int = Field(default=64, ge=1, description="jobs that may wait in line")
    max_job_seconds: float = Field(default=3600.0, gt=0, description="after which a job that a button started ends")
    max_worker_bytes: int = Field(
        default=8 << 30, ge=1 << 29, description="memory of a process that computes with what a stranger brought"
    )
    max_loaded_bytes_per_visitor: int = Field(
        default=8 << 30, ge=1 << 20, description="weights of models that the server computes with for one stranger"
    )
    max_loaded_bytes: int = Field(default=16 << 30, ge=1 << 20, description="the same, for all strangers at once")
    max_cached_merges: int = Field(default=2, ge=1, description="merged models kept in memory")
    root_path: str = Field(default="", description="where a proxy in front serves the page, such as /fusion")
    demo_only: bool = Field(default=False, description="serve the built-in project alone, nothing else")
    log_format: Literal["text", "json"] = Field(default="text", description="one line an event, for people or programs")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_details: bool | None = Field(
        default=None, description="tracebacks with their messages; None: where the page is for one person alone"
    )
    metrics_token: SecretStr | None = Field(
        default=None,
        description="who sends it reads /metrics; None: open where the page is for one person",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where models compute")
    stop_seconds: float = Field(default=8.0, gt=0, description="for what runs to end by itself after SIGTERM")

    @property
    def downloads_dir(self) -> Path:
        """Verified files exactly as they came from their source."""
        return self.cache_dir / "downloads"

    @property
    def statistics_dir(self) -> Path:
        """Gram matrices and Fisher information, keyed by checkpoint, data and settings."""
        return self.cache_dir / "statistics"

    @property
    def sessions_dir(self) -> Path:
        """What visitors brought, a directory each, removed a minute after they leave."""
        return self.cache_dir / "sessions"

    @property
    def history_dir(self) -> Path:
        """What visitors' merges came to, a file each."""
        return self.cache_dir / "history"

    @property
    def datasets_dir(self) -> Path:
        """Sentences of hub data sets."""
        return self.cache_dir / "datasets"

    @property
    def allows_folders(self) -> bool:
        """True where a person may name folders on this machine."""
        return self.is_for_one_person and not self.demo_only

    @property
    def is_for_one_person(self) -> bool:
        """True where the page is for the person at this machine alone: on the loopback, with no proxy in front."""
        return self.host in LOOPBACK and not self.root_path and "SPACE_ID" not in os.environ

    @property
    def offers_login(self) -> bool:
        """True on a Space whose front matter asks for logging in: the platform sets both variables."""
        return "SPACE_ID" in os.environ and "OAUTH_CLIENT_ID" in os.environ

    @property
    def borrows_gpu(self) -> bool:
        """True on a ZeroGPU Space, which lends a GPU to a child process for one computation and has none itself."""
        return is_zero_gpu() and self.device != "cpu"

    @property
    def adapters_dir(self) -> Path:
        """Adapters folded into their base models."""
        return self.cache_dir / "adapters"

    @property
    def results_dir(self) -> Path:
        """Scores, keyed by recipe and evaluation settings."""
        return self.cache_dir / "results"


def is_zero_gpu() -> bool:
    """True on a Space to which the platform lends GPUs."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


@cache
def read_settings() -> Settings:
    """Read the environment once.

    Raises:
        SettingsError: a variable has a value that its field does not accept.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"FUSION_UI_{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        raise SettingsError("An environment variable is wrong. " + "; ".join(lines) + ". Change or unset it.") from None
