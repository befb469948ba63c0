"""A model hub on this machine, with a record of every request.

with HubServer() as hub:
    commit = hub.add_model("owner/model", {"config.json": b"{}"}, gated_token="hf_may_read")
    hub.redirect(monkeypatch, tmp_path / "hub")
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hub_protocol import Hold, Repository, Request, make_handler


class HubServer:
    """The server, running while the `with` block does. `requests` is everything that was asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.status: int | None = None
        """An HTTP status with which every request is answered, as when the hub is down."""
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.writers: dict[str | None, str] = {}
        """Token -> the owner for whom it may write."""
        self.uploads: dict[str, bytes] = {}
        self.connections: set[socket.socket] = set()
        self.cuts: dict[str, tuple[int, bool]] = {}
        self.holds: dict[str, Hold] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(self))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering: the network is gone. May be called twice."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self.connections):  # also those that wait for another request
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def redirect(self, monkeypatch: Any, cache: Path) -> None:
        """Make the client of this process ask this server and keep what it gets in `cache`, until the test ends.

        The client reads its environment when it is imported; another process is redirected by `environment`.
        """
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "ENDPOINT", self.endpoint)
        template = self.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))

    def environment(self, home: Path) -> dict[str, str]:
        """Environment variables that redirect another process."""
        return {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_CACHE": str(home / "hub")}

    def add_model(
        self,
        repo: str,
        files: Mapping[str, bytes],
        gated_token: str | None = None,
        *,
        private_token: str | None = None,
        revision: str = "main",
        downloads: int = 0,
        likes: int = 0,
        task: str | None = None,
    ) -> str:
        """Add a model, or a commit to one that is there, and return the commit that `revision` now is.

        Args:
            gated_token: everybody sees the model, and only this token gets its files.
            private_token: only this token sees the model.
        """
        fields = {"downloads": downloads, "likes": likes, "pipeline_tag": task}
        return self._add("models", repo, files, gated_token, private_token, revision, fields)

    def add_dataset(
        self,
        repo: str,
        files: Mapping[str, bytes],
        gated_token: str | None = None,
        *,
        private_token: str | None = None,
        revision: str = "main",
    ) -> str:
        """Add a dataset, as `add_model` does a model."""
        return self._add("datasets", repo, files, gated_token, private_token, revision, {})

    def add_pull_request(self, repo: str, number: int, files: Mapping[str, bytes], author: str) -> str:
        """Offer other files for a model, and return the commit that the request holds."""
        commit = self.add_model(repo, files, revision=f"refs/pr/{number}")
        requests = self.repositories["models", repo].requests
        requests[number] = ("Adding `safetensors` variant of this model", author)
        return commit

    def cut_next(self, path: str, after_bytes: int, reset: bool = False) -> None:
        """Break off the next answer with the file `path` of any repository after so many bytes of its body.

        Args:
            reset: with a reset, as a router does, and not with an orderly end.
        """
        self.cuts[path] = (after_bytes, reset)

    def hold_next(self, path: str) -> Hold:
        """Stop in the middle of the next answer with the whole file `path` of any repository."""
        self.holds[path] = Hold()
        return self.holds[path]

    def asked(self, ending: str = "", method: str | None = None) -> list[Request]:
        """The requests whose paths end so."""
        return [r for r in self.requests if r.path.endswith(ending) and method in (None, r.method)]

    @property
    def tokens(self) -> set[str | None]:
        """Every token that came, None for a request without one."""
        return {request.token for request in self.requests}

    @property
    def num_bytes(self) -> int:
        """Bytes of all bodies sent."""
        return sum(request.num_bytes for request in self.requests)

    def _add(
        self,
        kind: str,
        name: str,
        files: Mapping[str, bytes],
        gated: str | None,
        private: str | None,
        revision: str,
        fields: dict[str, Any],
    ) -> str:
        repository = self.repositories.setdefault((kind, name), Repository(kind, name))
        repository.gated_token, repository.private_token = gated, private
        repository.fields |= fields
        seed = json.dumps([kind, name, {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}])
        commit = hashlib.sha1(seed.encode()).hexdigest()
        repository.commits[commit], repository.refs[revision] = dict(files), commit
        return commit
