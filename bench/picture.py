"""Where a job's time goes, as a picture: one bar per span, drawn to scale. Pure."""

from collections.abc import Mapping
from html import escape

WIDTH = 720
LEFT = 270
ROW = 26
COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2", "#9d755d", "#4c78a8")


def picture(spans: Mapping[str, float], title: str) -> str:
    """An SVG with one row per span, each beginning where the one before ends. Spans are in seconds."""
    whole = sum(spans.values())
    scale = (WIDTH - LEFT - 70) / whole
    rows, begun = [], 0.0
    for number, (name, seconds) in enumerate(spans.items()):
        y = 40 + number * ROW
        x = LEFT + begun * scale
        width = max(1.0, seconds * scale)
        rows += [
            f'<text x="{LEFT - 10}" y="{y + 13}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="18" fill="{COLOURS[number % len(COLOURS)]}"/>',
            f'<text x="{x + width + 6:.1f}" y="{y + 13}">{seconds:.2f} s</text>',
        ]
        begun += seconds
    height = 50 + len(spans) * ROW
    size = f'width="{WIDTH}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
            f'<rect {size} fill="white"/>',
            f'<text x="10" y="22" font-size="14" font-weight="bold">{escape(title)}: {whole:.2f} s</text>',
            *rows,
            "</svg>",
            "",
        ]
    )
