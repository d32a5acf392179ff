"""What training loops put into their checkpoints beside tensors, and what may stand there without being what it says.

torch.load(weights_only=True) refuses a file for a single path or NumPy number in it. Each of the names below is read
as `Inert` instead, which is a dict that takes whatever it is given and does nothing; nothing of that name is imported.
A whole torch.nn.Module is not among them: it is no plain data, and its author should save its state_dict.
"""

from __future__ import annotations

from typing import Any


class Inert(dict[Any, Any]):
    """A dict in place of some other object. Its own attributes are dropped."""

    def __new__(cls, *arguments: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *arguments: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        """Nothing of it is kept."""


_LIGHTNING = ("lightning.pytorch", "pytorch_lightning")
INERT = (
    "argparse.Namespace",
    "collections.defaultdict",
    "datetime.datetime",
    "datetime.timedelta",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "types.SimpleNamespace",
    "builtins.dict",
    "builtins.float",
    "builtins.int",
    "builtins.list",
    "builtins.slice",
    "builtins.str",
    "__builtin__.list",
    "typing.Any",
    *(
        f"numpy.{module}.{name}"
        for module in ("core.multiarray", "_core.multiarray")
        for name in ("scalar", "_reconstruct")
    ),
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.dtypes.{name}DType" for name in ("Float32", "Float64", "Int32", "Int64", "Bool")),
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    *(f"{root}.callbacks.model_checkpoint.ModelCheckpoint" for root in _LIGHTNING),
    *(f"{root}.callbacks.early_stopping.EarlyStopping" for root in _LIGHTNING),
    *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig")),
    *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata")),
    *(f"omegaconf.nodes.{kind}Node" for kind in ("Any", "String", "Integer", "Float", "Boolean")),
)
