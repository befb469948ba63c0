"""Everything Fusion UI refuses to do, as one tree.

    FusionError                     a sentence for the person: what, where, what was got, what to do
    ├── SettingsError               an environment variable or launch option is wrong
    ├── ParameterError              a method's parameter is outside its declaration
    ├── RecipeError                 a merge recipe cannot be read or does not make sense
    ├── SourceError                 bytes could not be had
    │   ├── SourceUnavailableError  no source could be reached
    │   └── CorruptedDownloadError  bytes came, but not the expected ones
    ├── CheckpointError             a model directory cannot be used
    │   └── IncompatibleError       two models cannot be merged with each other
    ├── DomainError                 a data file or a column cannot be used
    ├── StatisticError              a statistic is missing, damaged or belongs to something else
    ├── MergeError                  a merge could not be carried out
    ├── StorageError                the disk is full or cannot be written; an OSError too
    ├── BusyError                   too many people want something at once, or one wants too much
    ├── TrainingError               a model could not be trained
    └── StoppedError                the person, or a newer request, stopped this run

The page shows a ``FusionError`` as a message and the command line prints it and exits with 2. Any other
exception is a bug and keeps its traceback.
"""

from __future__ import annotations


class FusionError(Exception):
    """Base of every error that is meant to be read by the person using Fusion UI."""


class SettingsError(FusionError):
    """An environment variable or launch option is wrong."""


class ParameterError(FusionError):
    """A method's parameter is outside its declaration."""


class RecipeError(FusionError):
    """A merge recipe cannot be read or does not make sense."""


class SourceError(FusionError):
    """Bytes could not be had."""


class SourceUnavailableError(SourceError):
    """No source of a file could be reached."""


class CorruptedDownloadError(SourceError):
    """A file arrived, but its checksum is not the expected one."""


class CheckpointError(FusionError):
    """A model directory cannot be used."""


class IncompatibleError(CheckpointError):
    """Two models cannot be merged with each other."""


class DomainError(FusionError):
    """A data file or one of its columns cannot be used."""


class StatisticError(FusionError):
    """A statistic is missing, damaged or belongs to another checkpoint."""


class MergeError(FusionError):
    """A merge could not be carried out."""


class StorageError(FusionError, OSError):
    """Something could not be written. Whoever can do without it catches it as the `OSError` that it is.

    Args:
        reason: why, in a few words, for whoever makes a sentence of its own.
    """

    def __init__(self, sentence: str, reason: str) -> None:
        super().__init__(sentence)
        self.strerror = reason


class BusyError(FusionError):
    """Too many people want something at once, or one wants too much."""


class TrainingError(FusionError):
    """A model could not be trained."""


class StoppedError(FusionError):
    """The run was stopped by the person or superseded by a newer request."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
