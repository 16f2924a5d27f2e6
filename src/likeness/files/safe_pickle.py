"""Reading other people's pickles as plain data.

A pickle is a program. This reader runs it with every instruction that could reach the world taken away: the only
names it can look up are arrays (numpy, torch tensors on the CPU, `chumpy`, `scipy.sparse`, `scikit-learn`), and all of
those become inert records. Arrays end as numpy arrays; objects of the other libraries end as a `Record` with the
attributes they were saved with, so that neither the library nor its age matters. Anything else is refused by name.

Before the pickle runs, its instructions are walked once without effect: their number, the memo and the nesting are
bounded, so that a small file cannot take large memory or time.
"""

from __future__ import annotations

import codecs
import io
import math
import pickle
import pickletools
import re
from collections import OrderedDict
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from likeness.errors import FileFormatError

__all__ = ["Record", "load_pickle", "loads_pickle"]

MAX_BYTES = 2 << 30
MAX_INSTRUCTIONS = 50_000_000
MAX_DEPTH = 64

# Libraries whose objects are kept as attribute records.
_RECORDED = ("chumpy", "scipy.sparse", "sklearn")
# Persistent ids and extension codes call back into the reader's own process; INST and OBJ are old-style instances.
_REFUSED_INSTRUCTIONS = {"PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "INST", "OBJ", "NEXT_BUFFER", "READONLY_BUFFER"}


class Record:
    """An object of another library as plain data: ``kind`` is its dotted class name, ``args`` what its constructor was
    given, ``attributes`` the state it was saved with."""

    kind: str = ""

    def __new__(cls, *args: Any, **_options: Any) -> Record:
        self = super().__new__(cls)
        self.args = args
        self.attributes = {}
        return self

    def __init__(self, *_args: Any, **_options: Any) -> None:
        pass

    args: tuple[Any, ...]
    attributes: dict[str, Any]
    __hash__ = None  # type: ignore[assignment] - no key of a dict, no member of a set

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], dict | None):
            state = {**(state[0] or {}), **(state[1] or {})}
        if not isinstance(state, dict):
            raise _Malformed(f"an object '{self.kind}' has a state of type {type(state).__name__}")
        self.attributes = state

    def __repr__(self) -> str:
        return f"Record({self.kind}, {sorted(map(str, self.attributes))})"


def load_pickle(path: str | Path, *, max_bytes: int = MAX_BYTES) -> Any:
    """The content of a pickle file as plain data. Byte strings of Python 2 become text (latin-1).

    Raises FileFormatError when the file is no pickle, is larger than ``max_bytes``, or asks for more than plain
    data.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise FileFormatError(f"{path}: has {size:,} bytes; at most {max_bytes:,} are read from a pickle.")
        data = path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror or error}).") from error
    return loads_pickle(data, name=str(path))


def loads_pickle(data: bytes, *, name: str = "pickle") -> Any:
    """`load_pickle` for bytes; ``name`` is how messages call them."""
    try:
        _inspect(data)
        loaded = _PlainUnpickler(io.BytesIO(data), encoding="latin1").load()
        return _Finisher().finish(loaded)
    except _Malformed as error:
        raise FileFormatError(f"{name}: refused, {error}. Get the file from its owners anew.") from None
    except RecursionError:
        raise FileFormatError(f"{name}: refused, its contents are nested too deeply.") from None
    except Exception as error:  # a hostile pickle can raise nearly anything out of the unpickler
        raise FileFormatError(f"{name}: not a readable pickle ({type(error).__name__}: {error}).") from error


# ---------------------------------------------------------------------------------------------- before it runs


def _inspect(data: bytes) -> None:
    """Walk the instructions without running them, and refuse what plain data does not need."""
    for count, (instruction, argument, _) in enumerate(pickletools.genops(data), start=1):
        if count > MAX_INSTRUCTIONS:
            raise _Malformed(f"it has more than {MAX_INSTRUCTIONS:,} instructions")
        if instruction.name in _REFUSED_INSTRUCTIONS:
            raise _Malformed(f"it uses the instruction {instruction.name}, which plain data does not need")
        if "PUT" in instruction.name and int(argument) > count:  # type: ignore[arg-type]
            # CPython's memo is an array: an index no writer would reach makes it allocate all the way up.
            raise _Malformed("it numbers its objects absurdly high")
        if instruction.name == "GLOBAL":
            _global(*str(argument).split(" ", 1))


class _Malformed(Exception):
    """What is wrong with a pickle; becomes a FileFormatError where the file's name is known."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:  # type: ignore[override]
        return _global(module, name)


