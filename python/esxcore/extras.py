"""Libraries that esxcore does not depend on: imported when first needed, missed in one clear line.

Neighbours: whoever hands data to another library asks here for it, and no module of the package
imports one at its head.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from esxcore.errors import MissingLibraryError

_INSTALLED_BY = {
    "arro3.core": ("arro3-core", "'esxcore[arrow]'"),
    "arro3.io": ("arro3-io", "'esxcore[arrow]'"),
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
