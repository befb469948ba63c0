"""Statistics as files and in the cache: what is written is read, and nothing damaged or foreign is used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_models import random_texts, write_experts

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import StatisticError
from fusion_ui.merging.slots import SlotSource
from fusion_ui.settings import Settings
from fusion_ui.statistics import bundle
from fusion_ui.statistics import measure as measure_module
from fusion_ui.statistics.bundle import pack_triangle, read_statistic, unpack_triangle, write_statistic
from fusion_ui.statistics.measure import cached_path, measure
from fusion_ui.statistics.sampling import sample_indices
from fusion_ui.statistics.statistic import LinearInput, Statistic, StatisticKind, StatisticSettings

DOMAIN = Domain("reviews", "Reviews", "calibrate", random_texts(20), ())
HOW = StatisticSettings(num_examples=8)


def make_gram() -> Statistic:
    gram = torch.tensor([[3.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    inputs = {
        "query.weight": LinearInput("query.weight", 7),
        "key.weight": LinearInput("query.weight", 7, is_transposed=True, reason="a call was left out"),
        "odd.weight": LinearInput("", 0, reason="never called"),
    }
    return Statistic(
        StatisticKind.GRAM, "checkpoint", "domain", StatisticSettings(5, 3, True), 5, 7, {"query.weight": gram}, inputs
    )


@given(size=st.integers(0, 40), seed=st.integers(0, 2**32 - 1))
def test_a_symmetric_matrix_survives_its_triangle(size: int, seed: int):
    x = torch.randn(size + 3, size, generator=torch.Generator().manual_seed(seed))
    gram = (x.T @ x).double().float()
    gram = (gram + gram.T) / 2
    packed = pack_triangle(gram)
    assert packed.shape == (size * (size + 1) // 2,)
    assert torch.equal(unpack_triangle(packed), gram)


def test_a_gram_statistic_is_read_as_it_was_written(tmp_path: Path):
    written, path = make_gram(), tmp_path / "new" / "folder" / "gram.safetensors"
    write_statistic(path, written)
    found = read_statistic(path)
    for field in ("kind", "checkpoint", "domain", "settings", "num_examples", "num_tokens", "inputs"):
        assert getattr(found, field) == getattr(written, field)
    assert dict(found.tensors).keys() == {"query.weight"}
    assert torch.equal(found.tensors["query.weight"].double(), written.tensors["query.weight"])
    with pytest.raises(KeyError):
        found.tensors["key.weight"]


def test_a_fisher_statistic_is_read_as_it_was_written(tmp_path: Path):
    tensors = {"weight": torch.rand(3, 4), "bias": torch.rand(3), "scale": torch.rand(())}
    written = replace(make_gram(), kind=StatisticKind.FISHER, tensors=tensors, inputs={})
    write_statistic(tmp_path / "fisher.safetensors", written)
    found = read_statistic(tmp_path / "fisher.safetensors")
    assert found.kind is StatisticKind.FISHER and dict(found.inputs) == {}
    assert found.tensors.keys() == tensors.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tensors.items())


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(_tensors: dict, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError("No space left on device")

    path = tmp_path / "gram.safetensors"
    write_statistic(path, make_gram())
    before = path.read_bytes()
    monkeypatch.setattr(bundle, "save_file", fail)
    with pytest.raises(OSError, match="No space left"):
        write_statistic(path, make_gram())
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def rewrite(path: Path, change: Callable[[dict, dict], None]) -> None:
    """Change tensors and metadata of a statistics file, as a faulty tool would."""
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    tensors = load_file(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata=metadata)


def change_input(name: str, **change: object) -> Callable[[dict, dict], None]:
    def apply(tensors: dict, metadata: dict) -> None:
        inputs = json.loads(metadata["inputs"])
        inputs[name] |= change
        metadata["inputs"] = json.dumps(inputs)

    return apply


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
    "empty": lambda path: path.write_bytes(b""),
    "half of it": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "last byte lost": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "a text": lambda path: path.write_text("text,label\nfine,positive\n" * 20),
    "a model": lambda path: save_file({"classifier.weight": torch.ones(2, 2)}, path, metadata={"format": "pt"}),
    "tensors without metadata": lambda path: save_file({"query.weight": torch.ones(3)}, path),
    "another version": lambda path: rewrite(path, lambda _, m: m.update(format="fusion-ui statistic 999")),
    "no checkpoint": lambda path: rewrite(path, lambda _, m: m.pop("checkpoint")),
    "unknown kind": lambda path: rewrite(path, lambda _, m: m.update(kind="hessian")),
    "settings cut off": lambda path: rewrite(path, lambda _, m: m.update(settings=m["settings"][:-5])),
    "unknown setting": lambda path: rewrite(path, lambda _, m: m.update(settings='{"colour": 1}')),
    "count is a word": lambda path: rewrite(path, lambda _, m: m.update(num_examples="many")),
    "inputs are a list": lambda path: rewrite(path, lambda _, m: m.update(inputs="[1]")),
    "an input is a number": lambda path: rewrite(path, lambda _, m: m.update(inputs='{"query.weight": 1}')),
    "an input without its Gram": lambda path: rewrite(path, lambda t, _: t.update(other=t.pop("query.weight"))),
    "a Gram of no rows": lambda path: rewrite(path, change_input("query.weight", num_rows=0)),
    "rows are no number": lambda path: rewrite(path, change_input("query.weight", num_rows={"\n": 1})),
    "a setting of another type": lambda path: rewrite(path, lambda _, m: m.update(settings='{"num_examples": "9"}')),
    "no triangle": lambda path: rewrite(path, lambda t, _: t.update({"query.weight": torch.ones(4)})),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_and_foreign_files_are_refused_by_name(tmp_path: Path, damage: Callable[[Path], object]):
    path = tmp_path / "gram.safetensors"
    write_statistic(path, make_gram())
    damage(path)
    with pytest.raises(StatisticError, match=r"gram\.safetensors") as refused:
        read_statistic(path)
    assert str(refused.value).isprintable()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    directories = write_experts(tmp_path_factory.mktemp("experts"), 2)
    return [Checkpoint(directory.name, directory, str(directory)) for directory in directories]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the checkpoints whose weights were loaded to be measured."""
    names, load_model = [], measure_module.load_model
    monkeypatch.setattr(measure_module, "load_model", lambda c: (names.append(c.name), load_model(c))[1])
    return names


