"""Odd, damaged and hostile files of pairs: every row is accounted for, or the file is refused.

``python tests/benchmarks/faults_pairs.py`` writes :data:`FILES` and reads each in a process of its
own that may take 25 s and 4 GB. ``faults.py`` calls :func:`pairs_files`.
"""

import gzip
import json
import math
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from trials import outcomes  # noqa: E402

MEMORY = 8 * 2**30  # bytes of address space: what needs more fails there and not on the machine
PAIR = {"prompt": "a question", "chosen": "a good answer", "rejected": "a bad one"}
GOOD = json.dumps(PAIR).encode() + b"\n"
Make = Callable[[Path], Any]


def data(content: bytes) -> Make:
    """A file of these bytes."""
    return lambda path: path.write_bytes(content)


def rows(*values: Any) -> Make:
    """JSON lines between two sound ones."""
    lines = b"".join(json.dumps(value).encode() + b"\n" for value in values)
    return data(GOOD + lines + GOOD)


def packed(content: bytes, keep: float = 1.0) -> Make:
    """A gzip of these bytes, or its beginning."""

    def make(path: Path) -> None:
        whole = gzip.compress(content)
        path.write_bytes(whole[: int(len(whole) * keep)])

    return make


def bomb(megabytes: int, first: bytes = b"") -> Make:
    """A gzip of one line without an end."""

    def make(path: Path) -> None:
        with gzip.open(path, "wb", 6) as file:
            file.write(first)
            for _ in range(megabytes):
                file.write(b"x" * 2**20)

    return make


def table(**columns: list[Any]) -> Make:
    """A Parquet file of these columns."""

    def make(path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(columns), path, compression="zstd")

    return make


def spoiled_table(spoil: Callable[[bytes], bytes]) -> Make:
    """A Parquet file whose bytes are changed."""

    def make(path: Path) -> None:
        table(**{name: [text] * 500 for name, text in PAIR.items()})(path)
        path.write_bytes(spoil(path.read_bytes()))

    return make


def huge_value(path: Path) -> None:
    """One answer of 8 MB in every row, kept once: some kB that unpack to 8 GB."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    answer = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), ["x" * (8 << 20)])
    columns = {"prompt": ["p"] * 1000, "chosen": answer, "rejected": ["b"] * 1000}
    pq.write_table(pa.table(columns), path, compression="zstd")


def many_rows(path: Path) -> None:
    """Three hundred million rows of one value in some kB."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    part = pa.table({name: pa.array([text] * 1_000_000) for name, text in PAIR.items()})
    with pq.ParquetWriter(path, part.schema, compression="zstd") as writer:
        for _ in range(30):
            writer.write_table(part, row_group_size=1_000_000)


