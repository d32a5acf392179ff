"""The wheel holds the core, the backends and the conformance package under their own names, and nothing generic."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_top_level_names_of_the_wheel(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    tops = {name.split("/")[0] for name in names}
    assert {t for t in tops if not t.endswith(".dist-info")} == {
        "unilstm", "unilstm_numpy", "unilstm_torch", "unilstm_paddle", "unilstm_jax", "unilstm_conformance",
    }  # fmt: skip
    assert "unilstm/py.typed" in names
    assert any(name.startswith("unilstm_conformance/golden/torch/") for name in names)
    for backend in ("numpy", "torch", "paddle", "jax"):
        assert f"{backend} = unilstm_{backend}.plugin" in entry_points
