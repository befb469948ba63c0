"""Text with labels: reading it, matching labels by name, and cutting it into batches."""
