"""Libraries that esxcore does not depend on: imported when first needed, missed in one clear line.

Also what other packages add to this one by entry points, looked for by name.

Neighbours: whoever hands data to another library asks here for it, and no module of the package
imports one at its head.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from esxcore.errors import ConfigError, MissingLibraryError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_INSTALLED_BY = {
    "arro3.core": ("arro3-core", "'esxcore[arrow]'"),
    "arro3.io": ("arro3-io", "'esxcore[arrow]'"),
    "joblib": ("joblib", "'esxcore[sweep]'"),
    "joblib.externals.loky.process_executor": ("joblib", "'esxcore[sweep]'"),
    "distributed": ("distributed", "'esxcore[dask]'"),
    "ray": ("ray", "'esxcore[ray]'"),
}


def needed(module: str, by: str) -> ModuleType:
    """The module of another library.

    Parameters
    ----------
    module : str
        Its name, such as ``"pandas"``.
    by : str
        What needs it; begins the error message.

    Raises
    ------
    MissingLibraryError
        If it cannot be imported; the message says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        library, wanted = _INSTALLED_BY.get(module, (module, module))
        raise MissingLibraryError(
            f"{by} needs {library}, which cannot be imported ({error}): pip install {wanted}",
            name=error.name,
        ) from error


def plug_ins(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group, of all packages that are installed, by name."""
    from importlib.metadata import entry_points  # takes long, and few need it

    return {point.name: point for point in entry_points(group=group)}


def named(point: EntryPoint) -> str:
    """An entry point in words."""
    package = f" of package {point.dist.name}" if point.dist else ""
    return f"the entry point {point.value}{package}"


def loaded(point: EntryPoint) -> object:
    """What an entry point names.

    Raises
    ------
    ConfigError
        If it cannot be imported.
    """
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        said = ": ".join(filter(None, (type(error).__name__, str(error))))
        raise ConfigError(f"{named(point)} cannot be loaded: {said}") from error
