"""Checkpoints of strangers: little that unpacks to much."""

import json
import shutil
from pathlib import Path

import numpy as np
import tensorstore as ts  # what orbax writes with

from seqgan_jax.run.unpacking import ZSTD


def zstd(size: int, single: bool = True) -> bytes:
    """A frame of zstd that unpacks to `size` zeros, in 4 bytes for each 128 KiB (RFC 8878)."""
    blocks, rest = divmod(size, 1 << 17)
    lengths = [1 << 17] * blocks + [rest] * bool(rest)
    headers = [length << 3 | 1 << 1 for length in lengths]
    headers[-1] |= 1
    head = bytes([0xE0]) + size.to_bytes(8, "little") if single else bytes([0x00, 7 << 3])
    return ZSTD + head + b"".join(header.to_bytes(3, "little") + b"\0" for header in headers)


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def table_of_contents(path: Path, size: int) -> None:
    """A manifest.ocdbt whose packed part unpacks to `size` bytes."""
    start = path.read_bytes()[:4]
    body = b"\x00\x01" + zstd(size, single=False)
    whole = start + (len(start) + 8 + len(body) + 4).to_bytes(8, "little") + body
    path.write_bytes(whole + crc32c(whole).to_bytes(4, "little"))


def array(state: Path, name: str, size: int, inline: bool, packer: str = "zstd") -> None:
    """The array `name`, packed, with a chunk that unpacks to `size`; `inline` in a packed table."""
    old = _store(state)
    content = {key: old.read(key).result().value for key in old.list().result()}
    meta = json.loads(content[f"{name}/.zarray".encode()])
    content[f"{name}/.zarray".encode()] = json.dumps(
        {**meta, "compressor": {"id": packer, "level": 1}}
    ).encode()
    chunk = next(key for key in content if key.startswith(f"{name}/".encode()) and b".z" not in key)
    content[chunk] = zstd(size, single=False) if packer == "zstd" else bytes(64)
    shutil.rmtree(state / "d")
    shutil.rmtree(state / "ocdbt.process_0")
    (state / "manifest.ocdbt").unlink()
    new = _store(state, max_inline_value_bytes=1 << 20 if inline else 16)
    with ts.Transaction() as transaction:
        for key, value in content.items():
            new.with_transaction(transaction).write(key, value).result()


def _store(state: Path, **config: int) -> ts.KvStore:
    spec = {"driver": "ocdbt", "base": f"file://{state}/"}
    return ts.KvStore.open({**spec, "config": config} if config else spec).result()


def packed_by_zstd(seed: int, level: int, folder: Path) -> tuple[bytes, int]:
    """What zstd makes of some bytes that are partly like each other, and their number."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, rng.integers(1, 256), size=rng.integers(1, 1_000_000)).astype(np.uint8)
    x[: len(x) // 3] = seed
    spec = {
        "driver": "zarr",
        "kvstore": f"file://{folder}/",
        "metadata": {
            "shape": [len(x)],
            "chunks": [len(x)],
            "dtype": "|u1",
            "compressor": {"id": "zstd", "level": level},
        },
    }
    ts.open(spec, create=True, delete_existing=True).result().write(x).result()
    return (folder / "0").read_bytes(), len(x)
