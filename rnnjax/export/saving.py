"""Programs for other runtimes as files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnjax import _checks
from rnnjax.storage.files import replace_file

if TYPE_CHECKING:
    import onnx


def save(path: str | Path, program: "onnx.ModelProto | bytes") -> None:
    """Write what `to_onnx` or `to_stablehlo` has made to a file.

    The file is written under another name, synced and renamed: whatever happens, there is the
    whole new file, or what was there before.

    Args:
        path: of the file, in a folder that exists.
        program: a model of ONNX, or bytes.

    Raises:
        TypeError: if `program` is neither, or `path` is none.
        OSError: if the file cannot be written.

    Example:
        >>> import pathlib, tempfile, jax, rnnjax
        >>> cell = rnnjax.gru(5)
        >>> program = rnnjax.export.to_stablehlo(cell, cell.init(jax.random.key(0), 3))
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "gru.stablehlo"
        >>> rnnjax.export.save(path, program)
        >>> path.read_bytes() == program
        True
    """
    path = _checks.path("save", "path", path, such_as="model.onnx")
    data: Any = getattr(program, "SerializeToString", lambda: program)()
    if not isinstance(data, bytes):
        way_out = "give what to_onnx or to_stablehlo returns"
        got, wanted = _checks.kind(program), "be a model of ONNX or bytes"
        _checks.refuse("save", "program", wanted, got, way_out, error=TypeError)
    replace_file(path, data)
