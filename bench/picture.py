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


def curves(lines: Mapping[str, Mapping[int, float]], across: str, up: str) -> str:
    """An SVG with one line through the points of each name, both axes from 0, and each point with its value."""
    most = [max(of(point) for line in lines.values() for point in line.items()) for of in (_first, _second)]
    right, bottom = WIDTH - 60, 300
    drawn = []
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number]
        points = [(60 + x / most[0] * (right - 60), bottom - y / most[1] * (bottom - 50), y) for x, y in line.items()]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
        drawn += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
            *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y, _ in points),
            (
                f'<text x="70" y="{66 + 16 * number}" fill="{colour}">{escape(name)}: '
                f"{', '.join(f'{x:,}: {y:,.0f} s' for x, y in line.items())}</text>"
            ),
        ]
    size = f'width="{WIDTH}" height="{bottom + 40}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
            f'<rect {size} fill="white"/>',
            f'<text x="10" y="22" font-size="14" font-weight="bold">{escape(up)}</text>',
            f'<path d="M 60 40 V {bottom} H {right}" fill="none" stroke="black"/>',
            f'<text x="{right}" y="{bottom + 24}" text-anchor="end">{escape(across)}</text>',
            *drawn,
            "</svg>",
            "",
        ]
    )


def _first(point: tuple[float, float]) -> float:
    return point[0]


def _second(point: tuple[float, float]) -> float:
    return point[1]