@pytest.mark.parametrize("kind", list(StatisticKind))
def test_the_cache_measures_once_and_again_when_its_file_is_damaged(checkpoints, settings, loads, kind):
    def ask() -> Statistic:
        return measure(checkpoints[0], DOMAIN, kind, HOW, settings)

    first = ask()
    assert (first.kind, first.num_examples, first.checkpoint) == (kind, 8, checkpoints[0].fingerprint)
    tensors = {name: tensor.clone() for name, tensor in first.tensors.items()}
    ask()
    assert loads == ["expert0"]
    path = cached_path(checkpoints[0], DOMAIN, kind, HOW, settings)
    assert path.is_relative_to(settings.statistics_dir)
    path.write_bytes(path.read_bytes()[:-100])
    again = ask()
    assert loads == ["expert0", "expert0"]
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in tensors.items())
    read_statistic(path)  # the damaged file was replaced


def test_the_cache_tells_apart_everything_that_changes_a_statistic(checkpoints, settings, tmp_path: Path):
    fewer = Settings(cache_dir=settings.cache_dir, max_tokens_per_text=8)
    gram, other = StatisticKind.GRAM, replace(DOMAIN, texts=DOMAIN.texts[1:])
    paths = [
        cached_path(checkpoints[0], DOMAIN, gram, HOW, settings),
        cached_path(checkpoints[1], DOMAIN, gram, HOW, settings),
        cached_path(checkpoints[0], other, gram, HOW, settings),
        cached_path(checkpoints[0], DOMAIN, StatisticKind.FISHER, HOW, settings),
        cached_path(checkpoints[0], DOMAIN, gram, HOW, fewer),
        *(
            cached_path(checkpoints[0], DOMAIN, gram, replace(HOW, **change), settings)
            for change in (
                {"num_examples": 9},
                {"seed": 1},
                {"count_padding": True},
                {"token_counts": True},
                {"input_sums": True},
            )
        ),
    ]
    assert len(set(paths)) == len(paths)


def test_statistics_of_another_model_or_kind_are_refused(checkpoints, settings):
    grams = [measure(checkpoint, DOMAIN, StatisticKind.GRAM, HOW, settings) for checkpoint in checkpoints]
    SlotSource(checkpoints, [0.5, 0.5], {StatisticKind.GRAM: grams})
    with pytest.raises(StatisticError, match="given for expert0 were measured on another model"):
        SlotSource(checkpoints, [0.5, 0.5], {StatisticKind.GRAM: grams[::-1]})
    with pytest.raises(StatisticError, match="statistics of expert0 hold gram, but the method needs fisher"):
        SlotSource(checkpoints, [0.5, 0.5], {StatisticKind.FISHER: grams})


def test_grams_that_are_no_numbers_are_refused_when_they_are_used(checkpoints, settings):
    grams = [measure(checkpoint, DOMAIN, StatisticKind.GRAM, HOW, settings) for checkpoint in checkpoints]
    tensors = {name: tensor / 0 for name, tensor in grams[1].tensors.items()}
    source = SlotSource(checkpoints, [0.5, 0.5], {StatisticKind.GRAM: [grams[0], replace(grams[1], tensors=tensors)]})
    with pytest.raises(StatisticError, match=r"statistics of expert1 .* not finite numbers"):
        list(source.slots())


def test_asking_for_no_example_is_refused(checkpoints, settings):
    with pytest.raises(StatisticError, match="A statistic needs at least one example"):
        measure(checkpoints[0], DOMAIN, StatisticKind.GRAM, replace(HOW, num_examples=0), settings)


@given(num_available=st.integers(0, 50), num_examples=st.integers(1, 60), seed=st.integers(0, 10))
def test_examples_are_drawn_without_repetition_and_the_same_each_time(num_available, num_examples, seed):
    chosen = sample_indices(num_available, num_examples, seed)
    assert chosen == sample_indices(num_available, num_examples, seed) == sorted(set(chosen))
    assert len(chosen) == min(num_available, num_examples)
    assert set(chosen) <= set(range(num_available))


def test_another_seed_draws_other_examples():
    assert len({tuple(sample_indices(1000, 10, seed)) for seed in range(5)}) == 5


def test_a_plain_statistic_keeps_the_place_in_the_cache_that_it_always_had(checkpoints, settings):
    # What is measured on top of it came later and must not make anybody measure again.
    how = {"num_examples": 8, "seed": 0, "count_padding": False}
    model = checkpoints[0]
    parts = [
        "fusion-ui statistic 1",
        "gram",
        model.fingerprint,
        model.tokenizer_fingerprint,
        DOMAIN.fingerprint,
        how,
        128,
    ]
    name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    assert cached_path(model, DOMAIN, StatisticKind.GRAM, HOW, settings).name == f"gram-{name}.safetensors"
