"""Checkpoints of strangers: little that unpacks to much."""

import json
from pathlib import Path

import tensorstore as ts  # what orbax writes with


def zstd(size: int) -> bytes:
    """A frame of zstd that unpacks to `size` zeros, in 4 bytes for each 128 KiB (RFC 8878)."""
    blocks, rest = divmod(size, 1 << 17)
    lengths = [1 << 17] * blocks + [rest] * bool(rest)
    headers = [length << 3 | 1 << 1 for length in lengths]
    headers[-1] |= 1
    head = b"\x28\xb5\x2f\xfd" + bytes([0x00, 7 << 3])
    return head + b"".join(header.to_bytes(3, "little") + b"\0" for header in headers)


def vector(state: Path, size: int, packer: str = "zstd") -> None:
    """The vector packed, with a chunk that unpacks to `size`."""
    change(state, compressor={"id": packer, "level": 1})
    (state / "bytes" / "0").write_bytes(zstd(size) if packer == "zstd" else bytes(64))


def change(state: Path, **entries: object) -> None:
    """Another description of the vector."""
    path = state / "bytes" / ".zarray"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def database(state: Path, size: int) -> None:
    """The vector in a database (OCDBT), whose packed table of contents unpacks to `size`."""
    spec = {"driver": "ocdbt", "base": f"file://{state}/"}
    config = {"max_inline_value_bytes": 1 << 20, "max_decoded_node_bytes": (1 << 31) - 1}
    store = ts.KvStore.open({**spec, "config": config}).result()
    with ts.Transaction() as transaction:
        for path in state.rglob("*/*"):
            key = str(path.relative_to(state))
            store.with_transaction(transaction).write(key, path.read_bytes()).result()
        for i in range(size >> 20):
            store.with_transaction(transaction).write(f"z{i}", bytes(1 << 20)).result()
    metadata = (state / "_METADATA").read_text()
    (state / "_METADATA").write_text(metadata.replace('"use_ocdbt": false', '"use_ocdbt": true'))
