"""Threads that measure Gram matrices side by side: the same numbers, the same bits each time, nothing left changed."""

from __future__ import annotations

import threading

import pytest
import torch
from generative_models import tiny_t5
from tiny_models import random_tokens, tiny_bert, tiny_gpt2
from torch import Tensor, nn

from fusion_ui.devices import compute_on
from fusion_ui.domains.batches import EncodedText, make_batches
from fusion_ui.errors import StoppedError
from fusion_ui.progress import Progress
from fusion_ui.statistics.crew import Crew, find_num_workers, share_weights
from fusion_ui.statistics.gram import accumulate_grams

TOKENS = random_tokens(23, seed=3)


def measure(model: nn.Module, num_workers: int, input_sums: bool = False) -> dict[str, Tensor]:
    is_read_alone = not hasattr(model, "decoder")
    texts = [EncodedText(ids, answer=() if is_read_alone else ids[:3]) for ids in TOKENS]
    batches = list(make_batches(texts, range(len(texts)), 0, 30))
    assert len(batches) % 3, "the last of the crew has no batch in the last step"
    return accumulate_grams(model, batches, False, Progress(), input_sums, num_workers)[0]


@pytest.mark.parametrize("build", [tiny_bert, tiny_gpt2, tiny_t5], ids=["bert", "gpt2", "t5"])
@pytest.mark.parametrize("num_workers", [2, 3])
@pytest.mark.parametrize("input_sums", [False, True])
def test_a_crew_finds_what_one_thread_finds(build, num_workers: int, input_sums: bool):
    model = build(seed=5)
    alone, together = measure(model, 1, input_sums), measure(model, num_workers, input_sums)
    assert alone.keys() == together.keys()
    for name, gram in alone.items():
        norms = gram.diagonal().sqrt()
        assert ((gram - together[name]).abs() <= 1e-6 * norms[:, None] * norms).all(), name


def test_the_same_text_gives_the_same_bits_every_time():
    model = tiny_bert(seed=5)
    first = measure(model, 2)
    for _ in range(5):
        again = measure(model, 2)
        assert all(torch.equal(first[name], gram) for name, gram in again.items())


def test_further_models_share_the_weights_and_no_hooks():
    model = tiny_bert(seed=5)
    first, other = share_weights(model, 2)
    assert first is not model and other is not first
    for (name, mine), (same, others) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert name == same and mine is others
    calls = []
    handle = model.register_forward_pre_hook(lambda *_: calls.append(1))
    other(input_ids=torch.tensor([[1, 2, 3]]))
    handle.remove()
    assert calls == []
    text = {"input_ids": torch.tensor([[1, 2, 3]])}
    assert torch.allclose(other(**text).logits, model(**text).logits, atol=1e-6)


def test_a_crew_computes_at_the_same_time_and_leaves_torch_its_threads():
    before, meeting = torch.get_num_threads(), threading.Barrier(2)
    with Crew(2) as crew:
        crew.run([lambda: meeting.wait(30)] * 2)  # would time out one after the other
        assert torch.get_num_threads() == before
    found: list[int] = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [before] and not [t for t in threading.enumerate() if t.name.startswith("crew")]


def test_an_error_in_one_thread_is_raised_after_all_ended():
    ended: list[int] = []

    def fail() -> None:
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"), Crew(2) as crew:
        crew.run([fail, lambda: ended.append(1)])
    assert ended == [1]


def test_a_crew_stops_between_steps():
    model, progress, done = tiny_bert(seed=5), Progress(), list[int]()
    model.register_forward_hook(lambda *_: (done.append(1), progress.stop()))
    texts = [EncodedText(ids) for ids in TOKENS]
    with pytest.raises(StoppedError):
        accumulate_grams(model, list(make_batches(texts, range(len(texts)), 0, 30)), False, progress, num_workers=2)
    assert len(done) in (1, 2), "one of the two may see it before it begins"


def test_a_placed_model_is_never_shared():
    model = tiny_bert(seed=5)
    assert find_num_workers(model) == min(2, torch.get_num_threads())
    assert find_num_workers(compute_on(model, torch.device("cpu"))) == 1
