"""The small demo as on a ZeroGPU Space: ``python -m tests.zero_gpu_demo FOLDER PORT``; calls are noted in FOLDER."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from tests import small_demo
from tests.zero_gpu_space import ROOT, Service, begin_space, stand_in_for_cuda

if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    Service.notes = folder / "calls.jsonl"
    begin_space(folder)
    leave_out = stand_in_for_cuda()
    runpy.run_path(str(ROOT / "app.py"), run_name="app")
    leave_out()
    import torch

    from fusion_ui import devices

    devices.LENT = torch.device("cpu")
    small_demo.main(folder, int(sys.argv[2]))
