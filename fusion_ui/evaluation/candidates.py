"""What can be evaluated: a merge, a single model, an ensemble. Each yields logits in growing chunks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from torch import Tensor

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.devices import find_device, find_precisions
from fusion_ui.domains.batches import Batch
from fusion_ui.domains.cells import normalise_label
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.labels import name_numbers
from fusion_ui.errors import DomainError
from fusion_ui.evaluation.loaded import bind_weights, keep_loaded
from fusion_ui.evaluation.scores import DomainScore, Role, score_rows
from fusion_ui.evaluation.store import LogitsMemory
from fusion_ui.evaluation.stream import EncodedDomain, Logits, chunk_ends, compute_chunk, encode_domain
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.tasks import TASKS, find_task
from fusion_ui.tasks.task import Task
from fusion_ui.tasks.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Domains as one tokenizer and label set see them, and the store that remembers logits."""

    domains: tuple[EncodedDomain, ...]
    labels: Mapping[Task, tuple[str, ...]]
    """Each task of the models -> the labels among which its models choose."""
    tokenizer: Tokenizer
    key: str
    store: LogitsMemory
    max_tokens: int
    taken_keys: tuple[str, ...] = ()
    """In the place of `key`: logits that another process computed, on another device, and this one takes."""

    @property
    def task(self) -> Task:
        """Of the first model."""
        return next(iter(self.labels))

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels of the first model's task."""
        return self.labels[self.task]

    def domain_key(self, encoded: EncodedDomain, key: str | None = None) -> str:
        """Identifies text, order and tokenisation in the store.

        Args:
            key: that of a run that is taken; None: the evaluation's own.
        """
        return f"{key or self.key} {encoded.domain.fingerprint}"

    def recall(self, model: str) -> Logits:
        """What is known of a model, as far as it goes."""
        found = dict[str, Tensor]()
        for encoded in self.domains:
            # A run that is taken goes before an own one of the same length.
            for key in (*self.taken_keys, self.key):
                rows = self.store.get(model, self.domain_key(encoded, key))
                if rows is not None and len(rows) > len(found.get(encoded.domain.name, ())):
                    found[encoded.domain.name] = rows
        return found

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
    own_tasks: Mapping[str, Task] = MappingProxyType({}),
    has_own_heads: bool = False,
) -> Evaluation:
    """Tokenise domains for models that share `checkpoint`'s tokenizer.

    Args:
        label_names: labels among which models choose; None: the checkpoint's own. Where tasks differ, models choose
            among those of all experts of their task.
        own_labels: domain -> the labels of its own expert in order, which numbers in its text then stand for.
        own_tasks: likewise the task of its own expert. Text without an expert is of the first task that can read it.
        has_own_heads: each expert keeps its head, so that models choose on a domain among the labels of its own expert
            alone. So it is where tasks differ, too.

    Raises:
        DomainError: a domain has a label that the model does not know.
    """
    tokenizer = Tokenizer(checkpoint, settings.max_tokens_per_text)
    labels: dict[Task, tuple[str, ...]] = {find_task(checkpoint.config): label_names or checkpoint.label_names}
    differ = len(set(own_tasks.values())) > 1
    if differ:
        labels = {
            task: task.unite_labels([own_labels[name] for name, own in own_tasks.items() if own is task])
            for task in own_tasks.values()
        }

    def encode(domain: Domain, task: Task) -> EncodedDomain:
        own = {name: names for name, names in own_labels.items() if own_tasks.get(name, task) is task}
        orders = {tuple(names) for names in own.values()} or {labels[task]}
        order = own.get(domain.name) or (orders.pop() if len(orders) == 1 else None)
        spelled = domain if order is None else task.spell_labels(domain, order)
        named = name_numbers(spelled, labels[task], own, task.split_label)
        chosen = _labels_of(named, task, own, labels[task]) if differ or has_own_heads else labels[task]
        return encode_domain(named, task, tokenizer, chosen)

    encoded = tuple(
        encode(domain, own_tasks[domain.name])
        if domain.name in own_tasks
        else _first_that_can([partial(encode, domain, task) for task in labels])
        for domain in domains
    )
    tokens = f"{checkpoint.tokenizer_fingerprint} {tokenizer.max_tokens}"
    key, *taken = (" ".join([tokens, *precision]) for precision in find_precisions())
    return Evaluation(encoded, labels, tokenizer, key, store, settings.max_tokens_per_batch, tuple(taken))


