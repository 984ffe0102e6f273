"""Executed notebooks as pages: nothing is executed here, and no library for notebooks is needed.

A line ``<!-- notebook: PATH -->`` in a page, by itself, stands for the cells of that notebook: text
as it is, code as a block, below it what it printed and drew. PATH is relative to the page.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

_LINE = re.compile(r"^<!-- notebook: (\S+) -->$", re.MULTILINE)
_SCRIPT = re.compile(r"<script|javascript:|\son\w+=", re.IGNORECASE)
_MAGIC = re.compile(r"^%.*\n+", re.MULTILINE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def page_text(notebook: dict[str, Any]) -> str:
    """The cells of a notebook as MyST Markdown.

    Raises
    ------
    ValueError
        If an output is an error or has a script in it.
    """
    return "\n\n".join(part for cell in notebook["cells"] for part in _cell(cell))


def _cell(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"]).strip()
    if cell["cell_type"] == "markdown":
        yield source
        return
    if code := _MAGIC.sub("", source).strip():
        yield _fenced("python", code)
    for output in cell["outputs"]:
        yield _output(output)


def _output(output: dict[str, Any]) -> str:
    if output["output_type"] == "error":
        raise ValueError(f"an output is an error: {output['ename']}")
    if output["output_type"] == "stream":
        return _text("".join(output["text"]))
    data = output["data"]
    if "image/png" in data:
        png = base64.b64encode(base64.b64decode("".join(data["image/png"]))).decode()
        picture = f'<img alt="what the cell above draws" src="data:image/png;base64,{png}">'
        return _fenced("{raw} html", picture)
    if "text/html" in data:
        html = "".join(data["text/html"])
        if _SCRIPT.search(html):
            raise ValueError("an output has a script in it")
        return _fenced("{raw} html", f'<div class="notebook-table">{html}</div>')
    return _text("".join(data["text/plain"]))


def _text(printed: str) -> str:
    return _fenced("{code-block} text\n:class: printed", "\n" + _COLOURS.sub("", printed).rstrip())


def _fenced(language: str, text: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _put_in(app: Sphinx, page: str, source: list[str]) -> None:
    def cells(line: re.Match[str]) -> str:
        path = Path(app.env.doc2path(page)).parent / line[1]
        app.env.note_dependency(str(path))
        try:
            return page_text(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError) as error:
            logger.warning("notebook %s: %s", line[1], error, location=page)
            return ""

    source[0] = _LINE.sub(cells, source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Has notebooks put in as pages are read."""
    app.connect("source-read", _put_in)
    return {"parallel_read_safe": True}
