"""Recordings in other libraries: equal values, gaps where nobody knows, units and provenance."""

from __future__ import annotations

import copy
import csv
import io
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr
from arro3 import core as ar
from arro3 import io as arro3_io

from esxcore import run
from esxcore.errors import ConfigError, MissingLibraryError
from esxcore.recording import Recording
from esxcore.scenario import Scenario
from esxcore.tables import FILE_KINDS, Table, missing, writer
from esxcore.tables.recorded import TABLES
from esxcore.tables.units import unit_of
from recordings import MIB, divided_recording, small_recording

KINDS = {
    "pages", "bytes", "MiB", "s", "ns", "fraction", "shares", "count", "code", "flag", "name",
}  # fmt: skip
PROVENANCE = {"esxcore_version": "1.2.3", "seed": "7", "scenario": '[host]\nmemory = "64MiB"\n'}


def real_recording(**sections: Any) -> Recording:
    """A recording as `run` makes it: one VM there from the start, one that comes later."""
    return run(
        Scenario.from_mapping(
            {
                "host": {"memory": "256MiB"},
                "vms": [
                    {"name": "web", "max": "16MiB"},
                    {"name": "db", "max": "8MiB", "start": "2s"},
                ],
                "run": {"duration": "4s"},
                **sections,
            }
        )
    )


def plain(recording: Recording, name: Any) -> dict[str, list[Any]]:
    """The table as lists, slowly: a row a sample, or a sample and VM; None for -1 and NaN."""

    def known(value: Any) -> Any:
        return None if value in (-1, -1.0) or value != value else value

    if name != "vms":
        group = {"time_s": recording.time_s, **getattr(recording, name)}
        return {key: [known(value) for value in column.tolist()] for key, column in group.items()}
    rows = [
        {"time_s": float(time), "vm": vm}
        | {key: known(column[at, place].item()) for key, column in recording.vms.items()}
        for at, time in enumerate(recording.time_s)
        for place, vm in enumerate(recording.vm_names)
    ]
    return {key: [row[key] for row in rows] for key in rows[0]}


# -- what a table is -------------------------------------------------------------------------------


def test_vms_are_in_long_form() -> None:
    table = divided_recording().table("vms")
    assert len(table) == 6
    assert table.columns[:3] == ("time_s", "vm", "max_pages")
    assert table["time_s"].tolist() == [0, 0, 60, 60, 120, 120]
    assert table["vm"].tolist() == ["web", "db"] * 3
    assert table["target_pages"].tolist() == [
        16 * MIB, -1, 12 * MIB, 16 * MIB, 10 * MIB, 14 * MIB,
    ]  # fmt: skip


def test_host_and_census_have_a_row_for_each_sample() -> None:
    host, census = (small_recording().table(name) for name in ("host", "census"))
    assert (len(host), len(census)) == (3, 3)
    assert host["reclaimed_pages"].tolist() == [0, 8 * MIB, 5 * MIB]
    assert census.columns == ("time_s", "reclaimed_pages")


def test_a_table_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="no table 'vm'; expected one of vms, host, census"):
        small_recording().table("vm")  # type: ignore[arg-type]


def test_what_nobody_knows() -> None:
    assert missing(np.array([0, -1, 5])).tolist() == [False, True, False]
    assert missing(np.array([-1.0, np.nan])).tolist() == [False, True]
    assert missing(np.array([255, 0], np.uint8)).tolist() == [False, False]
    assert missing(np.array(["-1", "nan"])).tolist() == [False, False]


def test_it_says_what_it_is() -> None:
    table = small_recording().table("vms")
    assert repr(table) == "<Table vms: 6 rows of 11 columns; esxcore_version 1.2.3, seed 7>"


@pytest.mark.parametrize("samples", [3, 20])
def test_in_a_notebook_names_are_no_markup(samples: int) -> None:
    names = np.array(["<script>x</script>"] * samples)
    pages = np.arange(samples) - 1
    table = Table("<b>", {"vm": names, "max_pages": pages, "odd": pages}, PROVENANCE)
    html = table._repr_html_()
    assert dict(table.units) == {"vm": "name", "max_pages": "pages"}
    assert "<script" not in html and "<b>" not in html
    assert html.count("<tr>") == 2 + min(samples, 11)
    assert html.count("<td>…</td>") == (0 if samples == 3 else 3)
    assert "<th>name</th><th>pages</th><th></th>" in html
    assert "<td>-1</td>" not in html and f"<td>{samples - 2}</td>" in html


