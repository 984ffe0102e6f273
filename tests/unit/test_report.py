"""Reports: numbers and words of the page, thinning that loses no extreme, names that stay text."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esxcore import report
from esxcore.errors import MissingLibraryError
from esxcore.plot import style
from esxcore.recording import Recording
from esxcore.report.colours import DARK, LIGHT
from esxcore.report.figures import TimeAxis, bands_of
from esxcore.report.series import rate, vm_lines
from esxcore.report.thinning import limit_for, thinned, worst
from esxcore.report.words import mib, percent, time_text, told
from recordings import MIB, divided_recording, small_recording, some_decisions

HOSTILE = "</script><script>hacked=1</script><img src=x onerror=hacked=1>"


def text_of(recording: Recording, title: str = "run") -> str:
    return report.html_bytes(recording, title).decode()


def figures_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.S)
    assert found
    figures = json.loads(found.group(1))
    assert isinstance(figures, dict)
    return figures


def words_of(page: str) -> str:
    """What is to be read: the body without scripts and tags."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.S)
    text = re.sub(r"<[^>]+>", " ", body).replace("\N{NO-BREAK SPACE}", " ")
    return " ".join(text.split())


def numbers(packed: Any) -> list[float]:
    if isinstance(packed, list):
        return packed
    return np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"]).tolist()


