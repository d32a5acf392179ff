"""A model in several files: the index that says which array is in which, of .safetensors and of torch's .bin files."""

from __future__ import annotations

from pathlib import Path

from ..errors import CheckpointError
from .contents import AGAIN, Contents, Entry, check_count
from .json_text import parse_file


def read(path: Path) -> Contents:
    """Open an index and the files beside it that it names."""
    from .formats import open_checkpoint

    places = _weight_map(path)
    shards: dict[str, Contents] = {}
    entries: dict[str, Entry] = {}
    for name, shard in places.items():
        if shard not in shards:
            shards[shard] = open_checkpoint(path.parent / shard)
        if name not in shards[shard].entries:
            raise CheckpointError(f"{path}: says that {name!r} is in {shard!r}, where it is not. {AGAIN}")
        entries[name] = shards[shard].entries[name]
    return Contents(path, entries)


def _weight_map(path: Path) -> dict[str, str]:
    index = parse_file(path)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise CheckpointError(f"{path}: has no weight_map from names to files, as an index has. {AGAIN}")
    check_count(path, len(places))
    for shard in places.values():
        if Path(shard).name != shard or shard.endswith(".json"):
            raise CheckpointError(f"{path}: names the file {shard!r}, which is not beside it. Put it there.")
    return places
