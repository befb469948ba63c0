"""A child process that was taken over: it answers what it was told to, whatever it was asked."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

_LIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"\x00\xff{",
    "half a line": b'{"answer": ',
    "a list": b"[1, 2]\n",
    "deep": b"[" * 100_000 + b"\n",
    "an answer of other types": b'{"answer": {"columns": 5, "rows": "x"}}\n',
    "an answer of nothing": b'{"answer": null}\n',
    "an error of no known kind": b'{"error": "<b>\\u0000\\u202e", "kind": "os.system"}\n',
    "an error of another shape": b'{"error": [5], "kind": {}}\n',
    "a kind that is no error": b'{"error": "a sentence", "kind": "annotations"}\n',
    "a long sentence": b'{"failure": "' + b"x" * 100_000 + b'"}\n',
    "odd progress": b'{"message": {"a": []}, "fraction": "nan"}\n{"message": 1}\n',
    "other files": json.dumps(
        {
            "answer": {
                "domain": dict.fromkeys(("train", "calibrate", "select", "report"), "/etc/passwd")
                | {"name": "a", "title": "a"},
                "notes": [],
                "num_sentences": 1,
            }
        }
    ).encode()
    + b"\n",
}


def main() -> None:
    """Tell the lie that the task names; `endless` one without an end, `silent` none and go on."""
    _, task = json.loads(sys.stdin.buffer.readline())
    lie = str(_find(task))
    if lie == "endless":
        while True:
            os.write(1, b"x" * (1 << 20))
    if lie == "silent":
        os.close(1)
        time.sleep(60)
    os.write(1, _LIES[lie])


def _find(task: Any) -> str:
    """The lie's name, which is that of the file it is asked to read."""
    fields = task[1]
    path = fields["path"] if "path" in fields else fields["place"]["path"]
    return path.rsplit("/", 1)[-1]


if __name__ == "__main__":
    main()
