"""Models compute the same on every backend, as the language-model-playground and the tutorial's torch module do."""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unilstm
from conftest import close, numbers, require
from unilstm import (
    CheckpointError,
    InputError,
    LayoutError,
    LSTMSpec,
    PortError,
    SpecError,
    UnsupportedByBackend,
    UnsupportedByLayout,
)
from unilstm.models import (
    LanguageModel,
    LanguageModelSpec,
    LmpInit,
    ModelWeights,
    Optimizer,
    SequenceClassifier,
    SequenceClassifierSpec,
    load,
    save,
    trainer,
)
from unilstm_conformance import tolerances

TOKENS = np.array([[5, 9, 10, 6, 2], [7, 8, 8, 10, 8], [7, 8, 5, 4, 9]])
TARGETS = np.array([[9, 10, 6, 2, 2], [8, 8, 10, 8, 4], [8, 5, 4, 9, 4]])
FIELDS: dict[str, Any] = {"vocab_size": 11, "d_emb": 7, "hidden_size": 6, "num_layers": 2, "padding_idx": 2}
KEY = np.array([3, 2**32 - 5], np.uint32)


def model(backend: Any, **fields: Any) -> Any:
    return LanguageModel(**{**FIELDS, **fields}, backend=backend.name, seed=1, dtype="float64")


def evaluated(made: Any) -> Any:
    return made.eval() if hasattr(made, "eval") else made


def array(backend: Any, tensor: Any) -> Any:
    return backend.array(tensor)


# The reference: the equations of the language model in NumPy, written once more, an LSTM step at a time.


def sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def reference(w: Any, tokens: Any, masks: dict[str, Any]) -> Any:
    """Logits of a vanilla model of two layers. masks: time-major, as a call takes them."""

    def drop(x: Any, name: str) -> Any:
        return x * masks[name].swapaxes(0, 1) if name in masks else x

    x = drop(w["embedding.weight"][tokens], "model_l0")
    x = drop(np.tanh(x @ w["input.weight"].T + w["input.bias"]), "model_l1")
    for k in range(2):
        x = drop(x, f"dropout_l{k}")
        h, c, ys = np.zeros((len(x), 6)), np.zeros((len(x), 6)), []
        for t in range(x.shape[1]):
            z = x[:, t] @ w[f"lstm.weight_ih_l{k}"].T + w[f"lstm.bias_ih_l{k}"]
            i, f, g, o = np.split(z + h @ w[f"lstm.weight_hh_l{k}"].T + w[f"lstm.bias_hh_l{k}"], 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            ys.append(h)
        x = np.stack(ys, axis=1)
    z = drop(np.tanh(drop(x, "model_l2") @ w["output.weight"].T + w["output.bias"]), "model_l3")
    return z @ w["embedding.weight"].T


def test_logits_in_evaluation(backend: Any) -> None:
    with backend.scope("float64"):
        made = evaluated(model(backend, p_emb=0.3, p_hid=0.4))
        logits, (h, c) = made(TOKENS)
        close(array(backend, logits), reference(made.weights(), TOKENS, {}), 1e-14)
        assert tuple(h.shape) == tuple(c.shape) == (2, 3, 6)


def test_the_masks_of_a_key_act_where_lmp_has_dropout(backend: Any) -> None:
    """Given masks: on the embedding, before the LSTM, after each of its layers, before the comparison."""
    shapes = {"model_l0": (5, 3, 7), "model_l1": (5, 3, 6), "dropout_l1": (5, 3, 6), "model_l2": (5, 3, 6)}
    shapes["model_l3"] = (5, 3, 7)
    masks = {name: 1.5 * (numbers(*s, stream=at) > 0) for at, (name, s) in enumerate(shapes.items())}
    with backend.scope("float64"):
        made = model(backend, p_emb=0.3, p_hid=0.4)
        logits, _ = made(TOKENS, masks={name: backend.tensor(mask) for name, mask in masks.items()})
        close(array(backend, logits), reference(made.weights(), TOKENS, masks), 1e-14)


def test_one_key_gives_the_same_training_step_as_numpy(framework: Any) -> None:
    fields = {"p_emb": 0.2, "p_hid": 0.3, "recurrent_dropout": 0.2, "label_smoothing": 0.1}
    with framework.scope("float64"):
        loss, _ = model(framework, **fields).loss(TOKENS, TARGETS, key=KEY)
        want, _ = model(unilstm.plugins.get("numpy"), **fields).loss(TOKENS, TARGETS, key=KEY)
        plain, _ = model(unilstm.plugins.get("numpy"), **fields).loss(TOKENS, TARGETS)
    close(array(framework, loss), want, 1e-13)
    assert abs(want - plain) > 1e-3  # the masks did something


def test_the_loss_smooths_labels_and_leaves_padding_out(backend: Any) -> None:
    with backend.scope("float64"):
        made = evaluated(model(backend, label_smoothing=0.1))
        loss, _ = made.loss(TOKENS, TARGETS)
        logits, _ = made(TOKENS)
        logits = array(backend, logits)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        each = -0.9 * np.take_along_axis(log_p, TARGETS[..., None], -1)[..., 0] - 0.1 * log_p.mean(-1)
        close(array(backend, loss), each[TARGETS != 2].mean(), 1e-14)
        nothing, _ = made.loss(TOKENS, np.full_like(TARGETS, 2))
        assert float(array(backend, nothing)) == 0.0


def test_the_state_carries_on(backend: Any) -> None:
    """Two halves, one after the other, are the whole."""
    with backend.scope("float64"):
        made = evaluated(model(backend))
        whole, (h, c) = made(TOKENS)
        _, state = made(TOKENS[:, :2])
        rest, (h_2, c_2) = made(TOKENS[:, 2:], state)
        for got, want in ((rest, whole[:, 2:]), (h_2, h), (c_2, c)):
            close(array(backend, got), array(backend, want), 1e-14)


def test_the_state_is_detached() -> None:
    torch = pytest.importorskip("torch")
    _, (h, c) = LanguageModel(**FIELDS, backend="torch", seed=1)(torch.tensor(TOKENS))
    assert not h.requires_grad
    assert not c.requires_grad


def test_predict_gives_probabilities_without_dropout_and_leaves_the_mode(backend: Any) -> None:
    with backend.scope("float64"):
        made = model(backend, p_hid=0.5)
        first, second = (array(backend, made.predict(TOKENS)[0]) for _ in range(2))
        assert (first == second).all()
        close(first.sum(-1), np.ones((3, 5)), 1e-14)
        assert getattr(made, "training", True)


def test_generate_is_the_same_everywhere_and_continues_its_prompt(backend: Any) -> None:
    with backend.scope("float64"):
        drawn = model(backend).generate(TOKENS[:, :3], 8, temperature=0.7, k=5, p=0.9, seed=4)
        greedy = model(backend).generate(TOKENS[:1, :3], 2, k=1)
        probabilities, _ = model(backend).predict(np.concatenate([TOKENS[:1, :3], greedy[:, :1]], axis=1))
    want = model(unilstm.plugins.get("numpy")).generate(TOKENS[:, :3], 8, temperature=0.7, k=5, p=0.9, seed=4)
    assert drawn.tolist() == want.tolist()
    assert len({tuple(row) for row in drawn}) > 1
    assert greedy[0, 1] == array(backend, probabilities)[0, -1].argmax()


def test_sampling_follows_the_distribution() -> None:
    from unilstm.models.sampling import choose

    p = np.array([[0.1, 0.0, 0.6, 0.3]])
    u = (np.arange(1000) + 0.5) / 1000
    count = np.bincount(choose(np.repeat(p, 1000, axis=0), u, 1.0, 0, 1.0), minlength=4)
    assert count.tolist() == [100, 0, 600, 300]
    cold = np.bincount(choose(np.repeat(p, 1000, axis=0), u, 0.5, 0, 1.0), minlength=4)
    assert abs(cold / 1000 - p[0] ** 2 / (p**2).sum()).max() < 2e-3
    assert set(choose(np.repeat(p, 1000, axis=0), u, 1.0, 2, 1.0)) == {2, 3}
    assert set(choose(np.repeat(p, 1000, axis=0), u, 1.0, 0, 0.6)) == {2}
    assert set(choose(np.repeat(p, 1000, axis=0), u, 1.0, 0, 0.61)) == {2, 3}


# The classifier.


def test_the_classifier_is_the_tutorials_module() -> None:
    """Its state_dict loads, and outputs and gradients are the same."""
    torch = pytest.importorskip("torch")

    class Tutorial(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self, vocab_size: int, embed_dim: int, hidden_dim: int, num_classes: int) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(vocab_size, embed_dim, padding_idx=0)
            self.lstm = torch.nn.LSTM(
                embed_dim, hidden_dim, num_layers=2, batch_first=True, bidirectional=True, dropout=0.3
            )
            self.fc = torch.nn.Linear(hidden_dim * 2, num_classes)

        def forward(self, x: Any) -> Any:
            _, (hidden, _) = self.lstm(self.embedding(x))
            return self.fc(torch.cat([hidden[-2], hidden[-1]], dim=1))

    torch.manual_seed(0)
    theirs = Tutorial(11, 7, 6, 2).double().eval()
    ours = SequenceClassifier(11, 7, 6, 2, backend="torch", dtype="float64").eval()
    missing, unexpected = ours.load_state_dict(theirs.state_dict())
    assert not missing
    assert not unexpected
    x, y = torch.tensor([[5, 9, 10, 6, 0], [7, 8, 8, 10, 8]]), torch.tensor([0, 1])
    close(ours(x).detach(), theirs(x).detach(), 1e-14)
    ours.loss(x, y).backward()
    torch.nn.functional.cross_entropy(theirs(x), y).backward()
    wanted = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        close(parameter.grad, wanted[name].grad, 1e-14)
    assert (ours.embedding.weight.grad[0] == 0).all()


def test_the_classifier_reads_ragged_tokens_and_features(backend: Any) -> None:
    with backend.scope("float64"):
        made = evaluated(SequenceClassifier(11, 7, 6, 3, backend=backend.name, seed=2, dtype="float64"))
        padded = array(backend, made(TOKENS, lengths=[5, 3, 3]))
        close(padded[:1], array(backend, made(TOKENS[:1])), 1e-14)
        close(padded[1:], array(backend, made(TOKENS[1:, :3])), 1e-14)
        features = evaluated(
            SequenceClassifier(0, 4, 6, 3, num_layers=1, backend=backend.name, seed=2, dtype="float64")
        )
        x = numbers(2, 5, 4)
        probabilities = array(backend, features.predict(backend.tensor(x), lengths=[5, 2]))
        close(probabilities.sum(-1), np.ones(2), 1e-14)
        assert features.spec.lstm == LSTMSpec(4, 6, direction="bidirectional")


# One description for all.


def test_a_seed_gives_the_same_weights_and_a_model_ports(framework: Any) -> None:
    drawn = ModelWeights.initial(model(unilstm.plugins.get("numpy")).spec, 1, "torch", "float64")
    with framework.scope("float64"):
        assert model(framework).weights() == drawn
        assert LanguageModel(drawn, backend=framework.name).weights() == drawn
        ported = unilstm.port(model(framework), to="numpy")
        assert ported.weights() == drawn
        assert isinstance(ported.spec, LanguageModelSpec)


def test_lmp_init_draws_the_gates_biases_apart() -> None:
    spec = LanguageModelSpec(LSTMSpec(6, 400, bias="single", num_layers=2), 11, 7)
    w = ModelWeights.initial(spec, 0, LmpInit(-0.2, 0.1, -2.0, -3.0, 4.0))
    i, f, g, o = np.split(w["lstm.bias_l1"], 4)
    for values, low, high in ((i, -2, 0), (f, 0, 4), (g, -0.2, 0.1), (o, -3, 0), (w["embedding.weight"], -0.2, 0.1)):
        assert low <= values.min() < low + 0.1 * (high - low)
        assert high >= values.max() > high - 0.1 * (high - low)


def test_specs_go_to_json_and_back() -> None:
    lstm = LSTMSpec(4, 6, peephole=True)
    for spec in (
        LanguageModelSpec(lstm, 3, 7, padding_idx=2, p_hid=0.1, vocabulary=("a", "b", "c")),
        SequenceClassifierSpec(lstm, 5, 11, None),
    ):
        assert type(spec).from_json(spec.to_json()) == spec
        assert spec.replace(lstm=LSTMSpec(4, 8)).lstm.hidden_size == 8


def test_jax_models_are_pytrees() -> None:
    jax = pytest.importorskip("jax")
    made = LanguageModel(**FIELDS, backend="jax", seed=1)
    leaves, tree = jax.tree.flatten(made)
    assert len(leaves) == len(made.weights())
    assert jax.tree.unflatten(tree, leaves).weights() == made.weights()
    grads, _ = jax.jit(jax.grad(lambda m: m.loss(TOKENS, TARGETS), has_aux=True))(made)
    assert grads.params["embedding.weight"].shape == (11, 7)


# Files.


def test_a_model_file_gives_back_the_model_and_its_lstm(tmp_path: Any, backend: Any) -> None:
    made = LanguageModel(**FIELDS, vocabulary=tuple("abcdefghijk"), backend=backend.name, seed=1)
    save(made, tmp_path / "m.safetensors")
    again = load(tmp_path / "m.safetensors", backend=backend.name)
    assert again.weights() == made.weights()
    assert again.spec.vocabulary == tuple("abcdefghijk")
    assert unilstm.load(tmp_path / "m.safetensors") == made.weights().lstm
    (found,) = unilstm.inspect(tmp_path / "m.safetensors")
    assert (found.prefix, found.spec) == ("lstm.", made.spec.lstm)


def test_a_classifier_file(tmp_path: Any) -> None:
    made = SequenceClassifier(11, 7, 6, 2, seed=0)
    save(made, tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors").weights() == made.weights()


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.999])
def test_a_file_cut_off_is_refused(tmp_path: Any, keep: float) -> None:
    path = tmp_path / "m.safetensors"
    save(LanguageModel(**FIELDS, seed=1), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(CheckpointError, match=r"m\.safetensors: is (empty|not a valid safetensors file)"):
        load(path)


def rewritten(path: Any, change: Any) -> None:
    """A model file whose description of the model says something else."""
    from unilstm.models import files

    save(LanguageModel(**FIELDS, vocabulary=tuple("abcdefghijk"), seed=1), path)
    file = files.read(path)
    about = json.loads(file.metadata[files.KEY])
    change(about)
    files.write(path, file.weights, {}, {files.KEY: json.dumps(about)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["spec"].update(vocabulary=["a", "b"]), "the vocabulary has 2 tokens, but vocab_size=11"),
        (lambda a: a["spec"].update(vocabulary=list("abcdefghija")), "the vocabulary has 'a' twice"),
        (lambda a: a["spec"].update(vocab_size=12, vocabulary=list("abcdefghijkl")), "'embedding.weight' has shape"),
        (lambda a: a["spec"].update(d_emb=0), "d_emb=0 must be a whole number"),
        (lambda a: a["spec"].update(nonsense=0), "'nonsense' is not a field"),
        (lambda a: a["spec"]["lstm"].update(num_layers=10**6), "says num_layers=1000000"),
        (lambda a: a.update(format=99), "model format 99"),
        (lambda a: a.update(model="transformer"), "'transformer', which is no model"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path: Any, change: Any, message: str) -> None:
    rewritten(tmp_path / "m.safetensors", change)
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "m.safetensors")


def test_a_file_without_a_model_is_refused(tmp_path: Any) -> None:
    unilstm.save(unilstm.LSTM(3, 4, seed=0), tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="holds no model"):
        load(tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match=r"a model is written to a \.safetensors file"):
        save(LanguageModel(**FIELDS, seed=0), tmp_path / "m.pt")
    with pytest.raises(PortError, match="cannot save a int as a model"):
        save(3, tmp_path / "m.safetensors")


# What cannot be.


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"direction": "bidirectional"}, "must not see it"),
        ({"batch_first": False}, "models take"),
        ({"dropout": 0.2, "p_hid": 0.1}, "contradicts p_hid=0.1"),
        ({"padding_idx": 11}, "padding_idx=11 must be a token"),
        ({"p_emb": 1.0}, "p_emb=1.0 must be a number from 0 to below 1"),
        ({"label_smoothing": -0.1}, "label_smoothing=-0.1"),
        ({"vocab_size": 0}, "vocab_size=0"),
        ({"vocabulary": "abcdefghijk"}, "vocabulary must be a list"),
        ({"nonsense": 1}, "'nonsense' is not a field"),
        ({"hidden_size": 0}, "input_size=0"),
        ({"preset": "nonsense"}, "preset 'nonsense' is unknown"),
    ],
)
def test_impossible_language_models(fields: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        LanguageModel(**{**FIELDS, **fields}, seed=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LanguageModel(d_emb=3, hidden_size=4), "lacks vocab_size"),
        (lambda: LanguageModel(vocab_size=3, d_emb=3), "lacks hidden_size"),
        (lambda: LanguageModel(LSTMSpec(3, 4), vocab_size=3, d_emb=3, num_layers=2), "num_layers=2 was given beside"),
        (lambda: LanguageModel(ModelWeights.initial(SequenceClassifierSpec(LSTMSpec(3, 4)), 0, "torch")), "not of a"),
        (lambda: LanguageModel("vanilla"), "must be a LanguageModelSpec"),
        (lambda: SequenceClassifier(10, 3), "lacks hidden_dim"),
        (lambda: SequenceClassifier(10, 3, 4, 0), "num_classes=0"),
        (lambda: SequenceClassifier(-1, 3, 4), "vocab_size=-1"),
        (lambda: LmpInit(0.1, -0.1), "init_lower=0.1 must be below"),
        (lambda: LmpInit(init_ib=1.0), "init_ib=1.0 must be not above 0"),
        (lambda: Optimizer("rmsprop"), "optimizer 'rmsprop' is unknown"),
        (lambda: Optimizer("adam", wd=0.1), "wd=0.1 must be 0, or above 0 with name='adamw'"),
        (lambda: Optimizer(beta2=1.0), "beta2=1.0 must be"),
    ],
)
def test_impossible_descriptions(make: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m([[0, 11]]), r"tokens\[0, 1\]=11 is not in the vocabulary. Give numbers from 0 to 10"),
        (lambda m: m([[-1, 1]]), r"tokens\[0, 0\]=-1"),
        (lambda m: m([0, 1]), r"tokens has shape \[2\], but must be \[batch, time\]"),
        (lambda m: m(np.zeros((2, 0), np.int64)), "it is empty"),
        (lambda m: m([[0.5]]), "whole numbers"),
        (lambda m: m.loss([[0, 1]], [[0]]), r"targets has shape \[1, 1\], but must have \[1, 2\]"),
        (lambda m: m.loss([[0]], [[12]]), r"targets\[0, 0\]=12"),
        (lambda m: m.generate([[0]], 0), "steps=0 must be at least 1"),
        (lambda m: m.generate([[0]], 1, temperature=0.0), "temperature=0.0"),
        (lambda m: m([[0]], key=1, masks={}), "were both given"),
        (lambda m: m([[0]], masks={"model_l9": None}), "masks has 'model_l9', but this model takes: model_l1"),
    ],
)
def test_impossible_calls(backend: Any, call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(LanguageModel(**FIELDS, p_hid=0.1, backend=backend.name, seed=0))


@pytest.mark.parametrize("name", ["torch", "paddle"])
def test_a_key_in_evaluation_is_refused(name: str) -> None:
    pytest.importorskip(name)
    with pytest.raises(InputError, match="key= was given in evaluation mode"):
        LanguageModel(**FIELDS, p_hid=0.1, backend=name, seed=0).eval()(TOKENS, key=1)


def test_numpy_cannot_train() -> None:
    with pytest.raises(UnsupportedByBackend, match="only runs forward and cannot train"):
        trainer(LanguageModel(**FIELDS, seed=0), Optimizer(), lambda m: m)


def test_a_backend_without_models_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from unilstm_numpy.plugin import NumpyBackend

    monkeypatch.delattr(NumpyBackend, "model")
    with pytest.raises(UnsupportedByBackend, match="offers no models"):
        LanguageModel(**FIELDS, seed=0)


# What the language-model-playground itself computed.


def golden(year: int) -> Any:
    """The configuration and the arrays of a golden vector."""
    path = importlib.resources.files("unilstm_conformance") / "golden" / "lmp" / f"language_model_{year}.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as npz:
        return json.loads(str(npz["meta"]))["config"], {name: npz[name] for name in npz.files}


def under(arrays: Any, prefix: str) -> Any:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def gradients(backend: Any, made: Any, tokens: Any, targets: Any) -> dict[str, Any]:
    """Of the loss, by name."""
    if backend.name == "jax":
        import jax

        grads, _ = jax.jit(jax.grad(lambda m: m.loss(tokens, targets), has_aux=True))(made)
        return {**grads.params, **{f"lstm.{name}": g for name, g in grads.lstm.params.items()}}
    made.loss(tokens, targets)[0].backward()
    if backend.name == "torch":
        return {name: p.grad for name, p in made.named_parameters()}
    own = {name: p.grad for name, p in made.own_tensors().items()}
    return own | {f"lstm.{name}": made.lstm.own_parameter(name)[0].grad for name in made.lstm.weights()}


def roundings(spec: LanguageModelSpec) -> tuple[int, int]:
    """On the longest chain to a logit, and forward and back to a gradient; see unilstm_conformance.tolerances.

    Around the LSTM stand three products, over d_emb, H and d_emb terms, with their biases and tanh; the way back sums
    over V, d_emb and H terms, and each gradient of a table over all tokens.
    """
    rows, steps = TOKENS.shape
    around = 2 * spec.d_emb + spec.lstm.hidden_size + 10
    back = spec.vocab_size + spec.d_emb + spec.lstm.hidden_size + rows * steps + 10
    there = tolerances.roundings(spec.lstm, steps) + around
    return there, tolerances.gradient_roundings(spec.lstm, steps, rows) + around + back


def within(got: Any, want: Any, count: int, factor: float = 1.0) -> None:
    bound = tolerances.PAIR_FACTOR * factor * np.sqrt(count) * tolerances.eps("float64") * np.abs(want).max()
    close(got, want, bound)


@pytest.mark.parametrize("year", [1997, 2000, 2002])
def test_golden_language_models_of_lmp(backend: Any, year: int) -> None:
    config, arrays = golden(year)
    with backend.scope("float64"):
        made = evaluated(LanguageModel.from_layout("lmp", under(arrays, "w/"), backend=backend.name, **config))
        tokens, targets = arrays["in/tokens"], arrays["in/targets"]
        there, and_back = roundings(made.spec)
        logits, (h, c) = made(tokens)
        loss, _ = made.loss(tokens, targets)
        probabilities, _ = made.predict(tokens)
        got = {"logits": logits, "loss": loss, "prob": probabilities, "h_n": h, "c_n": c}
        for name, tensor in got.items():
            want = arrays[f"out/{name}"]
            within(array(backend, tensor).reshape(want.shape), want, there)
        if backend.name == "numpy":
            return
        wanted = ModelWeights.from_layout("lmp", under(arrays, "grad/"), **config)
        found = gradients(backend, made, tokens, targets)
        assert found.keys() == wanted.keys()
        for name, want in wanted.items():
            within(array(backend, found[name]), want, and_back, tolerances.GRADIENT_FACTOR)


@pytest.mark.parametrize("year", [1997, 2000, 2002])
def test_lmp_checkpoints_go_out_as_they_came_in(year: int) -> None:
    config, arrays = golden(year)
    given = under(arrays, "w/")
    back = ModelWeights.from_layout("lmp", given, **config).to_layout("lmp")
    assert back.keys() == given.keys()
    assert all((back[name] == given[name]).all() for name in given)


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        (lambda w: w.pop("fc_h2e.0.bias"), {}, "'fc_h2e.0.bias' is missing"),
        (lambda w: w.update(nonsense=w["emb.weight"]), {}, "'nonsense' is no array"),
        (lambda w: w.pop("stack_rnn.2.fc_x2ig.bias"), {}, r"'2\.fc_x2ig\.bias' is missing"),
        (lambda w: w.update({"emb.weight": w["emb.weight"][0]}), {}, r"'emb.weight' has shape \[7\]"),
        (lambda w: None, {"vocab_size": 12}, r"'embedding.weight' has shape \[11, 7\], but must have \[12, 7\]"),
        (lambda w: None, {"nonsense": 1}, "nonsense=1 is no argument"),
        (lambda w: None, {"n_lyr": 3}, "n_lyr|num_layers|layers"),
    ],
)
def test_what_is_no_language_model_of_lmp(change: Any, config: Any, message: str) -> None:
    given = under(golden(2000)[1], "w/")
    change(given)
    with pytest.raises(LayoutError, match=message):
        ModelWeights.from_layout("lmp", given, **config)


