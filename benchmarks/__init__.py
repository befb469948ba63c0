"""One script a claim; each prints one table. ``python -m benchmarks`` runs all, ``python -m benchmarks alpha`` one."""
