"""A policy is graded: three small scenarios, what a good policy does in them, and points for it."""

import sys
import textwrap

from matplotlib.figure import Figure

from esxcore.comparing.grading import grade


class ByActivity:
    """Memory in proportion to what is active."""

    def targets(self, view):
        return view.apportion(view.active_pages + 1)


marks = grade(ByActivity())
print(marks)

figure = Figure(figsize=(9.5, 4.8), layout="constrained")
ax = figure.subplots()
for place, check in enumerate(marks.checks):
    ax.barh(place, check.out_of, color="0.9")
    ax.barh(place, check.points, color="C0")
    expected = textwrap.shorten(check.expected.split(":")[0], 78, placeholder=" ...")
    ax.text(check.out_of + 0.4, place, expected, va="center", fontsize=8)
ax.set_yticks(range(len(marks.checks)), [check.scenario for check in marks.checks])
ax.invert_yaxis()
ax.spines[["top", "right"]].set_visible(False)
ax.set(xlabel="points", xlim=(0, 48), xticks=[0, 5, 10, 15, 20])
ax.set_title(f"{marks.policy}: {marks.points} of 100 points", loc="left")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "classroom.png", dpi=110)
