"""A page as on a ZeroGPU Space, in this process: with the platform's own package, and a thread that plays its service.

    python -m tests.zero_gpu_space FOLDER      writes what happened to FOLDER/found.json

There is no GPU: what is lent is the CPU, so the steps of the package that need CUDA are left out in the child.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import psutil

ROOT = Path(__file__).resolve().parent.parent


class Headers(dict[str, str]):
    """Of a web request, as the package wants to find them."""


class Service(BaseHTTPRequestHandler):
    """What lends GPUs; while `is_idle`, to the child that had the last one."""

    calls: list[tuple[str, dict[str, str]]] = []
    has_gpu = is_idle = True
    notes: Path | None = None
    """To which every call is added, too."""

    def do_POST(self) -> None:
        url = urlparse(self.path)
        Service.calls.append((url.path, {name: values[0] for name, values in parse_qs(url.query).items()}))
        if Service.notes:
            with Service.notes.open("a") as notes:
                notes.write(json.dumps(Service.calls[-1]) + "\n")
        lent = {"idle": Service.is_idle, "nvidiaIndex": 0, "nvidiaUUID": "none", "allowToken": "mine"}
        body = json.dumps(lent if url.path == "/schedule" else {}).encode()
        self.send_response(503 if url.path == "/schedule" and not Service.has_gpu else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def asked(path: str) -> list[dict[str, str]]:
    """The arguments of every call so far."""
    return [arguments for called, arguments in Service.calls if called == path]


def begin_space(folder: Path) -> None:
    """The environment of such a Space, and its service."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (folder / "cgroup").write_text("0::/space\n")
    os.environ |= {
        "SPACES_ZERO_GPU": "true",
        "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{server.server_port}",
        "ZEROGPU_PROC_SELF_CGROUP_PATH": str(folder / "cgroup"),
        "HOME": str(folder),
    }


def stand_in_for_cuda() -> Callable[[], None]:
    """What the package expects of a torch built with CUDA, none of which may be called by the server."""
    import torch

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("CUDA was touched in the server")

    torch.version.cuda = torch.version.cuda or "13.0"
    torch.cuda._is_in_bad_fork = bool  # pyright: ignore
    torch._C._cuda_init = refuse  # pyright: ignore
    torch.cuda._lazy_init = torch.cuda.init = refuse

    def leave_out() -> None:
        import spaces.zero.torch

        spaces.zero.torch.init = spaces.zero.torch.move = lambda *_, **__: None

    return leave_out


def keep_busy() -> None:
    """What a server does while it is forked: OpenMP, gradients and BLAS in threads, and a model is being loaded."""
    import torch

    from fusion_ui.checkpoints import loading
    from fusion_ui.statistics.symmetric_products import add_products

    def work() -> None:
        torch.set_num_threads(2)
        weights = torch.randn(300, 300, requires_grad=True)
        while True:
            (weights @ weights).relu().sum().backward()
            add_products(torch.zeros(300, 300), weights.detach(), True)
            time.sleep(0.02)

    def load() -> None:
        while True:
            with loading._LOADING:
                time.sleep(0.3)
            time.sleep(0.01)

    for target in (work, work, load):
        threading.Thread(target=target, daemon=True).start()


