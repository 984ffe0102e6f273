"""Makes the pictures of the report that the documents show, with Chromium:

    python tests/report_pictures.py

The run is that of ``examples/overcommit.toml``, which takes a few seconds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image

from chromium import Browser, Page
from esxcore import report
from esxcore.experiment import run
from esxcore.scenario import Scenario

ROOT = Path(__file__).parents[1]
WIDE = {"width": 1280, "height": 1330, "scheme": "light"}
PHONE = {"width": 390, "height": 844, "scheme": "dark", "phone": True}
# All pictures that are near the window are drawn, however slow the machine.
DRAWN = """
new Promise((done) => {
  const near = [...document.querySelectorAll(".chart")].filter(
    (chart) => chart.getBoundingClientRect().top < innerHeight);
  const look = () => near.every((chart) => chart.querySelector(".main-svg"))
    ? requestAnimationFrame(() => requestAnimationFrame(() => done(near.length)))
    : setTimeout(look, 20);
  look();
})
"""
SAID = """
new Promise((done) => {
  const look = () => document.querySelector(".hoverlayer .legend") ? done(1) : setTimeout(look, 20);
  look();
})
"""


def wide(page: Page) -> None:
    """The head of the page, with the mouse on the first virtual machine."""
    page.run(DRAWN)
    box = page.run("document.querySelector('[data-figure=vm-0]').getBoundingClientRect().toJSON()")
    for step in range(2):
        x, y = box["left"] + box["width"] * 0.5 + step, box["top"] + 60
        page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    page.run(SAID)


def phone(page: Page) -> None:
    """Virtual machines under the legend."""
    page.run("document.querySelector('[data-figure=vm-2]').parentNode.scrollIntoView()")
    page.run("scrollBy(0, -74)")
    page.run(DRAWN)


PICTURES = {"report.png": (WIDE, wide), "report-phone-dark.png": (PHONE, phone)}


def main() -> None:
    recording = run(Scenario.from_toml(ROOT / "examples/overcommit.toml"))
    with tempfile.TemporaryDirectory() as name, Browser.started(Path(name)) as browser:
        path = Path(name) / "overcommit.html"
        report.write(recording, path, title="overcommit")
        for file, (look, prepare) in PICTURES.items():
            page = browser.page()
            page.look(**look)
            page.open(path.as_uri())
            prepare(page)
            with Image.open(page.screenshot(Path(name) / file)) as shot:
                shot.convert("RGB").save(ROOT / "docs" / file, optimize=True)
            print(f"docs/{file}: {(ROOT / 'docs' / file).stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