# -- units and provenance --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sections",
    [{}, {"sampling": {"pages": 0}}, {"policy": {"name": "none"}}],
    ids=["divided", "unsampled", "bare"],
)
def test_every_column_of_a_recording_has_a_unit(sections: dict[str, Any]) -> None:
    recording = real_recording(**sections)
    for name in TABLES:
        table = recording.table(name)
        assert [column for column in table.columns if column not in table.units] == [], (
            "esxcore.tables.units has no unit for these"
        )
        assert set(table.units.values()) <= KINDS


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("free_pages", "pages"), ("pages", "pages"), ("consumed", "pages"), ("real_bytes", "bytes"),
        ("stalled_s", "s"), ("stall_some_s", "s"), ("op_p99_ns", "ns"), ("max_mib", "MiB"),
        ("active_fraction", "fraction"), ("ops", "count"), ("cow_breaks", "count"),
        ("page_faults", "count"), ("decisions", "count"), ("vms", "count"), ("vm", "name"),
        ("shares", "shares"), ("free_state", "code"), ("blocked", "flag"), ("price", None),
        ("pages_seen", None), ("", None),
    ],
)  # fmt: skip
def test_the_last_word_of_a_name_tells_the_unit(column: str, unit: str | None) -> None:
    assert unit_of(column) == unit


# -- other libraries -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("source", [small_recording, divided_recording, real_recording])
def test_every_library_reads_the_same_values(source: Any, name: Any) -> None:
    recording = source()
    wanted, table = plain(recording, name), recording.table(name)
    assert table.to_polars().to_dict(as_series=False) == wanted
    frame = table.to_pandas()
    assert list(frame.columns) == list(wanted)
    for column, values in wanted.items():
        found = [None if pd.isna(value) else value for value in frame[column].tolist()]
        assert found == values, column
    arrow = table.to_arrow()
    assert {key: arrow[key].to_pylist() for key in arrow.column_names} == wanted
    assert list(csv.reader(io.StringIO(table.to_bytes("csv").decode()))) == [
        list(wanted),
        *(["" if v is None else str(v) for v in row] for row in zip(*wanted.values(), strict=True)),
    ]
    for kind, read in (("arrow", pl.read_ipc), ("parquet", pl.read_parquet)):
        stream = io.BytesIO(table.to_bytes(kind))
        assert read(stream).to_dict(as_series=False) == wanted


def test_the_recording_itself_is_a_stream_of_its_vms() -> None:
    recording = divided_recording()
    assert pl.DataFrame(recording).equals(recording.table("vms").to_polars())
    assert ar.Table.from_arrow(recording).num_rows == 6


def test_types_are_those_of_the_recording() -> None:
    table = divided_recording().table("vms")
    schema = table.to_polars().schema
    assert (schema["vm"], schema["time_s"]) == (pl.String(), pl.Float64())
    assert (schema["target_pages"], schema["consumed"]) == (pl.Int64(), pl.Float64())
    dtypes = table.to_pandas().dtypes
    assert (dtypes["target_pages"], dtypes["consumed"]) == ("Int64", "float64")
    assert divided_recording().table("host").to_pandas().dtypes["free_state"] == "int64"


