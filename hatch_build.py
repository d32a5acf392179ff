"""Builds the kernel into the wheel, or beside its sources for an editable install; without a compiler, neither.

An installation without it works the same on its other paths: `unilstm backends` says so, and how to get it.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class KernelHook(BuildHookInterface):  # type: ignore[type-arg, misc, unused-ignore]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        kernel = _build_module(Path(self.root))
        if sys.platform == "darwin" and version != "editable":  # else the compiler builds for the newest system
            os.environ.setdefault("MACOSX_DEPLOYMENT_TARGET", "11.0")
        try:
            library = kernel.build()
        except kernel.Unbuildable as why:
            self.app.display_warning(f"unilstm is built without its kernel, and runs on its other paths: {why}")
            return
        if version == "editable":
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform().replace('-', '_').replace('.', '_')}"
        build_data["force_include"][str(library)] = f"unilstm_kernels/{library.name}"


def _platform() -> str:
    """That which the library runs on. On macOS Python itself may be for two kinds of processors, and older systems."""
    if sys.platform == "darwin":
        return f"macosx-{os.environ['MACOSX_DEPLOYMENT_TARGET']}-{platform.machine()}"
    return sysconfig.get_platform()


def _build_module(root: Path) -> Any:
    spec = importlib.util.spec_from_file_location("kernel_build", root / "backends" / "unilstm_kernels" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
