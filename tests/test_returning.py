"""Settings that travel: written as JSON, in a link, back a step, into a session; whoever wrote them may be anybody."""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_ui.errors import FusionError, ParameterError, RecipeError
from fusion_ui.methods import METHODS
from fusion_ui.parameters import Range, Toggle, declared_parameters
from fusion_ui.projects.building import blank_project
from fusion_ui.projects.project import Project, ProjectDomain, ProjectExpert
from fusion_ui.ui.links import MAX_LINK, read_link, write_link
from fusion_ui.ui.placing import place, take_awaited
from fusion_ui.ui.request import REFERENCES, FuseRequest, Setting, default_request, parse_pins, pin_text
from fusion_ui.ui.request_json import describe_request, parse_request, settle_on
from fusion_ui.ui.session import Session
from fusion_ui.ui.sessions import Sessions
from fusion_ui.ui.steps import Steps

NAMES = ("tweets", "films", "<b>x</b>")
PATHS = (Path("p"),) * 4
PROJECT = Project(
    "demo",
    "Demo",
    Path("base"),
    None,
    tuple(ProjectExpert(name, name, Path(name), name) for name in NAMES),
    tuple(ProjectDomain(name, name, *PATHS) for name in NAMES),
)
START = default_request(PROJECT)


def value_of(declared: Any) -> st.SearchStrategy[Any]:
    if isinstance(declared, Range):
        return st.floats(declared.minimum, declared.maximum) | st.just(int(declared.maximum))
    return st.booleans() if isinstance(declared, Toggle) else st.sampled_from(declared.options)


PARAMETERS = {m.name: {n: value_of(d) for n, d in declared_parameters(m).items()} for m in METHODS}
settings_of_a_method = st.sampled_from(sorted(PARAMETERS)).flatmap(
    lambda name: st.tuples(st.just(name), st.fixed_dictionaries(PARAMETERS[name]))
)


@st.composite
def requests(draw: st.DrawFn) -> FuseRequest:
    """Any state of the controls that the page accepts."""
    parameters = {name: {n: draw(value) for n, value in values.items()} for name, values in PARAMETERS.items()}
    any_number = [m.name for m in METHODS if m.num_experts[1] is None]
    pins = [pin for pin in draw(st.lists(settings_of_a_method, max_size=3)) if pin[0] in any_number]
    included = draw(st.sets(st.sampled_from(NAMES), min_size=2))  # once: drawn anew for each name, none may be left
    weights = draw(st.lists(st.just(1.0) | st.floats(0.1, 3), min_size=3, max_size=3))
    return FuseRequest(
        experts=tuple(n for n in NAMES if n in included),
        calibration=tuple((n, draw(st.sampled_from(NAMES))) for n in NAMES),
        num_examples=draw(st.integers(1, 400)),
        methods=tuple(draw(st.lists(st.sampled_from(any_number), unique=True, max_size=5))),
        references=tuple(draw(st.lists(st.sampled_from(sorted(REFERENCES)), unique=True))),
        parameters=tuple((name, tuple(values.items())) for name, values in parameters.items()),
        is_from_zero=draw(st.booleans()),
        pins=parse_pins([pin_text(*pin) for pin in pins]),
        weights=tuple((n, w) for n, w in zip(NAMES, weights, strict=True) if w != 1),
    )


@given(requests())
def test_a_state_survives_json_and_a_link(request_: FuseRequest):
    request_.check(PROJECT)
    written = describe_request(request_)
    assert parse_request(json.loads(json.dumps(written)), PROJECT) == request_
    link = write_link("demo", written)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", link) and len(link) <= MAX_LINK
    project, settings = read_link(link)
    assert project == "demo" and parse_request(settings, PROJECT) == request_


@given(requests())
def test_a_merge_is_restored_as_what_the_controls_say(request_: FuseRequest):
    for setting in request_.settings:
        settled = settle_on(request_, setting)
        settled.check(PROJECT)
        assert dict(settled.parameters)[setting.method] == setting.parameters and setting.method in settled.methods


def change(**values: Any) -> dict[str, Any]:
    return describe_request(START) | values


