"""How much packed data may unpack to, told from headers, before any of it is unpacked.

A frame of zstd (RFC 8878, section 3.1.1) is a header and blocks; four bytes can stand for 128 KiB,
so that a megabyte in a stranger's file could become 30 gigabytes. Frames are looked for at every
byte: wherever a reader may be sent, what it takes for a frame begins with the same four bytes.
"""

ZSTD = b"\x28\xb5\x2f\xfd"
LARGEST_BLOCK = 1 << 17  # bytes that one block may unpack to
LEAST = 1 << 10  # bytes that a block counts for at least: bounds the time that counting takes


def bound(data: bytes, enough: int) -> int:
    r"""Bytes that all zstd frames in `data` unpack to at most; stops counting beyond `enough`.

    By chance four bytes of other data look like a frame once in 4 GB; what follows then hardly
    ever goes on like one, and counts for little.

    >>> bound(ZSTD + bytes([0, 56]) + 10 * (b"\x02\x00\x10" + b"x"), 10**9)  # 10 times 128 KiB
    1310720
    """
    total, start = 0, data.find(ZSTD)
    while start >= 0 and total <= enough:
        total += _frame(data, start + len(ZSTD), enough)
        start = data.find(ZSTD, start + 1)
    return total


def _frame(data: bytes, at: int, enough: int) -> int:
    """The same of the one frame whose header is at `at`, as far as a reader would get in it."""
    if at + 2 > len(data):
        return 0
    single = data[at] >> 5 & 1  # in one segment: the window is as large as the content
    dictionary, content = (0, 1, 2, 4)[data[at] & 3], (single, 2, 4, 8)[data[at] >> 6]
    if single:
        field = data[at + 1 + dictionary : at + 1 + dictionary + content]
        window = int.from_bytes(field, "little") + 256 * (content == 2)
    else:
        window = (8 + (data[at + 1] & 7)) << (7 + (data[at + 1] >> 3))
    at += 2 - single + dictionary + content
    largest, total, last = min(window, LARGEST_BLOCK), 0, False
    while not last and total <= enough and at + 3 <= len(data):
        block = int.from_bytes(data[at : at + 3], "little")
        last, kind, length = bool(block & 1), block >> 1 & 3, block >> 3
        if kind == 3 or (kind != 1 and length > largest):
            break  # reserved, or too long: a reader gives up
        packed = kind == 2
        total += max(LEAST, largest if packed else min(length, LARGEST_BLOCK))
        at += 3 + (1 if kind == 1 else length)  # kind 1: one byte, so many times
    return total
