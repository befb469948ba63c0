"""What a merge did to every parameter, as a tidy table: one row a parameter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from fusion_ui.merging.layer_report import LayerReport
from fusion_ui.results.interference import PAIR_NUMBERS, mean_over_pairs

NUMBERS = ["layer", "rows", "width", "num_dead", "num_cut", "num_flat"]
NUMBERS += ["condition_before", "condition_after", "smallest_eigenvalue", "moved", "nearest_expert"]
NUMBERS += ["cosine", "apart", "opposed"]
COLUMNS = ["name", "stack", "group", "kind", "is_matrix", "path", "reason", *NUMBERS, "attention"]


def layer_table(reports: Iterable[LayerReport]) -> pd.DataFrame:
    """One row a parameter, in the order in which the model computes; what does not apply is missing (NaN).

    Columns beyond those of `LayerReport`:
        stack: "decoder", "encoder", or empty where the parameters' names tell of neither.
        rows: fewest rows of any expert's Gram matrix.
        moved: distance from the mean, 1 being the experts' own; by input features' root mean square where known.
        nearest_expert: relative distance from the expert that is nearest, likewise.
        cosine, apart, opposed: means over the pairs of experts, as `fusion_ui.merging.interference` has them.
    """
    frame = pd.DataFrame.from_records([_row(report) for report in reports], columns=COLUMNS)
    return frame.astype(dict.fromkeys(NUMBERS, float))


def _row(report: LayerReport) -> dict[str, Any]:
    parts, conditioning = report.name.split("."), report.conditioning
    movement = report.effect or report.movement
    distances = [distance for distance in movement.from_experts if distance is not None]
    return {
        **{key: getattr(report, key) for key in ("name", "group", "layer", "kind", "path", "reason")},
        "stack": next((stack for stack in ("decoder", "encoder") if stack in parts), ""),
        "is_matrix": len(report.shape) == 2,
        "rows": min(report.num_rows, default=None),
        "width": report.width or None,
        "condition_before": conditioning and conditioning.before,
        "condition_after": conditioning and conditioning.after,
        "smallest_eigenvalue": conditioning and conditioning.smallest,
        "num_dead": report.num_dead,
        "num_cut": report.num_cut,
        "num_flat": report.num_flat,
        "moved": movement.from_mean,
        "nearest_expert": min(distances, default=None),
        **{name: mean_over_pairs(report.interference, name) for name in PAIR_NUMBERS},
        "attention": ". ".join(report.attention),
    }
