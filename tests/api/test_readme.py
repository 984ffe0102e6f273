"""The README tells the truth: CI runs its commands, its example prints what it says.

So does the description on package indexes, which has no links that would lead nowhere there.
"""

import doctest
import io
import re
import textwrap
import tomllib
from contextlib import redirect_stdout
from pathlib import Path

import pytest

import esxcore

ROOT = Path(__file__).parents[2]
README, PACKAGE = ((ROOT / name).read_text("utf-8") for name in ("README.md", "PACKAGE.md"))
both = pytest.mark.parametrize("text", [README, PACKAGE], ids=["README", "PACKAGE"])
COMMANDS = "pip install . && esxcore run\npip install '.[test]' && pytest\n"


def block(language: str, text: str = README) -> str:
    """Return the first fenced block of a language."""
    found = re.search(rf"^ *```{language}\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    assert found, f"there is no {language} block"
    return textwrap.dedent(found.group(1))


def test_commands_stand_alone() -> None:
    assert block("bash") == COMMANDS


@both
def test_example_prints_what_it_says(text: str) -> None:
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(block("python", text), "README.md", "exec"), {"__name__": "readme"})
    assert printed.getvalue() == block("text", text)


@both
def test_shorter_examples_print_what_they_say(text: str) -> None:
    parser = doctest.DocTestParser()
    session = parser.get_doctest(block("pycon", text), {"esxcore": esxcore}, "README", None, None)
    assert len(session.examples) == 2
    assert doctest.DocTestRunner().run(session).failed == 0


def test_example_is_short() -> None:
    assert len(block("python").splitlines()) <= 15


def test_the_description_on_package_indexes_links_to_no_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["readme"] == "PACKAGE.md"
    targets = re.findall(r"\]\(([^)#]+)\)", PACKAGE)
    assert [name for name in targets if "://" not in name] == []
    extras = set(re.findall(r"esxcore\[(\w+)\]", PACKAGE))
    assert extras <= set(project["optional-dependencies"])


def test_linked_files_exist() -> None:
    root = Path(__file__).parents[2]
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    missing = [name for name in targets if "://" not in name and not (root / name).is_file()]
    assert not missing, f"README.md links to {missing}"