def main(folder: Path) -> None:
    from tiny_project import write_project

    projects = {name: write_project(folder / name, 2) for name in ("demo", "mine", "broken")}
    begin_space(folder)
    leave_out = stand_in_for_cuda()
    runpy.run_path(str(ROOT / "app.py"), run_name="app")
    found: dict[str, Any] = {"spaces_first": "spaces" in sys.modules and "fusion_ui.ui" not in sys.modules}
    leave_out()

    import gradio as gr
    import torch
    from gradio.context import LocalContext

    from fusion_ui import devices
    from fusion_ui.errors import StatisticError
    from fusion_ui.evaluation import loaded
    from fusion_ui.settings import Settings
    from fusion_ui.statistics import measure
    from fusion_ui.ui import serving, zero_gpu
    from fusion_ui.ui.handlers import Handlers
    from fusion_ui.ui.layers import Examining
    from fusion_ui.ui.request import default_request
    from fusion_ui.ui.searching import Searching
    from fusion_ui.workspace import Workspace

    server = os.getpid()
    found["torch_says"] = torch.cuda.is_available()
    found["device"] = devices.find_device().type
    found["keys"] = devices.find_precisions()
    devices.LENT = torch.device("cpu")
    zero_gpu.import_models(projects["demo"])
    found["touched"] = torch.cuda.is_initialized()
    computed = found.setdefault("computed_in_server", [])

    def tell(what: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def do(*arguments: Any, **named: Any) -> Any:
            if os.getpid() == server:
                computed.append(what)
            return plain(*arguments, **named)

        return do

    loaded.load_model = measure.load_model = tell("a model", loaded.load_model)
    Workspace.merge = tell("a merge", Workspace.merge)
    Workspace.prepare_in_background = tell("a preparation", Workspace.prepare_in_background)

    settings = Settings(cache_dir=folder / "cache", host="0.0.0.0", num_threads=2)
    handlers = Handlers(Workspace(settings), projects["demo"])
    found["page"] = bool(serving.build_app(handlers.workspace, projects["demo"], handlers))
    keep_busy()

    def run(name: str, act: Callable[[], None] | None = None) -> None:
        """Evaluate the session's state; `act` is called when the child first says something of its own."""
        began, seen, error = time.monotonic(), [], ""
        try:
            for *_, status in handlers.run("me"):
                if isinstance(status, dict) and (text := text_of(status)) not in seen:
                    seen.append(text)
                    if act and text.startswith("at it"):
                        act()
        except Exception as problem:
            error = f"{type(problem).__name__}: {problem}"
        found[name] = {
            "statuses": seen,
            "error": error,
            "seconds": time.monotonic() - began,
            "lent": len(asked("/schedule")),
            "given_back": len(asked("/release")),
            "computed_in_server": list(computed),
        }

    session = handlers.sessions.get("me")
    run("first")
    found["values"] = {n: [score.value for score in row.scores] for n, row in session.shown.items()}
    found["duration"] = asked("/schedule")[0]["durationSeconds"]
    session.drawn_version = -1
    run("again")
    handlers = Handlers(Workspace(settings), projects["demo"])  # the server begun again
    session = handlers.sessions.get("me")
    run("restarted")
    found["draws_known"] = "version" in (handlers.draw_known("me") or {})

    LocalContext.request.set(gr.Request(headers=Headers({"x-ip-token": "me"})))  # pyright: ignore
    computed.clear()
    lines = [text_of(status) for status, *_ in Searching(handlers).find_best("me") if status]
    found["search"] = {"lines": lines, "lent": len(asked("/schedule")), "computed_in_server": list(computed)}
    found["search"] |= asked("/schedule")[-1]
    run("found")
    list(handlers.fill_curve("me"))
    found["curve"] = len(session.curve)
    list(Examining(handlers).examine("me", "task_arithmetic", "moved", "cosine"))
    found["method"] = {"lent": len(asked("/schedule")), "children": len(asked("/allow"))} | asked("/schedule")[-1]
    try:
        handlers.workspace.measure(handlers.workspace.plan(session.request.recipe(projects["demo"], "fisher")))
    except StatisticError as error:
        found["gradients"] = str(error)
    computed.clear()

    session.show(projects["mine"], replace(default_request(projects["mine"]), methods=("fisher", "regmean")))
    run("mine")
    session.show(projects["broken"], default_request(projects["broken"]))
    Path(projects["broken"].domains[0].calibrate).unlink()
    run("broken")

    def go_wrong(*_: Any) -> None:
        raise ValueError("something odd")

    def hang(project: Any, request: Any, settings: Any, progress: Any) -> None:
        for step in range(600):
            progress.report(step / 600, f"at it {step}")
            time.sleep(0.1)

    def die(*arguments: Any) -> None:
        os._exit(1)

    Service.is_idle = False  # the children to come are forked from what stands here then
    for name, work, act in (("odd", go_wrong, None), ("stopped", hang, session.stop), ("died", die, None)):
        zero_gpu.rehearse = work
        session.post(replace(session.request, num_examples=session.request.num_examples - 1))
        run(name, act)
    Service.has_gpu = False
    session.post(replace(session.request, num_examples=session.request.num_examples - 1))
    run("refused")
    for child in psutil.Process().children(recursive=True):
        child.kill()
    (folder / "found.json").write_text(json.dumps(found, indent=1, default=str))
    os._exit(0)


def text_of(status: dict[str, Any]) -> str:
    return str(status.get("message", status))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))
    main(Path(sys.argv[1]).resolve())