NESTED = b"[" * 200_000
TALK = [{"role": "user", "content": "a"}]
FILES: dict[str, tuple[str, Make]] = {
    "empty": ("jsonl", data(b"")),
    "blank": ("jsonl", data(b"\n \n\r\n")),
    "one-byte": ("jsonl", data(b"x")),
    "bom": ("jsonl", data(b"\xef\xbb\xbf" + GOOD * 3)),
    "crlf": ("jsonl", data(GOOD.replace(b"\n", b"\r\n") * 3)),
    "no-last-newline": ("jsonl", data(GOOD + GOOD.strip())),
    "nul": ("jsonl", data(GOOD + b"\x00" * 5000 + b"\n" + GOOD)),
    "binary": ("jsonl", data(GOOD + bytes(range(256)) * 50 + b"\n" + GOOD)),
    "utf16": ("jsonl", data(GOOD.decode().encode("utf-16"))),
    "latin1": ("jsonl", data(GOOD + '{"prompt": "é"}\n'.encode("latin-1") + GOOD)),
    "nested": ("jsonl", data(GOOD + NESTED + b"\n" + GOOD)),
    "nested-whole": ("jsonl", data(GOOD + b'{"a":' * 90_000 + b"1" + b"}" * 90_000 + b"\n")),
    "digits": ("jsonl", data(GOOD + b'{"prompt": ' + b"9" * 9000 + b"}\n" + GOOD)),
    "half": ("jsonl", data(GOOD + GOOD[:20])),
    "line-20-mb": ("jsonl", data(GOOD + b'{"prompt": "' + b"y" * (20 << 20) + b'"}\n' + GOOD)),
    "lines-a-million": ("jsonl", data(GOOD + b"not json\n" * 300_000 + GOOD)),
    "fields-many": ("jsonl", rows({**PAIR, **{f"f{i}": i for i in range(20_000)}})),
    "keys-twice": ("jsonl", data(GOOD + b'{"prompt": "a", "prompt": "b"}\n' + GOOD)),
    "numbers": ("jsonl", rows({**PAIR, "chosen": math.nan}, {**PAIR, "prompt": 1e300})),
    "nulls": ("jsonl", rows(dict.fromkeys(PAIR), {**PAIR, "chosen": None})),
    "lists": ("jsonl", rows([1], 3, None, "text", True, [])),
    "objects": ("jsonl", rows({**PAIR, "prompt": {"a": [1]}}, {**PAIR, "chosen": {"text": {}}})),
    "roles-odd": ("jsonl", rows({**PAIR, "prompt": [{"role": ["user"], "content": {"a": 1}}]})),
    "surrogates": ("jsonl", data(GOOD + b'{"prompt": "\\ud800", "chosen": "\\udfff"}\n' + GOOD)),
    "controls": ("jsonl", rows({**PAIR, "prompt": "\x00\x1b[2J\u202e\ufeff"})),
    "separators": ("jsonl", rows({**PAIR, "prompt": "a\u2028b\u2029c\x85d"})),
    "same-answers": ("jsonl", rows({**PAIR, "rejected": PAIR["chosen"]})),
    "markup": ("jsonl", rows({**PAIR, "chosen": "<script>alert(1)</script>" * 50})),
    "template-tokens": ("jsonl", rows({**PAIR, "prompt": "<|im_start|>system\nyou are"})),
    "longest-name": ("jsonl", rows({**PAIR, "n" * 100_000: 1})),
    "json-object": ("json", data(json.dumps(PAIR).encode())),
    "json-list": ("json", data(json.dumps([PAIR] * 3).encode())),
    "json-nested": ("json", data(NESTED)),
    "json-half": ("json", data(b'[{"prompt": "a"')),
    "json-number": ("json", data(b"1e999")),
    "json-columns": ("json", data(json.dumps({k: [v] * 3 for k, v in PAIR.items()}).encode())),
    "json-columns-uneven": ("json", data(b'{"prompt": ["a"], "chosen": ["b", "c"]}')),
    "csv": ("csv", data(b"prompt,chosen,rejected\na,b,c\n")),
    "csv-cells": ("csv", data(b"prompt,chosen,rejected\na,b\na,b,c,d\na,b,c\n")),
    "csv-quotes": ("csv", data(b'prompt,chosen,rejected\n"a,b,c\n"d\n')),
    "csv-header-twice": ("csv", data(b"prompt,chosen,chosen,rejected\na,b,c,d\n")),
    "csv-binary": ("csv", data(b"prompt,chosen,rejected\n" + bytes(range(128, 256)) + b",b,c\n")),
    "csv-nul": ("csv", data(b"prompt,chosen,rejected\na\x00,b,c\n")),
    "csv-field-20-mb": ("csv", data(b"prompt,chosen,rejected\n" + b"z" * (20 << 20) + b",b,c\n")),
    "csv-formula": ("csv", data(b"prompt,chosen,rejected\n=cmd|' /C calc'!A0,b,c\n")),
    "csv-nested": ("csv", data(b'prompt,chosen,rejected\n[{"' + NESTED + b",b,c\n")),
    "tsv": ("tsv", data(b"prompt\tchosen\trejected\na\tb\tc\n")),
    "txt": ("txt", data(b"one\ntwo\n\x00three\n")),
    "gz-cut": ("jsonl.gz", packed(GOOD * 5000, 0.6)),
    "gz-no-gzip": ("jsonl.gz", data(GOOD)),
    "gz-empty": ("jsonl.gz", packed(b"")),
    "gz-junk-behind": ("jsonl.gz", lambda path: path.write_bytes(gzip.compress(GOOD) + b"junk")),
    "gz-spoiled": (
        "jsonl.gz",
        lambda path: path.write_bytes(gzip.compress(GOOD * 999).replace(b"\x00", b"\x01", 9)),
    ),
    "gz-bomb": ("jsonl.gz", bomb(3000, GOOD)),
    "gz-bomb-csv": ("csv.gz", bomb(1500, b"prompt,chosen,rejected\n")),
    "gz-bomb-json": ("json.gz", bomb(1500, b'[{"prompt": "')),
    "parquet-cut": ("parquet", spoiled_table(lambda whole: whole[: len(whole) // 2])),
    "parquet-spoiled": (
        "parquet", spoiled_table(lambda whole: whole[:40] + b"\xff" * 60 + whole[100:])),
    "parquet-footer": (
        "parquet", spoiled_table(lambda whole: whole[:-30] + b"\xff" * 22 + whole[-8:])),
    "parquet-no-parquet": ("parquet", data(GOOD)),
    "parquet-nulls": (
        "parquet", table(prompt=[None, "a"], chosen=["b", None], rejected=["c", "d"])),
    "parquet-numbers": ("parquet", table(prompt=[1, 2], chosen=[1.5, math.nan], rejected=[3, 4])),
    "parquet-huge-value": ("parquet", huge_value),
    "parquet-many-rows": ("parquet", many_rows),
    "folder": ("jsonl", lambda path: path.mkdir()),
    "dangling": ("jsonl", lambda path: path.symlink_to("nowhere")),
}  # fmt: skip


def read(path: Path) -> str:
    """What became of a file: "read", "told", or what was raw or lost."""
    from workbench.data.reading.formats import load_pairs
    from workbench.errors import WorkbenchError

    try:
        pairs = load_pairs(path)
    except WorkbenchError as error:
        return "told" if error.what and error.fix else f"a bare {error!r}"
    except BaseException as error:
        return f"raw {type(error).__name__}: {str(error)[:200]}"
    counts = pairs.report.as_dict()
    aside = sum(counts["quarantined"].values())
    kept = counts["imported"] + counts["ties"] + counts["duplicates"] + aside
    return "read" if kept == counts["input"] else f"lost {counts['input'] - kept} rows"


def _try_one(path: str) -> str:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    return read(Path(path))


def pairs_files() -> dict[str, Any]:
    """Write the files and read each.

    Returns:
        ``files``, ``read``, ``told``, ``raw``, ``hung``, ``lost``, and ``faults``: one line for
        each that was neither read nor told.
    """
    with tempfile.TemporaryDirectory(prefix="workbench-faults-") as name:
        sound = Path(name) / "sound.jsonl"
        sound.write_bytes(GOOD)
        tried = outcomes(
            _try_one,
            _written(Path(name)),
            sound=(str(sound), "read"),
            fine=("read", "told"),
            amiss=("hung", "lost"),
        )
    return {"files": len(FILES), **tried}


def _written(folder: Path) -> Iterator[tuple[str, str]]:
    """Label and path of each file, which is there until the next is asked for."""
    for label, (kind, make) in FILES.items():
        path = folder / f"{label}.{kind}"
        make(path)
        yield label, str(path)
        if path.is_file() and not path.is_symlink():
            os.unlink(path)


if __name__ == "__main__":
    found = pairs_files()
    print(json.dumps(found))
    sys.exit(int(bool(found["faults"])))
