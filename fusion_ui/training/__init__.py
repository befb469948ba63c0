"""Fine-tuning from a common base: what a merge is held against, and experts for experiments."""
