"""Lines: bytes go in as they come, whole lines come out."""

from __future__ import annotations


class Lines:
    """Splits at LF, and takes a CR before it off.

    Of a line at most ``most`` bytes are kept, in whole characters; ``cut`` counts lines that were longer.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.cut = 0
        #: Bytes of the line that has not ended yet.
        self.waiting = 0
        self._begun = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, int]]:
        """The lines that end in this data, each with the bytes that it took where it came from, its end included."""
        first, *others = data.split(b"\n")
        self._wait(first)
        if not others:
            return []
        lines = [self._end(1)]
        *whole, last = others
        lines += [(self._trim(each), len(each) + 1) for each in whole]
        self._wait(last)
        return lines

    def end(self) -> list[tuple[bytes, int]]:
        """The line that nothing more comes of, if there is one."""
        return [self._end(0)] if self.waiting else []

    def _wait(self, data: bytes) -> None:
        self.waiting += len(data)
        # One more than is kept tells that it is too long, and one more may be the CR.
        self._begun += data[: max(0, self.most + 2 - len(self._begun))]

    def _end(self, newline: int) -> tuple[bytes, int]:
        line = self._trim(bytes(self._begun)), self.waiting + newline
        self.waiting = 0
        self._begun.clear()
        return line

    def _trim(self, line: bytes) -> bytes:
        line = line.removesuffix(b"\r")
        if len(line) <= self.most:
            return line
        self.cut += 1
        return _whole_characters(line[: self.most])


def _whole_characters(text: bytes) -> bytes:
    """Without the beginning of a UTF-8 character that was cut off at the end."""
    for back in range(1, min(4, len(text)) + 1):
        byte = text[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return text[:-back] if length > back else text
        if byte < 0x80:
            break
    return text
