"""Methods that cannot merge what takes part: named with the reason, which the page greys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fusion_ui.methods import METHODS
from fusion_ui.projects.building import blank_project
from fusion_ui.ui.panels.methods import REASON, method_choices


@pytest.mark.parametrize("num_experts", [2, 3, 8])
@pytest.mark.parametrize("has_base", [False, True])
def test_a_reason_stands_beside_just_those_methods_that_would_be_refused(tmp_path, num_experts: int, has_base: bool):
    project = replace(blank_project(), base=tmp_path if has_base else None)
    choices = {name: title for title, name in method_choices(project, num_experts)}
    assert list(choices) == [method.name for method in METHODS]
    for method in METHODS:
        is_refused = bool(method.find_obstacle(num_experts, has_base))
        assert (REASON in choices[method.name]) == is_refused, choices[method.name]
        assert choices[method.name].startswith(method.title)
