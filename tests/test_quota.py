"""What one visitor may hold is one sum: what was sent and what was taken, each file once; and what is removed goes."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_bert, write_data, write_model

from fusion_ui.errors import SourceError
from fusion_ui.execution import Job
from fusion_ui.progress import Progress
from fusion_ui.projects.building import blank_project
from fusion_ui.projects.data import DataPlace
from fusion_ui.settings import Settings
from fusion_ui.ui.bringing import Bringing
from fusion_ui.ui.gate import COOKIE, Gate
from fusion_ui.ui.handlers import Handlers
from fusion_ui.workspace import Workspace
from tests.hostile_files import write_zip

ME, YOU = "a" * 32, "b" * 32
COLUMNS = ("text", None, "label")
MIB = 1 << 20


class Visit:
    """A visitor whose uploads pass the gate and whose buttons are pressed, without a browser."""

    def __init__(self, folder: Path, most: int) -> None:
        # For the person alone, so that data is read here and not in a child process: what is counted is the same.
        self.settings = Settings(cache_dir=folder / "cache", max_session_bytes=most, min_free_bytes=0, num_threads=1)
        handlers = Handlers(Workspace(self.settings), blank_project())
        self.sessions, self.workspace = handlers.sessions, handlers.workspace
        self.bringing = Bringing(handlers.workspace, handlers.sessions, handlers.project)
        self.open_tab("me")
        self.quota, self.owners = self.sessions.quota, self.sessions.owners
        self.sessions.uploads.mkdir(parents=True)
        hosted, application = self.sessions, self._application
        visits = hosted.welcome, hosted.forget, list
        self.gate = Gate(application, self.owners, self.quota, self.settings, hosted.uploads, *visits)
        self.at_once: int | None = None

    def open_tab(self, name: str, key: str = ME) -> None:
        self.sessions.get(name)
        assert self.sessions.owners.claim("session", name, key)

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        """As gradio: what comes becomes a file in a directory of its own, and the answer names it."""
        content = b""
        while (message := await receive())["type"] == "http.request":
            content += message["body"]
            if not message.get("more_body"):
                break
        if message["type"] == "http.disconnect":
            return
        place = self.sessions.uploads / hashlib.sha256(content).hexdigest()
        place.mkdir(exist_ok=True)
        (place / scope["name"]).write_bytes(content)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": f'["{place / scope["name"]}"]'.encode()})

    async def _send(self, name: str, content: bytes, key: str, is_told: bool) -> str | None:
        answers: list[Any] = []

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0)
            return {"type": "http.request", "body": content}

        async def send(message: Any) -> None:
            answers.append(message)

        headers = [(b"cookie", f"{COOKIE}={key}".encode())]
        headers += [(b"content-length", str(len(content)).encode())] if is_told else []
        scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "query_string": b""}
        await self.gate(scope | {"headers": headers, "name": name}, receive, send)
        if not answers or answers[0]["status"] != 200:
            return None
        return answers[1]["body"].decode()[2:-2]

    def upload(self, name: str, content: bytes, key: str = ME, is_told: bool = True) -> str | None:
        """The file's path here; None where it was refused."""
        return asyncio.run(self._send(name, content, key, is_told))

    def upload_together(self, names: list[str], content: bytes, is_told: bool) -> list[str | None]:
        async def send_all() -> list[str | None]:
            return await asyncio.gather(*(self._send(name, content, ME, is_told) for name in names))

        return asyncio.run(send_all())

    def add_model(self, files: list[str], name: str, tab: str = "me") -> None:
        list(self.bringing.add_model(tab, "", files, name, "", False))

    def add_data(self, file: str, name: str) -> None:
        list(self.bringing.add_data("me", DataPlace(Path(file)), name, COLUMNS))

    @property
    def on_disk(self) -> int:
        """By its own count: every file below the sessions' directory, by what it is and not how it is called."""
        files = [path for path in self.settings.sessions_dir.rglob("*") if path.is_file()]
        found = {(s := path.stat()).st_ino: max(4096, s.st_size) for path in files}
        return sum(found.values())


@pytest.fixture
def visit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Visit:
    # What passes the checks would be tried in a child process, which takes seconds: `test_attacks` tries that.
    monkeypatch.setattr("fusion_ui.projects.fetching.try_in_child", lambda *_, **__: None)
    return Visit(tmp_path, MIB)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("made") / "model", tiny_bert())