@cache
def _global(module: str, name: str) -> Any:
    """The inert stand-in for a name, or a refusal."""
    if (known := _KNOWN.get((module, name))) is not None:
        return known
    if any(module == library or module.startswith(library + ".") for library in _RECORDED):
        return type("Record", (Record,), {"kind": f"{module}.{name}"})
    raise _Malformed(f"it asks for '{module}.{name}', which is not plain data")


# ---------------------------------------------------------------------------------------------- stand-ins


class _Dtype:
    """``numpy.dtype(code, align, copy)`` and its state."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.state = code, ()

    __hash__ = None  # type: ignore[assignment]

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def dtype(self) -> np.dtype:
        # state: version, byte order, sub-array, field names, fields, item size, alignment, flags
        if len(self.state) > 4 and self.state[3] is not None:
            names, fields = self.state[3], self.state[4]
            formats = [fields[name][0].dtype() for name in names]
            offsets = [int(fields[name][1]) for name in names]
            return np.dtype({"names": list(names), "formats": formats, "offsets": offsets, "itemsize": self.state[5]})
        if not re.fullmatch(r"[<>|=]?[?biufcSUO]\d{0,9}", self.code):
            raise _Malformed(f"it holds an array of type '{self.code}'")
        found = np.dtype(self.code)
        order = self.state[1] if len(self.state) > 1 else "|"
        return found.newbyteorder(order) if order in "<>" else found


class _Array:
    """An ndarray before its state is known, or with its bytes at hand."""

    def __init__(self, *args: Any) -> None:
        self.state: tuple | None = None
        if len(args) == 4:  # numpy's `_frombuffer(buffer, dtype, shape, order)` of protocol 5
            buffer, dtype, shape, order = args
            self.state = (1, shape, dtype, order == "F", buffer)

    __hash__ = None  # type: ignore[assignment]

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def array(self, finish: Any) -> np.ndarray:
        if self.state is None:
            return np.zeros(0)
        shape, dtype, fortran, raw = self.state[-4:]
        dtype, shape = dtype.dtype(), tuple(int(n) for n in shape)
        count = math.prod(shape)
        if dtype.kind == "O":
            found = np.empty(count, object)
            found[:] = [finish(item) for item in _list_of(raw, count)]
        else:
            found = np.frombuffer(_bytes_of(raw, count * dtype.itemsize), dtype).copy()
        return found.reshape(shape, order="F" if fortran else "C")


class _Scalar:
    """``numpy.core.multiarray.scalar(dtype, bytes)``"""

    def __init__(self, dtype: _Dtype, raw: Any = b"") -> None:
        self.dtype, self.raw = dtype, raw

    __hash__ = None  # type: ignore[assignment]


class _Storage:
    """The bytes `torch.save` made of a tensor's storage; read by torch itself with ``weights_only``."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    __hash__ = None  # type: ignore[assignment]

    def values(self) -> np.ndarray:
        import torch

        storage = torch.load(io.BytesIO(self.data), map_location="cpu", weights_only=True)
        return torch.tensor([], dtype=storage.dtype).set_(storage).numpy().copy()


class _Tensor:
    """``torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …)``"""

    def __init__(self, storage: _Storage, offset: int, size: tuple, stride: tuple, *_: Any) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    __hash__ = None  # type: ignore[assignment]

    def array(self) -> np.ndarray:
        values = self.storage.values()
        extent = self.offset + 1 + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        if self.offset < 0 or min((*self.size, *self.stride, 1)) < 1 or max(extent, math.prod(self.size)) > len(values):
            raise _Malformed("a tensor in it reaches beyond its own data")
        strides = [step * values.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.size, strides).copy()


