"""The pictures of the two cells whose skeleton is not the LSTM's: slstm and minlstm."""

from __future__ import annotations

from drawing import AT, BUS, CELL, FIRST, GATE, LEFT, OUT, RIGHT, SECOND, SUM, Drawing, M
from pen import Node, Pen

NORMALISER, STABILISER = 130, 292  # px: the lines of n and of m


class MinLSTM(Drawing):
    """No h′ and no output gate; i and f are divided by their sum."""

    def draw(self) -> Pen:
        pen = self.pen
        self.cell_line()
        x, weight = pen.label(LEFT, BUS, "x", "new"), pen.pill((FIRST + SECOND) / 2, BUS, "W", "new")
        pen.wire(x.e, weight.w_, style="new")
        pen.wire(weight.e, (AT["g"], BUS), arrow=False)
        pen.note(SUM - 20, BUS + 15, "+ b", size=13)
        share = pen.pill((AT["f"] + AT["i"]) / 2, 248, "each ÷ (f + i)", "new", width=AT["i"] - AT["f"] + 60)
        self.gate("f", (AT["f"], share.s[1]))
        self.gate("i", (AT["i"], share.s[1]))
        self.gate("g", (AT["g"], OUT), self.product.e)
        pen.wire((AT["f"], share.n[1]), self.keep.s, style="new")
        pen.wire((AT["i"], share.n[1]), (AT["i"], OUT), self.product.w_, style="new")
        pen.wire(pen.dot(M, CELL, "new"), (M, OUT), pen.label(RIGHT, OUT, "h").w_, style="new")
        pen.label((M + RIGHT) / 2, OUT - 14, "h = c", "new", size=13)
        self.legend()
        return pen


class SLSTM(Drawing):
    """Three lines, c, n and m; i and f pass the stabiliser on their way up."""

    gate_row, bus_row = GATE + 62, BUS + 62

    def draw(self) -> Pen:
        pen = self.pen
        self.cell_line()
        self.bus()
        keep, add = self.normaliser()
        stable = pen.pill((AT["f"] + AT["i"]) / 2, STABILISER, "exp(z − m)", "new", width=AT["i"] - AT["f"] + 60)
        old, new = pen.label(LEFT, STABILISER, "m′", "new"), pen.label(RIGHT, STABILISER, "m", "new")
        pen.wire(old.e, stable.w_, style="new")
        pen.wire(stable.e, new.w_, style="new")
        for name in "fi":
            self.exponential(name, stable)
        pen.wire((AT["f"], stable.n[1]), self.keep.s, style="new")
        pen.wire(pen.dot(AT["f"], 190, "new"), (keep.x, 190), keep.s, style="new")
        pen.wire((AT["i"], stable.n[1]), (AT["i"], OUT), self.product.w_, style="new")
        pen.wire(pen.dot(AT["i"], OUT, "new"), add.s, style="new")
        self.gate("g", (AT["g"], OUT), self.product.e)
        self.divided(add)
        self.legend()
        return pen

    def exponential(self, name: str, stable: Node) -> None:
        x = AT[name]
        node = self.gates[name] = self.pen.gate(x, self.gate_row, f"z_{name}", "", "new")
        self.pen.wire(self.pen.dot(x, self.bus_row), node.s)
        self.pen.wire(node.n, (x, stable.s[1]), style="new")

    def normaliser(self) -> tuple[Node, Node]:
        """n = f n′ + i, below the cell line."""
        pen = self.pen
        old, new = pen.label(LEFT, NORMALISER, "n′", "new"), pen.label(RIGHT, NORMALISER, "n", "new")
        keep, add = pen.op(AT["f"] + 42, NORMALISER, "×", "new"), pen.op(AT["i"], NORMALISER, "+", "new")
        for a, b in ((old.e, keep.w_), (keep.e, add.w_), (add.e, new.w_)):
            pen.wire(a, b, style="new")
        return keep, add

    def divided(self, add: Node) -> None:
        """h = o c / n."""
        pen = self.pen
        divide, times = pen.op(M, 178, "÷", "new"), pen.op(M, OUT, "×")
        pen.wire(pen.dot(M, CELL), divide.n)
        pen.wire(pen.dot(M - 45, add.y, "new"), (M - 45, divide.y), divide.w_, style="new")
        pen.wire(divide.s, times.n)
        self.gate("o", (AT["o"], OUT), times.w_)
        pen.wire(times.e, pen.label(RIGHT, OUT, "h").w_)
