"""Models on disk: what they are, reading their tensors, writing merged ones, folding adapters in."""
