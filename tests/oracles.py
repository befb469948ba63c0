"""Independent oracles: slow, float64, written from the papers' equations and not from the code they judge.

Nothing here imports `fusion_ui`. Weights are W (in x out) and rows X (row x in), as in the formulas.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Array = NDArray[np.float64]


def regmean_by_least_squares(
    rows: Sequence[Array], experts: Sequence[Array], coefficients: Sequence[float], alpha: float
) -> Array:
    """argmin_W of RegMean's objective, by QR of stacked rows: no Gram matrix, no mean, no delta.

    Gt_i = alpha G_i + (1 - alpha) diag(G_i) is the Gram of sqrt(alpha) X_i with rows sqrt(1 - alpha) diag(G_i)^1/2
    added, whose targets are what expert i answers to them.
    """
    stacked, targets = [], []
    for x, w, coefficient in zip(rows, experts, coefficients, strict=True):
        share = math.sqrt(coefficient / len(x))
        parts = [math.sqrt(alpha) * x]
        if alpha < 1:
            parts.append(math.sqrt(1 - alpha) * np.diag(np.sqrt((x * x).sum(0))))
        for part in parts:
            stacked.append(share * part)
            targets.append(share * part @ w)
    # Householder QR does not care about the scale of a column, so badly scaled features cost it no digits.
    q, r = np.linalg.qr(np.concatenate(stacked))
    return np.linalg.solve(r, q.T @ np.concatenate(targets))


def regmean_by_formula(
    grams: Sequence[Array],
    num_rows: Sequence[int],
    experts: Sequence[Array],
    coefficients: Sequence[float],
    alpha: float,
) -> Array:
    """The closed form as printed: (sum_i c_i Gt_i)^-1 sum_i c_i Gt_i W_i."""
    total, right = 0.0, 0.0
    for gram, n, w, coefficient in zip(grams, num_rows, experts, coefficients, strict=True):
        scaled = coefficient * (alpha * gram + (1 - alpha) * np.diag(np.diag(gram))) / n
        total, right = total + scaled, right + scaled @ w
    return np.linalg.solve(total, right)


def fisher_mean(experts: Sequence[Array], fishers: Sequence[Array], coefficients: Sequence[float]) -> Array:
    """sum c_i F_i theta_i / sum c_i F_i, one entry after the other; the coefficient mean where nothing is known."""
    merged = np.empty_like(experts[0])
    for index in np.ndindex(merged.shape):
        total = sum(c * f[index] for c, f in zip(coefficients, fishers, strict=True))
        shares = [c * f[index] for c, f in zip(coefficients, fishers, strict=True)] if total > 0 else coefficients
        merged[index] = sum(s * e[index] for s, e in zip(shares, experts, strict=True)) / sum(shares)
    return merged


def wilson_interval(num_correct: int, num_examples: int) -> tuple[float, float]:
    """Wilson (1927): centre and half width at 95 %."""
    z = 1.959963984540054
    p, n = num_correct / num_examples, num_examples
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def rows_by_loop(model: nn.Module, tokens: Sequence[Sequence[int]]) -> dict[str, Array]:
    """Weight name -> X of every linear layer: text after text, without padding."""
    found: dict[str, list[Array]] = {}
    handles = []
    for name, module in model.named_modules():
        if type(module).__name__ in ("Linear", "Conv1D"):
            rows = found[f"{name}.weight"] = []
            note = lambda _module, args, rows=rows: rows.append(args[0].double().flatten(0, -2).numpy())  # noqa: E731
            handles.append(module.register_forward_pre_hook(note))
    with torch.no_grad():
        for ids in tokens:
            model(input_ids=torch.tensor([list(ids)]))
    for handle in handles:
        handle.remove()
    return {name: np.concatenate(rows) for name, rows in found.items()}


def grams_by_loop(model: nn.Module, tokens: Sequence[Sequence[int]]) -> dict[str, tuple[Array, int]]:
    """Weight name -> (sum of x x^T, rows) of every linear layer: text after text, token after token, no padding.

    Each text goes in twice and its first copy is counted, so that what does not depend on the text (DeBERTa projects
    its relative positions by the same layers) shows by its leading 1.
    """
    found: dict[str, tuple[Array, int]] = {}
    seen: list[tuple[str, Array]] = []
    handles = []
    for name, module in model.named_modules():
        if type(module).__name__ in ("Linear", "Conv1D"):
            note = lambda _module, args, _output, name=name: seen.append((f"{name}.weight", args[0].double().numpy()))  # noqa: E731
            handles.append(module.register_forward_hook(note))
    with torch.no_grad():
        for ids in tokens:
            model(input_ids=torch.tensor([list(ids)] * 2))
    for handle in handles:
        handle.remove()
    for name, values in seen:
        if len(values) == 1:
            continue
        for x in np.split(values.reshape(-1, values.shape[-1]), 2)[0]:
            gram, count = found.get(name, (np.zeros((len(x), len(x))), 0))
            found[name] = (gram + np.outer(x, x), count + 1)
    return found


def fisher_by_example(model: nn.Module, tokens: Sequence[Sequence[int]]) -> dict[str, Array]:
    """F = mean over texts of sum_y p(y|x) (d log p(y|x) / d theta)^2, one backward pass a text and label."""
    parameters = {name: p.detach().clone().requires_grad_(True) for name, p in model.named_parameters()}
    fisher = {name: np.zeros(tuple(p.shape)) for name, p in parameters.items()}
    for ids in tokens:
        for label in range(model.config.num_labels):
            logits = torch.func.functional_call(
                model, parameters, kwargs={"input_ids": torch.tensor([list(ids)])}
            ).logits
            log_probability = torch.log_softmax(logits[0], -1)[label]
            gradients = torch.autograd.grad(log_probability, list(parameters.values()), allow_unused=True)
            probability = math.exp(log_probability.item())
            for name, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    fisher[name] += probability * gradient.double().numpy() ** 2 / len(tokens)
    return fisher


def squared_mean_gradient(model: nn.Module, tokens: Sequence[Sequence[int]]) -> dict[str, Array]:
    """The common mistake, to tell it apart: gradients averaged over the texts first, squared afterwards."""
    parameters = {name: p.detach().clone().requires_grad_(True) for name, p in model.named_parameters()}
    wrong = {name: np.zeros(tuple(p.shape)) for name, p in parameters.items()}
    for label in range(model.config.num_labels):
        total = torch.zeros(())
        for ids in tokens:
            logits = torch.func.functional_call(
                model, parameters, kwargs={"input_ids": torch.tensor([list(ids)])}
            ).logits
            log_probabilities = torch.log_softmax(logits[0], -1)
            total = total + log_probabilities[label].exp().detach().sqrt() * log_probabilities[label] / len(tokens)
        gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                wrong[name] += gradient.double().numpy() ** 2
    return wrong


def regmean_plusplus_of_bert(
    models: Sequence[nn.Module], texts: Sequence[Sequence[Sequence[int]]], coefficients: Sequence[float], alpha: float
) -> dict[str, Array]:
    """Every parameter of a BERT merged by RegMean++, one layer called after the other by hand, text by text.

    Args:
        models: in float64, with pooler and classifier.
        texts: for each expert the token ids of its texts.
    """
    merged = {
        name: sum(c * model.state_dict()[name] for c, model in zip(coefficients, models, strict=True))
        for name, _ in models[0].named_parameters()
    }
    body = copy.deepcopy(models[0])

    def merge(part: str, runs: Sequence[Callable[[], object]]) -> None:
        """Merge the linear layers below `part`, whose rows are seen in one run an expert."""
        grams: list[dict[str, tuple[Array, int]]] = []
        for model, run in zip(models, runs, strict=True):
            seen: dict[str, list[Array]] = {}
            handles = []
            for name, module in model.named_modules():
                if isinstance(module, nn.Linear) and name.startswith(part):
                    rows = seen[f"{name}.weight"] = []
                    note = lambda _module, args, rows=rows: rows.append(args[0].flatten(0, -2).numpy())  # noqa: E731
                    handles.append(module.register_forward_pre_hook(note))
            run()
            for handle in handles:
                handle.remove()
            stacked = {name: np.concatenate(rows) for name, rows in seen.items()}
            grams.append({name: (x.T @ x, len(x)) for name, x in stacked.items()})
        for name in grams[0]:
            weights = [model.state_dict()[name].numpy().T for model in models]
            counted = [found[name] for found in grams]
            solved = regmean_by_formula([g for g, _ in counted], [n for _, n in counted], weights, coefficients, alpha)
            merged[name] = torch.tensor(solved.T)
        body.load_state_dict(merged, strict=False)

    def first(output: object) -> torch.Tensor:
        return output[0] if isinstance(output, tuple) else output

    with torch.no_grad():
        body.load_state_dict(merged, strict=False)
        states = [[body.bert.embeddings(input_ids=torch.tensor([list(ids)])) for ids in text] for text in texts]
        for depth in range(len(body.bert.encoder.layer)):
            own = [model.bert.encoder.layer[depth] for model in models]
            runs = [lambda b=b, h=h: [b(x) for x in h] for b, h in zip(own, states, strict=True)]
            merge(f"bert.encoder.layer.{depth}.", runs)
            states = [[first(body.bert.encoder.layer[depth](x)) for x in one] for one in states]
        for part in ("bert.pooler", "classifier"):
            runs = [
                lambda m=m, h=h: [m.classifier(m.bert.pooler(x)) for x in h]
                for m, h in zip(models, states, strict=True)
            ]
            merge(part, runs)
    return {name: tensor.numpy() for name, tensor in merged.items()}
