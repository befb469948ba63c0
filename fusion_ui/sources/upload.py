"""A model that a visitor uploads: several files or one zip become one directory, whole or not at all.

Only names that a model directory needs are written; nothing else that was uploaded touches the disk again. What the
files say is checked afterwards, by `checkpoints.limits` and `checkpoints.trial`.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from fusion_ui.errors import SourceError
from fusion_ui.progress import Progress
from fusion_ui.sources.files import replace_directory

SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
MODEL_NAMES = frozenset({"config.json", "model.safetensors", "model.safetensors.index.json"})
ADAPTER_NAMES = frozenset({"adapter_config.json", "adapter_model.safetensors"})
VOCABULARY_NAMES = frozenset(
    {"tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model"}
)
"""Each of them alone, or with one of the others, makes a tokenizer."""
TOKENIZER_NAMES = VOCABULARY_NAMES | {
    "tokenizer_config.json",
    "special_tokens_map.json",
    "merges.txt",
    "added_tokens.json",
}
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5", ".msgpack")
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")

_CHUNK = 1 << 20
_SLACK = 1 << 20  # bytes that any archive may unpack to: a page of blanks is small, whatever its ratio


@dataclass(frozen=True)
class UploadLimits:
    """What one upload may take. Sizes in bytes, unpacked where nothing else is said."""

    max_files: int = 200
    """Files of one upload, those that are left out included."""
    max_bytes: int = 8 << 30
    max_text_bytes: int = 64 << 20
    """One file that holds no weights."""
    max_ratio: int = 100
    """Unpacked bytes for each byte of a zip."""
    max_listing_bytes: int = 1 << 20
    """A zip's own list of its files, which is read at once."""
    min_free_bytes: int = 1 << 30
    """Left free on the disk."""


@dataclass(frozen=True)
class _Member:
    """One uploaded file: where it lay, its size as far as it is told, how to read it, and its path if it is a file."""

    parts: tuple[str, ...]
    size: int
    open: Callable[[], IO[bytes]]
    file: Path | None = None

    @property
    def name(self) -> str:
        return self.parts[-1]


class _Listing(io.FileIO):
    """A zip opened for reading that refuses to read its list of files at once where that list is large.

    `zipfile` reads the whole list into memory before it can be asked how long it is, and trusts the numbers that the
    archive gives about itself.
    """

    largest_read: int = sys.maxsize

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > self.largest_read:
            raise zipfile.BadZipFile(f"its list of files takes {size} bytes")
        return super().read(size) or b""


