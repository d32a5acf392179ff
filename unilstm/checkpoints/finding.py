"""Which LSTM of a file is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import layouts
from ..errors import CheckpointError
from .contents import Contents

if TYPE_CHECKING:
    from ..layouts import Found

_SEPARATORS = "./"


def find(contents: Contents) -> list[Found]:
    """Every LSTM in a file, recognised by names and shapes."""
    return layouts.find({name: entry.shape for name, entry in contents.entries.items()})


def choose(contents: Contents, layout: str | None, prefix: str | None) -> Found:
    """The one LSTM that layout and prefix leave. Raises CheckpointError for none or several, listing what is there."""
    everything = find(contents)
    chosen = everything if prefix is None else under(everything, prefix)
    if layout is not None:
        chosen = [f for f in chosen if f.layout == layout] or chosen
    if len(chosen) == 1:
        _refuse_doubt(contents, chosen[0], layout)
        return chosen[0] if layout is None else layouts.Found(layout, chosen[0].prefix, chosen[0].names)
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


def under(found: list[Found], prefix: str) -> list[Found]:
    """Those whose prefix is `prefix`; or else those whose prefix ends in it, whole names only."""
    wanted = prefix.rstrip(_SEPARATORS)
    exact = [f for f in found if f.prefix.rstrip(_SEPARATORS) == wanted]
    return exact or [f for f in found if wanted and f.prefix.rstrip(_SEPARATORS).endswith(_ends(wanted))]


def _refuse_doubt(contents: Contents, found: Found, layout: str | None) -> None:
    """A guess among layouts would be a wrong number found late; whoever names the layout has settled it."""
    if found.uncertain and layout is None:
        where = f" under {found.prefix!r}" if found.prefix else ""
        raise CheckpointError(f"{contents.path}: of its LSTM{where}, {found.uncertain} (--from on the command line).")


def same_place(found: list[Found]) -> bool:
    return len({f.prefix for f in found}) == 1


def _ends(wanted: str) -> tuple[str, ...]:
    return tuple(separator + wanted for separator in _SEPARATORS)


def _by_name(contents: Contents, layout: str, prefix: str | None) -> Found:
    """Where the caller says which layout it is, its reader says what is wrong; only the place must exist."""
    names = tuple(name for name in contents.entries if name.startswith(prefix or ""))
    if not names:
        raise CheckpointError(
            f"{contents.path}: no array is named {prefix!r}…{_sample(contents)}. Give the whole prefix (--lstm)."
        )
    return layouts.Found(layout, prefix or "", names)


def _list(found: list[Found]) -> str:
    return "; ".join(f"{f.prefix!r} ({f.layout}, {len(f.names)} arrays)" for f in found[:20]) + (
        f"; and {len(found) - 20} more" if len(found) > 20 else ""
    )


def _sample(contents: Contents) -> str:
    names = [repr(name) for name in list(contents.entries)[:5]]
    return f" ({', '.join(names)}{', …' if len(contents.entries) > 5 else ''})" if names else ""
