"""Two remembered merges compared, sentence by sentence where they answered the same ones, and said in words."""

from __future__ import annotations

from dataclasses import dataclass

from fusion_ui.errors import RecipeError
from fusion_ui.evaluation.paired import Difference, paired_difference
from fusion_ui.results.history import RememberedMerge


@dataclass(frozen=True)
class MergeDifference:
    """How much more of its answers are right in the first of two merges.

    Attributes:
        mean: over the domains that both answered, with the paired 95 % interval.
        by_domain: title and difference of each of them.
        num_sentences: in all of them.
        splits: what they were parts of.
    """

    mean: Difference
    by_domain: tuple[tuple[str, Difference], ...]
    num_sentences: int
    splits: tuple[str, ...]

    @property
    def words(self) -> str:
        """For people: "0.4 points better [-0.3, 1.1]: no clear difference"."""
        value = abs(_round(self.mean.value))
        how = "better" if self.mean.value > 0 else "worse"
        size = f"{value} points {how}" if value else "0.0 points apart"
        verdict = f"clearly {how}" if self.mean.low > 0 or self.mean.high < 0 else "no clear difference"
        return f"{size} {_interval(self.mean)}: {verdict}"

    @property
    def detail(self) -> str:
        """By domain, and what it was measured on."""
        parts = [f"{title} {_round(one.value):+.1f} {_interval(one)}" for title, one in self.by_domain]
        where = f"{self.num_sentences:,} sentences, {' and '.join(self.splits)} split"
        measured = f"{where}, share of right answers, paired 95 % intervals"
        return f"{'; '.join(parts)}. On {measured}."


def compare_merges(first: RememberedMerge, second: RememberedMerge) -> MergeDifference:
    """The first compared with the second, on the domains whose very sentences both answered.

    Raises:
        RecipeError: there is no such domain.
    """
    others = {domain.sentences: domain for domain in second.domains if domain.right}
    pairs = [(domain, others[domain.sentences]) for domain in first.domains if domain.sentences in others]
    if not pairs:
        raise RecipeError(
            f"{first.label} and {second.label} did not answer the same sentences, or not with answers that are right "
            "or wrong, so they cannot be compared in pairs. Choose two merges that were scored on the same text."
        )
    right = [(a.unpack(), b.unpack()) for a, b in pairs]
    mean = paired_difference(tuple(a for a, _ in right), tuple(b for _, b in right))
    by_domain = tuple((p.title, paired_difference((a,), (b,))) for (p, _), (a, b) in zip(pairs, right, strict=True))
    splits = tuple(dict.fromkeys(domain.score.split for domain, _ in pairs))
    return MergeDifference(mean, by_domain, sum(map(len, (a for a, _ in right))), splits)


def _round(share: float) -> float:
    """Percentage points, without a negative zero."""
    return round(100 * share, 1) + 0.0


def _interval(difference: Difference) -> str:
    return f"[{_round(difference.low):.1f}, {_round(difference.high):.1f}]"
