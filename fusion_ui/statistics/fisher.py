"""Diagonal Fisher information: the mean over examples of the squared gradient of log p(y|x), per example.

Labels are weighted by the model's own prediction ("expected"): F = E_x sum_y p(y|x) (d log p(y|x) / d theta)^2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from fusion_ui.domains.batches import TokenIds, pad_batch
from fusion_ui.progress import Progress


def accumulate_fisher(model: nn.Module, tokens: Sequence[TokenIds], progress: Progress) -> dict[str, Tensor]:
    """Squared gradients of every parameter, averaged over the texts and weighted over the labels.

    Texts go one by one: the square of a batch's mean gradient is not the mean of squared gradients. Embedding tables
    use sparse gradients, so that a text costs only the rows it touches.

    Args:
        model: in eval mode; its parameters' `requires_grad` are restored afterwards.
        tokens: one tuple of token ids a text; no padding is involved.

    Returns:
        Parameter name -> F of the same shape, float32.
    """
    parameters = dict(model.named_parameters())
    fisher = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in parameters.items()}
    with _gradients(model):
        for done, ids in enumerate(tokens):
            progress.report(done / len(tokens), f"{done} of {len(tokens)} texts")
            with progress.turn():
                _add_text(fisher, model, parameters, ids, len(tokens))
    return fisher


def _add_text(
    fisher: dict[str, Tensor], model: nn.Module, parameters: Mapping[str, Tensor], ids: TokenIds, num_texts: int
) -> None:
    batch = pad_batch([ids], [0], 0)
    log_probabilities = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[0].log_softmax(-1)
    for label, log_probability in enumerate(log_probabilities):
        is_last = label + 1 == len(log_probabilities)
        share = log_probability.detach().exp().item() / num_texts
        gradients = torch.autograd.grad(
            log_probability, list(parameters.values()), retain_graph=not is_last, allow_unused=True
        )
        for total, gradient in zip(fisher.values(), gradients, strict=True):
            _add_square(total, gradient, share)


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
