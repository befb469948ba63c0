"""The paper's protocol on the demo: one module an experiment, each a table and a figure (see `__main__`)."""
