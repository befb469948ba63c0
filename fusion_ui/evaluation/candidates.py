"""What can be evaluated: a merge, a single model, an ensemble. Each yields logits in growing chunks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from types import MappingProxyType

import torch
from torch import Tensor, nn

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.batches import Batch
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.labels import name_numbers
from fusion_ui.errors import CheckpointError
from fusion_ui.evaluation.store import LogitsMemory
from fusion_ui.evaluation.stream import EncodedDomain, Logits, chunk_ends, compute_chunk, encode_domain
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.tasks import find_task, load_model
from fusion_ui.tasks.task import Task
from fusion_ui.tasks.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Domains as one tokenizer and label set see them, and the store that remembers logits."""

    domains: tuple[EncodedDomain, ...]
    label_names: tuple[str, ...]
    task: Task
    tokenizer: Tokenizer
    key: str
    store: LogitsMemory
    max_tokens: int

    def domain_key(self, encoded: EncodedDomain) -> str:
        """Identifies text, order and tokenisation in the store."""
        return f"{self.key} {encoded.domain.fingerprint}"

    def recall(self, model: str) -> Logits:
        """What is known of a model, as far as it goes."""
        found = {d.domain.name: self.store.get(model, self.domain_key(d)) for d in self.domains}
        return {name: logits for name, logits in found.items() if logits is not None}

    def remember(self, model: str, logits: Logits) -> None:
        """Keep what was computed of a model."""
        for encoded in self.domains:
            if (rows := logits.get(encoded.domain.name)) is not None:
                self.store.put(model, self.domain_key(encoded), rows, len(rows) == len(encoded))


