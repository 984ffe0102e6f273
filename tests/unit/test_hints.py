"""Advice on names that are not known."""

from __future__ import annotations

from pathlib import Path

import pytest

from esxcore.hints import LIKE_FOR_KEYS, did_you_mean, in_quotes, listed, nearest

NAMES = ("static", "esx2002", "proxmox")


def test_the_nearest_is_named_as_the_reader_writes_it() -> None:
    assert did_you_mean("esx2003", NAMES) == "did you mean 'esx2002'?"
    assert did_you_mean("esx2003", NAMES, in_quotes) == 'did you mean "esx2002"?'
    assert did_you_mean("esx2003", NAMES, otherwise="no matter") == "did you mean 'esx2002'?"


def test_where_none_is_near_it_is_told_which_there_are() -> None:
    assert did_you_mean("zz", NAMES) == "expected one of static, esx2002, proxmox"
    assert did_you_mean("zz", NAMES, otherwise="expected a policy") == "expected a policy"
    assert did_you_mean(5, iter(NAMES)) == "expected one of static, esx2002, proxmox"


@pytest.mark.parametrize(("like", "found"), [(0.9, None), (LIKE_FOR_KEYS, "esx2002")])
def test_how_like_it_must_be_can_be_said(like: float, found: str | None) -> None:
    assert nearest("esx02", NAMES, like) == found


def test_a_long_list_ends_with_how_many_more_there_are() -> None:
    told = listed(f"vm-{number}" for number in range(50))
    assert told.startswith("vm-0, vm-1, ")
    assert told.endswith("vm-39 and 10 more")


def test_nobody_else_looks_for_near_names(project_root: Path) -> None:
    package = project_root / "python" / "esxcore"
    users = [
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if "import difflib" in file.read_text()
    ]
    assert users == ["hints.py"]
