"""The picture of one cell of cell="lstm", part by part.

It reads from left to right: the cell line on top, gates in the middle, what the gates see at the bottom.
"""

from __future__ import annotations

from descriptions import CELLS, Cell
from pen import Node, Pen, Point

# px. Rows: the cell line, the outputs, the gates, the bus of peepholes, the bus of inputs, of remembered gates.
CELL, OUT, GATE, PEEP, BUS, REMEMBERED = 80, 225, 305, 356, 402, 462
# Columns: the labels at both ends, the sum that the gates see, i * g, o's peephole, o * ψ(c), what stands before h.
LEFT, SUM, PRODUCT, O_PEEP, M, TAIL, RIGHT = 24, 186, 402, 515, 662, 782, 888
FIRST, SECOND = 84, 142  # what x and h′ pass on their way to the sum; between the two, where there is one
AT = {"f": 245, "i": 352, "g": 452, "o": 575, "r": 735}
FUNCTIONS = {"i": "σ", "f": "σ", "g": "φ", "o": "σ", "r": "σ"}
JOINTS = "a dot joins lines; lines that cross without one do not touch"


class Drawing:
    """One cell. Each method draws one part and keeps the nodes that the others connect to."""

    gate_row, bus_row = GATE, BUS

    def __init__(self, name: str, cell: Cell) -> None:
        self.cell = cell
        self.height = self.bus_row + (108 if cell.gate_recurrence else 78)
        self.pen = Pen(f"The cell of the preset {name}", 910, self.height)
        self.pen.note(LEFT - 12, 24, name, size=17, weight="bold")
        self.pen.note(LEFT + 12 + 10.8 * len(name), 25, cell.note, "new" if name != "vanilla" else "ink")
        self.gates: dict[str, Node] = {}

    def draw(self) -> Pen:
        self.frame()
        self.cell_line()
        self.bus()
        self.all_gates()
        self.peepholes()
        self.remembered_gates()
        self.attention()
        self.output()
        self.legend()
        return self.pen

    def style(self, condition: object) -> str:
        return "new" if condition else "ink"

    def frame(self) -> None:
        if self.cell.frame:
            self.pen.frame(SUM + 18, 58, M + 32, PEEP + 22, "new")
            self.pen.note(M - 70, PEEP + 10, f"{self.cell.frame} k of K", "new", size=12)

    def cell_line(self) -> None:
        """c′ to c, with the product i * g below it, and the drop to ψ."""
        pen, cell = self.pen, self.cell
        start, end = pen.label(LEFT, CELL, "c′"), pen.label(RIGHT, CELL, "c")
        keep = pen.op(AT["f"], CELL, "×", "ghost" if cell.absent == "f" else "ink")
        self.add, self.product = pen.op(PRODUCT, CELL, "+"), pen.op(PRODUCT, OUT, "×")
        self.keep = keep
        pen.wire(start.e, keep.w_)
        pen.wire(keep.e, self.add.w_)
        pen.wire(self.product.n, self.add.s)
        if cell.zoneout:
            out = self.zoneout(TAIL, CELL, "c")
            pen.wire(self.add.e, out.w_)
            pen.wire(out.e, end.w_)
        else:
            pen.wire(self.add.e, end.w_)

    def zoneout(self, x: float, y: float, state: str) -> Node:
        old = self.pen.label(x, y - 42, f"{state}′", "new", size=15)
        pill = self.pen.pill(x, y, f"{state}′ or {state}", "new")
        self.pen.wire(old.s, pill.n, style="new")
        return pill

    def bus(self) -> None:
        """W x + R h′ + b, to which every gate is joined."""
        pen, cell, row = self.pen, self.cell, self.bus_row
        x, h = pen.label(LEFT, row + 30, "x"), pen.label(LEFT, row - 30, "h′")
        total = pen.op(SUM, row, "+")
        recurrent = "mask * R" if cell.weight_mask else "R by heads" if cell.kind == "slstm" else "R"
        for source, text, side in ((x, "W", total.s), (h, recurrent, total.n)):
            masked, y = cell.input_mask and source is x, source.y
            place = SECOND if masked else FIRST if cell.norm else (FIRST + SECOND) / 2
            chain = [pen.pill(FIRST, y, "mask", "new")] if masked else []
            chain += [pen.pill(place, y, text, self.style(text not in "WR"))]
            chain += [pen.pill(SECOND, y, "γ N", "new")] if cell.norm else []
            self.chain(source, chain, (SUM, y), side)
        end = "r" if cell.highway else "g" if cell.absent == "o" else "o"
        pen.wire(total.e, (AT[end], row), arrow=False)
        pen.note(SUM + 20, row + 17, "+ b", size=13)

    def chain(self, source: Node, pills: list[Node], *rest: Point) -> None:
        for before, after in zip([source, *pills], pills, strict=False):
            self.pen.wire(before.e, after.w_)
        self.pen.wire(pills[-1].e, *rest)

    def all_gates(self) -> None:
        """The gates, what they see and what they multiply."""
        self.coupling() if self.cell.coupled else self.gate("f", self.keep.s)
        self.gate("i", (AT["i"], OUT), self.product.w_)
        self.gate("g", (AT["g"], OUT), self.product.e)
        if self.cell.coupled:
            self.pen.wire(self.gates["i"].w_, self.gates["f"].e, style="new")

    def gate(self, name: str, *way: Point) -> None:
        """One gate, its joint with the bus, and its wire to what it acts on."""
        pen, cell, x, y = self.pen, self.cell, AT[name], self.gate_row
        if name == cell.absent:
            node = pen.gate(x, y, "1", "", "ghost", radius=16)
            pen.wire(node.n, *way, style="ghost")
            return
        linear, scalar = name in cell.linear, cell.frame == "block" and name != "g"
        style = self.style(linear or scalar or name == "r" or (cell.attention and name != "g"))
        if cell.frame == "block" and name == "g":
            pen.stack(x, y, 25, style)
        function = "linear" if linear else "σ · s" if cell.attention and name in "ifo" else FUNCTIONS[name]
        node = self.gates[name] = pen.gate(x, y, name + ("_k" if scalar else ""), function, style)
        pen.wire(pen.dot(x, self.bus_row), node.s)
        if name == "f" and cell.attention:
            rest = pen.pill(x, (y + way[0][1]) / 2 + 20, "1 − f", "new")
            pen.wire(node.n, rest.s)
            pen.wire(rest.n, *way)
        else:
            pen.wire(node.n, *way)

    def coupling(self) -> None:
        node = self.gates["f"] = self.pen.pill(AT["f"], GATE, "1 − i", "new")
        self.pen.wire(node.n, self.keep.s, style="new")

    def peepholes(self) -> None:
        """From the old c to i and f along a bus of its own, from the new c down to o."""
        pen, style = self.pen, self.cell.peephole
        seeing = [gate for gate in "fi" if gate in self.gates and not (gate == "f" and self.cell.coupled)]
        if not style:
            return
        if seeing:
            start: Point = pen.dot(LEFT + 30, CELL, style)
            if self.cell.frame == "block":
                total = pen.op(LEFT + 30, 200, "Σ", style)
                pen.wire(start, total.n, style=style)
                start = total.s
            last = self.gates[seeing[-1]].x
            pen.wire(start, (LEFT + 30, PEEP), (last - 14, PEEP), self.gates[seeing[-1]].below(-14), style=style)
            pen.label(LEFT + 66, PEEP - 11, "V", style, size=13)
            for gate in seeing[:-1]:
                x = AT[gate] - 14
                pen.wire(pen.dot(x, PEEP, style), self.gates[gate].below(-14), style=style)

    def remembered_gates(self) -> None:
        pen, style = self.pen, "new"
        if not self.cell.gate_recurrence:
            return
        start = pen.label(LEFT + 24, REMEMBERED, "i′ f′ o′", style, size=15)
        weight = pen.pill((FIRST + SECOND) / 2 + 16, REMEMBERED, "W_gg", style)
        pen.wire(start.e, weight.w_, style=style)
        pen.wire(weight.e, (AT["o"] + 14, REMEMBERED), (AT["o"] + 14, GATE + 40), style=style, arrow=False)
        for x in (AT["f"], AT["i"]):
            pen.wire(pen.dot(x + 14, REMEMBERED, style), (x + 14, GATE + 40), style=style, arrow=False)
        for x in (AT["f"], AT["i"], AT["o"]):
            pen.wire((x + 14, GATE + 40), (x + 14, GATE + 21), style=style)

    def attention(self) -> None:
        """The softmax over lanes, from x alone, that scales i, f and o."""
        if not self.cell.attention:
            return
        pen = self.pen
        share = pen.pill((FIRST + SECOND) / 2, PEEP - 16, "softmax", "new")
        pen.wire(pen.dot(LEFT + 20, BUS + 30, "new"), (LEFT + 20, PEEP - 16), share.w_, style="new")
        pen.wire(share.e, (SUM, PEEP - 16), (SUM, PEEP), (AT["o"] - 14, PEEP), (AT["o"] - 14, GATE + 21), style="new")
        pen.label(SUM - 12, PEEP - 28, "s", "new", size=13)
        for x in (AT["f"], AT["i"]):
            pen.wire(pen.dot(x - 14, PEEP, "new"), (x - 14, GATE + 21), style="new")

    def output(self) -> None:
        """ψ(c), o, and what stands between them and h."""
        pen, cell = self.pen, self.cell
        times = pen.op(M, OUT, "×", "ghost" if cell.absent == "o" else "ink")
        self.gate("o", (AT["o"], OUT), times.w_)
        if cell.peephole and "o" in self.gates:
            self.output_peephole()
        linear = "ψ" in cell.linear
        psi = pen.gate(M, 160, "ψ", "linear" if linear else "", self.style(linear), radius=25 if linear else 18)
        drop = pen.dot(M, CELL)
        if cell.norm:
            norm = pen.pill(M, 113, "γ N + β", "new")
            pen.wire(drop, norm.n)
            drop = norm.s
        pen.wire(drop, psi.n)
        pen.wire(psi.s, times.n)
        self.tail(times, pen.label(RIGHT, OUT, "h"))

    def output_peephole(self) -> None:
        pen, style = self.pen, self.cell.peephole
        start = pen.dot(O_PEEP, CELL, style)
        if self.cell.frame == "block":
            total = pen.op(O_PEEP, 150, "Σ", style)
            pen.wire(start, total.n, style=style)
            start = total.s
        pen.wire(start, (O_PEEP, GATE), self.gates["o"].w_, style=style)
        pen.label(O_PEEP + 14, GATE - 14, "V", style, size=13)

    def tail(self, m: Node, h: Node) -> None:
        pen, cell = self.pen, self.cell
        if cell.highway:
            self.highway(m, h)
            return
        between = None
        if cell.projection:
            between = pen.pill(TAIL, OUT, "W_hr", "new")
        elif cell.zoneout:
            between = self.zoneout(TAIL, OUT, "h")
        elif cell.pooling:
            between = pen.pill(TAIL, OUT, cell.pooling, "new")
            for y in (OUT - 22, OUT + 22):
                pen.wire((M + 44, y), (TAIL, y), (TAIL, OUT + (12 if y > OUT else -12)), style="new")
            pen.label(TAIL - 24, OUT - 36, "other lanes", "new", size=12)
        elif cell.frame == "block":
            between = pen.pill(TAIL, OUT, "all blocks", "new")
        pen.wire(m.e, (between or h).w_)
        if between:
            pen.wire(between.e, h.w_)

    def highway(self, m: Node, h: Node) -> None:
        """r * m + (1 − r) * (W_xh x)."""
        pen, through, join = self.pen, AT["r"], 832
        times, add = pen.op(through, OUT, "×", "new"), pen.op(join, OUT, "+", "new")
        self.gate("r", times.s)
        rest = pen.op(join, GATE, "×", "new")
        minus = pen.pill(788, GATE, "1−", "new")
        carried, x = pen.pill(join, GATE + 58, "W_xh", "new"), pen.label(join, BUS + 14, "x", "new")
        for a, b in ((m.e, times.w_), (times.e, add.w_), (add.e, h.w_)):
            pen.wire(a, b)
        for a, b in (
            (self.gates["r"].e, minus.w_), (minus.e, rest.w_), (rest.n, add.s), (carried.n, rest.s), (x.n, carried.s),
        ):  # fmt: skip
            pen.wire(a, b, style="new")

    def legend(self) -> None:
        y, cell = self.height - 14, self.cell
        self.pen.note(RIGHT - 430, y, JOINTS, size=11)
        if cell != CELLS["vanilla"]:
            self.pen.note(LEFT - 12, y, "orange: what differs from vanilla", "new", size=11)
        if cell.peephole == "base":
            self.pen.note(LEFT + 225, y, "blue: so does its baseline", "base", size=11)
