"""What guests got done, as recordings tell and pictures draw it, on numbers made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from esxcore.plot import draw_throughput, plot_throughput, png_bytes
from esxcore.recording import Recording
from esxcore.tables.work import WorkRow
from recordings import small_recording

NAN = float("nan")


def working_recording() -> Recording:
    """ "web" works all the time, "db" only in the second minute."""
    columns: dict[str, Any] = {
        "ops": ([0, 600, 720], [-1, 0, 60]),
        "op_p50_ns": ([-1, 5, 5], [-1, -1, 5]),
        "stall_some_s": ([0, 6, 30], [NAN, 0, 15]),
        "stall_full_s": ([0, 6, 12], [NAN, 0, 0]),
        "stalled_s": ([0, 1, 3], [0, 0, 0]),
    }
    both = {name: np.array(pair, float).T for name, pair in columns.items()}
    both["ops"] = both["ops"].astype(np.int64)
    return small_recording(vms=dict(small_recording().vms) | both)


def test_work_is_told_of_the_time_in_which_a_machine_was_on() -> None:
    assert working_recording().work() == (
        WorkRow("web", 720, 6.0, 0.25, 0.1, 3),
        WorkRow("db", 60, 1.0, 0.25, 0.0, 0),
    )


def test_operations_a_second_are_those_since_the_sample_before() -> None:
    recording = working_recording()
    np.testing.assert_array_equal(recording.ops_per_s(0), [NAN, 10, 2])
    np.testing.assert_array_equal(recording.ops_per_s(1), [NAN, NAN, 1])


def test_a_recording_without_work_has_no_rows() -> None:
    assert small_recording().work() == ()
    still = {name: np.zeros((3, 2)) for name in ("ops", "stall_some_s", "stall_full_s")}
    assert small_recording(vms=dict(small_recording().vms) | still).work() == ()


def test_throughput_is_a_line_before_the_time_that_was_lost() -> None:
    ax = plot_throughput(working_recording(), 0)
    (line,) = ax.get_lines()
    np.testing.assert_array_equal(line.get_ydata(), [NAN, 10, 2])
    np.testing.assert_array_equal(line.get_xdata(), [0, 1, 2])
    (layer,) = ax.collections
    heights = {round(float(y), 9) for _, y in np.asarray(layer.get_paths()[0].vertices)}
    assert heights == {0.0, 1.0, 4.0}  # 0.1 and 0.4 of the most
    assert ax.get_title(loc="left") == "web"
    assert ax.get_ylabel() == "operations/s"


def test_each_machine_at_work_has_a_picture() -> None:
    figure = draw_throughput(working_recording(), "Title")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["web", "db"]
    assert png_bytes(figure, dpi=40).startswith(b"\x89PNG")
