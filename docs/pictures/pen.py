"""A pen for circuit-like pictures: nodes with ports, right-angled wires, labels; out comes SVG.

It remembers what it drew, so that `collisions` can say where a wire runs through a label or two things overlap.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

Point = tuple[float, float]

# What a colour means: plain, what the variant changes, what it takes over from the baseline of its paper, absent.
COLOURS = {"ink": "#343a40", "new": "#d9480f", "base": "#1971c2", "ghost": "#adb5bd"}
FILLS = {"ink": "#f1f3f5", "new": "#fff4e6", "base": "#e7f5ff", "ghost": "#ffffff"}
CHARACTER = 0.6  # the width of a character over the height of the font, a little generous


@dataclass(frozen=True)
class Node:
    """A drawn thing with a centre, a width and a height (px), and ports in the four directions."""

    name: str
    x: float
    y: float
    w: float
    h: float

    @property
    def n(self) -> Point:
        return self.x, self.y - self.h / 2

    @property
    def s(self) -> Point:
        return self.x, self.y + self.h / 2

    @property
    def e(self) -> Point:
        return self.x + self.w / 2, self.y

    @property
    def w_(self) -> Point:
        return self.x - self.w / 2, self.y

    def below(self, dx: float) -> Point:
        """The point of a circle's lower edge that lies dx beside the centre."""
        radius = self.h / 2
        return self.x + dx, self.y + (radius**2 - dx**2) ** 0.5

    def overlaps(self, other: Node) -> bool:
        return abs(self.x - other.x) < (self.w + other.w) / 2 and abs(self.y - other.y) < (self.h + other.h) / 2


