"""What is known of one parameter of a merge."""

from __future__ import annotations

from dataclasses import dataclass

from fusion_ui.merging.interference import Interference
from fusion_ui.merging.movement import Movement
from fusion_ui.solving.conditioning import Conditioning


@dataclass(frozen=True)
class LayerReport:
    """One parameter of a merge.

    Attributes:
        name, shape: in the checkpoint; a linear weight's shape as (out, in).
        group, layer, kind: where it stands, as `fusion_ui.merging.groups` has it.
        path, reason: how it was merged, as in the merge report.
        alpha: RegMean's alpha where equations were solved.
        width: features of the layer's input; 0 where no Gram matrix was measured.
        num_rows: rows of each expert's Gram matrix: tokens, or texts for a head.
        num_dead, num_cut, num_flat: features never active, directions cut off and entries without Fisher information,
            as in the merge report.
        conditioning: of the equations that were solved.
        movement: how far it lies from the mean and from each expert.
        effect: the same with every input feature counted by its root mean square on the experts' text, so that
            weights of features that are hardly ever active do not drown the others; None without Gram matrices.
        interference: how the experts' changes of it lie to each other.
        attention: sentences on what should be looked at; mostly empty.
    """

    name: str
    shape: tuple[int, ...]
    group: str
    layer: int | None
    kind: str
    path: str
    reason: str
    alpha: float | None
    width: int
    num_rows: tuple[int, ...]
    num_dead: int
    num_cut: int
    conditioning: Conditioning | None
    movement: Movement
    effect: Movement | None
    interference: Interference
    attention: tuple[str, ...] = ()
    num_flat: int = 0
