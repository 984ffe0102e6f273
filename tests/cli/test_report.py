"""``esxcore run --report``: the file it writes, opened in headless Chromium as a user opens it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from chromium import Browser, Page, chromium_path
from esxcore import report
from esxcore.host import Host
from esxcore.recording import Recording
from recordings import divided_recording, some_decisions
from runs import esxcore_run, names

browsing = pytest.mark.skipif(
    chromium_path() is None, reason="Chromium is not installed (apt-get install chromium)"
)
SHORT = """
[host]
memory = "96MiB"
swap = "512MiB"
[sharing]
vm_rate = 2000
host_rate = 4000
[[vms]]
name = "busy"
count = 2
max = "256MiB"
min = "16MiB"
overhead = "1MiB"
workload = { activity = "builtin:active_phases", offset = "30s", repeat = true }
[[events]]
at = "40s"
vm = "busy-1"
shares = "high"
[run]
duration = "1min"
"""
HOSTILE = "</script><script>hacked=1</script><img src=x onerror=hacked=1>"
LOOKS = {
    "wide-light": {"width": 1280, "height": 900, "scheme": "light"},
    "wide-dark": {"width": 1280, "height": 900, "scheme": "dark"},
    "phone-light": {"width": 390, "height": 844, "scheme": "light", "phone": True},
    "phone-dark": {"width": 390, "height": 844, "scheme": "dark", "phone": True},
}
# Pictures are drawn when they come near the window; those in it must be there.
SETTLED = """
new Promise((done) => {
  const seen = (chart) => {
    const box = chart.getBoundingClientRect();
    return box.top < innerHeight && box.bottom > 0;
  };
  const look = () => {
    const charts = [...document.querySelectorAll(".chart")].filter(seen);
    const drawn = charts.every((chart) => chart.querySelector(".main-svg .scatterlayer path"));
    if (drawn) requestAnimationFrame(() => requestAnimationFrame(() => done(charts.length)));
    else setTimeout(look, 20);
  };
  look();
})
"""
POINTED_AT = """
new Promise((done) => {
  let left = 500;
  const look = () => {
    const label = document.querySelector(".hoverlayer .legend");
    if (label || --left === 0) done(label ? label.textContent : "nothing");
    else setTimeout(look, 20);
  };
  look();
})
"""


@pytest.fixture
def short(folder: Path) -> Path:
    """The folder to run in, with short.toml beside it."""
    (folder.parent / "in/short.toml").write_text(SHORT)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser.started(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


def opened(browser: Browser, path: Path, look: dict[str, Any]) -> Page:
    page = browser.page()
    page.look(**look)
    page.open(path.resolve().as_uri())
    page.run(SETTLED)
    return page


def check(page: Page, path: Path) -> None:
    """Nothing was asked of the network, nothing went wrong, nothing is too wide."""
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith("data:")] == [
        path.resolve().as_uri()
    ]
    assert page.run("document.documentElement.scrollWidth <= innerWidth")


def point_at(page: Page, figure: str) -> str:
    """What the picture says when it is pointed at."""
    chart = f"document.querySelector('[data-figure=\"{figure}\"]')"
    page.run(f"{chart}.scrollIntoView({{block: 'center'}})")
    page.run(SETTLED)
    box = page.run(f"{chart}.getBoundingClientRect().toJSON()")
    place = {"x": box["left"] + box["width"] * 0.7, "y": box["top"] + 90}
    for step in (0, 2):
        page.call("Input.dispatchMouseEvent", type="mouseMoved", **place | {"x": place["x"] + step})
    return str(page.run(POINTED_AT))


# -- the file --------------------------------------------------------------------------------------


def test_the_report_is_written_with_the_rest(short: Path) -> None:
    done = esxcore_run("../in/short.toml", "--report", "out.html")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "\nreport:    out.html\n" in done.stdout
    made = {"recording.npz", "sharing.png", "division.png"}
    assert names(short) == {"out.html", "esxcore-run", *(f"esxcore-run/{name}" for name in made)}
    recording = Recording.load("esxcore-run/recording.npz")
    assert len(recording.decisions) > 0
    assert Path("out.html").read_bytes() == report.html_bytes(recording, "short")


def test_the_report_may_lie_in_the_folder_that_the_run_makes(short: Path) -> None:
    done = esxcore_run("../in/short.toml", "--out", "a", "--report", "a/r.html", "--json")
    assert done.exit_code == 0
    assert '"report": "a/r.html"' in done.stdout
    assert "a/r.html" in names(short)


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ("out.txt", "--report out.txt: expected a name that ends in .html"),
        ("none/out.html", "--report none/out.html: there is no folder none"),
        (".html", "--report .html: expected a name that ends in .html"),
    ],
)
def test_a_report_that_cannot_be_is_refused_before_the_run(
    report: str, said: str, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Host, "advance", None)
    done = esxcore_run("../in/short.toml", "--report", report)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"esxcore: error: {said}\n"
    assert names(short) == set()


def test_without_the_extra_one_line_names_it_before_the_run(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Host, "advance", None)
    monkeypatch.setitem(sys.modules, "plotly", None)
    done = esxcore_run("../in/short.toml", "--report", "out.html")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("esxcore: error: an HTML report needs plotly and Jinja")
    assert done.stderr.endswith("pip install 'esxcore[report]'\n")
    assert done.stderr.count("\n") == 1
    assert names(short) == set()


def test_the_help_teaches_it() -> None:
    printed = esxcore_run("--help").stdout
    assert "--report FILE.html" in printed
    assert "esxcore run --report out.html" in printed
    assert "esxcore[report]" in printed


# -- in the browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with everything there is to see, by a user with odd names."""
    path = tmp_path_factory.mktemp("report") / "out.html"
    vms = dict(divided_recording().vms) | {
        "ops": np.array([[0, -1], [6000, 0], [18_000, 600]]),
        "op_p50_ns": np.array([[0, -1], [250_000, 0], [500_000, 1]]),
        "op_p99_ns": np.array([[0, -1], [2_500_000, 0], [5_000_000, 1]]),
        "stall_some_s": np.array([[0.0, np.nan], [30.0, 0.0], [30.0, 6.0]]),
        "stall_full_s": np.array([[0.0, np.nan], [15.0, 0.0], [15.0, 0.0]]),
    }
    recording = replace(
        divided_recording(vms=vms),
        vm_names=(HOSTILE, "a_name_that_has_no_place_to_break_" * 4),
        decisions=some_decisions(HOSTILE),
        scenario=f"# {HOSTILE}\n# {'long ' * 60}\n",
    )
    report.write(recording, path, title=HOSTILE)
    return path