HOSTILE: list[tuple[Any, str]] = [
    (None, "no settings of this page"),
    ([], "no settings of this page"),
    ({}, "experts"),
    (change(extra=1), "extra"),
    (change(experts=["tweets", "nobody"]), "no expert 'nobody'"),
    (change(experts=[]), "No expert is ticked"),
    (change(experts=["tweets"] * 1000), "experts"),
    (change(experts=[{"$gt": 1}]), "experts"),
    (change(calibration={"tweets": "/etc/passwd"}), "no calibration data"),
    (change(calibration={"../..": "tweets"}), "no expert"),
    (change(num_examples=10**30), "number of sentences"),
    (change(num_examples=True), "num_examples"),
    (change(num_examples="256"), "num_examples"),
    (change(methods=["magic"]), "magic"),
    (change(methods=["regmean"] * 13), "methods"),
    (change(methods=["slerp"]), "SLERP"),
    (change(references=["<script>"]), "no reference"),
    (change(parameters={"regmean": {"alpha": 2}}), r"must be a number in \[0, 1\]"),
    (change(parameters={"regmean": {"alpha": float("nan")}}), "alpha"),
    (change(parameters={"regmean": {"alpha": "0.5"}}), "must be a number"),
    (change(parameters={"ties": {"__class__": 1}}), "no parameter '__class__'"),
    (change(parameters={"magic": {}}), "magic"),
    (change(pins=[{"method": "regmean", "parameters": {"alpha": 7}}]), "must be a number"),
    (change(pins=["{}"]), "pins"),
    (change(weights={"tweets": -1}), "weights"),
    (change(weights={"tweets": 1e9}), "weights"),
    (change(weights={"nobody": 1}), "no expert 'nobody'"),
    (change(is_from_zero="yes"), "is_from_zero"),
]


@pytest.mark.parametrize(("value", "words"), HOSTILE, ids=lambda value: value if isinstance(value, str) else "")
def test_settings_that_are_none_change_nothing_and_say_why(value: Any, words: str):
    session = Session(PROJECT, START, version=0)
    with pytest.raises((RecipeError, ParameterError), match=words):
        place(session, PROJECT, "demo", value)
    assert session.request == START and session.version == 0 and session.awaited is None


def encode(text: str | bytes) -> str:
    return base64.urlsafe_b64encode(text.encode() if isinstance(text, str) else text).decode().rstrip("=")


WRITTEN = json.dumps({"version": 1, "project": "demo", "settings": describe_request(START)})


@pytest.mark.parametrize(
    "link",
    [
        "%%%",
        "a",
        "../../etc/passwd",
        "<script>alert(1)</script>",
        encode("{"),
        encode("null"),
        encode("[" * 3000),
        encode(b"\xff\xfe"),
        encode(WRITTEN.replace('"version": 1', '"version": 2')),
        encode(WRITTEN.replace('"demo"', "5")),
        encode(WRITTEN.replace("256", "NaN")),
        encode(WRITTEN.replace('"demo"', json.dumps("x" * 200))),
        encode(WRITTEN[:-1] + ', "token": "x"}'),
        encode(WRITTEN) + "\n",
    ],
)
def test_a_damaged_link_is_refused_in_a_sentence(link: str):
    with pytest.raises(RecipeError, match="This link is damaged or from another version") as found:
        read_link(link)
    assert len(str(found.value)) < 400


def test_a_link_is_bounded():
    with pytest.raises(RecipeError, match="longer than 6,000"):
        read_link("A" * (MAX_LINK + 1))
    with pytest.raises(RecipeError, match="too many for a link"):
        write_link("demo", {"experts": ["x" * MAX_LINK]})


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_link_raises_anything_but_a_sentence(data: bytes):
    for link in (encode(data), data.decode("latin1")):
        with pytest.raises(FusionError):
            place(Session(PROJECT, START), PROJECT, *read_link(link))


def alpha(value: float) -> FuseRequest:
    return parse_request(change(parameters={"regmean": {"alpha": value}}), PROJECT)


