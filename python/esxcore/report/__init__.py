"""Reports of recordings: one HTML file with everything in it, to open in a browser or to send.

`write` makes a page of time lines that can be zoomed and asked: the host's free memory on bands of
its free state, what sharing reclaims, and for each virtual machine its memory by what is resident,
ballooned and swapped out, with its target, what is active and shared, the work it did, and why the
policy set each target. The page loads nothing: scripts, styles and data are in it, and it forbids
itself the network.

A long run is thinned for drawing: `thinned` keeps samples with the lowest and the highest value of
each stretch, and the page says so. Whatever a user named is text, never markup.

Needs the extra ``report`` (plotly and Jinja), imported when a report is made. A leaf: nothing in
the package imports it but the command that was asked for a report.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from esxcore.datafile import write_whole
from esxcore.errors import MissingLibraryError

if TYPE_CHECKING:
    from esxcore.recording import Recording

__all__ = ["html_bytes", "need_libraries", "write"]

_OLDEST_PLOTLY = 7


def need_libraries() -> None:
    """Sees to it that reports can be made.

    Raises
    ------
    MissingLibraryError
        If a library is missing or too old; the message names the extra to install.
    """
    how = "pip install 'esxcore[report]'"
    try:
        import jinja2  # noqa: F401
        import plotly
    except ImportError as error:
        problem = f"an HTML report needs plotly and Jinja, which cannot be imported ({error})"
        raise MissingLibraryError(f"{problem}: {how}", name=error.name) from error
    if int(plotly.__version__.split(".")[0]) < _OLDEST_PLOTLY:
        found = f"an HTML report needs plotly {_OLDEST_PLOTLY} or newer, not {plotly.__version__}"
        raise MissingLibraryError(f"{found}: {how}", name="plotly")


def html_bytes(recording: Recording, title: str = "esxcore run") -> bytes:
    """The report as the bytes of an HTML file; equal recordings give equal bytes.

    Parameters
    ----------
    recording : Recording
        What to report.
    title : str
        What the page is called, such as the name of the scenario.

    Raises
    ------
    MissingLibraryError
        If the extra ``report`` is not installed.
    """
    need_libraries()
    from esxcore.report.page import page

    return page(recording, title).encode()


def write(
    recording: Recording, path: str | os.PathLike[str], *, title: str = "esxcore run"
) -> None:
    """Writes the report as one HTML file, whole or not at all.

    Parameters
    ----------
    recording : Recording
        What to report.
    path : str or path
        The file.
    title : str
        What the page is called, such as the name of the scenario.

    Raises
    ------
    MissingLibraryError
        If the extra ``report`` is not installed.
    OSError
        If the file cannot be written.
    """
    write_whole({Path(path): html_bytes(recording, title)})
