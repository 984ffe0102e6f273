"""Makes the pictures of the gallery and of the first policy, and executes the notebooks.

    python docs/gallery.py [NAME ...]

Names are those of scripts in examples/, of notebooks in examples/notebooks/, and first-policy; all
if none is given, which takes two minutes.
"""

from __future__ import annotations

import argparse
import doctest
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent
EXAMPLES = DOCS.parent / "examples"
FIRST_POLICY = "first-policy"
_BLOCK = re.compile(r"^```\{doctest\}\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def picture(name: str) -> None:
    """Runs a script of the gallery for its picture."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), str(DOCS / "gallery" / f"{name}.png")]
    subprocess.run(command, check=True)


def notebook(path: Path) -> None:
    """Executes a notebook in a folder of its own; keeps what comes of it, but no times of day."""
    import nbformat
    from nbclient import NotebookClient

    cells = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        NotebookClient(cells, resources=place, kernel_name="python3", record_timing=False).execute()
    for cell in cells.cells:
        cell.metadata.clear()
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    cells.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    nbformat.write(cells, path)


def first_policy(page: Path) -> None:
    """Types what the page on the first policy says, and keeps its picture."""
    text = "\n".join(_BLOCK.findall(page.read_text(encoding="utf-8")))
    typed = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            doctest.DebugRunner(optionflags=flags).run(typed)
        finally:
            os.chdir(before)
        page.with_suffix(".png").write_bytes((Path(folder) / "compare.png").read_bytes())


def main() -> None:
    """Makes what is asked for."""
    scripts = sorted(path.stem for path in (DOCS / "gallery").glob("*.png"))
    notebooks = {path.stem: path for path in sorted((EXAMPLES / "notebooks").glob("*.ipynb"))}
    known = [*scripts, *notebooks, FIRST_POLICY]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    for name in parser.parse_args().names or known:
        if name == FIRST_POLICY:
            first_policy(DOCS / f"{name}.md")
        elif name in notebooks:
            notebook(notebooks[name])
        else:
            picture(name)


if __name__ == "__main__":
    main()
