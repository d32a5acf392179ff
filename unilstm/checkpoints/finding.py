"""Which LSTM of a file is meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import layouts
from ..errors import CheckpointError
from .contents import Contents, Place

_SEPARATORS = "./"


def find(contents: Contents) -> list[Place]:
    """Every LSTM in a file: those it describes, and those recognised by names and shapes among its other arrays."""
    known = {name for place in contents.told for name in place.names}
    rest = {name: entry.shape for name, entry in contents.entries.items() if name not in known}
    found = [Place(f.layout, f.prefix, f.names, uncertain=f.uncertain) for f in layouts.find(rest)]
    return [*contents.told, *found]


def choose(
    contents: Contents,
    everything: list[Place],
    layout: str | None,
    prefix: str | None,
    config: Mapping[str, Any] | None,
) -> Place:
    """The one LSTM of a file's that layout and prefix leave. config: the caller's, or None.

    Raises CheckpointError for none or several, listing what is there, and for one that is uncertain.
    """
    chosen = everything if prefix is None else under(everything, prefix)
    if layout is not None:
        chosen = [f for f in chosen if f.layout == layout] or chosen
    if len(chosen) == 1:
        if layout is None and not (chosen[0].config_settles and config is not None):
            _refuse_doubt(contents, chosen[0])
        return (
            chosen[0] if layout in (None, chosen[0].layout) else Place(str(layout), chosen[0].prefix, chosen[0].names)
        )
    if not chosen and layout is not None:
        return _by_name(contents, layout, prefix)
    asked = "" if prefix is None else f" under prefix={prefix!r}"
    if chosen:
        listed, option = _list(chosen), "layout= (--from)" if same_place(chosen) else "prefix= (--lstm)"
        raise CheckpointError(f"{contents.path}: holds {len(chosen)} LSTMs{asked}: {listed}. Choose one with {option}.")
    if everything:
        raise CheckpointError(
            f"{contents.path}: has no LSTM{asked}. It has: {_list(everything)}. Choose one with prefix= (--lstm)."
        )
    raise CheckpointError(
        f"{contents.path}: no LSTM found among {len(contents.entries)} arrays{_sample(contents)}. If there is one "
        "under unusual names, say what they follow with layout= (--from) and prefix= (--lstm)."
    )


def under(found: list[Place], prefix: str) -> list[Place]:
    """Those whose prefix is `prefix`; or else those whose prefix ends in it, whole names only."""
    wanted = prefix.rstrip(_SEPARATORS)
    exact = [f for f in found if f.prefix.rstrip(_SEPARATORS) == wanted]
    return exact or [f for f in found if wanted and f.prefix.rstrip(_SEPARATORS).endswith(_ends(wanted))]


def _refuse_doubt(contents: Contents, found: Place) -> None:
    """A guess among layouts would be a wrong number found late; whoever names the layout has settled it."""
    if found.uncertain:
        where = f" under {found.prefix!r}" if found.prefix else ""
        raise CheckpointError(f"{contents.path}: of its LSTM{where}, {found.uncertain} (--from on the command line).")


def same_place(found: list[Place]) -> bool:
    return len({f.prefix for f in found}) == 1


def _ends(wanted: str) -> tuple[str, ...]:
    return tuple(separator + wanted for separator in _SEPARATORS)


def _by_name(contents: Contents, layout: str, prefix: str | None) -> Place:
    """Where the caller says which layout it is, its reader says what is wrong; only the place must exist."""
    names = tuple(name for name in contents.entries if name.startswith(prefix or ""))
    if not names:
        raise CheckpointError(
            f"{contents.path}: no array is named {prefix!r}…{_sample(contents)}. Give the whole prefix (--lstm)."
        )
    return Place(layout, prefix or "", names)


def _list(found: list[Place]) -> str:
    return "; ".join(f"{f.prefix!r} ({f.layout}, {len(f.names)} arrays)" for f in found[:20]) + (
        f"; and {len(found) - 20} more" if len(found) > 20 else ""
    )


def _sample(contents: Contents) -> str:
    names = [repr(name) for name in list(contents.entries)[:5]]
    return f" ({', '.join(names)}{', …' if len(contents.entries) > 5 else ''})" if names else ""
