"""What a census hands out: plain values, names of images, and a trace of the same."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esxcore
from esxcore import images
from esxcore.contents import ContentTrace
from guests import COUNTS, PARTS
from worlds import pages as palette


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Two guests with kinds, one after the other."""
    path = tmp_path / "trace.npz"
    kind = np.array([3, 6, 6, 8, 255], np.uint8)
    np.savez(path, id=np.array([0, 1, 1, 2, 0]), vm_pages=np.array([2, 3]), kind=kind)
    return path


@pytest.fixture
def everything(trace: Path, tmp_path: Path) -> esxcore.Census:
    (tmp_path / "image.raw").write_bytes(palette("bytes", [1, 0, 1, 300]).tobytes())
    sources = [trace, palette("bytes", [5, 5, 1]), tmp_path / "image.raw"]
    return esxcore.census(sources, salt=["a", "b", "b"])


def test_to_dict_is_all_there_is_and_survives_json(everything: esxcore.Census) -> None:
    plain = everything.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    names = {field.name for field in fields(esxcore.Census) if not field.name.startswith("_")}
    assert set(plain) == names
    for name in COUNTS + PARTS:
        assert plain[name] == getattr(everything, name)
        assert type(plain[name]) is int
    assert plain["common_contents"] == everything.common_contents.tolist()
    assert plain["images"][2]["path"] == everything.images[2].path
    assert plain["balloon"]["rest"]["pages"] == everything.pages - 1


def test_images_are_named_in_the_order_of_the_arguments(
    everything: esxcore.Census, trace: Path, tmp_path: Path
) -> None:
    paths = [image.path for image in everything.images]
    assert paths == [f"{trace}[0]", f"{trace}[1]", "array[1]", str(tmp_path / "image.raw")]
    formats = [image.facts["format"] for image in everything.images]
    assert formats == ["trace", "trace", "array", "raw"]
    assert everything.salt == ["a", "b", "b"]


def test_a_trace_of_one_guest_has_the_name_of_its_file(tmp_path: Path) -> None:
    esxcore.census([palette("bytes", [1])]).export(tmp_path / "one.npz")
    assert esxcore.census([str(tmp_path / "one.npz")]).images[0].path == str(tmp_path / "one.npz")


def test_contents_say_how_they_begin(everything: esxcore.Census) -> None:
    """Where bytes are known; the zero page's are."""
    tops = {(c.path.rpartition("/")[2], c.page): c for c in everything.top}
    zero, five = tops["trace.npz[0]", 0], tops["array[1]", 0]
    assert (zero.begins_with, zero.is_uniform) == ("00" * 16, True)
    assert (five.begins_with, five.is_uniform) == ("05" + "00" * 15, False)
    assert (five.pages, five.reclaimed_pages, five.images) == (2, 1, 1)
    uniform = esxcore.census([np.full((2, 4096), 0xCC, np.uint8)]).top[0]
    assert (uniform.begins_with, uniform.is_uniform) == ("cc" * 16, True)


def test_contents_of_traces_do_not_say(tmp_path: Path) -> None:
    esxcore.census([palette("bytes", [5, 5])]).export(tmp_path / "trace.npz")
    [content] = esxcore.census([tmp_path / "trace.npz"]).top
    assert (content.pages, content.begins_with, content.is_uniform) == (2, None, None)


def test_an_export_is_a_trace_of_the_same_guests(
    everything: esxcore.Census, tmp_path: Path
) -> None:
    everything.export(tmp_path / "export.npz")
    trace = ContentTrace.load(tmp_path / "export.npz")
    assert trace.vm_pages.tolist() == [2, 3, 3, 4]
    assert trace.kinds is not None
    assert trace.kinds.tolist() == [3, 6, 6, 8, 255] + [255] * 7
    assert (trace.digests, trace.key_check) == (None, None)
    assert trace.ids.tolist() == [0, 1, 1, 2, 0, 3, 3, 4, 4, 0, 4, 5]


def test_an_export_can_be_given_to_a_host(everything: esxcore.Census, tmp_path: Path) -> None:
    """What the census said of all images is what a host reclaims."""
    found = esxcore.census([palette("bytes", [1, 2, 1, 0]), palette("bytes", [2, 0, 0, 300])])
    found.export(tmp_path / "export.npz", key="secret")
    trace = ContentTrace.load(tmp_path / "export.npz")
    host = esxcore.Host(memory="4MiB", content="tokens", seed=1, policy=None)
    for vm in range(trace.vms):
        host.power_on(f"vm{vm}", contents=trace.tokens(vm))
    host.scan(8)
    assert host.stats()["reclaimed_pages"] == found.reclaimed_pages == 4


def test_an_export_needs_no_bytes_and_replaces_an_old_file(tmp_path: Path) -> None:
    """Without a key; and nothing is left beside it."""
    image = palette("bytes", [1, 1, 2])
    found = esxcore.census([image])
    found.export(tmp_path / "export.npz")
    image[:] = 9
    found.export(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "export.npz").read_bytes()
    esxcore.census([image]).export(tmp_path / "export.npz")
    assert ContentTrace.load(tmp_path / "export.npz").ids.tolist() == [1, 1, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.npz", "export.npz"]


def test_a_census_is_a_value(everything: esxcore.Census) -> None:
    change: Any = everything
    with pytest.raises(AttributeError):
        change.pages = 5
    assert "_taken" not in repr(everything)


def test_formats_are_listed() -> None:
    assert images.formats()[0] == "raw"
    assert images.formats()[-1] == "trace"
    assert len(set(images.formats())) == len(images.formats())