def zipped(model: Path, folder: Path, padding: int = 0) -> bytes:
    """The model as a zip, with a tokenizer's file that nothing reads and that no packing makes smaller."""
    content = {file.name: file.read_bytes() for file in model.iterdir()}
    noise = bytes((i * i * 7919 + i // 251) % 95 + 32 for i in range(padding))
    return write_zip(folder / "m.zip", content | ({"merges.txt": noise} if padding else {})).read_bytes()


def test_a_zip_and_what_it_unpacks_to_are_one_sum_and_the_zip_is_the_first_to_go(
    visit: Visit, model: Path, tmp_path: Path
):
    content = zipped(model, tmp_path)
    num_unpacked = sum(file.stat().st_size for file in model.iterdir())
    path = visit.upload("m.zip", content)
    assert path is not None
    visit.add_model([path], "first")
    held = visit.quota.num_bytes_of(ME)
    assert held == visit.on_disk and len(content) + num_unpacked * 0.9 < held
    # All that is left but a little more, so that the zip, whose model was taken, has to go.
    filling = b"x" * (MIB - held + len(content) // 2)
    assert visit.upload("a.bin", filling) is not None and not Path(path).exists()
    assert visit.quota.num_bytes_of(ME) == visit.on_disk <= MIB
    assert visit.upload("b.bin", b"x" * len(content)) is None, "nothing else is done with"
    list_before = visit.bringing.contents("me")
    assert visit.bringing.remove("me", "first") and visit.bringing.contents("me") != list_before
    assert visit.upload("b.bin", b"x" * len(content)) is not None, "what was removed makes room"
    assert visit.on_disk <= MIB


def test_files_that_are_taken_by_a_second_name_count_once_and_go_with_their_model(visit: Visit, model: Path):
    paths = [visit.upload(file.name, file.read_bytes()) for file in sorted(model.iterdir())]
    files, sent = [path for path in paths if path is not None], visit.quota.num_bytes_of(ME)
    assert len(files) == len(paths) and sent == visit.on_disk
    visit.add_model(files, "first")
    assert visit.quota.num_bytes_of(ME) == sent == visit.on_disk
    visit.bringing.remove("me", "first")
    assert visit.upload("big.bin", b"x" * (MIB - 100)) is not None, "model and uploads have gone"
    assert visit.on_disk <= MIB and not any(Path(file).exists() for file in files)


def test_a_model_that_would_unpack_to_more_than_is_left_is_refused_and_leaves_nothing(
    visit: Visit, model: Path, tmp_path: Path
):
    path = visit.upload("m.zip", zipped(model, tmp_path, 200_000))
    assert path is not None
    # Of two zips of one size: room for as much again as the zip, and not for what is in it.
    room = MIB - visit.on_disk
    assert visit.upload("f.bin", b"x" * (room - Path(path).stat().st_size - 10)) is not None
    held = visit.on_disk
    with pytest.raises(SourceError, match=r"are accepted|Remove something|too large"):
        visit.add_model([path], "first")
    assert visit.on_disk == held <= MIB


def test_data_and_refused_models_make_room_when_they_go(visit: Visit, model: Path, tmp_path: Path):
    data = write_data(tmp_path / "a.csv", 60).read_bytes()
    path = visit.upload("a.csv", data)
    assert path is not None
    before = visit.on_disk
    with pytest.raises(Exception, match="no column"):
        list(visit.bringing.add_data("me", DataPlace(Path(path)), "a", ("nothing", None, "label")))
    assert visit.on_disk == before
    visit.add_data(path, "a")
    assert visit.on_disk > before
    visit.bringing.remove("me", "a")
    assert visit.on_disk == before
    other = visit.upload("m.zip", zipped(write_model(tmp_path / "other", tiny_bert(seed=5)), tmp_path))
    assert other is not None
    first, before = visit.upload("n.zip", zipped(model, tmp_path)), visit.on_disk
    assert first is not None
    visit.add_model([first], "x")
    taken = visit.on_disk
    with pytest.raises(Exception, match="already"):
        visit.add_model([other], "x")
    assert visit.on_disk == taken, "a model that does not fit the project leaves nothing"


def test_what_still_reads_files_has_them_until_it_ends(visit: Visit, tmp_path: Path):
    path = visit.upload("a.csv", write_data(tmp_path / "a.csv", 60).read_bytes())
    assert path is not None
    visit.add_data(path, "a")
    session = visit.sessions.get("me")
    file = session.own.domains[0].report
    with session.fetching(Job(lambda progress: progress.pause(60), Progress)):
        visit.bringing.remove("me", "a")
        assert file.exists()
    for _ in range(100):
        if not file.exists():
            break
        Progress().pause(0.05)
    assert not file.exists()


def test_all_tabs_of_a_visitor_are_one_sum_and_nobody_elses(visit: Visit, model: Path, tmp_path: Path):
    visit.open_tab("other tab")
    visit.open_tab("you", YOU)
    content = zipped(model, tmp_path)
    for tab in ("me", "other tab"):
        path = visit.upload(f"{tab}.zip", content)
        assert path is not None
        visit.add_model([path], "m", tab)
    assert visit.quota.num_bytes_of(ME) == visit.on_disk and visit.quota.num_bytes_of(YOU) == 0
    assert visit.upload("a.bin", b"x" * (MIB - 100)) is None
    assert visit.upload("a.bin", b"x" * (MIB - 100), YOU) is not None
    held = visit.quota.num_bytes_of(ME)
    visit.sessions.get("me").visitor = "keeps its files a moment"
    visit.sessions.forget("me")
    assert visit.quota.num_bytes_of(ME) == held, "a folder counts until it has gone"


@pytest.mark.parametrize("is_told", [True, False])
def test_uploads_that_come_together_do_not_each_have_all_the_room(visit: Visit, is_told: bool):
    names = [f"{i}.bin" for i in range(8)]
    came = visit.upload_together(names, b"x" * (MIB // 3), is_told)
    assert 1 <= sum(path is not None for path in came) <= 3 and visit.on_disk <= MIB
    assert visit.upload("after.bin", b"x" * (MIB - visit.on_disk)) is not None, "what came has no place kept twice"


@given(steps=st.lists(st.tuples(st.sampled_from(["send", "add", "remove"]), st.integers(1, 400_000)), max_size=12))
def test_no_order_of_steps_holds_more_than_the_limit(
    steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("visit")
    visit, sent = Visit(folder, MIB), list[str]()
    rows = write_data(folder / "a.csv", 60).read_bytes()
    for number, (step, size) in enumerate(steps):
        if step == "send":
            padding = b"".join(b"word%d %s,positive\n" % (i, b"y" * 500) for i in range(size // 510))
            if (path := visit.upload(f"{number}.csv", rows + padding)) is not None:
                sent.append(path)
        elif step == "add" and sent:
            sent = [path for path in sent if Path(path).exists()]  # others went for want of room
            attempt(visit, sent, size, str(number))
        elif names := [row[1] for row in visit.bringing.contents("me")]:
            visit.bringing.remove("me", names[size % len(names)])
        assert visit.quota.num_bytes_of(ME) == visit.on_disk <= MIB


def attempt(visit: Visit, sent: list[str], which: int, name: str) -> None:
    """Add data of some file; it may be refused, and then the file is still there."""
    if sent:
        try:
            visit.add_data(path := sent[which % len(sent)], name)
        except SourceError:
            assert Path(path).exists()


def test_the_same_bytes_of_somebody_else_under_another_name_stay(visit: Visit):
    content = b"x" * (MIB // 2)
    mine, yours = visit.upload("mine.bin", content), visit.upload("yours.bin", content, YOU)
    assert mine is not None and yours is not None and Path(mine).parent == Path(yours).parent
    with visit.quota.taking("me", [mine]):
        pass
    assert visit.upload("next.bin", content + b"y" * (MIB // 4)) is not None
    assert not Path(mine).exists() and Path(yours).read_bytes() == content and visit.owners.has_file(Path(yours), YOU)


def test_a_file_that_is_taken_again_does_not_go_before_it_was_read(visit: Visit):
    path = visit.upload("a.bin", b"x" * (MIB // 2))
    assert path is not None
    with visit.quota.taking("me", [path]):
        pass  # and refused
    with visit.quota.taking("me", [path]), visit.quota.taking("me", [path]):
        assert visit.upload("b.bin", b"y" * (MIB * 3 // 4)) is None and Path(path).exists()
    assert visit.upload("b.bin", b"y" * (MIB * 3 // 4)) is not None and not Path(path).exists()


def test_what_is_handed_out_counts(visit: Visit, tmp_path: Path):
    visit.sessions.get("me").handed_out = place = tmp_path / "zip"
    place.mkdir()
    (place / "merge.zip").write_bytes(b"x" * (MIB // 2))
    assert room_for(visit, ME) == MIB // 2


def test_what_is_on_its_way_into_a_folder_has_its_room(visit: Visit):
    with visit.quota.reserve(ME, 1000, MIB, MIB // 2) as first, visit.quota.reserve(ME, 1000, MIB, MIB) as second:
        assert (first, second) == (MIB, MIB // 2)
        assert visit.upload("a.bin", b"x" * 5000) is None
    assert visit.upload("a.bin", b"x" * 5000) is not None


def test_a_file_that_two_people_sent_stays_for_the_one_who_is_not_done_with_it(visit: Visit):
    path = visit.upload("a.bin", b"x" * (MIB // 2))
    assert path is not None
    visit.owners.add_file(Path(path), YOU)  # the same bytes have the same place
    with visit.quota.taking("me", [path]):
        assert room_for(visit, ME) == MIB // 2, "what is being taken does not go"
    assert room_for(visit, ME) == MIB and Path(path).exists()
    assert not visit.owners.has_file(Path(path), ME) and visit.owners.has_file(Path(path), YOU)
    with visit.owners.taking([Path(path)], YOU):
        pass
    assert room_for(visit, YOU) == MIB and not Path(path).exists()


def room_for(visit: Visit, key: str) -> int:
    with visit.quota.reserve(key, MIB, MIB) as room:
        return room