def receive_upload(
    files: Sequence[Path | tuple[str, Path]],
    folder: Path,
    limits: UploadLimits | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make the model directory `folder` from uploaded files, or from one zip of them, and return it.

    Kept are safetensors weights, config.json or an adapter's configuration, and tokenizer files. Everything else is
    left out and named in the last progress message. An existing `folder` is replaced.

    Args:
        files: the uploaded files; with the name they had where the temporary path has another.

    Raises:
        SourceError: the upload is no model, is too large, or would reach outside `folder`. Nothing is written then.
        StoppedError: the person stopped it. Nothing is written then either.
    """
    limits, progress = limits or UploadLimits(), progress or Progress()
    named = [(file.name, file) if isinstance(file, Path) else file for file in files]
    try:
        with ExitStack() as stack:
            if len(named) == 1 and named[0][0].lower().endswith(".zip"):
                members = _open_zip(*named[0], limits, stack)
                budget = min(limits.max_bytes, limits.max_ratio * named[0][1].stat().st_size + _SLACK)
            else:
                members = [
                    _Member(_split(name), path.stat().st_size, lambda p=path: p.open("rb"), path)
                    for name, path in named
                ]
                budget = limits.max_bytes
            kept, left_out = _sort(_strip_top_folder(members), limits)
            _check_complete(kept)
            if any(member.name in ADAPTER_NAMES for member in kept):
                # A config.json would make a model of it, and its base has one.
                left_out += [member for member in kept if member.name in MODEL_NAMES]
                kept = [member for member in kept if member.name not in MODEL_NAMES]
            _check_space(sum(member.size for member in kept), folder, limits)
            with replace_directory(folder) as temporary:
                _copy(kept, temporary, budget, limits, progress)
                progress.report(1.0, _summary(kept, left_out))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceError(
            f"The upload {shown(named[0][0])} cannot be unpacked: {shown(str(error))}. "
            "Make it again as an ordinary zip, without a password, or upload the files themselves."
        ) from None
    except OSError as error:
        raise SourceError(
            f"The upload could not be read or written: {error.strerror or type(error).__name__}. Try again."
        ) from None
    return folder


def _open_zip(name: str, path: Path, limits: UploadLimits, stack: ExitStack) -> list[_Member]:
    listing = stack.enter_context(_Listing(path))
    listing.largest_read = limits.max_listing_bytes
    archive = stack.enter_context(zipfile.ZipFile(listing))
    listing.largest_read = sys.maxsize  # from here on reads are as long as this module asks for
    members: list[_Member] = []
    for info in archive.infolist():
        parts, kind = _split(info.orig_filename), stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise SourceError(
                f"{shown(name)} holds {shown(info.orig_filename)}, which is a link or a device and no file. "
                "Zip the files themselves (zip -r follows links unless -y is given)."
            )
        if info.is_dir() or parts[0] == "__MACOSX" or parts[-1] == ".DS_Store":
            continue
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise SourceError(
                f"{shown(name)} holds {shown(info.orig_filename)} with a password or in an unusual compression. "
                "Make an ordinary zip."
            )
        members.append(_Member(parts, info.file_size, lambda i=info: archive.open(i)))
    return members


def _split(name: str) -> tuple[str, ...]:
    """A relative path's parts; refuses every name that could lead outside the folder."""
    parts = tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
    if not parts or name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or not name.isprintable():
        raise SourceError(
            f"The upload holds a file named {shown(name)!r}, which is no plain name inside the model's folder. "
            "Rename it, or upload the files themselves."
        )
    return parts


def _strip_top_folder(members: list[_Member]) -> list[_Member]:
    tops = {member.parts[0] for member in members}
    if len(tops) == 1 and all(len(member.parts) > 1 for member in members):
        return [replace(member, parts=member.parts[1:]) for member in members]
    return members


def _sort(members: list[_Member], limits: UploadLimits) -> tuple[list[_Member], list[_Member]]:
    """What is kept, and what is left out. Refuses what no choice of files could make safe or usable."""
    if len(members) > limits.max_files:
        raise SourceError(
            f"The upload holds {len(members)} files; at most {limits.max_files} are accepted. "
            "Upload the model's own files: config.json, *.safetensors and the tokenizer."
        )
    for member in members:
        if member.name.lower().endswith(ARCHIVES):
            raise SourceError(
                f"The upload holds the archive {shown(member.name)}. Upload the files themselves, or one zip of them."
            )
    names = MODEL_NAMES | ADAPTER_NAMES | TOKENIZER_NAMES
    kept = [m for m in members if len(m.parts) == 1 and (m.name in names or SHARD.fullmatch(m.name))]
    twice = {member.name for member in kept if sum(other.name == member.name for other in kept) > 1}
    if twice:
        raise SourceError(f"The upload holds {min(twice)} more than once. Upload the files of one model.")
    if not any(member.name.endswith(".safetensors") for member in kept):
        pickled = [member.name for member in members if member.name.lower().endswith(PICKLES)]
        found = f"{shown(pickled[0])} can run code when it is read and is refused" if pickled else "it has none"
        raise SourceError(
            f"Weights are read from model.safetensors or adapter_model.safetensors alone: {found}. Save the model with "
            "save_pretrained(..., safe_serialization=True) and upload what that writes."
        )
    return kept, [member for member in members if member not in kept]


def _check_complete(kept: list[_Member]) -> None:
    names = {member.name for member in kept}
    adapter, shards = names & ADAPTER_NAMES, [m for name in names if (m := SHARD.fullmatch(name))]
    if adapter and ("model.safetensors" in names or shards):
        raise SourceError(
            "The upload holds a whole model and an adapter. Upload one of them; an adapter has its own place."
        )
    if adapter:
        needed = set(ADAPTER_NAMES)
    else:
        needed = {"config.json"} | ({"model.safetensors.index.json"} if shards else set())
        for shard in shards:
            total = int(shard[2])
            if total > len(names) or not 1 <= int(shard[1]) <= total:  # before a range of 99,999 names is made
                raise SourceError(f"The upload has {len(shards)} of the {total} parts of which {shard[0]} is one.")
            needed |= {f"model-{i:05d}-of-{total:05d}.safetensors" for i in range(1, total + 1)}
    if missing := sorted(needed - names):
        raise SourceError(
            f"The upload has no {' and no '.join(missing)}. Add what save_pretrained wrote beside the rest."
        )
    if not adapter and not names & VOCABULARY_NAMES:
        raise SourceError("The upload has no tokenizer. Add tokenizer.json, or vocab.txt, and tokenizer_config.json.")


def _check_space(num_bytes: int, folder: Path, limits: UploadLimits) -> None:
    if num_bytes > limits.max_bytes:
        raise SourceError(
            f"The upload takes {num_bytes >> 20} MiB; at most {limits.max_bytes >> 20} MiB are accepted. "
            "Upload a smaller model, or an adapter."
        )
    existing = next(parent for parent in folder.absolute().parents if parent.exists())
    if shutil.disk_usage(existing).free < num_bytes + limits.min_free_bytes:
        raise SourceError("The disk of this machine is too full for the upload. Try again later, or upload an adapter.")


def _copy(kept: list[_Member], folder: Path, budget: int, limits: UploadLimits, progress: Progress) -> None:
    """Copy member by member, counting what really comes: the sizes that an archive tells may be wrong."""
    expected, total = sum(member.size for member in kept), 0
    for member in kept:
        room = budget - total if member.name.endswith(".safetensors") else min(budget - total, limits.max_text_bytes)
        written = 0
        if member.file is not None and member.size <= room and _link(member.file, folder / member.name):
            total += member.size
            progress.report(total / max(expected, 1), f"receiving {member.name}")
            continue
        with member.open() as source, (folder / member.name).open("wb") as target:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                if written > room:
                    raise SourceError(
                        f"{member.name} is too large: more than {written >> 10} KiB, where a text file may have "
                        f"{limits.max_text_bytes >> 20} MiB, an upload {limits.max_bytes >> 20} MiB, and a zip "
                        f"{limits.max_ratio} times its own size. Upload the files themselves, or a smaller model."
                    )
                target.write(chunk)
                progress.report((total + written) / max(expected, 1), f"receiving {member.name}")
        total += written


def _link(file: Path, place: Path) -> bool:
    """Give a file a second name, which takes no room on the disk; False where that cannot be, as on another disk."""
    try:
        place.hardlink_to(file.resolve())
    except OSError:
        return False
    return True


def _summary(kept: list[_Member], left_out: list[_Member]) -> str:
    if not left_out:
        return f"received {len(kept)} files"
    names = ", ".join(shown(member.name) for member in left_out[:5]) + (", ..." if len(left_out) > 5 else "")
    return f"received {len(kept)} files; left out {len(left_out)} that are not needed: {names}"


def shown(text: str) -> str:
    """Text from outside, fit for a sentence: one line of at most 80 printable characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:80])