def make_evaluation(
    domains: Sequence[Domain],
    checkpoint: Checkpoint,
    store: LogitsMemory,
    settings: Settings,
    label_names: tuple[str, ...] | None = None,
    own_labels: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> Evaluation:
    """Tokenise domains for models that share `checkpoint`'s tokenizer.

    Args:
        label_names: labels among which models choose; None: the checkpoint's own.
        own_labels: domain -> the labels of its own expert in order, which numbers in its text then stand for.

    Raises:
        DomainError: a domain has a label that the model does not know.
    """
    task, tokenizer = find_task(checkpoint.config), Tokenizer(checkpoint, settings.max_tokens_per_text)
    label_names = label_names or checkpoint.label_names
    named = (name_numbers(domain, label_names, own_labels) for domain in domains)
    encoded = tuple(encode_domain(domain, task, tokenizer, label_names) for domain in named)
    key = f"{checkpoint.tokenizer_fingerprint} {tokenizer.max_tokens}"
    return Evaluation(encoded, label_names, task, tokenizer, key, store, settings.max_tokens_per_batch)


@dataclass(frozen=True, eq=False)
class Candidate(ABC):
    """Something with an answer to every text.

    Attributes:
        name: identifies it among the candidates of one comparison.
        title: how people call it.
        key: identifies its function in the result store.
        color: its colour in every figure.
        is_reference: not one merged model, or not made without data.
    """

    name: str
    title: str
    key: str
    color: str
    is_reference: bool

    def is_known(self, evaluation: Evaluation) -> bool:
        """True if every logit was computed before, so that nothing needs to be loaded or merged."""
        known = evaluation.recall(self.key)
        return all(len(known.get(d.domain.name, ())) == len(d) for d in evaluation.domains)

    @abstractmethod
    def stream(self, evaluation: Evaluation, progress: Progress) -> Iterator[Logits]:
        """Logits of the first examples of every domain, more with every step, until all are there."""

    def answer(self, evaluation: Evaluation, end: int, progress: Progress) -> Logits:
        """Logits of the first `end` examples of every domain at least, and of more where more are known."""
        for logits in self.stream(evaluation, progress):
            if all(len(logits[d.domain.name]) >= min(end, len(d)) for d in evaluation.domains):
                return logits
        raise AssertionError("a stream ends with every example")


@dataclass(frozen=True, eq=False)
class SingleModel(Candidate):
    """One checkpoint, or one merge, whose weights are obtained only when something must be computed.

    Attributes:
        label_names: what the model's outputs stand for, in order.
        load: obtains the model.
    """

    label_names: tuple[str, ...]
    load: Callable[[Progress], Callable[[Batch], Tensor]]

    def stream(self, evaluation: Evaluation, progress: Progress) -> Iterator[Logits]:
        compute: Callable[[Batch], Tensor] | None = None
        shown = -1
        domains, longest = evaluation.domains, max(map(len, evaluation.domains))
        for end in chunk_ends(longest):
            known = evaluation.recall(self.key)  # asked each time: another comparison may have got further
            if any(len(known.get(d.domain.name, ())) < min(end, len(d)) for d in domains):
                compute = compute or self.load(progress)
                known = compute_chunk(
                    compute, domains, known, end, evaluation.tokenizer.pad_id, evaluation.max_tokens, progress
                )
                evaluation.remember(self.key, known)
            if (count := sum(map(len, known.values()))) > shown:
                shown = count
                arrange, names = evaluation.task.arrange, evaluation.label_names
                yield {name: arrange(rows, self.label_names, names) for name, rows in known.items()}


def checkpoint_candidate(
    name: str,
    title: str,
    checkpoint: Checkpoint,
    color: str = "#7f8797",
    skeleton: Checkpoint | None = None,
    labels: Mapping[str, str] | None = None,
) -> SingleModel:
    """A model as it lies on disk.

    Args:
        skeleton: a checkpoint of the same architecture and tensor names, whose module is then used with this one's
            weights, mapped from the file: several models cost the memory of one.
        labels: other names for some of its labels.
    """

    def load(_: Progress) -> Callable[[Batch], Tensor]:
        if skeleton is not None and _computes_alike(skeleton, checkpoint):
            return bind_weights(skeleton, {name: checkpoint.tensors.read(name) for name in checkpoint.tensors.names})
        model = _cached_model(checkpoint.fingerprint, checkpoint)
        return partial(find_task(checkpoint.config).compute_rows, model)

    names = tuple((labels or {}).get(label, label) for label in checkpoint.label_names)
    return SingleModel(name, title, f"checkpoint {checkpoint.fingerprint}", color, True, names, load)


def _computes_alike(a: Checkpoint, b: Checkpoint) -> bool:
    """True if two models differ in weights and labels alone, so that one's module serves the other."""
    apart = {"id2label", "label2id", "num_labels", "_name_or_path", "transformers_version", "finetuning_task"}
    first, second = ({k: v for k, v in model.config.items() if k not in apart} for model in (a, b))
    return first == second


def bind_weights(skeleton: Checkpoint, tensors: Mapping[str, Tensor]) -> Callable[[Batch], Tensor]:
    """A merge's weights in the architecture of `skeleton`, one of its experts.

    Raises:
        CheckpointError: the architecture has a parameter that the merge does not have.
    """
    model = _cached_model(skeleton.fingerprint, skeleton)
    task, weights = find_task(skeleton.config), _match_names(model, tensors)
    return lambda batch: task.compute_rows(model, batch, weights)


@lru_cache(maxsize=2)
def _cached_model(fingerprint: str, checkpoint: Checkpoint) -> nn.Module:
    return load_model(checkpoint)


def _match_names(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that the module has a place for; every parameter of the module must have its tensor."""
    places = dict(model.named_parameters()) | dict(model.named_buffers())
    missing = sorted(name for name, _ in model.named_parameters() if name not in tensors)
    if missing:
        raise CheckpointError(f"The merged weights lack {missing[0]}, which the model needs ({len(missing)} in all).")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name in tensors and not torch.equal(tensors[name], tensors[names[id(parameter)]]):
            raise CheckpointError(
                f"The first model uses {names[id(parameter)]} for {name} too, and in the merge they differ. "
                "Name a model first whose two tables differ."
            )
    return {name: tensor for name, tensor in tensors.items() if name in places}