@dataclass
class Pen:
    """Draws on a canvas of width by height px. Frames lie at the back, then wires, then nodes and labels."""

    title: str
    width: int
    height: int
    back: list[str] = field(default_factory=list)
    wires: list[str] = field(default_factory=list)
    front: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    paths: list[list[Point]] = field(default_factory=list)

    def gate(self, x: float, y: float, name: str, function: str, style: str = "ink", radius: float = 25) -> Node:
        """A circle that holds a name and, below it, the function that makes it."""
        dash = ' stroke-dasharray="4 3"' if style == "ghost" else ""
        self._circle(x, y, radius, style, dash)
        lift = 6 if function else 0
        self._text(x, y - lift, name, COLOURS[style], 17, weight="bold")
        if function:
            self._text(x, y + 12, function, COLOURS[style], 11)
        return self._node(name, x, y, 2 * radius, 2 * radius)

    def stack(self, x: float, y: float, radius: float, style: str) -> None:
        """Two circles that peep out from behind the gate at x, y: a gate that is one of several."""
        for offset in (8, 4):
            self._circle(x + offset, y - offset, radius, style)

    def op(self, x: float, y: float, sign: str, style: str = "ink") -> Node:
        """A small circle with a sign: ×, +, ÷, Σ."""
        self._circle(x, y, 12, style)
        self._text(x, y, sign, COLOURS[style], 16)
        return self._node(sign, x, y, 24, 24)

    def pill(self, x: float, y: float, text: str, style: str = "ink", width: float = 0) -> Node:
        """A box with round ends that holds a word; as wide as it, or as said."""
        width = width or _width(text, 13) + 16
        self.front.append(
            f'<rect x="{x - width / 2:g}" y="{y - 12:g}" width="{width:g}" height="24" rx="8" '
            f'fill="{FILLS[style]}" stroke="{COLOURS[style]}" stroke-width="1.5"/>'
        )
        self._text(x, y, text, COLOURS[style], 13)
        return self._node(text, x, y, width, 24)

    def label(self, x: float, y: float, text: str, style: str = "ink", size: int = 17, weight: str = "normal") -> Node:
        self._text(x, y, text, COLOURS[style], size, weight=weight)
        return self._node(text, x, y, _width(text, size) + 8, size)

    def note(self, x: float, y: float, text: str, style: str = "ink", size: int = 13, weight: str = "normal") -> Node:
        """A label that starts at x."""
        return self.label(x + _width(text, size) / 2, y, text, style, size, weight)

    def frame(self, x0: float, y0: float, x1: float, y1: float, style: str) -> None:
        """A rectangle with two more behind it: one of several equal parts."""
        for offset, fill in ((12, "#ffffff"), (6, "#ffffff"), (0, "#fffdfa")):
            self.back.append(
                f'<rect x="{x0 + offset:g}" y="{y0 - offset:g}" width="{x1 - x0:g}" height="{y1 - y0:g}" rx="10" '
                f'fill="{fill}" stroke="{COLOURS[style]}" stroke-width="1.2" stroke-dasharray="5 3"/>'
            )

    def wire(self, *points: Point, style: str = "ink", arrow: bool = True) -> None:
        """A line through the points, with an arrow head at the last."""
        head = f' marker-end="url(#{style})"' if arrow else ""
        corners = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.wires.append(
            f'<polyline points="{corners}" fill="none" stroke="{COLOURS[style]}" stroke-width="1.7" '
            f'stroke-linejoin="round"{head}/>'
        )
        self.paths.append(list(points))

    def dot(self, x: float, y: float, style: str = "ink") -> Point:
        """A joint: where lines cross without one, they do not touch."""
        self.wires.append(f'<circle cx="{x:g}" cy="{y:g}" r="3.2" fill="{COLOURS[style]}"/>')
        return x, y

    def svg(self) -> str:
        heads = "".join(
            f'<marker id="{style}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0,1 L10,5 L0,9 z" fill="{colour}"/></marker>\n'
            for style, colour in COLOURS.items()
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" font-family="DejaVu Sans, Verdana, sans-serif" role="img">\n'
            f"<title>{escape(self.title)}</title>\n<defs>\n{heads}</defs>\n"
            f'<rect width="{self.width}" height="{self.height}" rx="12" fill="#ffffff"/>\n'
            + "\n".join(self.back + self.wires + self.front)
            + "\n</svg>\n"
        )

    def collisions(self) -> list[str]:
        """What overlaps, and which wire runs through what it does not end at."""
        found = []
        for k, node in enumerate(self.nodes):
            found += [f"{node.name} overlaps {other.name}" for other in self.nodes[k + 1 :] if node.overlaps(other)]
            if not (node.w_[0] >= 0 and node.e[0] <= self.width and node.n[1] >= 0 and node.s[1] <= self.height):
                found.append(f"{node.name} leaves the canvas")
            for path in self.paths:
                if not any(_inside(end, node, -1) for end in (path[0], path[-1])) and _crosses(path, node):
                    found.append(f"the wire {path} runs through {node.name}")
        return found

    def _node(self, name: str, x: float, y: float, w: float, h: float) -> Node:
        node = Node(name, x, y, w, h)
        self.nodes.append(node)
        return node

    def _circle(self, x: float, y: float, radius: float, style: str, more: str = "") -> None:
        self.front.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{FILLS[style]}" stroke="{COLOURS[style]}" '
            f'stroke-width="1.5"{more}/>'
        )

    def _text(self, x: float, y: float, text: str, colour: str, size: int, weight: str = "normal") -> None:
        self.front.append(
            f'<text x="{x:g}" y="{y + 0.36 * size:g}" text-anchor="middle" font-size="{size}" font-weight="{weight}" '
            f'fill="{colour}">{_subscripts(text, size)}</text>'
        )


def _subscripts(text: str, size: int) -> str:
    """W_hr with hr set low."""
    drop = f"{0.25 * size:g}"
    low = rf'<tspan font-size="{round(0.7 * size)}" dy="{drop}">\1</tspan><tspan dy="-{drop}">\2</tspan>'
    return re.sub(r"_([a-z]+)(.?)", low, escape(text)).replace(f'<tspan dy="-{drop}"></tspan>', "")


def _width(text: str, size: int) -> float:
    return CHARACTER * size * len(re.sub(r"_", "", text)) + 2


def _inside(point: Point, node: Node, margin: float) -> bool:
    return abs(point[0] - node.x) < node.w / 2 - margin and abs(point[1] - node.y) < node.h / 2 - margin


def _crosses(path: list[Point], node: Node) -> bool:
    """Does any segment enter the node's box? Segments run along the axes."""
    for (x0, y0), (x1, y1) in itertools.pairwise(path):
        segment = Node("", (x0 + x1) / 2, (y0 + y1) / 2, abs(x1 - x0), abs(y1 - y0))
        if segment.overlaps(node):
            return True
    return False
