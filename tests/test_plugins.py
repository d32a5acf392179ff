"""Backends by name: what is unknown, what is missing, and that nothing is loaded unasked."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import unilstm
from unilstm import BackendUnavailable, UnknownBackend, plugins
from unilstm.hookspecs import hookimpl

# Beside the frameworks, what only some programs need: importing unilstm should take less than a blink.
FRAMEWORK_MODULES = (
    "pluggy",
    "importlib.metadata",
    "torch",
    "paddle",
    "jax",
    "onnx",
    "h5py",
    "safetensors",
    "typer",
    "rich",
    "matplotlib",
)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_importing_unilstm_loads_no_framework() -> None:
    code = f"import sys, unilstm; print([m for m in {FRAMEWORK_MODULES} if m in sys.modules])"
    assert run(code).stdout.strip() == "[]"


def test_a_backend_loads_no_other_framework() -> None:
    frameworks = "('torch', 'paddle', 'jax')"
    code = f"import sys, unilstm; unilstm.LSTM(4, 6, seed=0); print([m for m in {frameworks} if m in sys.modules])"
    assert run(code).stdout.strip() == "[]"


def test_an_unknown_backend_says_what_is_there_and_how_to_get_more() -> None:
    with pytest.raises(UnknownBackend, match=r"backend='tensorflow' is unknown. Registered here: numpy, .*pip install"):
        unilstm.LSTM(4, 6, backend="tensorflow")


class Missing:
    name, distribution, extra = "missing", "no-such-framework", "nosuch"

    def load(self) -> None:
        raise ImportError("No module named 'nosuch'")

    @hookimpl
    def unilstm_backend(self, spec_version: int) -> Any:
        return self


class Empty:
    @hookimpl
    def unilstm_backend(self, spec_version: int) -> Any:
        return None


@pytest.fixture
def registered(request: pytest.FixtureRequest) -> Any:
    plugins.register(request.param, "missing")
    yield request.param
    plugins.unregister("missing")


@pytest.mark.parametrize("registered", [Missing()], indirect=True)
def test_a_missing_framework_says_the_pip_command(registered: Any) -> None:
    with pytest.raises(
        BackendUnavailable, match=r"no-such-framework is not installed. Run: pip install .unilstm\[nosuch\]"
    ):
        unilstm.LSTM(4, 6, backend="missing")
    info = {b.name: b for b in unilstm.backends()}["missing"]
    assert not info.usable
    assert "pip install" in str(info.reason)


@pytest.mark.parametrize("registered", [Empty()], indirect=True)
def test_a_plugin_without_a_backend_is_named(registered: Any) -> None:
    with pytest.raises(UnknownBackend, match="the plugin 'missing' .* offers no backend"):
        unilstm.LSTM(4, 6, backend="missing")


def test_backends_lists_numpy_first_with_version_devices_and_paths() -> None:
    first = unilstm.backends()[0]
    assert (first.name, first.usable, first.devices, first.paths) == ("numpy", True, ("cpu",), ("kernel", "composed"))
    assert first.version