def test_arrow_has_units_and_provenance() -> None:
    for data in (small_recording().table("vms"), small_recording().table("vms").to_arrow()):
        schema = ar.Schema.from_arrow(data)
        assert schema.metadata_str == PROVENANCE
        units = {name: schema.field(name).metadata_str["unit"] for name in schema.names}
        assert units == small_recording().table("vms").units


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_files_keep_units_and_provenance(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"host.{kind}"
    divided_recording().table("host").save(path)
    read = {"arrow": arro3_io.read_ipc, "parquet": arro3_io.read_parquet}[kind]
    schema = read(path).schema
    assert schema.metadata_str.items() >= PROVENANCE.items()
    assert schema.field("free_pages").metadata_str["unit"] == "pages"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_pandas_has_units_and_provenance() -> None:
    recording = small_recording()
    frame = recording.table("host").to_pandas()
    assert frame.attrs["units"] == recording.table("host").units
    assert frame.attrs["provenance"] == PROVENANCE


def test_what_other_libraries_get_is_their_own() -> None:
    recording = divided_recording()
    vms = recording.table("vms")
    frame, stream, dataset = vms.to_pandas(), vms.to_polars(), recording.to_xarray()
    before = frame.copy(), stream.clone(), dataset.copy(deep=True)
    recording.time_s[:] = 9
    for column in (*recording.vms.values(), *recording.host.values()):
        column[:] = 9
    pd.testing.assert_frame_equal(frame, before[0])
    assert stream.equals(before[1])
    assert dataset.identical(before[2])


def test_xarray_has_dimensions_units_and_provenance() -> None:
    recording = divided_recording()
    dataset = recording.to_xarray()
    assert dict(dataset.sizes) == {"time": 3, "vm": 2}
    assert dataset.attrs == PROVENANCE
    assert dataset["time"].attrs == {"units": "s"}
    assert set(dataset.data_vars) == {
        *recording.vms,
        *(f"host_{name}" for name in recording.host),
        *(f"census_{name}" for name in recording.census),
    }
    assert dataset["host_free_pages"].attrs == {"units": "pages"}
    assert dataset["host_free_pages"].dims == ("time",)
    assert dataset["host_free_pages"].dtype == np.int64
    db = dataset["target_pages"].sel(vm="db")
    np.testing.assert_equal(db.values, [np.nan, 16.0 * MIB, 14.0 * MIB])
    assert dataset["target_pages"].sel(vm="web", time=60.0).item() == 12 * MIB


def test_xarray_and_the_long_form_agree() -> None:
    recording = real_recording()
    frame = recording.to_xarray()[list(recording.vms)].to_dataframe().reset_index()
    long = recording.table("vms").to_pandas().rename(columns={"time_s": "time"})
    pd.testing.assert_frame_equal(
        frame[list(long.columns)].astype(dict.fromkeys(recording.vms, "float64")),
        long.astype(dict.fromkeys(recording.vms, "float64")),
        check_dtype=False,
    )


def test_pyarrow_reads_it() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table(divided_recording())
    assert table.to_pydict() == plain(divided_recording(), "vms")
    assert table.schema.field("consumed").metadata == {b"unit": b"pages"}
    assert table.schema.metadata[b"seed"] == b"7"


def test_no_vms_at_all() -> None:
    none = {name: column[:, :0] for name, column in small_recording().vms.items()}
    recording = small_recording(vms=none, vm_names=())
    table = recording.table("vms")
    assert len(table) == len(table.to_pandas()) == table.to_polars().height == 0
    assert recording.to_xarray().sizes["vm"] == 0
    assert len(Table("none", {}, PROVENANCE)) == 0


def test_a_column_of_a_later_version_has_no_unit_and_is_there() -> None:
    host = dict(small_recording().host) | {"zeal": np.array([1, 2, 3])}
    recording = small_recording(host=host)
    assert ar.Schema.from_arrow(recording.table("host")).field("zeal").metadata == {}
    assert recording.to_xarray()["host_zeal"].attrs == {}
    assert recording.table("host").to_pandas()["zeal"].tolist() == [1, 2, 3]


def test_a_seed_of_any_size_and_arrays_of_any_order() -> None:
    pages = np.array([1, -1, 3], ">i4")[::-1]
    host = dict(small_recording().host) | {"free_pages": pages}
    table = small_recording(host=host, seed=2**100).table("host")
    assert table.to_polars()["free_pages"].to_list() == [3, None, 1]
    assert ar.Schema.from_arrow(table).metadata_str["seed"] == str(2**100)


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vms", "vms.xlsx", "vms.CSV"])
def test_a_kind_of_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="expected one of csv, arrow, parquet"):
        small_recording().table("vms").save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# -- without the libraries -------------------------------------------------------------------------

WANTS = {
    "arro3.core": (lambda r: r.__arrow_c_stream__(), "arro3-core", "'esxcore[arrow]'"),
    "polars": (lambda r: r.table("vms").to_polars(), "polars", "polars"),
    "pandas": (lambda r: r.table("vms").to_pandas(), "pandas", "pandas"),
    "xarray": (lambda r: r.to_xarray(), "xarray", "xarray"),
    "arro3.io": (lambda r: r.table("vms").to_bytes("parquet"), "arro3-io", "'esxcore[arrow]'"),
}


