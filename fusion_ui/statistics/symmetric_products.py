"""C += X^T X, of whose result only one half is computed: BLAS's ssyrk, which torch does not offer.

It is SciPy's, called through the pointer that SciPy hands out for such use: unlike `scipy.linalg.blas.ssyrk`, this lets
other threads of Python go on meanwhile.
"""

from __future__ import annotations

import ctypes
from functools import cache

from jaxtyping import Float32
from scipy.linalg import cython_blas  # pyright: ignore[reportAttributeAccessIssue]
from threadpoolctl import threadpool_limits
from torch import Tensor


def add_products(total: Float32[Tensor, "n n"], rows: Float32[Tensor, "row n"], is_first: bool) -> None:
    """Add x x^T of every row x to what lies on and above the diagonal of `total`; what lies below is not touched.

    Args:
        total: on the CPU, row by row in memory, as `rows` are.
        is_first: True to write in place of adding; what was there, be it NaN, does not matter then.
    """
    assert total.is_contiguous() and rows.is_contiguous() and total.device.type == rows.device.type == "cpu"
    if not len(rows):
        if is_first:
            total.zero_()
        return
    width, count = ctypes.c_int(rows.shape[1]), ctypes.c_int(len(rows))
    one, kept = ctypes.c_float(1.0), ctypes.c_float(0.0 if is_first else 1.0)
    by = ctypes.byref
    # BLAS reads columns where we write rows: it is given both transposed, and our upper half is its lower one.
    _find_ssyrk()(
        b"L", b"N", by(width), by(count), by(one), rows.data_ptr(), by(width), by(kept), total.data_ptr(), by(width)
    )  # fmt: skip


def set_num_threads(count: int) -> None:
    """How many threads each call of `add_products` uses from now on, whoever calls it.

    It is for the whole process, whose own products are torch's, and is not set back: another pass may be on its way.
    """
    threadpool_limits(count, user_api="blas")


@cache
def _find_ssyrk() -> ctypes._CFunctionType:
    api, capsule = ctypes.pythonapi, cython_blas.__pyx_capi__["ssyrk"]
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", api))
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 10)(pointer_of(capsule, name_of(capsule)))
