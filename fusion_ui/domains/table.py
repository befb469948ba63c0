"""What every data file is read into: named columns of cells."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

Row = Sequence[object]


@dataclass(frozen=True, eq=False)
class Table(ABC):
    """Columns of cells; a cell is what its file holds, and None where a row lacks the column.

    Attributes:
        columns: their names in the order of the file; two may be the same.
        num_rows: rows of data, column names not counted.
        notes: sentences on what was decided while reading.
    """

    columns: tuple[str, ...]
    num_rows: int
    notes: tuple[str, ...]

    @abstractmethod
    def column(self, position: int) -> Sequence[object]:
        """All `num_rows` cells of the column at `position`."""

    @abstractmethod
    def head(self, num_rows: int) -> Sequence[Row]:
        """The first `num_rows` rows, or all where there are fewer."""

    @abstractmethod
    def sample(self, num_rows: int) -> Sequence[Row]:
        """At most `num_rows` rows, spread over the file where that costs nothing, else its first."""


@dataclass(frozen=True, eq=False)
class RowTable(Table):
    """A table whose rows are in memory, each with as many cells as there are columns."""

    rows: Sequence[Row]

    def column(self, position: int) -> Sequence[object]:
        """All cells of one column."""
        return [row[position] for row in self.rows]

    def head(self, num_rows: int) -> Sequence[Row]:
        """The first rows."""
        return self.rows[:num_rows]

    def sample(self, num_rows: int) -> Sequence[Row]:
        """Every n-th row, so that a file sorted by label shows all of its labels."""
        return self.rows[:: max(1, -(-self.num_rows // num_rows))]
