"""The part of XLA's C ABI that the kernel declares for itself, against XLA's own header."""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import require, require_kernel
from unilstm_kernels import library

# In the order of unilstm_xla_layout() in xla.cpp.
_PLACES = """
XLA_FFI_CallFrame: api stage args rets attrs
XLA_FFI_Args: size args
XLA_FFI_Buffer: data
XLA_FFI_Attrs: names attrs
XLA_FFI_Array: size data
XLA_FFI_Api: XLA_FFI_Error_Create XLA_FFI_Error_Destroy XLA_FFI_ThreadPool_Schedule XLA_FFI_ThreadPool_NumThreads
XLA_FFI_ThreadPool_Schedule_Args: ctx data
XLA_FFI_ThreadPool_NumThreads_Args: num_threads
XLA_FFI_Error_Create_Args: message errc
XLA_FFI_Metadata_Extension: metadata
XLA_FFI_Metadata: api_version
XLA_FFI_Api_Version: major_version
"""


def test_the_abi_is_declared_as_xla_does(tmp_path: Path) -> None:
    require("jax")
    require_kernel()
    import jax

    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        pytest.skip("there is no C compiler here")
    places = [line.split(": ") for line in _PLACES.strip().splitlines()]
    pairs = list(itertools.chain.from_iterable([(kind, field) for field in names.split()] for kind, names in places))
    wanted = ", ".join(f"offsetof({kind}, {field})" for kind, field in pairs)
    source = tmp_path / "layout.c"
    source.write_text(
        '#include <stddef.h>\n#include <stdio.h>\n#include "xla/ffi/api/c_api.h"\n'
        f"int main() {{ long at[] = {{{wanted}}};"
        ' for (unsigned n = 0; n < sizeof at / sizeof *at; n++) printf("%ld\\n", at[n]); }\n'
    )
    program = tmp_path / "layout"
    subprocess.run([compiler, f"-I{jax.ffi.include_dir()}", str(source), "-o", str(program)], check=True)
    theirs = [int(line) for line in subprocess.run([program], check=True, capture_output=True).stdout.split()]
    found = library.library()
    assert not isinstance(found, str)
    found.unilstm_xla_layout.restype = ctypes.POINTER(ctypes.c_int64)
    ours = list(itertools.takewhile(lambda place: place >= 0, found.unilstm_xla_layout()))
    assert dict(zip(pairs, ours, strict=True)) == dict(zip(pairs, theirs, strict=True))
