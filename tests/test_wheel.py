"""The wheel holds the core, the backends and the conformance package under their own names, and nothing generic."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conftest import has_compiler

ROOT = Path(__file__).parent.parent


TOPS = {
    "unilstm", "unilstm_numpy", "unilstm_torch", "unilstm_paddle", "unilstm_jax", "unilstm_kernels",
    "unilstm_conformance",
}  # fmt: skip


def wheel(folder: Path, compiler: str | None = None) -> Path:
    """The wheel, as built with this compiler in place of the one that there is. A built kernel is not used then."""
    root = ROOT
    environment = dict(os.environ)
    if compiler is not None:
        root = folder / "source"
        ignored = shutil.ignore_patterns(".git", ".venv", "libunilstm.*", "reports", "site", "*_cache", "__pycache__")
        shutil.copytree(ROOT, root, ignore=ignored)
        environment["CXX"] = compiler
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(root)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    (found,) = folder.glob("*.whl")
    assert compiler is None or "without its kernel" in done.stdout + done.stderr
    return found


def test_top_level_names_of_the_wheel(tmp_path: Path) -> None:
    found = wheel(tmp_path)
    with zipfile.ZipFile(found) as archive:
        names = archive.namelist()
        entry_points = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    assert {n.split("/")[0] for n in names if not n.split("/")[0].endswith(".dist-info")} == TOPS
    assert "unilstm/py.typed" in names
    assert any(name.startswith("unilstm_conformance/golden/torch/") for name in names)
    for backend in ("numpy", "torch", "paddle", "jax"):
        assert f"{backend} = unilstm_{backend}.plugin" in entry_points
    assert ("unilstm_kernels/libunilstm.so" in names) == ("py3-none-any" not in found.name)
    assert "unilstm_kernels/source/direction.cpp" in names  # so that an installation can build it later


_LOADS = """
from unilstm_kernels import library
found = library.library()
print(library.__file__, found if isinstance(found, str) else "loads")
"""


def test_with_a_compiler_the_wheel_has_the_kernel_and_it_loads(tmp_path: Path) -> None:
    if not has_compiler():
        pytest.skip("there is no C++ compiler here")
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel(tmp_path)) as archive:
        assert "unilstm_kernels/libunilstm.so" in archive.namelist()
        archive.extractall(unpacked)
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    command = [sys.executable, "-c", _LOADS]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=1) == [str(unpacked / "unilstm_kernels" / "library.py"), "loads\n"]


def test_without_a_compiler_the_wheel_is_for_any_machine(tmp_path: Path) -> None:
    found = wheel(tmp_path, compiler="/nonexistent")
    assert found.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(found) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".so")]