def test_a_drag_is_one_step_back():
    session = Session(PROJECT, START)
    session.post(alpha(0.1))
    assert session.step(is_back=True) and session.request == START and not session.step(is_back=True)
    steps = Steps().record(alpha(0.0), 10.0).record(alpha(0.1), 10.3).record(alpha(0.2), 10.9).record(alpha(0.3), 20.0)
    assert steps.past == (alpha(0.0), alpha(0.3))
    found = steps.undo(alpha(0.4))
    assert found is not None
    steps, present = found
    assert present == alpha(0.3) and steps.future == (alpha(0.4),)
    assert steps.redo(present) == (Steps((alpha(0.0), alpha(0.3))), alpha(0.4))
    assert steps.record(present, 20.1).past[-1] == present, "a change right after an undo is a step of its own"
    assert steps.record(present, 20.1).future == ()


def test_undo_takes_back_what_was_refused():
    session = Session(PROJECT, START)
    session.refuse(RecipeError("no"))
    assert session.step(is_back=True) and session.refusal is None and session.request == START
    assert not session.is_stopped


def test_own_models_are_restored_only_where_they_are():
    session = Session(PROJECT, START)
    with pytest.raises(RecipeError, match="not here any more; its numbers stay"):
        place(session, PROJECT, "own", describe_request(START))
    session.own = replace(PROJECT, name="own")
    assert place(session, PROJECT, "own", describe_request(alpha(0.2))) == ""
    assert session.project is session.own and session.request == alpha(0.2)
    assert place(session, PROJECT, "demo", describe_request(alpha(0.3))) == ""
    assert session.project is PROJECT and session.request == alpha(0.3)
    with pytest.raises(RecipeError, match="no project 'elsewhere'"):
        place(session, PROJECT, "elsewhere", describe_request(START))


def test_settings_of_a_preset_await_its_opening():
    session = Session(PROJECT, START)
    settings = describe_request(alpha(0.2))
    assert "press 'Fetch and open'" in place(session, PROJECT, "distilbert-sentiment", settings)
    assert session.project is PROJECT and session.request == START
    opened = replace(PROJECT, name="own")
    session.own, session.preset = opened, "distilbert-sentiment"
    session.show(opened, START)
    assert take_awaited(session) == ["Its settings are those that were asked for."]
    assert session.request == alpha(0.2) and take_awaited(session) == []
    session.awaited = ("distilbert-sentiment", change(experts=["other"]))
    assert "do not fit" in take_awaited(session)[0] and session.request == alpha(0.2)
    session.awaited = ("bert-sentiment", settings)
    assert take_awaited(session) == [], "settings of one preset were given to another"


def test_a_session_that_was_left_is_taken_back_by_its_visitor_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fusion_ui.ui.sessions.RETURN_SECONDS", 0.3)
    sessions = Sessions(lambda: Session(blank_project(), START), tmp_path)
    for tab in ("tab", "other tab"):
        mine = sessions.get(tab)
        mine.visitor, mine.own = "me", PROJECT
        mine.show(PROJECT, alpha(0.2))
        folder = sessions.folder_of(mine)
        sessions.forget(tab)
        assert folder.is_dir() and sessions.take_back("you") is None
        left = sessions.take_back("me")
        assert left is mine and sessions.take_back("me") is None
        again = sessions.get(f"next {tab}")
        again.inherit(left)
        assert (again.project, again.own, again.request) == (PROJECT, PROJECT, alpha(0.2))
        time.sleep(0.5)
        assert folder.is_dir(), "files went that were taken back"
        again.visitor = "me"
        sessions.forget(f"next {tab}")
        time.sleep(0.6)
        assert not folder.exists() and sessions.take_back("me") is None


def test_settings_of_a_pin_become_the_controls_own():
    pin = Setting("pin", "ties", tuple({"density": 0.5, "scaling_coefficient": 1.5}.items()))
    settled = settle_on(replace(START, pins=(pin,)), pin)
    assert settled.methods == (*START.methods, "ties")
    assert dict(dict(settled.parameters)["ties"]) == {"density": 0.5, "scaling_coefficient": 1.5}
