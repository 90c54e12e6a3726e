"""Quality against seconds as an SVG picture, written by hand: points with names and intervals, on two plain axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 48, 52
COLORS = ("#0b6e99", "#c2410c", "#15803d", "#7e22ce", "#b91c1c", "#92400e", "#0f766e", "#be185d", "#4d7c0f", "#4338ca")
LETTER = 7.2  # about as wide as a letter of 13 pixels, in pixels
LINE = 15.0
ROWS = (0, *(sign * row for row in range(1, 13) for sign in (1, -1)))  # where a name is tried, in lines below its point


@dataclass(frozen=True)
class Point:
    """One method.

    Attributes:
        seconds: of one result. quality: in [0, 1], with its interval.
    """

    name: str
    seconds: float
    quality: float
    interval: tuple[float, float]


def chart(points: Sequence[Point], title: str, quality: str = "named right by the judge", highest: float = 1.0) -> str:
    """The picture's text; ``highest``: what the upright axis ends at. Raises ``ValueError`` for no points."""
    if not points:
        raise ValueError("there is nothing to draw")
    points = [_scaled(point, highest) for point in points]
    step, end = ticks(max(point.seconds for point in points))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 26, title, size=16),
    ]
    for i in range(round(end / step) + 1):
        x = across(i * step, end)
        parts.append(_line(x, down(0), x, down(1), "#e5e7eb"))
        parts.append(_text(x, down(0) + 18, f"{i * step:g}", anchor="middle"))
    for i in range(6):
        y = down(i / 5)
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, "#e5e7eb"))
        parts.append(_text(LEFT - 8, y + 4, f"{i / 5 * highest:.0%}", anchor="end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "seconds", anchor="middle"))
    parts.append(_text(18, (TOP + HEIGHT - BOTTOM) / 2, quality, anchor="middle", turned=True))
    places = label_places(points, end)
    for i, (point, (x, y)) in enumerate(zip(points, places, strict=True)):
        color, at = COLORS[i % len(COLORS)], across(point.seconds, end)
        low, high = (down(value) for value in point.interval)
        parts.append(_line(at, low, at, high, color, opacity=0.45))
        parts.append(f'<circle cx="{at:.1f}" cy="{down(point.quality):.1f}" r="5" fill="{color}"/>')
        if abs(y - 4 - down(point.quality)) > 1.5 * LINE:  # a name that had to go far is led to its point
            end_of_name = x if x > at else x + LETTER * len(point.name)
            parts.append(_line(at, down(point.quality), end_of_name, y - 4, color, opacity=0.3))
        parts.append(_text(x, y, point.name, color=color))
    return "\n".join([*parts, "</svg>", ""])


def _scaled(point: Point, highest: float) -> Point:
    """The point on an axis from 0 to 1; what lies beyond is at its end."""
    quality, low, high = (min(max(value / highest, 0.0), 1.0) for value in (point.quality, *point.interval))
    return replace(point, quality=quality, interval=(low, high))


def across(seconds: float, end: float) -> float:
    """Pixels from the left."""
    return LEFT + (WIDTH - LEFT - RIGHT) * seconds / end


def down(quality: float) -> float:
    """Pixels from the top."""
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * quality


def ticks(largest: float) -> tuple[float, float]:
    """(Distance of ticks, end of the axis): at most seven round ones from 0 on, so that ``largest`` is on the axis."""
    largest = max(largest, 1e-9)
    power = 10.0 ** math.floor(math.log10(largest / 6))
    step = next(power * m for m in (1, 2, 5, 10, 20) if largest / (power * m) <= 6)
    return step, step * math.ceil(largest / step * 0.999999)


def label_places(points: Sequence[Point], end: float) -> list[tuple[float, float]]:
    """Where each name begins, its lower left corner: beside its point, where no other point and no earlier name is."""
    dots = [(across(p.seconds, end), down(p.quality)) for p in points]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in dots]
    places = []
    for point, (x, y) in zip(points, dots, strict=True):
        wide = LETTER * len(point.name)
        tried = [(x + side, y + 4 + LINE * row) for row in ROWS for side in (10, -10 - wide)]
        boxes = [(a, b - 11, a + wide, b + 3) for a, b in tried]
        lowest = HEIGHT - BOTTOM
        inside = [
            i
            for i, box in enumerate(boxes)
            if box[0] >= LEFT and box[2] <= WIDTH and box[1] >= TOP - LINE and box[3] <= lowest
        ]
        free = [i for i in inside if not any(_meet(boxes[i], other) for other in taken)]
        best = (free or inside or [0])[0]
        taken.append(boxes[best])
        places.append(tried[best])
    return places


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _line(x1: float, y1: float, x2: float, y2: float, color: str, opacity: float = 1.0) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{color}" stroke-opacity="{opacity:g}"/>'


def _text(
    x: float, y: float, text: str, anchor: str = "start", size: int = 13, color: str = "#1f2937", turned: bool = False
) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{color}"{turn}'
    return f"<text {place}>{escape(text)}</text>"