def test_what_lmp_has_no_place_for() -> None:
    with pytest.raises(UnsupportedByLayout):
        LanguageModel(**FIELDS, seed=0).weights().to_layout("lmp")
    with pytest.raises(LayoutError, match="layout 'torch' of models is unknown"):
        LanguageModel.from_layout("torch", {})


def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("torch")
    page = (Path(__file__).parent.parent / "docs" / "models.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(compile(code, "models.md", "exec"), made)
    assert made["more"].shape == (1, 10)
    close(made["same"].sum(-1), np.ones((1, 20)), 1e-6)
    assert made["again"].spec.vocabulary == made["vocabulary"]
    assert made["training"].steps == 3


# Native to each framework.


def test_torch_exports_and_vmaps_a_model() -> None:
    torch = pytest.importorskip("torch")
    made = LanguageModel(**FIELDS, backend="torch", seed=1).eval()
    tokens = torch.tensor(TOKENS)
    want = made(tokens)[0].detach()
    assert (torch.export.export(made, (tokens,)).module()(tokens)[0] == want).all()
    close(torch.func.vmap(lambda row: made(row[None])[0][0])(tokens).detach(), want, 1e-6)


# Paddle's own `where`, where it broadcasts in a static graph.
@pytest.mark.filterwarnings("ignore:Tensor do not have 'place':UserWarning")
def test_paddle_makes_a_static_graph_of_a_model() -> None:
    paddle = pytest.importorskip("paddle")
    for made in (
        LanguageModel(**FIELDS, backend="paddle", seed=1),
        SequenceClassifier(11, 7, 6, 2, backend="paddle", seed=1),
    ):
        made.eval()
        tokens = paddle.to_tensor(TOKENS)
        want = paddle.utils.flatten(made(tokens))[0].numpy()
        for whole in (False, True):
            static = paddle.jit.to_static(made, full_graph=whole)
            close(paddle.utils.flatten(static(tokens))[0].numpy(), want, 1e-6)


def test_jax_vmaps_a_model() -> None:
    jax = pytest.importorskip("jax")
    made = LanguageModel(**FIELDS, backend="jax", seed=1)
    rows = jax.vmap(lambda row: made(row[None])[0][0])(jax.numpy.asarray(TOKENS))
    close(rows, jax.jit(lambda m, x: m(x)[0])(made, TOKENS), 1e-6)
