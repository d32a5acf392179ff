"""`unilstm backends`: what is installed here, why something cannot be used, and whether the kernel is there."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from unilstm_kernels import library

from .. import plugins
from .output import AsJson, out, print_json, working


def backends(as_json: AsJson = False) -> None:
    """List the frameworks: version, devices, paths; and why one cannot be used."""
    with working():
        infos = plugins.backends()
    if as_json:
        print_json([vars(info) for info in infos])
        return
    kernel = f"kernel: {escape(library.state())}"
    table = Table(caption=kernel, caption_justify="left", title="Backends", title_justify="left")
    for column in ("backend", "package", "version", "devices", "paths, fastest first", "usable"):
        table.add_column(column)
    for info in infos:
        usable = "yes" if info.usable else f"no: {escape(str(info.reason))}"
        cells = (
            info.name,
            info.distribution,
            info.version or "–",
            ", ".join(info.devices),
            ", ".join(info.paths),
            usable,
        )
        table.add_row(*cells, style=None if info.usable else "dim")
    out().print(table)
