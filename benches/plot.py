"""A record as a picture: for each work that has peers, what an event costs whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

OURS, THEIRS = "#0b6e99", "#b8c4cc"


def draw(record: dict[str, Any], path: Path) -> None:
    """Write a PNG of the works that have peers, on the first input that was measured."""
    import matplotlib as mpl  # noqa: PLC0415 - only a record needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    with_peers = [row for row in record["rows"] if row["peers"]]
    if not with_peers:
        return
    source = with_peers[0]["source"]
    panels = [row for row in with_peers if row["source"] == source]
    heights = [len(row["peers"]) + 1 for row in panels]
    figure, axes = plt.subplots(
        len(panels),
        figsize=(9, 0.34 * sum(heights) + 0.62 * len(panels) + 0.6),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
        sharex=True,
    )
    longest = max(peer["time"] for row in panels for peer in row["peers"]) * 1e9
    for axis, row in zip(axes[:, 0], panels, strict=True):
        _panel(axis, row, record["versions"]["penstock"])
        axis.set_xlim(10, longest * 12)
    axes[-1, 0].set_xlabel("ns of one core per event, logarithmic")
    machine = record["machine"]
    figure.suptitle(f"{record['date']} · {machine['cpu']} · {machine['python']} · {source}", fontsize=9)
    figure.savefig(path, dpi=144)
    plt.close(figure)


def _panel(axis: Any, row: dict[str, Any], version: str) -> None:
    names = [f"penstock {version}", *(f"{peer['peer']} ({peer['version']})" for peer in row["peers"])]
    times = [row["figure"] * 1e9, *(peer["time"] * 1e9 for peer in row["peers"])]
    notes = [
        "",
        *(
            f"   {peer['ratio']:,.{0 if peer['ratio'] >= 100 else 1 if peer['ratio'] >= 10 else 2}f} ×"
            for peer in row["peers"]
        ),
    ]
    bars = axis.barh(names, times, color=[OURS, *[THEIRS] * len(row["peers"])], height=0.7)
    axis.bar_label(bars, [f" {time:,.0f}{note}" for time, note in zip(times, notes, strict=True)], fontsize=8)
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_title(row["work"], fontsize=10, loc="left")
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
