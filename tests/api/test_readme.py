"""The README tells the truth: CI runs its commands, its example prints what it says."""

import doctest
import io
import re
import textwrap
from contextlib import redirect_stdout
from pathlib import Path

import esxcore

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
COMMANDS = "pip install . && esxcore run\npip install '.[test]' && pytest\n"


def block(language: str) -> str:
    """Return the first fenced block of a language."""
    found = re.search(rf"^ *```{language}\n(.*?)^ *```$", README, re.DOTALL | re.MULTILINE)
    assert found, f"README.md has no {language} block"
    return textwrap.dedent(found.group(1))


def test_commands_stand_alone() -> None:
    assert block("bash") == COMMANDS


def test_example_prints_what_it_says() -> None:
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(block("python"), "README.md", "exec"), {"__name__": "readme"})
    assert printed.getvalue() == block("text")


def test_shorter_examples_print_what_they_say() -> None:
    parser = doctest.DocTestParser()
    session = parser.get_doctest(block("pycon"), {"esxcore": esxcore}, "README", None, None)
    assert len(session.examples) == 2
    assert doctest.DocTestRunner().run(session).failed == 0


def test_example_is_short() -> None:
    assert len(block("python").splitlines()) <= 15


def test_linked_files_exist() -> None:
    root = Path(__file__).parents[2]
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    missing = [name for name in targets if "://" not in name and not (root / name).is_file()]
    assert not missing, f"README.md links to {missing}"
