"""The pages on concepts: their pictures are there, named with their commands, and can be made."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
CONCEPTS = DOCS / "concepts"
PICTURE = re.compile(r"(?:\{figure\} |\]\()([\w./-]+\.png)")


def test_every_picture_of_a_page_is_there() -> None:
    shown = [
        (page.parent / name)
        for page in DOCS.rglob("*.md")
        for name in PICTURE.findall(page.read_text(encoding="utf-8"))
    ]
    assert len(shown) > 10
    assert [str(path) for path in shown if not path.is_file()] == []


def test_concepts_say_how_their_pictures_are_made() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in CONCEPTS.glob("*.md"))
    for picture in CONCEPTS.glob("*.png"):
        assert f"`python docs/pictures.py {picture.stem}`" in text
        assert f"]({picture.name})" in text or f"{{figure}} {picture.name}" in text


@pytest.mark.slow
def test_pictures_can_be_made(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(DOCS / "pictures.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, cwd=tmp_path)
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {path.name for path in CONCEPTS.glob("*.png")}
    for path in tmp_path.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")
