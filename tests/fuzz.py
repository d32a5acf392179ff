"""Mutated files over all readers: no crash, no hang, and nothing raised but CheckpointError.

    python tests/fuzz.py --count 100000 [--seed 0] [--format .pt] [--jobs 2]

Each file is a valid one of some format with a few bytes changed, cut, doubled or put in; of zip files also a part
inside, with its checksum made right again, so that the reader behind the checksum is reached. Files are tried in child
processes, which may take 4 GB and 20 seconds for a file (a busy machine is slow), so that a crash is found and named.
What fails can be made again: python tests/fuzz.py --one SEED.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import unilstm
from unilstm import CheckpointError, LSTMSpec, Weights
from unilstm.checkpoints import safetensors_file

FILES = Path(__file__).parent / "files"
SECONDS, BYTES, SLOW = 20, 4 << 30, 2.0
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)


def corpus(folder: Path) -> dict[str, Path]:
    """A small valid file of every format, by a word that ends in its suffix."""
    import torch

    from layout_cases import GOLDEN

    weights = Weights.initial(LSTMSpec(3, 4, num_layers=2, direction="bidirectional"), seed=7)
    for suffix in (".safetensors", ".pt", ".pdparams", ".npz", ".onnx"):
        unilstm.save(weights, folder / f"own{suffix}")
    unilstm.save(Weights.initial(LSTMSpec(3, 4, lanes=2), seed=7), folder / "scan.onnx")
    for suffix in (".keras", ".weights.h5"):
        unilstm.save(weights, folder / f"own{suffix}", allow="merge-biases")
    torch.save(
        {n: torch.tensor(a) for n, a in weights.items()}, folder / "legacy.pt", _use_new_zipfile_serialization=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.LSTM(3, 4)).save(folder / "script.pt")
    for name in ("model.keras", "model.weights.h5", "model_legacy.h5"):
        shutil.copy(str(GOLDEN / "keras" / name), folder / name)
    for name in ("initial_bidirectional_peepholes.onnx", "activations_alpha.onnx"):
        shutil.copy(str(GOLDEN / "onnx" / name), folder / name)
    for name in ("flax.msgpack", "flax_chunked.msgpack", "equinox.eqx", "mxnet.params"):
        shutil.copy(FILES / name, folder / name)
    unilstm.save_pretrained(weights, folder / "pretrained")
    sharded(weights, folder / "sharded")
    for name in ("orbax_ocdbt", "orbax_zarr", "orbax_zarr3"):
        with zipfile.ZipFile(FILES / f"{name}.zip") as archive:
            archive.extractall(folder / name)
    return {path.name: path for path in sorted(folder.iterdir())}


def sharded(weights: Weights, folder: Path) -> None:
    """An index and two files, every other array in each."""
    folder.mkdir()
    shards = {name: f"model-{n % 2 + 1}-of-2.safetensors" for n, name in enumerate(weights)}
    for shard in set(shards.values()):
        safetensors_file.write(folder / shard, {n: a for n, a in weights.items() if shards[n] == shard}, {})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))


def mutate(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        size = len(out)
        at = rng.randrange(min(size, rng.choice((size, 64, 1024)))) if size else 0
        kind = rng.randrange(7)
        if kind == 0 and size:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and size:
            out[at] = rng.randrange(256)
        elif kind == 2:
            width = rng.choice((1, 2, 4, 8))
            number = rng.choice(NUMBERS) & (1 << 8 * width) - 1
            out[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))
        elif kind == 3:
            del out[at:]
        elif kind == 4:
            del out[at : at + rng.randrange(1, 64)]
        elif kind == 5:
            out[at:at] = out[at : at + rng.randrange(1, 200)] * rng.choice((1, 1, 50))
        else:
            out[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
    return bytes(out)


def mutate_zip(data: bytes, rng: random.Random) -> bytes:
    """One part changed, and everything else right."""
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        parts = [(part, old.read(part)) for part in old.infolist()]
    chosen = rng.randrange(len(parts))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for n, (part, content) in enumerate(parts):
            new.writestr(part.filename, mutate(content, rng) if n == chosen else content, part.compress_type)
    return buffer.getvalue()


def mutant(files: dict[str, Path], seed: int, folder: Path, wanted: str = "") -> tuple[str, Path]:
    """The file of a seed, and the name of that which it was made of."""
    rng = random.Random(seed)
    source = files[rng.choice([name for name in files if name.endswith(wanted)])]
    if source.is_dir():
        target = folder / source.name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        victim = rng.choice(sorted(path for path in target.rglob("*") if path.is_file()))
        victim.write_bytes(mutate(victim.read_bytes(), rng))
        return source.name, target
    data = source.read_bytes()
    data = mutate_zip(data, rng) if zipfile.is_zipfile(source) and rng.random() < 0.6 else mutate(data, rng)
    target = folder / f"m.{source.name.partition('.')[2]}"
    target.write_bytes(data)
    return source.name, target


def attempt(path: Path) -> str:
    """Open, inspect and load, each LSTM if there are several. Returns what came of it."""
    layout = "equinox" if path.suffix == ".eqx" else None
    try:
        found = unilstm.inspect(path)
        for prefix in {lstm.prefix for lstm in found} if len(found) > 1 else [None]:
            unilstm.load(path, dtype="float32", layout=layout, prefix=prefix)
        if path.name == "pretrained":
            unilstm.from_pretrained(path)
    except CheckpointError:
        return "refused"
    return "read" if found else "empty"


def child(seeds: range, wanted: str) -> None:
    """Try files in this process, saying which is next, so that the parent knows where it died."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        files, folder = corpus(Path(one)), Path(two)
        for path in files.values():  # imports are done, and what they take is not counted
            assert attempt(path) == "read", path
        status = Path("/proc/self/status").read_text()
        held = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmSize"))
        resource.setrlimit(resource.RLIMIT_AS, (held + BYTES, held + BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        for seed in seeds:
            print(f"next {seed}", flush=True)
            name, path = mutant(files, seed, folder, wanted)
            signal.alarm(SECONDS)
            start = time.process_time()
            result = attempt(path)
            took = time.process_time() - start
            signal.alarm(0)
            print(f"{result} {name}" if took < SLOW else f"slow {seed} {took:.1f} s {name}", flush=True)


def run(count: int, seed: int = 0, wanted: str = "", jobs: int = 1) -> tuple[Counter[tuple[str, str]], list[str]]:
    """How often each result came of each valid file's mutants, and what failed. jobs: how many processes at a time."""
    size, end = -(-count // jobs), seed + count
    with ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(lambda start: _run(start, min(start + size, end), wanted), range(seed, end, size)))
    return sum((results for results, _ in done), Counter()), [line for _, failures in done for line in failures]


def _run(start: int, end: int, wanted: str) -> tuple[Counter[tuple[str, str]], list[str]]:
    """A child that dies is replaced, from the next file on."""
    results: Counter[tuple[str, str]] = Counter()
    failures: list[str] = []
    while start < end and len(failures) < 20:
        command = [sys.executable, __file__, "--child", str(start), str(end), "--format", wanted]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            last = start
            for line in process.stdout or ():
                word, _, rest = line.strip().partition(" ")
                if word == "next":
                    last = int(rest)
                elif word == "slow":
                    failures.append(line.strip())
                else:
                    results[rest, word] += 1
                    if results.total() % 10_000 == 0:
                        print(f"{results.total():,} files", file=sys.stderr, flush=True)
            error = (process.stderr.read() if process.stderr else "").strip().splitlines()
        if process.returncode == 0:
            break
        how = f"signal {-process.returncode}" if process.returncode < 0 else error[-1] if error else "?"
        failures.append(f"seed {last}: {how}")
        start = last + 1
    return results, failures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", default="")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--one", type=int)
    parser.add_argument("--child", type=int, nargs=2)
    said = parser.parse_args()
    if said.child:
        child(range(*said.child), said.format)
    elif said.one is not None:
        with tempfile.TemporaryDirectory() as one:
            kept = Path(tempfile.mkdtemp())
            _, path = mutant(corpus(Path(one)), said.one, kept, said.format)
            print(path, attempt(path))
    else:
        start = time.monotonic()
        results, failures = run(said.count, said.seed, said.format, said.jobs)
        for name in sorted({name for name, _ in results}):
            of = {result: count for (source, result), count in sorted(results.items()) if source == name}
            print(f"{name:<40} {sum(of.values()):>6} files: {of}")
        print(f"{results.total()} files in {time.monotonic() - start:.0f} s")
        print("\n".join(failures) or "nothing failed")
        sys.exit(bool(failures))


if __name__ == "__main__":
    main()
