"""Finding backends by name. A plugin is loaded when it is asked for, and no other with it."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Any

import pluggy

from . import hookspecs
from .errors import BackendUnavailable, UnknownBackend
from .hookspecs import Backend

GROUP = "unilstm"
SPEC_VERSION = 1

_manager = pluggy.PluginManager(GROUP)
_manager.add_hookspecs(hookspecs)


@dataclass(frozen=True)
class BackendInfo:
    """One line of unilstm.backends(). reason says why it is not usable; devices and paths are empty then."""

    name: str
    distribution: str
    version: str | None
    usable: bool
    reason: str | None
    devices: tuple[str, ...]
    paths: tuple[str, ...]


def register(plugin: Any, name: str) -> None:
    """Add a backend from code, without an entry point: a module or object with the unilstm_backend hook."""
    _manager.register(plugin, name=name)


def unregister(name: str) -> None:
    _manager.unregister(name=name)


def names() -> list[str]:
    """Every registered backend, NumPy first, without loading any."""
    found = {e.name for e in importlib.metadata.entry_points(group=GROUP)}
    found |= {name for name, _ in _manager.list_name_plugin()}
    return sorted(found, key=lambda name: (name != "numpy", name))


def find(name: str) -> Backend:
    """The backend of that name, its framework not imported yet. Raises UnknownBackend."""
    if not isinstance(name, str) or name not in names():
        raise UnknownBackend(
            f"backend={name!r} is unknown. Registered here: {', '.join(names())}. "
            f'Those of this project come with: pip install "unilstm[torch]", "unilstm[paddle]" or "unilstm[jax]".'
        )
    if not _manager.has_plugin(name):
        _manager.load_setuptools_entrypoints(GROUP, name=name)
    plugin = _manager.get_plugin(name)
    hooks = _manager.subset_hook_caller(
        "unilstm_backend", remove_plugins=[p for other, p in _manager.list_name_plugin() if other != name]
    )
    backend = hooks(spec_version=SPEC_VERSION)
    if backend is None:
        raise UnknownBackend(f"the plugin {name!r} ({plugin!r}) offers no backend. It must implement unilstm_backend.")
    return backend  # type: ignore[no-any-return]


def get(name: str) -> Backend:
    """The backend of that name, ready to use. Raises UnknownBackend or BackendUnavailable."""
    backend = find(name)
    try:
        backend.load()
    except ImportError as problem:
        install = f"unilstm[{backend.extra}]" if backend.extra else backend.distribution
        broken = _version(backend.distribution) is not None
        state = f"fails to import ({problem})" if broken else "is not installed"
        raise BackendUnavailable(
            f'Backend {name!r} is registered but {backend.distribution} {state}. Run: pip install "{install}".'
        ) from problem
    return backend


def backends() -> list[BackendInfo]:
    """What is installed: versions, devices and paths of each backend, and why something is not usable.

    Imports every framework it finds, so it takes as long as they take.
    """
    return [_info(name) for name in names()]


def _info(name: str) -> BackendInfo:
    backend = find(name)
    version = version_of(backend)
    try:
        get(name)
    except BackendUnavailable as problem:
        return BackendInfo(name, backend.distribution, version, False, str(problem), (), ())
    return BackendInfo(
        name, backend.distribution, version, True, None, tuple(backend.devices()), tuple(backend.paths())
    )


def version_of(backend: Backend) -> str | None:
    """The version of a backend's framework, or None where it is not installed."""
    return _version(backend.distribution)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
