"""A file for one visitor to download.

gradio serves what lies in its own upload folder to whoever knows the path, and lists nothing. So each file gets a
directory there whose name is a secret of 128 bits, told to its visitor alone, and is removed with the next one or when
the visitor leaves. `ui.gate` lets nobody else at it, not even who knows the name. A file elsewhere would be copied
there, and hashed, before it is served.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradio.utils import get_upload_folder

from fusion_ui.sources.files import process_name
from fusion_ui.ui.session import Session
from fusion_ui.ui.sessions import sweep


def handout_folder() -> Path:
    """Where files of all visitors of this server lie, each in a directory of its own."""
    return Path(get_upload_folder()) / "fusion-ui" / process_name()


@contextmanager
def handing_out(session: Session) -> Iterator[Path]:
    """A new directory for the block to put a file into. It takes the place of the visitor's last one.

    If the block fails, it is removed, and the last one stays.
    """
    sweep(handout_folder().parent)
    place = handout_folder() / secrets.token_hex(16)
    place.mkdir(parents=True, mode=0o700)
    try:
        yield place
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    last, session.handed_out = session.handed_out, place
    if last is not None:
        shutil.rmtree(last, ignore_errors=True)