def _encoded(text: str, encoding: str) -> bytes:
    """``_codecs.encode``: how Python 3 writes bytes in protocol 2."""
    if codecs.lookup(encoding).name != "iso8859-1":
        raise _Malformed(f"it encodes text as {encoding}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    """``bytes()``: how Python 3 writes no bytes in protocol 2."""
    return b""


def _reconstructed(cls: Any, *_: Any) -> Any:
    """``copy_reg._reconstructor(class, object, None)``: how Python 2 writes new-style objects in protocols 0 and 1."""
    if not (isinstance(cls, type) and issubclass(cls, Record)):
        raise _Malformed("it rebuilds an object of an unknown class")
    return cls()


def _bytes_of(raw: Any, size: int) -> bytes:
    data = raw.encode("latin1") if isinstance(raw, str) else bytes(raw) if isinstance(raw, bytes | bytearray) else None
    if data is None or len(data) != size:
        raise _Malformed("an array in it has more or fewer numbers than its shape says")
    return data


def _list_of(raw: Any, count: int) -> list:
    if not isinstance(raw, list) or len(raw) != count:
        raise _Malformed("an object array in it has more or fewer entries than its shape says")
    return raw


def _plain_object(*_: Any) -> None:
    raise _Malformed("it makes bare objects")


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _encoded,
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch.storage", "_load_from_bytes"): _Storage,
    ("__builtin__", "object"): _plain_object,
    ("builtins", "object"): _plain_object,
    ("__builtin__", "bytes"): _empty_bytes,
    ("builtins", "bytes"): _empty_bytes,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    ("__builtin__", "frozenset"): frozenset,
    ("builtins", "frozenset"): frozenset,
    ("copy_reg", "_reconstructor"): _reconstructed,
    ("copyreg", "_reconstructor"): _reconstructed,
}
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[_core + ".multiarray", "_reconstruct"] = _Array
    _KNOWN[_core + ".multiarray", "scalar"] = _Scalar
    _KNOWN[_core + ".numeric", "_frombuffer"] = _Array


# ---------------------------------------------------------------------------------------------- after it ran


_KEYS = (str, bytes, int, float, complex, bool, type(None))
_PLAIN = (*_KEYS, bytearray, set, frozenset)


class _Finisher:
    """Replaces stand-ins by numpy arrays, everywhere, each object once (a pickle may refer to one many times)."""

    def __init__(self) -> None:
        # The original is kept beside the result, so that its id is not given to another object meanwhile.
        self._done: dict[int, tuple[Any, Any]] = {}
        self._depth = 0

    def finish(self, value: Any) -> Any:
        if id(value) in self._done:
            return self._done[id(value)][1]
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _Malformed("its contents are nested too deeply")
        finished = self._finished(value)
        self._depth -= 1
        if isinstance(value, list | dict | tuple | set | frozenset | Record | _Array | _Tensor | _Scalar):
            self._done[id(value)] = (value, finished)
        return finished

    def _finished(self, value: Any) -> Any:
        if isinstance(value, _Array):
            return value.array(self.finish)
        if isinstance(value, _Tensor):
            return value.array()
        if isinstance(value, _Scalar):
            dtype = value.dtype.dtype()
            return np.frombuffer(_bytes_of(value.raw, dtype.itemsize), dtype)[0]
        if isinstance(value, _Dtype):
            return value.dtype()
        if isinstance(value, tuple):
            return tuple(self.finish(item) for item in value)
        if isinstance(value, set | frozenset | dict):
            _check_keys(value)
        if isinstance(value, _PLAIN):
            return value
        # Those that can hold themselves are finished in place.
        self._done[id(value)] = (value, value)
        if isinstance(value, list):
            value[:] = [self.finish(item) for item in value]
        elif isinstance(value, dict):
            value.update({key: self.finish(item) for key, item in value.items()})
        elif isinstance(value, Record):
            value.args = self.finish(value.args)
            value.attributes = self.finish(value.attributes)
        else:  # a stand-in by itself: a class that was never called, a storage without its tensor
            raise _Malformed("it holds a class or a part of an array instead of data")
        return value


def _check_keys(keys: Iterable[Any], depth: int = 0) -> None:
    """Refuse keys of a table, or members of a set, that are no plain values."""
    for key in keys:
        if isinstance(key, tuple | frozenset) and depth < MAX_DEPTH:
            _check_keys(key, depth + 1)
        elif not isinstance(key, _KEYS):
            raise _Malformed("it holds a class where a name or a number is expected")
