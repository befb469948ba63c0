"""How good a model is on each domain, streaming, with intervals."""
