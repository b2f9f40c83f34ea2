"""Lines out of zstd frames, each with a checksum: what is damaged is left out, what follows it is not. Pure."""

from collections.abc import Iterator
from typing import Final

import zstandard

MAGIC: Final = b"\x28\xb5\x2f\xfd"
"""What a frame begins with (RFC 8878, 3.1.1)."""
MAX_FRAME: Final = 16 * 1024 * 1024
"""Bytes of a frame: twice what the longest line that is read of a log may have."""
MOST_LOSSES: Final = 1_000
"""How often the next frame is looked for in one object."""


class Unpacker:
    """Takes an object piece by piece. What it holds at once is one frame."""

    def __init__(self) -> None:
        self.fault: str | None = None
        """What is wrong with the first frame that is damaged."""
        self._is_empty = True
        self._is_lost = False
        """Whether the next frame is still to be found."""
        self._losses = 0
        self._begin()

    def _begin(self, raw: bytes = b"") -> None:
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._raw = raw
        """What was read of the frame."""
        self._texts: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The lines of the frames that a piece completes, without their newlines."""
        while piece:
            self._is_empty = False
            piece = self._found(piece) if self._is_lost else piece
            self._raw += piece
            try:
                self._texts.append(self._frame.decompress(piece))
            except zstandard.ZstdError as error:
                piece = self._lost(str(error))
                continue
            if not self._frame.eof:
                piece = self._lost("a frame without an end") if len(self._raw) > MAX_FRAME else b""
                continue
            piece, text = self._frame.unused_data, b"".join(self._texts)
            self._begin()
            yield from text.split(b"\n")[:-1]

    def end(self) -> Iterator[bytes]:
        """The lines of the frames that were taken for a part of one that is cut off."""
        if self._is_empty:
            self.fault = "it is empty"
        while self._raw and not self._is_lost:
            yield from self.feed(self._lost("it is cut off"))

    def _lost(self, why: str) -> bytes:
        """What was read after the beginning of a frame that is damaged: there may be others in it."""
        self.fault = self.fault or why
        rest = self._raw[1:]
        self._begin()
        self._is_lost = True
        self._losses += 1
        return rest if self._losses <= MOST_LOSSES else b""

    def _found(self, piece: bytes) -> bytes:
        """A piece from where the next frame begins; b"" when it begins later."""
        piece = self._raw + piece
        at = piece.find(MAGIC)
        self._is_lost = at < 0
        self._begin(piece[1 - len(MAGIC) :] if at < 0 else b"")
        return b"" if at < 0 else piece[at:]