def _labels_of(
    domain: Domain, task: Task, own_labels: Mapping[str, tuple[str, ...]], united: tuple[str, ...]
) -> tuple[str, ...]:
    """The labels of a domain's own expert, or of the first that knows all labels of the text; of nobody: all."""
    written = {normalise_label(name).casefold() for label in set(domain.labels) for name in task.split_label(label)}
    own = own_labels.get(domain.name)
    for names in ([] if own is None else [own]) + [*own_labels.values()]:
        if written <= {normalise_label(name).casefold() for name in names}:
            return names
    return united


def _first_that_can(ways: Sequence[Callable[[], EncodedDomain]]) -> EncodedDomain:
    """What the first way to read a domain gives that can; the first one's error where none can."""
    errors: list[DomainError] = []
    for read in ways:
        try:
            return read()
        except DomainError as error:
            errors.append(error)
    raise errors[0]


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

    def answers(self, encoded: EncodedDomain) -> bool:
        """True if it can answer a domain; a model of another task cannot."""
        return True

    def answered(self, evaluation: Evaluation) -> tuple[EncodedDomain, ...]:
        """The domains that it can answer."""
        return tuple(encoded for encoded in evaluation.domains if self.answers(encoded))

    def is_known(self, evaluation: Evaluation) -> bool:
        """True if every logit was computed before, so that nothing needs to be loaded or merged."""
        known = evaluation.recall(self.key)
        return all(len(known.get(d.domain.name, ())) == len(d) for d in self.answered(evaluation))

    @abstractmethod
    def stream(self, evaluation: Evaluation, progress: Progress) -> Iterator[Logits]:
        """Logits of the first examples of every domain that it answers, more with every step, until all are there."""

    def score(self, encoded: EncodedDomain, rows: Tensor, is_in_domain: bool) -> DomainScore:
        """The score of its answers to the first examples of a domain, as many as there are rows."""
        return score_rows(encoded, rows, Role.IN_DOMAIN if is_in_domain else Role.OUT_OF_DOMAIN)

    def answer(self, evaluation: Evaluation, end: int, progress: Progress) -> Logits:
        """Logits of the first `end` examples of every domain at least, and of more where more are known."""
        for logits in self.stream(evaluation, progress):
            if all(len(logits[d.domain.name]) >= min(end, len(d)) for d in self.answered(evaluation)):
                return logits
        return {}  # it answers no domain


@dataclass(frozen=True, eq=False)
class SingleModel(Candidate):
    """One checkpoint, or one merge, whose weights are obtained only when something must be computed.

    Attributes:
        label_names: what the model's outputs stand for, in order.
        task: the model's own.
        load: obtains the model.
    """

    label_names: tuple[str, ...]
    load: Callable[[Progress], Callable[[Batch], Tensor]]
    task: Task = TASKS[-1]

    def answers(self, encoded: EncodedDomain) -> bool:
        """True if the domain is of the model's task, and the model knows enough of its labels to choose among them."""
        return encoded.task.name == self.task.name and self.task.knows(self.label_names, encoded.label_names)

    def stream(self, evaluation: Evaluation, progress: Progress) -> Iterator[Logits]:
        compute: Callable[[Batch], Tensor] | None = None
        shown = -1
        domains = self.answered(evaluation)
        evaluation = replace(evaluation, domains=domains)
        for end in chunk_ends(max(map(len, domains))) if domains else ():
            known = evaluation.recall(self.key)  # asked each time: another comparison may have got further
            if any(len(known.get(d.domain.name, ())) < min(end, len(d)) for d in domains):
                compute = compute or self.load(progress)
                known = compute_chunk(
                    compute, domains, known, end, evaluation.tokenizer.pad_id, evaluation.max_tokens, progress
                )
                evaluation.remember(self.key, known)
            if (count := sum(map(len, known.values()))) > shown:
                shown = count
                names = {d.domain.name: d.label_names for d in domains}
                yield {n: self.task.arrange(rows, self.label_names, names[n]) for n, rows in known.items()}


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
        module = keep_loaded(checkpoint.fingerprint, checkpoint, find_device()).module
        return partial(find_task(checkpoint.config).compute_rows, module)

    names = tuple((labels or {}).get(label, label) for label in checkpoint.label_names)
    task = find_task(checkpoint.config)
    return SingleModel(name, title, f"checkpoint {checkpoint.fingerprint}", color, True, names, load, task)


def _computes_alike(a: Checkpoint, b: Checkpoint) -> bool:
    """True if two models differ in weights and labels alone, so that one's module serves the other."""
    apart = {
        "id2label",
        "label2id",
        "num_labels",
        "_name_or_path",
        "transformers_version",
        "finetuning_task",
        "problem_type",
    }
    first, second = ({k: v for k, v in model.config.items() if k not in apart} for model in (a, b))
    return first == second
