"""PNG files with a palette: a screenshot in less than half of its bytes, and the same to the eye.

    small = in_few_colours(png, page)    # any page of a browser decodes the picture

A screenshot of text has some thousand colours, nearly all of them steps between a few. The most
frequent ones are kept exactly; what is nearer to one of them than can be seen becomes that one.
"""

import base64
import struct
import zlib
from typing import Any

import numpy as np

MOST = 256  # entries of a palette
PIXELS = """async (url) => {
    const image = new Image();
    image.src = url;
    await image.decode();
    const { naturalWidth: width, naturalHeight: height } = image;
    const canvas = new OffscreenCanvas(width, height).getContext('2d');
    canvas.drawImage(image, 0, 0);
    const { data } = canvas.getImageData(0, 0, width, height);
    const reader = new FileReader();
    const read = new Promise((done) => { reader.onload = () => done(reader.result); });
    reader.readAsDataURL(new Blob([data]));
    return { width, height, pixels: (await read).split(',')[1] };
}"""


def in_few_colours(png: bytes, page: Any) -> bytes:
    """The picture as a PNG of at most 256 colours, without transparency."""
    found = page.evaluate(PIXELS, f"data:image/png;base64,{base64.b64encode(png).decode()}")
    rgba = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8)
    rgb = rgba.reshape(found["height"], found["width"], 4)[..., :3]
    colours, place, counts = np.unique(
        rgb.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True
    )
    palette = most_frequent(colours, counts)
    nearest = np.array([_distances(palette, colour).argmin() for colour in colours], np.uint8)
    return written(palette, nearest[place.reshape(rgb.shape[:2])])


def most_frequent(colours: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """At most 256 of some colours ``(n, 3)``: the frequent ones, no two closer than need be."""
    ordered = colours[np.argsort(-counts, kind="stable")]
    apart = 0
    while True:
        kept = ordered[:1]
        for colour in ordered[1:]:
            if _distances(kept, colour).min() > apart:
                kept = np.vstack([kept, colour])
            if len(kept) > MOST:
                break
        if len(kept) <= MOST:
            return kept
        apart = apart * 2 + 2


def _distances(palette: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Squared distances of a palette's colours from one."""
    return ((palette.astype(np.int32) - colour) ** 2).sum(axis=1)


def written(palette: np.ndarray, pixels: np.ndarray) -> bytes:
    """A PNG of places in a palette, ``(height, width)``."""
    height, width = pixels.shape
    rows = np.hstack([np.zeros((height, 1), np.uint8), pixels])  # each row unfiltered
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0),
        b"PLTE": palette.astype(np.uint8).tobytes(),
        b"IDAT": zlib.compress(rows.tobytes(), 9),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts.items()
    )
