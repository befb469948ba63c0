"""Slots in the order of the forward pass, with Gram matrices behind the layers merged so far (RegMean++)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fusion_ui.domains.batches import Batch, make_batches
from fusion_ui.domains.domain import Domain
from fusion_ui.merging.plan import MergePlan
from fusion_ui.merging.slots import SlotSource
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.statistics.gram import GramCollector, linear_modules
from fusion_ui.statistics.measure import encode_sample
from fusion_ui.statistics.stages import BlockRelay, find_stages
from fusion_ui.statistics.statistic import LinearInput, Statistic, StatisticKind
from fusion_ui.tasks import load_model


class SequentialSource(SlotSource):
    """The experts of a merge, presented stage by stage; each stage is measured when all before it are merged.

    One module of the first expert's architecture serves all: it holds the weights merged so far and, while a stage is
    measured, those of one expert for that stage. Besides it, memory holds what the last merged layer gave for every
    text, and the Gram matrices of one stage.
    """

    def __init__(self, plan: MergePlan, settings: Settings, progress: Progress) -> None:
        """Find the stages.

        Raises:
            MergeError: the architecture has no layers that can be merged one after the other.
        """
        self._plan, self._progress = plan, progress
        super().__init__(plan.experts, plan.recipe.weights, {}, plan.base, plan.recipe.statistics.seed, plan.labels)
        self._texts = [_read(plan, i, settings) for i in range(len(plan.experts))]
        self._model = load_model(plan.experts[0])
        self._places = dict(self._model.named_parameters()) | dict(self._model.named_buffers())
        self._stages = find_stages(self._model, self._texts[0][0])
        self._relay = BlockRelay(self._stages)
        self._linear = linear_modules(self._model)
        self._inputs = {name: LinearInput("", 0, transposed) for name, (_, transposed) in self._linear.items()}

    def slots(self, names: Sequence[str] | None = None) -> Iterator[ParameterSlot]:
        """A slot for each parameter, stage after stage. Give `keep` what was merged before asking for the next."""
        for number in range(self._stages.count):
            of_stage = [name for name in self.names if self._stages.parameters.get(name, 0) == number]
            source = self._measure(number, of_stage)
            yield from source.slots([n for n in source.names if n in of_stage and (names is None or n in names)])

    def keep(self, name: str, tensor: Tensor) -> None:
        """Put a merged tensor where the text of the next stages runs through it."""
        if name in self._places:
            with torch.no_grad():
                self._places[name].copy_(tensor)

    def _measure(self, number: int, names: list[str]) -> SlotSource:
        """The experts with the Grams of one stage."""
        self._relay.set_stage(number)
        statistics = [self._collect(number, i, names) for i in range(len(self.experts))]
        grams = {StatisticKind.GRAM: statistics}
        return SlotSource(self.experts, self.weights, grams, self.base, self.seed, self._labels)

    def _collect(self, number: int, expert: int, names: list[str]) -> Statistic:
        """The Grams of one stage under an expert's own weights, behind the stages merged before."""
        collector = GramCollector({name: module for name, module in self._linear.items() if name in names})
        how, batches = self._plan.statistic_settings, self._texts[expert]
        if number == 0 and not collector.modules:
            batches = []  # most architectures have nothing but tables before their first block
        title, count = f"Layer {number} of {self._stages.count - 1}: {self.experts[expert].name}", len(self.experts)
        for name in names if batches else ():
            self.keep(name, self.experts[expert].tensors.read(name))
        with collector.attached():
            for k, batch in enumerate(batches):
                done = (number + (expert + k / len(batches)) / count) / self._stages.count
                self._progress.report(done, f"{title}, {k} of {len(batches)} batches of text")
                self._relay.set_text((expert, k))
                with self._progress.turn():
                    collector.run(self._model, batch, how.count_padding)
        grams, inputs = collector.finish()
        return Statistic(
            kind=StatisticKind.GRAM,
            checkpoint=self.experts[expert].fingerprint,
            domain=_domain(self._plan, expert).fingerprint,
            settings=how,
            num_examples=sum(len(batch.indices) for batch in batches),
            num_tokens=sum(int(batch.attention_mask.sum()) for batch in batches),
            tensors=grams,
            inputs=inputs,
        )


def _domain(plan: MergePlan, expert: int) -> Domain:
    domain = plan.calibration[expert]
    assert isinstance(domain, Domain)  # the plan's own check, where a method needs text
    return domain


def _read(plan: MergePlan, expert: int, settings: Settings) -> list[Batch]:
    """The calibration text of an expert in batches, as its statistics would be measured on it."""
    how = plan.statistic_settings
    tokens, pad_id = encode_sample(plan.experts[expert], _domain(plan, expert), how, settings)
    return list(make_batches(tokens, range(len(tokens)), pad_id, settings.max_tokens_per_batch))
