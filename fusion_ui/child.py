"""A process of its own for what strangers bring: it may die, grow or hang without harm to the process that serves.

A module that works so is run by `python -m` and ends with ``answer_parent(work)``; its parent calls `run_child` with
that module's name. The parent writes a task and the child writes how far it is and its answer, each a line of JSON:
what comes back is data, never objects, and of a limited length. The child knows nobody's secrets, ends with its parent,
whose pipe the system closes whatever happens, and is ended by the system's clock where it hangs in foreign code.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from fusion_ui import errors
from fusion_ui.errors import FusionError, StorageError, first_line
from fusion_ui.progress import Progress
from fusion_ui.sources.upload import shown

MAX_SENTENCE = 2_000
"""Characters of what a child says."""
_GRACE = 2.0
"""Seconds for a child to end after its last word."""
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "HF_HOME", "HF_HUB_CACHE")
_ONLINE = ("HF_ENDPOINT", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTP_PROXY",
           "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy")  # fmt: skip
_KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, FusionError) and kind is not StorageError
}


@dataclass(frozen=True)
class ChildLimits:
    """What a child may take.

    Attributes:
        seconds: after which it is killed, its imports included.
        memory_bytes: data that it may allocate; importing torch and transformers takes about 0.4 GiB of it.
        answer_bytes: of one line that it says.
        file_bytes: of any file that it writes; None: no limit.
        is_online: it may ask the hub.
        has_one_thread: False lets it compute on every core.
    """

    seconds: float
    memory_bytes: int
    answer_bytes: int = 1 << 20
    file_bytes: int | None = None
    is_online: bool = False
    has_one_thread: bool = True

    @property
    def too_long(self) -> str:
        """What is said of a child that took more time."""
        return f"took more than {self.seconds:g} s"

    @property
    def too_large(self) -> str:
        """What is said of a child that took more memory."""
        return f"took more than {self.memory_bytes >> 20} MiB of memory"


@dataclass(frozen=True)
class Ending:
    """How a child ended.

    Attributes:
        answer: what its work returned; None where it came to no end.
        error: its work's own refusal.
        failure: what befell it, as words that follow on its name, such as "took more than 60 s".
    """

    answer: Any = None
    error: FusionError | None = None
    failure: str | None = None


def run_child(module: str, task: Any, limits: ChildLimits, progress: Progress, message: str) -> Ending:
    """`follow_child`, reporting to `progress`."""
    steps = follow_child(module, task, limits, progress, message)
    try:
        while True:
            progress.report(*next(steps))
    except StopIteration as end:
        return end.value
    finally:
        steps.close()


def follow_child(
    module: str, task: Any, limits: ChildLimits, progress: Progress, message: str
) -> Generator[tuple[float, str], None, Ending]:
    """Have `module` work on a task in a child process; yields how far it is, and returns how it ended.

    Args:
        task: plain JSON values, of which its work is made.
        message: said until the child says something itself.

    Raises:
        StoppedError: `progress` was stopped; the child is killed then, as when it is no longer followed.
    """
    child, began = _Child(module, task, limits), time.monotonic()
    try:
        while child.is_talking:
            progress.check()
            passed = time.monotonic() - began
            if passed > limits.seconds:
                return Ending(failure=limits.too_long)
            yield child.latest or (passed / limits.seconds, message)
            child.wait(0.1)
    finally:
        child.end()
    return child.ending()


class _Child:
    """One child process, seen from its parent."""

    def __init__(self, module: str, task: Any, limits: ChildLimits) -> None:
        self._limits, self.latest, self._said = limits, None, dict[str, Any]()
        # -P keeps the current directory off the import path, where a file named torch.py would be run.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(limits),
            start_new_session=True,  # so that what it may have started ends with it
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        line = json.dumps([asdict(limits), task]).encode() + b"\n"
        # A long task waits until the child has begun to read, which is to be stopped too.
        threading.Thread(target=self._tell, args=(line,), daemon=True).start()

    @property
    def _pipe(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def is_talking(self) -> bool:
        return self._reader.is_alive()

    def wait(self, seconds: float) -> None:
        self._reader.join(seconds)

    def end(self) -> None:
        """Let nothing of it stay: what has said its last word ends by itself, all else is killed."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(0 if self.is_talking else _GRACE)
        with suppress(ProcessLookupError, PermissionError):  # nobody of it is left
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        self.process.wait()
        self._reader.join()
        with suppress(BrokenPipeError):
            self._pipe.close()

    def ending(self) -> Ending:
        if "answer" in self._said:
            return Ending(answer=self._said["answer"])
        if "error" in self._said:
            kind = _KINDS.get(str(self._said.get("kind")), FusionError)
            return Ending(error=kind(_clean(self._said["error"])))
        if "failure" in self._said:
            return Ending(failure=_clean(self._said["failure"]))
        if self.process.returncode == -getattr(signal, "SIGALRM", 0):
            return Ending(failure=self._limits.too_long)
        return Ending(failure=f"died, or {self._limits.too_large}")

    def _tell(self, line: bytes) -> None:
        with suppress(BrokenPipeError, ValueError):  # it has died already, which its code says, or was ended
            self._pipe.write(line)
            self._pipe.flush()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            while line := stdout.readline(self._limits.answer_bytes):
                if not line.endswith(b"\n") and len(line) == self._limits.answer_bytes:
                    most = self._limits.answer_bytes >> 10
                    self._said = {"failure": f"found more than there is room for here ({most} KiB)"}
                    return
                with suppress(ValueError, TypeError, KeyError, RecursionError):  # cut off by its end
                    said = json.loads(line)
                    if "message" in said:
                        self.latest = float(said["fraction"]), _clean(said["message"])
                    else:
                        self._said = {key: said[key] for key in said if key in ("answer", "error", "kind", "failure")}


