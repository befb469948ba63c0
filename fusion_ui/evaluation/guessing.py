"""What nobody needs a model for: guessing labels at random, and always giving the most frequent one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fusion_ui.evaluation.candidates import Candidate, Evaluation
from fusion_ui.evaluation.scores import DomainScore, Role
from fusion_ui.evaluation.stream import EncodedDomain, Logits
from fusion_ui.progress import Progress
from fusion_ui.tasks.task import Target

GUESS_COLOR = "#8a8f98"


@dataclass(frozen=True, eq=False)
class Guess(Candidate):
    """Answers that do not depend on the text. They are scored from a domain's labels and are no logits.

    Attributes:
        is_majority: always the most frequent label of the domain; otherwise any of the labels that occur in it with
            the same chance, whose expected counts are the mean of what always giving one of them counts. The expected
            accuracy is so 1 / number of labels. Of texts with several labels their sets are guessed, at words tags.
    """

    is_majority: bool

    def answers(self, encoded: EncodedDomain) -> bool:
        """True where answers are classes and the right ones are known."""
        return bool(encoded.targets) and bool(encoded.task.count_classes(encoded.targets))

    def is_known(self, evaluation: Evaluation) -> bool:
        """True: nothing is computed."""
        return True

    def stream(self, evaluation: Evaluation, progress: Progress) -> Iterator[Logits]:
        """One step, in which every example is answered."""
        yield {encoded.domain.name: torch.zeros(len(encoded), 1) for encoded in self.answered(evaluation)}

    def score(self, encoded: EncodedDomain, rows: Tensor, is_in_domain: bool) -> DomainScore:
        """The metric of these answers on all of a domain; it is exact and has no interval."""
        metric, about = encoded.metric, encoded.domain
        task, targets = encoded.task, encoded.targets
        guessed = [find_majority(encoded)] if self.is_majority else [*task.count_classes(targets)]
        sums = [metric.count(task.always(answer, targets), targets).double().sum(0) for answer in guessed]
        value = float(metric.finish(torch.stack(sums).mean(0)))
        role = Role.IN_DOMAIN if is_in_domain else Role.OUT_OF_DOMAIN
        count = len(encoded)
        return DomainScore(about.name, about.split, role, value, None, count, count, value, value, metric.name)


def find_majority(encoded: EncodedDomain) -> Target:
    """The answer that is right most often in a domain, such as the position of a label; of equals the first."""
    counts = encoded.task.count_classes(encoded.targets)
    return min(counts, key=lambda label: (-counts[label], label))


CHANCE = Guess("chance", "Chance", "chance", GUESS_COLOR, True, is_majority=False)
MAJORITY = Guess("majority", "Majority class", "majority", GUESS_COLOR, True, is_majority=True)
