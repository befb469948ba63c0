"""The type checker that the import hook puts around every function and dataclass of `fusion_ui`."""

from beartype import BeartypeConf, beartype

# The numeric tower: as everywhere in Python's typing, an int may be given where a float is asked for (alpha=1).
check_types = beartype(conf=BeartypeConf(is_pep484_tower=True))