def environment(limits: ChildLimits) -> dict[str, str]:
    """A child's environment: where Python and this package are, and nobody's secrets."""
    kept = {k: v for k, v in os.environ.items() if k in _KEPT or (limits.is_online and k in _ONLINE)}
    switches = ["HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_HUB_DISABLE_TELEMETRY", "PYTHONDONTWRITEBYTECODE"]
    switches += [] if limits.is_online else ["HF_HUB_OFFLINE"]
    one = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
    package_home = str(Path(__file__).resolve().parents[1])
    return kept | dict.fromkeys(switches, "1") | (one if limits.has_one_thread else {}) | {"PYTHONPATH": package_home}


def answer_parent(work: Callable[[Any, Progress], Any]) -> None:
    """The child's side: limit this process, work on the task that the parent writes, answer, and end.

    Args:
        work: from a task and where to report, both as the parent gave them, to plain JSON values.
    """
    words, task = json.loads(sys.stdin.buffer.readline())
    limits = ChildLimits(**words)
    _limit(limits)
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else is printed is no answer
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def say(**said: Any) -> None:
        answer.write(json.dumps(said).encode() + b"\n")
        answer.flush()

    try:
        say(answer=work(task, Progress(lambda fraction, message: say(fraction=fraction, message=message))))
    except FusionError as error:
        say(error=str(error), kind=type(error).__name__)
    except MemoryError:
        say(failure=limits.too_large)
    except BaseException as error:  # a panic in a tokenizer's Rust code is no Exception
        say(failure=f"ended with {type(error).__name__}: {shown(first_line(error)).rstrip('.')}")
    os._exit(0)  # without tidying up, which a huge or damaged model could make long


def _limit(limits: ChildLimits) -> None:
    with suppress(ImportError):  # Windows has no such limits; there the parent's clock alone holds
        import resource

        # Data, not address space: libraries with CUDA map many GiB that they never touch.
        resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if limits.file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
        signal.setitimer(signal.ITIMER_REAL, limits.seconds + _GRACE)  # kills, also where no Python runs any more


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _clean(sentence: Any) -> str:
    """A child's words, fit for a page."""
    return "".join(c if c.isprintable() else "?" for c in str(sentence)[:MAX_SENTENCE])
