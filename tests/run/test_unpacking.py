"""How much could this unpack to? Against what zstd packs, and frames made by hand."""

import random
import time

import bombs
import pytest

from seqgan_jax.run.unpacking import LARGEST_BLOCK, LEAST, ZSTD, bound

MANY = 10**12


@pytest.mark.parametrize("level", [1, 5, 19])
def test_never_less_than_what_zstd_packed_and_little_more(tmp_path, level):
    for seed in range(8):
        packed, size = bombs.packed_by_zstd(seed, level, tmp_path)
        assert packed.startswith(ZSTD)
        assert size <= bound(packed, MANY) <= size + 2 * LARGEST_BLOCK
        around = bytes(range(40)) + packed + packed + b"end"  # wherever a reader may be sent
        assert bound(around, MANY) == 2 * bound(packed, MANY)


@pytest.mark.parametrize("single", [True, False])
def test_bombs_are_counted_in_full(single):
    for size in (1 << 17, 10**9, 10**10):
        bomb = bombs.zstd(size, single)
        assert len(bomb) < size / 5_000
        assert size <= bound(bomb, MANY) < size + LEAST


def test_it_stops_when_it_is_enough():
    bomb = bombs.zstd(10**10)
    assert 10**6 < bound(bomb, 10**6) < 2 * 10**6
    assert bound(bomb * 3, 10**6) < 2 * 10**6


def test_other_bytes_count_for_nothing():
    assert bound(b"", MANY) == 0
    assert bound(random.Random(0).randbytes(10**6), MANY) == 0
    assert bound(ZSTD, MANY) == 0
    assert bound(ZSTD[:3] + b"x" + ZSTD[1:], MANY) == 0


def frame(*blocks, head=b"\x00\x38"):
    """Blocks are (kind, length) with a body of zeros; without a last one the frame is cut off."""
    body = b""
    for kind, length in blocks:
        size = 1 if kind == 1 else length
        body += (length << 3 | kind << 1).to_bytes(3, "little") + bytes(size)
    return ZSTD + head + body


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (frame((0, 5000)), 5000),  # as it is
        (frame((1, 5000)), 5000),  # one byte, repeated
        (frame((2, 50)), 1 << 17),  # packed: no more than the window, nor 128 KiB
        (frame((2, 50), head=b"\x00\x00"), 1 << 10),  # a window of 1 KiB
        (frame((2, 50), head=b"\x00\x0f"), 15 << 8),  # the next but one, less a sixteenth
        (frame((2, 50), head=b"\x20\xff"), LEAST),  # in one segment of 255 bytes
        (frame((2, 50), head=b"\x60\x00\x10"), 4096 + 256),
        (frame((2, 50), head=b"\xa0\x00\x20\x00\x00"), 8192),
        (frame((2, 50), head=b"\xe0\x00\x20" + bytes(6)), 8192),
        (frame((2, 50), head=b"\x23\x01\x02\x03\x04\x80"), LEAST),  # a dictionary of 4 bytes
        (frame((2, 50), head=b"\x02\x38\x01\x02"), 1 << 17),  # of 2, and a window
        (frame((0, 5000), (1, 6000), (2, 70)), 5000 + 6000 + (1 << 17)),
        (frame((0, 5000), (3, 9), (0, 5000)), 5000),  # reserved: a reader gives up
        (frame((0, 5000), (2, (1 << 17) + 1), (0, 5000)), 5000),  # too long a block
        (frame((1, 1 << 20)), 1 << 17),  # so is this, and nobody knows when a reader sees it
        (frame((0, 0), (0, 0)), 2 * LEAST),  # time counts as well
        (frame((0, 5000))[:-4000], 5000),  # cut off
        (frame((0, 5000))[:7], 0),
    ],
    ids=range(18),
)
def test_frames_by_hand(data, expected):
    assert bound(data, MANY) == expected


def test_the_last_block_ends_a_frame():
    one = ZSTD + b"\x00\x38" + (5000 << 3 | 1).to_bytes(3, "little") + bytes(5000)
    assert bound(one + (9000 << 3).to_bytes(3, "little") + bytes(9000), MANY) == 5000


def test_frames_within_frames_take_no_time():
    inner = ZSTD + b"\x00\x38" + bytes(30)
    started = time.monotonic()
    assert bound(inner * 30_000, 2 * 10**6) > 2 * 10**6
    assert time.monotonic() - started < 2
