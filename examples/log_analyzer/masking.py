"""Which parts of a message are parameters: each is replaced by a named mark such as <IP>.

Known shapes are named before drain3 looks for what else varies, so that templates stay few and readable.
"""

import re
from collections import Counter

from examples.log_analyzer.parsing import Access

_DEBIAN = "amd64|all|arm64|armhf|i386|ppc64el|riscv64|s390x|mips64el|armel|any"
# The order matters: the longest and surest shapes first.
_MASKS = [(re.compile(pattern), mark) for pattern, mark in (
    (r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b", "<UUID>"),
    (r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>)\]]+", "<URL>"),
    (r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b", "<EMAIL>"),
    (rf"(?<![\w./-])[a-z0-9][a-z0-9+.-]+:(?:{_DEBIAN})(?![\w-])", "<PKG>"),
    (r"\b(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\b", "<MAC>"),
    (r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?:[:#]\d{1,5})?(?:/\d{1,2})?(?![\w.]*\d)", "<IP>"),
    (r"(?<![\w:])(?=[0-9a-fA-F:]*::|(?:[0-9a-fA-F]+:){7})[0-9a-fA-F:]{3,39}(?![\w:])", "<IP>"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?", "<TIME>"),
    (r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b", "<TIME>"),
    (r"\b0x[0-9a-fA-F]+\b", "<HEX>"),
    (r"\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}\b", "<HEX>"),
    (r"(?<![\w.])\d+(?:\.\d+)?\s?(?:ns|us|µs|ms|s|sec|secs|seconds?|min|minutes?|h|hours?)\b", "<DURATION>"),
    (r"(?<![\w.])\d+(?:\.\d+)?\s?(?:[kKMGT]i?B|bytes?|B)\b", "<SIZE>"),
    (r"(?<![\w<:/])/(?:[\w.@+~%:=-]+/)*[\w.@+~%:=-]+/?", "<PATH>"),
    (r"(?<![\w.])v?(?:\d+:)?\d+(?:\.\d+){2,}[\w.+~-]*", "<VERSION>"),
    (r"(?<![\w<.])[+-]?\d+(?:\.\d+)?(?![\w.]*\w)%?", "<NUM>"),
)]  # fmt: skip
_AFTER_PKG = re.compile(r"(?<=<PKG>)(?: \S+)+")
_DIGIT_WORD = re.compile(r"(?<= )\S*\d\S*")
_SEGMENT = re.compile(r"(?<=/)(?:\d+|[0-9a-fA-F-]{8,}|[^/]*\d[^/]{6,})(?=/|\.|$)")


def mask(message: str) -> str:
    """The message with its recognisable parameters replaced."""
    for pattern, mark in _MASKS:
        message = pattern.sub(mark, message)
        if mark == "<PKG>":  # what follows a Debian package and has a digit is a version of it
            message = _AFTER_PKG.sub(lambda rest: _DIGIT_WORD.sub("<VERSION>", rest[0]), message)
    return message


class Paths:
    """The paths of an access log: the commonest keep their name, scanners' thousands become <PATH>."""

    def __init__(self, requests: list[Access], keep: int = 40) -> None:
        shapes = Counter(_path_shape(request.path) for request in requests)
        self._kept = {shape for shape, _ in shapes.most_common(keep)}

    def describe(self, request: Access) -> str:
        """The request's template, such as "GET /users/<ID> 200"."""
        shape = _path_shape(request.path)
        return f"{request.method} {shape if shape in self._kept else '<PATH>'} {request.status}"


def _path_shape(path: str) -> str:
    return _SEGMENT.sub("<ID>", path.partition("?")[0])[:120]
