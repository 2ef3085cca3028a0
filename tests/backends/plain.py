"""What a model says in one plain pass over everything, without a cache."""

import torch

from ppl_scaling.interfaces import PAD


def drawn_tokens(block):
    """Tokens of each row of a block, without its padding."""
    return [[token for token in row if token != PAD] for row in block.tolist()]


def plain_log_prob(model, context, tokens, temperature=1.0):
    """Log-probability of ``tokens`` after ``context``."""
    with torch.no_grad():
        logits = model(torch.tensor([context + tokens])).logits[0, len(context) - 1 : -1].double() / temperature
    return float(torch.log_softmax(logits, -1).gather(1, torch.tensor(tokens)[:, None]).sum())
