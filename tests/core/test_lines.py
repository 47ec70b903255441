"""Lines: bytes in any pieces, whole lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comet.core.lines import Lines


#: What comes in, how much of a line is kept, the lines with the bytes that they took, and what remains.
TABLE = [
    (b"a\nbc\n", 10, [(b"a", 2), (b"bc", 3)], []),
    (b"a\r\n\r\n", 10, [(b"a", 3), (b"", 2)], []),
    (b"\n\n", 10, [(b"", 1), (b"", 1)], []),
    (b"a\rb\n", 10, [(b"a\rb", 4)], []),
    (b"a\nrest", 10, [(b"a", 2)], [(b"rest", 4)]),
    (b"a\nrest\r", 10, [(b"a", 2)], [(b"rest", 5)]),
    (b"abcd\n", 4, [(b"abcd", 5)], []),
    (b"abcd\r\n", 4, [(b"abcd", 6)], []),
    (b"abcde\nx\n", 4, [(b"abcd", 6), (b"x", 2)], []),
    (b"abcde\r\n", 4, [(b"abcd", 7)], []),
    ("abcé\n".encode(), 4, [(b"abc", 6)], []),
    ("ab€\n".encode(), 4, [(b"ab", 6)], []),
    ("ab€c\n".encode(), 5, [("ab€".encode(), 7)], []),
    ("😀x\n".encode(), 3, [(b"", 6)], []),
    (b"\x80\x80\x80\x80\x80\n", 4, [(b"\x80\x80\x80\x80", 6)], []),
    (b"\xff\xff\n", 1, [(b"", 3)], []),
    (b"", 4, [], []),
]


@pytest.mark.parametrize(("data", "most", "lines", "rest"), TABLE)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_in_pieces(data: bytes, most: int, lines: list[tuple[bytes, int]], rest: object, size: int) -> None:
    """However the bytes are divided, the same lines come out, none longer than is kept, and no character in halves."""
    splitter = Lines(most)
    found = [line for at in range(0, len(data), size) for line in splitter.feed(data[at : at + size])]
    assert found == lines
    assert splitter.waiting == len(data) - sum(size for _, size in lines)
    assert splitter.end() == rest
    assert (splitter.waiting, splitter.end()) == (0, [])


@given(st.lists(st.binary(max_size=8).map(lambda data: data.replace(b"a", b"\n")), max_size=20))
def test_nothing_is_lost(pieces: list[bytes]) -> None:
    """The lines are those of the whole, and the bytes that they took are all bytes."""
    splitter, data = Lines(1000), b"".join(pieces)
    lines = [line for piece in pieces for line in splitter.feed(piece)] + splitter.end()
    *expected, last = data.split(b"\n")
    expected += [last] if last else []
    assert [line for line, _ in lines] == [line.removesuffix(b"\r") for line in expected]
    assert sum(size for _, size in lines) == len(data)


def test_a_line_without_end_takes_no_memory() -> None:
    """Of a gigabyte without a line feed so much is kept as of any other line."""
    splitter = Lines(100)
    for _ in range(1000):
        assert splitter.feed(b"x" * 10_000) == []
    assert len(splitter._begun) <= 102
    assert splitter.feed(b"\ny\n") == [(b"x" * 100, 10_000_001), (b"y", 2)]
    assert splitter.cut == 1