def traces(figure: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {trace["meta"]["role"]: trace for trace in figure["data"]}


def with_work(**changes: Any) -> Recording:
    """The divided recording with the columns of guests that count what they do."""
    vms = dict(divided_recording().vms) | {
        "ops": np.array([[0, -1], [6000, 0], [18_000, 600]]),
        "op_p50_ns": np.array([[0, -1], [250_000, 0], [500_000, 1]]),
        "op_p99_ns": np.array([[0, -1], [2_500_000, 0], [5_000_000, 1]]),
        "stall_some_s": np.array([[0.0, np.nan], [30.0, 0.0], [30.0, 6.0]]),
        "stall_full_s": np.array([[0.0, np.nan], [15.0, 0.0], [15.0, 0.0]]),
        "faults_zero": np.array([[0, -1], [1, 2], [1234, 2]]),
    }
    return divided_recording(**({"vms": vms} | changes))


# -- what is drawn ---------------------------------------------------------------------------------


def test_a_vm_is_drawn_in_layers_with_its_target_and_why_it_was_set() -> None:
    page = text_of(divided_recording(decisions=some_decisions()))
    web = traces(figures_of(page)["vm-0"])
    layers = {name: numbers(web[name]["y"]) for name in ("resident", "balloon", "swapped")}
    assert layers == {"resident": [16, 12, 10], "balloon": [0, 3, 4], "swapped": [0, 1, 2]}
    assert {trace["stackgroup"] for trace in web.values() if "stackgroup" in trace} == {"memory"}
    assert numbers(web["resident"]["x"]) == [0, 60, 120]
    assert numbers(web["target"]["y"]) == [16, 12, 10]
    assert numbers(web["active"]["y"]) == [4, 4, 2]
    assert numbers(web["shared"]["y"]) == [0, 6, 6]
    assert numbers(web["target"]["customdata"]) == [0, 1, 2]
    none, first, second = web["target"]["meta"]["texts"]
    assert none == ""
    assert "set at 1 min by esx2002" in first.replace("<br>", " ")
    assert "Its min holds" in second.replace("<br>", " ")
    assert numbers(web["decision"]["x"]) == [60, 105]
    assert numbers(web["decision"]["y"]) == [12, 10]


def test_nothing_is_drawn_where_a_vm_is_off() -> None:
    db = traces(figures_of(text_of(divided_recording()))["vm-1"])
    assert np.isnan(numbers(db["target"]["y"])).tolist() == [True, False, False]
    assert numbers(db["resident"]["y"]) == [0, 8, 14]
    assert "decision" not in db


def test_bands_show_the_free_state_before_each_sample() -> None:
    recording = divided_recording()
    bands = bands_of(recording.time_s, recording.host["free_state"])
    assert bands == [("soft", 0.0, 60.0), ("high", 60.0, 120.0)]
    free = traces(figures_of(text_of(recording))["free"])
    assert numbers(free["free"]["y"]) == [8, 2, 6]
    assert numbers(free["soft"]["x"])[:4] == [0, 0, 60, 60]
    assert (free["soft-label"]["text"], free["high-label"]["text"]) == (["soft"], ["high"])


def test_throughput_is_the_difference_of_operations_by_time() -> None:
    page = text_of(with_work())
    web, db = (traces(figures_of(page)[f"vm-{vm}"]) for vm in (0, 1))
    assert numbers(web["ops"]["y"])[1:] == [100, 200]
    assert np.isnan(numbers(web["ops"]["y"])[0])
    assert numbers(db["ops"]["y"])[2] == 10
    assert numbers(web["some"]["y"])[1:] == [0.5, 0]
    assert numbers(web["full"]["y"])[1:] == [0.25, 0]
    assert numbers(db["some"]["y"])[2] == pytest.approx(0.1)
    assert web["ops"]["customdata"]["shape"] == "3, 2"
    assert numbers(web["ops"]["customdata"])[4:] == [0.5, 5]
    assert {web["ops"]["yaxis"], web["full"]["yaxis"]} == {"y2", "y3"}
    assert "Operations 18,600 155 a second" in words_of(page)
    assert "faults zero 1,234" in words_of(page)


def with_devices() -> Recording:
    """The recording with a card in "db", which is there for the last minute, and none in "web"."""
    counts = {"io_pages": 599_940, "io_copies": 540, "packets": 599_940, "dropped_packets": 60}
    names = ("io_remaps", "hot_pages", "device_s")
    columns = {
        name: np.array([[0, -1], [0, 0], [0, last]])
        for name, last in (counts | dict.fromkeys(names, 0)).items()
    }
    return divided_recording(vms=dict(divided_recording().vms) | columns)


def test_devices_have_a_scale_on_which_few_copies_show_beside_many_transfers() -> None:
    page = text_of(with_devices())
    web, db = (traces(figures_of(page)[f"vm-{vm}"]) for vm in (0, 1))
    assert not {"transfers", "copied", "moved", "dropped"} & set(web)
    assert {"transfers", "copied", "dropped"} <= set(db)
    assert "moved" not in db  # which none was
    assert numbers(db["transfers"]["y"])[2] == pytest.approx(4)  # of 9,999 a second
    assert numbers(db["copied"]["y"])[2] == 1
    assert numbers(db["copied"]["customdata"])[2] == 9
    layout = figures_of(page)["vm-1"]["layout"]
    axis = layout[f"yaxis{db['transfers']['yaxis'].removeprefix('y')}"]
    assert axis["ticktext"] == ["0", "100", "10,000"]
    assert axis["tickvals"][0] == 0
    said = words_of(page)
    assert "Pages of I/O 599,940 540 copied, 0 pages moved, 60 packets dropped" in said
    assert "copied for I/O 540" in said
    assert "dropped" not in words_of(text_of(with_work()))


def test_without_operations_there_is_no_throughput() -> None:
    web = traces(figures_of(text_of(divided_recording()))["vm-0"])
    assert not {"ops", "some", "full"} & set(web)
    assert "Operations" not in words_of(text_of(divided_recording()))


def test_a_bare_host_has_no_bands_and_no_targets() -> None:
    page = text_of(small_recording())
    figures = figures_of(page)
    assert set(figures) == {"sharing", "vm-0", "vm-1"}
    assert set(traces(figures["vm-0"])) == {"resident", "shared"}
    assert "Time in each free state" not in page


def test_one_sample_is_enough() -> None:
    whole = divided_recording()
    first = {
        group: {name: column[:1] for name, column in getattr(whole, group).items()}
        for group in ("host", "census", "vms")
    }
    page = text_of(divided_recording(time_s=np.zeros(1), **first))
    assert numbers(traces(figures_of(page)["free"])["free"]["y"]) == [8]


@pytest.mark.parametrize(
    ("end_s", "unit", "end"), [(0, "s", 1), (90, "s", 90), (600, "min", 10), (86_400, "h", 24)]
)
def test_time_has_the_unit_that_suits_the_run(end_s: float, unit: str, end: float) -> None:
    axis = TimeAxis(np.array([0.0, end_s]))
    assert (axis.unit, axis.settings()["range"]) == (unit, [0, end])


def test_colours_are_those_of_the_pictures() -> None:
    pairs = {
        "shared": style.SHARED,
        "reclaimed": style.RECLAIMED,
        "swapped": style.RECLAIMED,
        "possible": style.POSSIBLE,
        "target": style.POSSIBLE,
        "resident": style.SKY,
        "balloon": style.ORANGE,
        "work": style.ZERO,
        "some": style.PURPLE,
    }
    assert {name: LIGHT[name] for name in pairs} == pairs
    assert set(DARK) == set(LIGHT)


# -- what is said ----------------------------------------------------------------------------------


def test_the_page_sums_the_run_up() -> None:
    host = dict(divided_recording().host) | {
        "balloon_pages": np.array([0, 3, 4]) * MIB,
        "swapped_pages": np.array([0, 1, 3]) * MIB,
        "page_outs": np.array([0, 1, 5]) * MIB,
        "page_ins": np.array([0, 0, 2]) * MIB,
    }
    said = words_of(text_of(divided_recording(host=host, decisions=some_decisions()), "short"))
    for part in (
        "short Host 64.0 MiB of memory Virtual machines 2 Policy esx2002",
        "Virtual time 2 min Seed 7 esxcore 1.2.3",
        "Reclaimed by sharing 5.0 MiB most 8.0 MiB; at best 83.3 % of what contents allow",
        "In balloons 4.0 MiB",
        "Paged out 5.0 MiB in the swap file at the end 3.0 MiB",
        "Paged in 2.0 MiB",
        "high 1 min 50.0 % soft 1 min 50.0 %",
        "web min 8.0 MiB max 16.0 MiB shares 160",
        "3 changed targets; the newest are shown",
        "1 min a VM was powered on esx2002 soft web −4.0 MiB db +16.0 MiB",
        "The tax on idle memory takes 2.0 MiB.",
        "The next page is web&#39;s to lose.",
    ):
        assert part in said


def test_decisions_in_words() -> None:
    rows, left_out = told(some_decisions(), ("web", "db"), 1)
    assert left_out == 1
    assert [(row.time, row.state, row.gave, row.got) for row in rows] == [
        ("1 min 45 s", "high", [("web", mib(2 * MIB))], [])
    ]


def test_sizes_and_times() -> None:
    assert [percent(part) for part in (1, 0.99999, 0.5, 0)] == [
        "100.0 %",
        "99.9 %",
        "50.0 %",
        "0.0 %",
    ]
    assert mib(1000.5 * MIB).split() == ["1,000.5", "MiB"]
    times = {0: "0 s", 59: "59 s", 60: "1 min", 61.5: "1 min 1.5 s", 90_061: "25 h 1 min 1 s"}
    assert {seconds: time_text(seconds) for seconds in times} == times


def test_names_are_text_and_never_markup() -> None:
    vm_names = (HOSTILE, "b\udc80\n%{x}")
    recording = divided_recording(
        vm_names=vm_names, decisions=some_decisions(HOSTILE), scenario=f"# {HOSTILE}\n"
    )
    page = text_of(recording, HOSTILE)
    scripts = re.findall(r"<script\b[^>]*>", page)
    assert scripts == ["<script>", '<script type="application/json" id="figures">', "<script>"]
    assert "<img" not in page
    assert "&lt;/script&gt;&lt;script&gt;" in page
    assert "b\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}%{x}" in page
    texts = traces(figures_of(page)["vm-0"])["target"]["meta"]["texts"]
    assert not re.search("<(?!br>)", "".join(texts))


def test_the_page_is_self_contained_and_the_same_each_time() -> None:
    recording = divided_recording(decisions=some_decisions())
    page = report.html_bytes(recording)
    assert page == report.html_bytes(recording)
    markup = re.sub(rb"<script>.*?</script>", b"", page, flags=re.S)
    assert not re.search(rb'(src|href)=(?!"data:,")', markup)
    assert b"default-src 'none'" in markup
    assert b"url(" not in markup


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.html"
    report.write(divided_recording(), path, title="mine")
    assert b"<title>mine" in path.read_bytes()
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        report.write(divided_recording(), path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.html"]


@pytest.mark.parametrize("library", ["plotly", "jinja2"])
def test_without_the_extra_the_error_names_it(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r"pip install 'esxcore\[report\]'") as error:
        report.html_bytes(divided_recording())
    assert isinstance(error.value, MissingLibraryError)
    assert error.value.name == library


def test_an_old_plotly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plotly.__version__", "6.5.0")
    with pytest.raises(MissingLibraryError, match=r"needs plotly 7 or newer, not 6\.5\.0"):
        report.need_libraries()


# -- thinning --------------------------------------------------------------------------------------

values = st.one_of(st.floats(-1e6, 1e6), st.just(float("nan")))


@given(
    st.integers(1, 3).flatmap(
        lambda columns: st.lists(st.tuples(*[values] * columns), min_size=1, max_size=300)
    ),
    st.integers(8, 60),
)
def test_thinning_keeps_every_extreme(rows: list[tuple[float, ...]], limit: int) -> None:
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    kept = thinned(columns, limit)
    assert (np.diff(kept) > 0).all()
    assert {kept[0], kept[-1]} == {0, len(rows) - 1}
    assert len(kept) <= limit + 2
    for column in columns:
        known = column[~np.isnan(column)]
        if known.size:
            drawn = column[kept]
            assert np.nanmin(drawn) == known.min()
            assert np.nanmax(drawn) == known.max()


def test_few_samples_are_all_drawn() -> None:
    assert thinned([np.arange(50.0)], 50).tolist() == list(range(50))


def test_each_stretch_keeps_its_own_extremes() -> None:
    """A spike of one sample in a day is seen, wherever it is."""
    for at in (1, 4321, 86_398):
        line = np.zeros(86_400)
        line[at] = 1
        kept = thinned([line, np.sin(np.arange(86_400.0))], 2000)
        assert at in kept
        assert 500 < len(kept) <= 2000
        assert np.diff(kept).max() < 600


def test_a_long_run_is_thinned_and_the_page_says_so() -> None:
    whole = divided_recording()
    many = {
        group: {name: np.repeat(column, 2000, axis=0) for name, column in columns.items()}
        for group, columns in (("host", whole.host), ("census", whole.census), ("vms", whole.vms))
    }
    page = text_of(divided_recording(time_s=np.arange(6000.0), **many))
    assert len(numbers(traces(figures_of(page)["vm-0"])["target"]["x"])) <= 2000
    assert "Of 6,000 samples at most 2,000 are drawn" in words_of(page)


def test_many_pictures_share_what_one_page_can_hold() -> None:
    assert [limit_for(pictures) for pictures in (1, 50, 100, 10_000)] == [2000, 2000, 1000, 300]


def test_where_states_change_too_often_the_worst_is_shown() -> None:
    states = np.zeros(10_000, int)
    states[5000::2] = 1
    states[7777] = 3
    starts, shown = worst(states, 100)
    assert len(starts) <= 101
    assert shown.tolist() == [0, 1, 3, 1]
    assert worst(np.array([0, 0, 2, 0]), 100)[1].tolist() == [0, 2, 0]


def test_counts_that_begin_anew_do_not_run_backwards() -> None:
    counts = np.array([-1, 0, 10, -1, 4, 6])
    rates = rate(counts, np.arange(6.0) * 2)
    assert np.isnan(rates).tolist() == [True, False, False, True, False, False]
    assert rates[[1, 2, 4, 5]].tolist() == [0, 5, 2, 1]
    lines = vm_lines(divided_recording(), 1)
    assert np.isnan(lines.lines["target"][0])
