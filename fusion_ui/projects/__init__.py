"""Ready-made projects: a base model, its experts and their domains, prepared once on this machine."""