@pytest.mark.parametrize("module", WANTS)
def test_a_library_that_is_missing_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use, library, installed_by = WANTS[module]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError) as error:
        use(small_recording())
    assert isinstance(error.value, MissingLibraryError)
    said = str(error.value)
    assert f" needs {library}, which cannot be imported (" in said
    assert said.endswith(f"): pip install {installed_by}")
    assert error.value.name == module


def test_a_kind_of_file_is_asked_for_before_there_is_a_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "arro3.io", None)
    with pytest.raises(MissingLibraryError, match="parquet file needs arro3-io"):
        writer("parquet")
    assert writer("csv")(small_recording().table("census")).startswith(b"time_s,reclaimed_pages\n")


ALONE = """
import importlib.abc, json, sys

OTHERS = {"pandas", "polars", "xarray", "arro3", "pyarrow"}

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in OTHERS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import esxcore
scenario = esxcore.Scenario.from_mapping({
    "host": {"memory": "64MiB"}, "vms": [{"name": "web", "max": "8MiB"}], "run": {"duration": "2s"},
})
table = esxcore.run(scenario).table("vms")
said = []
for use in (table.to_arrow, table.to_polars, table.to_pandas):
    try:
        use()
    except ImportError as error:
        said.append(type(error).__name__)
print(json.dumps([len(table), table.to_bytes("csv").count(b"\\n"), said]))
"""


def test_without_any_of_them_the_rest_works() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [3, 4, ["MissingLibraryError"] * 3]


LAZY = """
import sys
import esxcore.tables.recorded, esxcore.recording, esxcore.experiment, esxcore.cli.run
print(sorted({"pandas", "polars", "xarray", "arro3", "pyarrow"} & set(sys.modules)))
"""


def test_none_is_imported_before_it_is_needed() -> None:
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# -- copies and equality ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copied",
    [lambda r: pickle.loads(pickle.dumps(r)), copy.deepcopy, copy.copy],
    ids=["pickle", "deepcopy", "copy"],
)
def test_copies_are_equal(copied: Any) -> None:
    nan = np.full((3, 2), np.nan)
    recording = divided_recording(vms=dict(divided_recording().vms) | {"active_fraction": nan})
    again = copied(recording)
    assert again == recording and again is not recording
    assert again.to_bytes() == recording.to_bytes()
    table = copied(recording.table("vms"))
    assert table.to_polars().equals(recording.table("vms").to_polars())


def test_a_deep_copy_shares_nothing() -> None:
    recording = small_recording()
    copy.deepcopy(recording).host["cow_breaks"][0] = 9
    assert recording.host["cow_breaks"][0] == 0


def test_what_came_from_the_disk_is_equal_wherever_it_was(tmp_path: Path) -> None:
    divided_recording().save(tmp_path / "r.npz")
    assert Recording.load(tmp_path / "r.npz") == divided_recording()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"version": "1.2.4"},
        {"scenario": ""},
        {"vm_names": ("web", "dc")},
        {"time_s": np.array([0.0, 60.0, 121.0])},
        {"census": {"reclaimed_pages": np.array([10, 10, 7]) * MIB}},
        {"census": {"reclaimed_pages": np.array([10, 10, 6], np.int32) * np.int32(MIB)}},
        {"census": {"reclaimed_pages": np.array([10, 10, 6]) * MIB, "pages": np.zeros(3)}},
    ],
)
def test_whoever_differs_in_anything_is_not_equal(change: dict[str, Any]) -> None:
    assert small_recording() == small_recording()
    assert small_recording(**change) != small_recording()


def test_equality_with_others_and_no_hash() -> None:
    assert small_recording() != "recording"
    with pytest.raises(TypeError, match="unhashable"):
        hash(small_recording())


def test_the_command_offers_the_kinds_of_files_there_are() -> None:
    from esxcore.cli.run import command

    [option] = [option for option in command.params if option.name == "tables"]
    assert tuple(option.type.choices) == FILE_KINDS  # type: ignore[attr-defined]


def test_a_dataset_of_xarray_is_one() -> None:
    assert isinstance(small_recording().to_xarray(), xr.Dataset)
