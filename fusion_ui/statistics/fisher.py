"""Diagonal Fisher information: the mean over examples of the squared gradient of log p(y|x), per example.

Labels are weighted by the model's own prediction ("expected"): F = E_x sum_y p(y|x) (d log p(y|x) / d theta)^2. The
texts that a model might write cannot be summed over: there y is the given answer, or the text itself ("empirical").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from fusion_ui.domains.batches import EncodedText, pad_batch
from fusion_ui.progress import Progress
from fusion_ui.tasks.task import Task


def accumulate_fisher(
    task: Task, model: nn.Module, texts: Sequence[EncodedText], progress: Progress
) -> dict[str, Tensor]:
    """Squared gradients of every parameter, averaged over the texts and weighted over the labels.

    Texts go one by one: the square of a batch's mean gradient is not the mean of squared gradients. Embedding tables
    use sparse gradients, so that a text costs only the rows it touches.

    Args:
        task: of the model; it knows what the model's probabilities are of.
        model: in eval mode; its parameters' `requires_grad` are restored afterwards.
        texts: tokenised; no padding is involved.

    Returns:
        Parameter name -> F of the same shape, float32.
    """
    parameters = dict(model.named_parameters())
    fisher = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in parameters.items()}
    with _gradients(model):
        for done, text in enumerate(texts):
            progress.report(done / len(texts), f"{done} of {len(texts)} texts")
            with progress.turn():
                _add_text(fisher, task, model, parameters, text, len(texts))
    return {name: total.cpu() for name, total in fisher.items()}


def _add_text(
    fisher: dict[str, Tensor],
    task: Task,
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    text: EncodedText,
    num_texts: int,
) -> None:
    terms = task.fisher_terms(model, pad_batch([text], [0], 0))
    for number, (output, share) in enumerate(terms, start=1):
        gradients = torch.autograd.grad(
            output, list(parameters.values()), retain_graph=number < len(terms), allow_unused=True
        )
        for total, gradient in zip(fisher.values(), gradients, strict=True):
            _add_square(total, gradient, share / num_texts)


def _add_square(total: Tensor, gradient: Tensor | None, share: float) -> None:
    if gradient is None:
        return
    if gradient.is_sparse:
        gradient = gradient.coalesce()
        total.index_add_(0, gradient.indices()[0], gradient.values().square(), alpha=share)
    else:
        total.addcmul_(gradient, gradient, value=share)


@contextmanager
def _gradients(model: nn.Module):
    """Switch gradients on, sparse for embeddings, and put everything back."""
    with ExitStack() as stack:
        for parameter in model.parameters():
            stack.callback(parameter.requires_grad_, parameter.requires_grad)
            parameter.requires_grad_(True)
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                stack.callback(setattr, module, "sparse", module.sparse)
                module.sparse = True
        stack.enter_context(torch.enable_grad())
        yield
