"""The variant pages: each preset has one, with a picture, and what it says of weights, states and masks is so."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

import unilstm
from unilstm import layer_masks
from unilstm.parameters import layer_parameters
from unilstm.presets import PRESETS
from variant_pages import PAGES, ROOT, ROWS, STEPS, shape, spec_of, table, text


def test_every_preset_has_a_page_and_a_picture_and_nothing_else_has() -> None:
    for suffix in ("md", "svg"):
        assert {page.stem for page in PAGES.glob(f"*.{suffix}")} - {"index"} == set(PRESETS)


def test_every_page_is_in_the_navigation_and_in_the_overview() -> None:
    navigation, overview = (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), text("index")
    for name in PRESETS:
        assert f"variants/{name}.md" in navigation
        assert f"[{name}]({name}.md)" in overview


@pytest.mark.parametrize("script", ["draw_cells", "layout_lines"])
def test_what_scripts_write_is_current(script: str) -> None:
    """The pictures, in which nothing may overlap either, and the lines that name layouts."""
    command = [sys.executable, str(ROOT / "docs" / "pictures" / f"{script}.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", PRESETS)
class TestPage:
    def test_shows_its_picture_and_its_equations(self, name: str) -> None:
        assert f"]({name}.svg)" in text(name)
        assert re.search(r"## Equations\n\n```\n[^`]*\n(?:c|    c_k|c\[k\]) +=", text(name)), "no equation of c"
        for section in ("Spec", "Weights, states, masks", "Settings", "Systems", "Source"):
            assert f"\n## {section}\n" in text(name)

    def test_spec_line_is_the_preset(self, name: str) -> None:
        code = re.search(r"```python\n(.*?)```", text(name), re.DOTALL)
        assert code is not None
        assert f'spec = unilstm.preset("{name}"' in code[1]
        line = re.search(r"assert spec == (unilstm\.LSTMSpec\(.*\))", code[1], re.DOTALL)
        assert line is not None
        needs = {need: getattr(spec_of(name), need) for need in PRESETS[name].needs}
        assert eval(line[1], {"unilstm": unilstm}) == unilstm.preset(name, input_size=16, hidden_size=32, **needs)

    def test_lists_the_weights_of_every_layer(self, name: str) -> None:
        spec = spec_of(name)
        for layer in range(spec.num_layers):
            there = [
                (p.role, p.shape, "".join(dict.fromkeys(p.gates))) for p in layer_parameters(spec, layer, direction=0)
            ]
            listed = [(r, shape(s, spec, layer), g.removesuffix("a lane").replace(" ", ""))
                      for r, s, g in table(name, "weight")]  # fmt: skip
            assert listed == there

    def test_lists_the_shapes_of_the_states(self, name: str) -> None:
        spec = spec_of(name)
        _, (h, c) = unilstm.LSTM(spec, seed=0)(np.zeros((ROWS, STEPS, spec.input_size), "float32"))
        assert {n: shape(s, spec, 0) for n, s in table(name, "state")} == {"h": h.shape, "c": c.shape}

    def test_lists_the_masks_of_training(self, name: str) -> None:
        spec = spec_of(name)
        for layer in range(spec.num_layers):
            there = {
                m.name: (m.shape, "0 or 1/(1 − p)" if m.scaled else "0 or 1")
                for m in layer_masks.of_direction(spec, layer, 0, STEPS, ROWS)
            }
            listed = {n.format(k=layer): (shape(s, spec, layer), v) for n, s, v in table(name, "mask in training")}
            assert listed == there
        assert ("It has no masks" in text(name)) == (not layer_masks.names(spec))
