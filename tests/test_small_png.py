"""The pictures' own PNG writer; what the browser decodes is not tried here."""

import struct
import zlib

import numpy as np
from small_png import MOST, most_frequent, written


def test_the_frequent_colours_stay_and_no_other_is_far_from_one_that_does():
    steps = np.arange(700)
    colours = np.stack([steps % 256, steps // 3, 255 - steps % 128], axis=1).astype(np.uint8)
    counts = np.where(steps == 650, 9_000, np.where(steps == 3, 8_000, 1))
    kept = most_frequent(colours, counts)
    assert 64 < len(kept) <= MOST
    assert kept[:2].tolist() == colours[[650, 3]].tolist()
    gaps = ((colours[:, None].astype(int) - kept.astype(int)) ** 2).sum(axis=2).min(axis=1)
    assert gaps.max() <= 30  # 5 steps of 255


def test_few_colours_are_all_kept():
    colours = np.array([[0, 0, 0], [0, 0, 1], [255, 255, 255]], np.uint8)
    kept = most_frequent(colours, np.array([1, 5, 3]))
    assert kept.tolist() == [[0, 0, 1], [255, 255, 255], [0, 0, 0]]


def test_a_png_holds_its_size_its_palette_and_its_rows():
    pixels = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    png = written(np.array([[10, 20, 30], [40, 50, 60]]), pixels)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = {}, 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        name, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert png[at + 8 + size : at + 12 + size] == struct.pack(">I", zlib.crc32(name + data))
        found[name], at = data, at + 12 + size
    assert struct.unpack(">IIBBBBB", found[b"IHDR"]) == (3, 2, 8, 3, 0, 0, 0)
    assert found[b"PLTE"] == bytes([10, 20, 30, 40, 50, 60])
    assert zlib.decompress(found[b"IDAT"]) == bytes([0, 0, 1, 1, 0, 1, 0, 0])
    assert list(found) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
