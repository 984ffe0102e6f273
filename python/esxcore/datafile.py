"""Data files: packaged data, checked reading of npz archives, writing that is whole or not at all.

`open_arrays` is the one place where an npz archive is opened: it never unpickles, and whatever is
wrong with the file or with an array comes out as one `DataError` that names both. `data_path` turns
the words of a scenario (``"builtin:fleet_a"`` or a file) into a path; `write_whole` puts finished
files in place.

Neighbours: contents, workload and recording read and write through it, scenario resolves names with
it; it knows nothing of theirs.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from esxcore.errors import DataError
from esxcore.hints import did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BUILTIN = "builtin:"
_PACKAGED = Path(__file__).parent / "data"

_numbers = itertools.count()  # of temporary files: threads may write into one folder at a time

# All that zipfile, zlib and NumPy's header parser raise on bytes that are no archive of arrays.
_UNREADABLE = (
    EOFError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def packaged(file_name: str, array: str | None = None) -> Path:
    """Path of a file that comes with the package.

    Parameters
    ----------
    file_name : str
        Its name.
    array : str, optional
        What an archive has in it that is any use; others are not proposed.

    Raises
    ------
    DataError
        If the package has no such file; the message names the nearest.
    """
    path = _PACKAGED / file_name
    if not path.is_file():
        wanted, _, suffix = file_name.rpartition(".")
        entries = sorted(_PACKAGED.glob(f"*.{suffix}"))
        names = [entry.stem for entry in entries if array is None or _has(entry, array)]
        hint = did_you_mean(wanted, names, lambda name: f"{_BUILTIN}{name}")
        raise DataError(f"{_BUILTIN}{wanted}: no such data in the package; {hint}")
    return path


def _has(archive: Path, array: str) -> bool:
    with zipfile.ZipFile(archive) as names:
        return f"{array}.npy" in names.namelist()


def data_path(reference: str, folder: Path, array: str | None = None) -> Path:
    """Path of the npz archive that a scenario refers to.

    Parameters
    ----------
    reference : str
        ``"builtin:NAME"`` for packaged data, or the path of a file.
    folder : Path
        Where relative paths start.
    array : str, optional
        As in `packaged`.

    Raises
    ------
    DataError
        If there is no packaged data of that name. Whether a file exists is seen when it is opened.
    """
    if reference.startswith(_BUILTIN):
        return packaged(reference.removeprefix(_BUILTIN) + ".npz", array)
    return folder / reference


class ArrayFile:
    """An open npz archive whose arrays are checked as they are taken; made by `open_arrays`."""

    def __init__(self, path: Path, archive: Mapping[str, NDArray[Any]]) -> None:
        self.path = path
        self._archive = archive

    def names(self) -> tuple[str, ...]:
        """Names of the arrays in the file."""
        return tuple(self._archive)

    def take(self, name: str, dtype: type[Any], ndim: int) -> NDArray[Any]:
        """The array `name`, which must be of NumPy's scalar type `dtype` and have `ndim` axes.

        Raises
        ------
        DataError
            If it is missing, unreadable or of another type or shape.
        """
        import numpy as np

        if name not in self._archive:
            raise DataError(
                f"{self.path}: array '{name}' is missing; the file has {self._listed()}"
            )
        try:
            array = self._archive[name]
        except _UNREADABLE as error:
            raise self.error(name, f"cannot be read ({_reason(error)})") from error
        if not isinstance(array, np.ndarray):  # NumPy hands other members out as bytes
            raise self.error(name, "cannot be read (it is not in NumPy's npy format)")
        # To NumPy spans of time (kind "m") are integers; to the rest of Python they are not.
        fits = np.issubdtype(array.dtype, dtype) and array.dtype.kind != "m"
        if not fits or array.ndim != ndim:
            found = f"is {array.dtype} with {array.ndim} axes"
            raise self.error(name, f"{found}; expected {dtype.__name__} with {ndim} axes")
        return array

    def error(self, name: str, problem: str) -> DataError:
        """A `DataError` about the array `name` of this file."""
        return DataError(f"{self.path}: array '{name}' {problem}")

    def _listed(self) -> str:
        return ", ".join(self.names()) or "no arrays"


@contextmanager
def open_arrays(path: str | os.PathLike[str]) -> Iterator[ArrayFile]:
    """Opens an npz archive for checked reading; nothing in it is ever unpickled.

    Parameters
    ----------
    path : str or path
        The file.

    Raises
    ------
    DataError
        If the file is missing, cannot be read or is not an npz archive.
    """
    import numpy as np

    path = Path(path)
    with opened(
        path, "an npz archive"
    ) as stream:  # opened here, as NumPy leaves a file that it cannot read open
        try:
            archive = np.load(stream, allow_pickle=False)
        except _UNREADABLE as error:
            # What NumPy has to say of a file that is neither a zip file nor an array is no help.
            problem = "no zip file" if isinstance(error, ValueError) else _reason(error)
            raise DataError(
                f"{path}: not a readable npz archive ({problem});"
                " expected an npz archive, as numpy.savez writes it"
            ) from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{path}: a single array; expected an npz archive of named arrays")
        with archive:
            yield ArrayFile(path, archive)


def opened(path: Path, expected: str) -> IO[bytes]:
    """The file opened for reading; a pipe, on which that would wait for a writer, is refused.

    Raises
    ------
    DataError
        If there is no such regular file or it cannot be opened; it says what was `expected`.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # opening a folder says what is wrong
            return path.open("rb")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; expected {expected}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be opened ({_reason(error)})") from error
    raise DataError(f"{path}: not a regular file; expected {expected}")


def npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The bytes of a compressed npz archive; equal arrays give equal bytes."""
    import numpy as np

    stream = io.BytesIO()
    np.savez_compressed(stream, **dict(arrays))  # type: ignore[arg-type]  # names are free
    return stream.getvalue()


def write_whole(files: Mapping[Path, bytes]) -> None:
    """Writes files so that none is ever seen half-written.

    Each content first goes to a temporary file beside its target; only when all are on the disk are
    they renamed, one after the other. If anything fails or interrupts before the first renaming,
    the targets are as they were; in between, some are new and the rest are old, each of them whole.

    Parameters
    ----------
    files : mapping of Path to bytes
        Target path and content. The folders must exist.

    Raises
    ------
    OSError
        If a file cannot be written; its ``filename`` is the target.
    """
    with written_whole(files):
        pass


@contextmanager
def written_whole(files: Mapping[Path, bytes]) -> Iterator[None]:
    """As `write_whole`, with a block that runs when all is on the disk and nothing is in place yet.

    If the block fails, the targets are as they were.
    """
    for path in files:
        _refuse_special(path)
    # A name of its own, as the target's may be as long as the file system allows.
    staged = {
        path.with_name(f".esxcore.{os.getpid()}.{next(_numbers)}.tmp"): path for path in files
    }
    try:
        for temporary, path in staged.items():
            with _blaming(path), temporary.open("wb") as stream:
                stream.write(files[path])
                stream.flush()
                os.fsync(stream.fileno())
        yield
        for temporary, path in staged.items():
            with _blaming(path):
                temporary.replace(path)
    finally:
        for temporary in staged:
            with suppress(OSError):  # a folder that is gone by now must not hide the first error
                temporary.unlink(missing_ok=True)


def _refuse_special(path: Path) -> None:
    """Refuses to put a file in the place of a folder, a device or a pipe."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "Not a regular file, which could be replaced", str(path))


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Has errors of the system name `path`: those of writing name no file, others a temporary."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _reason(error: BaseException) -> str:
    """First line of an error's text, or its type's name if it has none."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ValueError) and "pickle" in str(error):
        return "it holds Python objects, which are never unpickled"
    return (str(error).splitlines() or [""])[0] or type(error).__name__