@browsing
@pytest.mark.parametrize("look", LOOKS)
def test_it_opens_without_network_or_error(
    look: str, browser: Browser, written: Path, tmp_path: Path
) -> None:
    page = opened(browser, written, LOOKS[look])
    shot = imread(page.screenshot(tmp_path / f"{look}.png"))
    scale = 2 if "phone" in LOOKS[look] else 1
    assert shot.shape[:2] == (LOOKS[look]["height"] * scale, LOOKS[look]["width"] * scale)
    ground = shot[0, 0, :3].mean()
    assert (ground < 0.2) if LOOKS[look]["scheme"] == "dark" else (ground > 0.9)
    assert len(np.unique((shot[..., :3] * 255).astype(int).reshape(-1, 3), axis=0)) > 50
    page.run("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    page.run("scrollTo(0, document.body.scrollHeight)")
    assert page.run(SETTLED) >= 0
    check(page, written)


@browsing
def test_names_do_nothing_but_stand_there(browser: Browser, written: Path) -> None:
    page = opened(browser, written, LOOKS["wide-light"])
    assert page.run("document.title") == f"{HOSTILE} · esxcore"
    headings = page.run("[...document.querySelectorAll('h3')].map((part) => part.textContent)")
    assert HOSTILE in headings
    said = point_at(page, "vm-0")
    assert f"by{HOSTILE}because".replace(" ", "") in said.replace(" ", "")
    assert page.run("typeof hacked") == "undefined"
    assert page.run("document.querySelectorAll('img').length") == 0
    check(page, written)


@browsing
def test_a_picture_that_is_pointed_at_tells_its_numbers_and_why(
    browser: Browser, written: Path
) -> None:
    page = opened(browser, written, LOOKS["wide-light"])
    said = point_at(page, "vm-0").replace("\N{NO-BREAK SPACE}", " ")
    for part in ("60 s", "target 12.0 MiB", "set at 1 min", "was 16.0 MiB", "resident 12.0 MiB"):
        assert part in said
    assert "100 operations a second" in said
    assert "50.0%" in said
    assert "state soft" in point_at(page, "free")
    check(page, written)


@browsing
def test_a_tap_on_a_phone_tells_the_same_below_the_picture(browser: Browser, written: Path) -> None:
    page = opened(browser, written, LOOKS["phone-light"])
    chart = "document.querySelector('[data-figure=vm-0]')"
    page.run(f"{chart}.scrollIntoView({{block: 'center'}})")
    page.run(SETTLED)
    box = page.run(f"{chart}.getBoundingClientRect().toJSON()")
    page.call("Input.synthesizeTapGesture", x=box["left"] + box["width"] * 0.6, y=box["top"] + 90)
    page.run(POINTED_AT)
    readout = f"[...{chart}.parentNode.querySelectorAll('.readout li')]"
    lines = page.run(f"{readout}.map((line) => line.innerText)")
    lines = [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
    assert lines[:2] == ["60 s", "resident 12.0 MiB"]
    assert any(line.startswith("target 12.0 MiB: set at 1 min by") for line in lines)
    label = f"getComputedStyle({chart}.querySelector('.hoverlayer .legend')).visibility"
    assert page.run(label) == "hidden"
    check(page, written)


@browsing
def test_legend_and_zoom_act_on_all_pictures(browser: Browser, written: Path) -> None:
    page = opened(browser, written, LOOKS["wide-light"])
    point_at(page, "vm-1")
    point_at(page, "vm-0")
    shown = "[...document.querySelectorAll('.chart')].map((chart) => chart.data.filter("
    shown += "(trace) => trace.meta.role === 'balloon' && trace.visible).length)"
    assert page.run(shown) == [0, 0, 1, 1]
    page.run("document.querySelector('button[data-role=balloon]').click()")
    assert page.run(shown) == [0, 0, 0, 0]
    page.run("document.querySelector('button[data-role=balloon]').click()")
    assert page.run(shown) == [0, 0, 1, 1]
    ranges = "[...document.querySelectorAll('.chart')].map((c) => c.layout.xaxis.range.join())"
    zoom = "Plotly.relayout(document.querySelector('.chart'), {'xaxis.range': %s}).then(() => 0)"
    page.run(zoom % "[10, 70]")
    assert page.run(ranges) == ["10,70"] * 4
    page.run(zoom.replace("xaxis.range", "xaxis.autorange") % "true")
    assert page.run(ranges) == ["0,120"] * 4
    check(page, written)


@browsing
def test_the_colours_follow_the_user(browser: Browser, written: Path) -> None:
    page = opened(browser, written, LOOKS["wide-light"])
    target = "document.querySelector('[data-figure=free]').data.at(-1).line.color"
    assert page.run(target) == "#000000"
    page.look(**LOOKS["wide-dark"])
    waited = f"(left) => {{ if ({target} !== '#000000' || !left) done({target});"
    waited += " else setTimeout(look, 20, left - 1); }"
    assert page.run(f"new Promise((done) => {{ const look = {waited}; look(500); }})") == "#ffffff"
    check(page, written)


@browsing
def test_a_browser_that_hears_of_trouble_says_so(browser: Browser, tmp_path: Path) -> None:
    """The checks above would see a request, an exception and a console error."""
    path = tmp_path / "bad.html"
    path.write_text(
        "<img src='none.png'><script>console.error('oh'); setTimeout(() => { throw 1; }, 0)"
        "</script><body style='width: 3000px'>"
    )
    page = browser.page()
    page.look(**LOOKS["wide-light"])
    page.open(path.as_uri())
    page.run("new Promise((done) => setTimeout(done, 50))")
    assert page.requests == [path.as_uri(), (tmp_path / "none.png").as_uri()]
    assert len(page.errors) >= 3
    assert not page.run("document.documentElement.scrollWidth <= innerWidth")
