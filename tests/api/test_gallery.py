"""The gallery: every script runs, prints what its picture is about and draws it; notebooks run."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCS, EXAMPLES = ROOT / "docs", ROOT / "examples"
NOTEBOOKS = sorted((EXAMPLES / "notebooks").glob("*.ipynb"))
PNG = b"\x89PNG\r\n\x1a\n"


def numbers(printed: str, pattern: str) -> dict[str, tuple[float, ...]]:
    """What a pattern finds in each line: its first group, and the others as numbers."""
    rows = re.findall(pattern, printed, re.MULTILINE)
    assert rows, printed
    return {name.strip(): tuple(map(float, values)) for name, *values in rows}


def first_sharing(printed: str) -> None:
    rows = numbers(printed, r"^(\w+) +(\d+) MiB resident, +(\d+) reclaimed, +(\d+) COW breaks$")
    assert list(rows) == ["py1", "py2", "redis", "sqlite", "nginx", "host"]
    assert rows["host"][0] == 5 * 256 > rows["host"][1] > 0.7 * 5 * 256
    assert rows["nginx"][2] > 1000 > 100 < rows["redis"][2]
    assert {rows[name][2] for name in ("py1", "py2", "sqlite")} == {0}
    (fraction,) = re.findall(r"([\d.]+)% of what the contents allow", printed)
    assert float(fraction) > 99.5


def isolation(printed: str) -> None:
    saved = numbers(printed, r"^(.+?) +([\d.]+) MiB saved of (\d+)$")
    order = [saved[name][0] for name in ("each alone", "two tenants", "all together")]
    assert order == sorted(order)
    assert 1280 / 2 < order[0] < order[2] < 1280 * 0.8


def sampling(printed: str) -> None:
    rows = numbers(printed, r"^ *(\d+) samples: off by ([\d.]+), interval ([\d.]+) wide$")
    few, usual, many = (rows[count] for count in ("20", "100", "500"))
    assert few[0] > usual[0] > many[0]
    assert few[1] > 1.8 * usual[1] > 3 * many[1]  # about the root of five


def tax(printed: str) -> None:
    pattern = r"^tax +(\d+)%: idle +([\d.]+) MiB, busy +([\d.]+) MiB, +([\d.]+) operations/s$"
    rows = list(numbers(printed, pattern).values())
    assert rows[0][0] == rows[0][1]
    assert all(idle + busy == pytest.approx(90, abs=0.2) for idle, busy, _ in rows)
    done = [work for *_, work in rows]
    assert done == sorted(done)
    assert done[3] > 1.4 * done[0]


def why(printed: str) -> None:
    told = [text for text in printed.split("\n\n") if text.strip()]
    assert [re.match(r"idle at (\d+) s: target", text)[1] for text in told] == ["60", "180", "315"]  # type: ignore[index]
    assert "tax on idle memory of others adds" in told[0]
    assert all("tax on idle memory takes" in text for text in told[1:])
    assert "2560 shares" in told[1] and "5120 shares" in told[2]


def own_policy(printed: str) -> None:
    rows = numbers(
        printed, r"^(\w+) +([\d.]+) operations a second, +([-+][\d.]+) ± ([\d.]+) against static$"
    )
    assert next(iter(rows)) == "ByActivity"
    assert rows["static"][1:] == (0, 0)
    for name in ("ByActivity", "esx2002"):
        work, gain, half = rows[name]
        assert gain - half > 20
        assert work == pytest.approx(rows["static"][0] + gain, abs=0.2)


def classroom(printed: str) -> None:
    points = [tuple(map(int, each)) for each in re.findall(r"^ +(\d+)/(\d+) +exp", printed, re.M)]
    (total,) = re.findall(r"ByActivity: (\d+) of 100 points", printed)
    assert len(points) == 13
    assert sum(out_of for _, out_of in points) == 100
    assert int(total) == sum(got for got, _ in points) > 75


def ballooning_or_paging(printed: str) -> None:
    rows = numbers(
        printed,
        r"^([a-z, ]+?) +(\d+) operations/s alone, +(\d+) with the newcomer;"
        r" +(\d+) MiB ballooned, +(\d+) MiB paged$",
    )
    balloon, paging = rows["ballooning"], rows["no driver, so paging"]
    assert balloon[0] == paging[0] > 1.5 * balloon[1] > 3 * paging[1]
    assert balloon[2] > 40 and paging[2] == 0
    assert paging[3] > 1.3 * balloon[3]


def windows_boot(printed: str) -> None:
    rows = numbers(
        printed, r"^share before swap (\w+) *: +(\d+) MiB paged out, +(\d+) MiB shared instead$"
    )
    (paged, nothing), (rest, shared) = rows["False"], rows["True"]
    assert nothing == 0
    assert paged > 4 * rest
    assert shared > 0.7 * paged


def plan_overcommit(printed: str) -> None:
    rows = numbers(
        printed, r"^(\w+): (\d+) guests fit; with one more the worst is ([\d.]+)% slower"
    )
    assert rows["2002"][0] == 5  # of 128 MiB on 640: all that fit without overcommitment
    assert rows["nvme"][0] > 5
    assert rows["2002"][1] > 25 > 10 > rows["nvme"][1] >= 5


def miss_ratios(printed: str) -> None:
    assert printed.startswith("10000000 references to 2768 pages\n")
    rows = numbers(printed, r"^([\w-]+) +(\d+) pages to miss less than once in a hundred")
    assert list(rows) == ["lru", "clock", "two-list"]
    assert all(3 < enough <= 8 for (enough,) in rows.values())


def hot_io(printed: str) -> None:
    rows = re.findall(r"(.*?) +(\d+) copies +(\d+) moves +(\d+) made room", printed)
    copies = {name: int(count) for name, count, _, _ in rows}
    assert copies["always copy"] == 120 * 20_000
    assert copies["first use"] == copies["I/O MMU"] == 0
    order = ["threshold 1", "threshold 4", "competitive (8)", "threshold 16", "threshold 64"]
    assert [name for name in sorted(copies, key=copies.__getitem__) if name in order] == order
    assert copies["threshold 1"] < copies["always copy"] / 100
    for name, count, moves, made_room in rows:
        assert moves == made_room, "low memory was full"
        assert int(moves) * int((re.findall(r"\d+", name) or [0])[0]) <= int(count)


SCRIPTS = {
    check.__name__: check
    for check in (
        first_sharing,
        isolation,
        sampling,
        tax,
        why,
        own_policy,
        classroom,
        ballooning_or_paging,
        windows_boot,
        plan_overcommit,
        miss_ratios,
        hot_io,
    )
}


def test_every_picture_has_a_script_and_a_place() -> None:
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    assert {path.stem for path in (DOCS / "gallery").iterdir()} == set(SCRIPTS)
    for name in SCRIPTS:
        assert f"{{figure}} gallery/{name}.png" in page
        assert f"{{literalinclude}} ../examples/{name}.py" in page


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_prints_and_draws(name: str, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), str(picture)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    SCRIPTS[name](done.stdout)
    made, kept = picture.read_bytes(), (DOCS / "gallery" / f"{name}.png").read_bytes()
    assert made[:24] == kept[:24], "a PNG of the size of the one that is shown"
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def outputs(path: Path) -> Iterator[dict[str, Any]]:
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        yield from cell.get("outputs", ())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_executed_and_small(path: Path) -> None:
    assert path.stat().st_size < 1_000_000
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    kinds = {output["output_type"] for output in outputs(path)}
    assert "error" not in kinds and "execute_result" in kinds
    for output in outputs(path):
        assert "stderr" not in output.get("name", "")
        data = output.get("data", {})
        assert "<script" not in "".join(data.get("text/html", ""))
        assert "application/javascript" not in data
        if "image/png" in data:
            assert base64.b64decode("".join(data["image/png"])).startswith(PNG)


def signature(path: Path) -> list[list[str]]:
    """What kinds of outputs there are, in their order, and all text without its digits."""
    return [
        [
            output["output_type"],
            *sorted(output.get("data", ())),
            re.sub(r"[-+ ]*[\d.]+", "#", "".join(output.get("text", ""))),
        ]
        for output in outputs(path)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_as_it_is_kept(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    copy = shutil.copy(path, tmp_path)
    command = [sys.executable, "-m", "jupyter", "execute", "--inplace", "--kernel_name=python3"]
    done = subprocess.run(
        [*command, str(copy)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr  # a cell that raises ends it
    assert signature(Path(copy)) == signature(path)


def block(name: str, language: str) -> str:
    text = (DOCS / "first-policy.md").read_text(encoding="utf-8")
    found = re.search(rf"`{name}`:\n\n```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert found, f"first-policy.md shows no {name}"
    return found[1]


def test_the_first_policy_beats_static_from_the_shell(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(block("mine.py", "python"), encoding="utf-8")
    (tmp_path / "lab.toml").write_text(block("lab.toml", "toml"), encoding="utf-8")
    text = (DOCS / "first-policy.md").read_text(encoding="utf-8")
    (words,) = re.findall(r"^esxcore (compare .*)$", text, re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-m", "esxcore", *words.split(), "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "compare.png").read_bytes().startswith(PNG)
    best, *_ = json.loads(done.stdout)["policies"]
    assert best["policy"].endswith("AsTheySay")
    assert best["metrics"]["ops_per_s"]["difference"]["low"] > 100
