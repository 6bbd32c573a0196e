"""Odd and broken pictures, as people, cameras, bad connections and attackers send them.

This module makes all of them except a HEIC, so that no other binary file is in the repository.
Pictures that are odd but not broken show a digit.
"""

import functools
import gzip
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tests.pictures.boxes import Item, frame_of, grid, heif, ispe
from tests.pictures.drawn import encode, on_paper

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "HEIC", "AVIF")
MAGIC = {
    "PNG": b"\x89PNG\r\n\x1a\n",
    "JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    "WEBP": b"RIFF\x00\x10\x00\x00WEBPVP8 ",
    "GIF": b"GIF89a",
    "BMP": b"BM",
    "TIFF": b"II*\x00\x08\x00\x00\x00",
    "HEIC": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
    "AVIF": b"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00mif1avif",
}

HEIC = Path(__file__).parents[2] / "docs" / "seven.heic"
BOMB = "bomb-"  # prefix of the names of pictures that announce more than 40 megapixels
ORIENTATION = 0x0112  # the EXIF tag


@functools.cache
def digit() -> Image.Image:
    return on_paper(5)


def save(picture: Image.Image, form: str, **options: object) -> bytes:
    """Encode a picture with options of its format."""
    buffer = BytesIO()
    picture.copy().save(buffer, form, **options)  # a copy, because saving changes a picture
    return buffer.getvalue()


def plain(form: str) -> bytes:
    """Encode a picture of a digit with nothing odd about it."""
    if form == "HEIC":  # Pillow cannot write it
        return HEIC.read_bytes()
    return encode(digit().convert("RGB"), form)


@functools.cache
def no_pictures() -> dict[str, bytes]:
    rng = random.Random(1)
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr(zipfile.ZipInfo("5.png"), plain("PNG"))
    return {
        "empty": b"",
        "one-byte": b"\x89",
        "zeros": bytes(5_000),
        "text.png": b"This is a five.\n",
        "text-utf-16.png": "five".encode("utf-16"),
        "page.png": b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>",
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0h9"/></svg>',
        "document.pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n",
        "archive.zip": archive.getvalue(),
        "picture.png.gz": gzip.compress(plain("PNG"), mtime=0),
        "values.json": json.dumps({"image": [0] * 784}).encode(),
        "noise.bin": rng.randbytes(5_000),
        "movie.mp4": b"\x00\x00\x00\x18ftypmp42" + rng.randbytes(500),
        "photo.heic": b"\x00\x00\x00\x18ftypheic" + rng.randbytes(500),
        "icon.ico": encode(digit(), "ICO"),
        "netpbm.ppm": encode(digit(), "PPM"),
        "jpeg-2000.jpg": encode(digit(), "JPEG2000"),
        **{f"only-the-magic.{form.lower()}": MAGIC[form] for form in FORMATS},
        "png-that-is-jpeg.png": plain("JPEG"),
        "jpeg-that-is-webp.jpg": plain("WEBP"),
        "gif-that-is-tiff.gif": plain("TIFF"),
    }


@functools.cache
def truncated() -> dict[str, bytes]:
    made = {}
    for form in FORMATS:
        data = plain(form)
        for share in (2, 10, 50, 90):
            made[f"first-{share}-percent.{form.lower()}"] = data[: len(data) * share // 100]
        made[f"without-the-last-byte.{form.lower()}"] = data[:-1]
    return made


@functools.cache
def flipped() -> dict[str, bytes]:
    made = {}
    for form in FORMATS:
        for seed in range(3):
            rng = random.Random(seed)
            data = bytearray(plain(form))
            for _ in range(8):
                data[rng.randrange(len(data) // 10, len(data))] ^= 1 << rng.randrange(8)
            made[f"flipped-{seed}.{form.lower()}"] = bytes(data)
    return made


@functools.cache
def bombs() -> dict[str, bytes]:
    """Small files that announce too many pixels or too much data, and three within the limit."""
    side = 60_000
    gif = encode(digit(), "GIF")
    frame = gif.index(b",\0\0\0\0")
    text = zlib.compress(bytes(50_000_000))
    jpeg = encode(digit(), "JPEG")
    heic, avif = frame_of(plain("HEIC")), frame_of(plain("AVIF"))
    tiles = [heic.item(hidden=True)] * 4
    huge = Item(b"grid", grid(2, 2, side, side), (ispe(side, side),), {b"dimg": range(2, 6)})
    return {
        f"{BOMB}heic.heic": heif([replace(heic, size=(side, side)).item()], b"heic"),
        f"{BOMB}avif.avif": heif([replace(avif, size=(side, side)).item()], b"avif"),
        f"{BOMB}of-the-largest-sides.avif": heif(
            [replace(avif, size=(2**32 - 1, 2**32 - 1)).item()], b"avif"
        ),
        f"{BOMB}of-tiles.heic": heif([huge, *tiles], b"heic"),
        f"{BOMB}that-is-true.png": png(12_000, 12_000, 1, repeated([bytes(1_500)], 12_000)),
        f"{BOMB}without-data.png": png(side, side, 8, []),
        f"{BOMB}of-the-largest-sides.png": png(2**31 - 1, 2**31 - 1, 8, []),
        f"{BOMB}in-sixteen-bits.png": png(side, side, 16, [bytes(9)], colour=6),
        f"{BOMB}with-one-row.png": png(2**31 - 1, 1, 8, [bytes(9)]),
        f"{BOMB}jpeg.jpg": with_jpeg_size(jpeg, 65_000, 65_000),
        f"{BOMB}screen.gif": gif[:6] + struct.pack("<HH", side, side) + gif[10:],
        f"{BOMB}frame.gif": gif[: frame + 5] + struct.pack("<HH", side, side) + gif[frame + 9 :],
        f"{BOMB}bmp.bmp": bmp(side, side),
        f"{BOMB}bmp-upside-down.bmp": bmp(side, -side),
        f"{BOMB}tiff.tif": tiff(side, side, bytes(99)),
        f"{BOMB}tiff-of-the-largest-sides.tif": tiff(2**32 - 1, 2**32 - 1, bytes(99)),
        f"{BOMB}tiff-deflated.tif": tiff(side, side, zlib.compress(bytes(99)), compression=8),
        f"{BOMB}lossy.webp": riff(
            (b"VP8 ", b"\x10\x10\x00\x9d\x01\x2a" + struct.pack("<HH", 16_383, 16_383) + bytes(999))
        ),
        f"{BOMB}lossless.webp": riff(
            (b"VP8L", b"\x2f" + struct.pack("<I", 16_383 | 16_383 << 14) + bytes(99))
        ),
        f"{BOMB}canvas.webp": huge_canvas(16_384),
        f"{BOMB}largest-canvas.webp": huge_canvas(65_535),
        "text-bomb.png": with_chunk(plain("PNG"), b"zTXt", b"Comment\0\0" + text),
        "international-text-bomb.png": with_chunk(
            plain("PNG"), b"iTXt", b"Comment\0\1\0\0\0" + text
        ),
        "profile-bomb.png": with_chunk(plain("PNG"), b"iCCP", b"profile\0\0" + text),
        "more-data-than-pixels.png": png(28, 28, 8, repeated([bytes(28)], 1_000_000)),
        "39-megapixels-of-bits.png": large_bits(),
        "39-megapixels-of-colours.png": large_colours(),
        "39-megapixels-of-sixteen-bits.png": large_sixteen_bits(),
    }


@functools.cache
def shapes() -> dict[str, bytes]:
    sizes = [(1, 1), (2, 2), (3, 1), (1, 3), (1, 20_000), (20_000, 1), (40_000, 3), (8, 5_000)]
    made = {}
    for width, height in sizes:
        grey = np.full((height, width), 255, np.uint8)
        grey[height // 3 : height // 2 + 1, width // 3 : width // 2 + 1] = 0
        made[f"{width}x{height}.png"] = encode(grey)
        made[f"{width}x{height}-of-one-shade.png"] = encode(np.zeros_like(grey))
    made["1x39000000.png"] = png(1, 39_000_000, 8, repeated([(b"\0\xff" * 50_000)[1:]], 780))
    made["20x20.png"] = encode(digit().resize((20, 20)))
    made["9x9.gif"] = encode(digit().resize((9, 9)), "GIF")
    made["stretched.png"] = encode(digit().resize((3_000, 30)))
    made["28x28.png"] = encode(ImageOps.invert(digit().resize((28, 28))))
    return made


@functools.cache
def contents() -> dict[str, bytes]:
    rng = np.random.default_rng(1)
    ramp = np.arange(256, dtype=np.uint8)
    hole = np.full((200, 200), 0, np.uint8)
    hole[99:102, 99:102] = 255
    ruled = np.full((300, 300), 255, np.uint8)
    ruled[::30] = 0
    board = np.kron(np.indices((20, 20)).sum(axis=0) % 2, np.ones((10, 10))).astype(np.uint8) * 255
    many = np.tile(np.asarray(on_paper(5, 60)), (5, 5))
    dot = np.full((200, 200), 255, np.uint8)
    dot[100, 100] = 0
    shaded = np.asarray(digit()) * np.linspace(0.2, 1, digit().width)
    framed = np.pad(np.asarray(digit())[20:-20, 20:-20], 20)
    noisy = np.asarray(digit()) / 2 + rng.normal(60, 40, digit().size)
    return {
        "white.png": encode(np.full((200, 200), 255, np.uint8)),
        "black.png": encode(np.zeros((200, 200), np.uint8)),
        "grey.jpg": encode(np.full((200, 200), 119, np.uint8), "JPEG"),
        "invisible.png": encode(Image.new("RGBA", (200, 200))),
        "invisible-digit.png": encode(with_alpha(digit(), 0)),
        "hardly-visible-digit.png": encode(with_alpha(digit(), 3)),
        "noise-of-greys.png": encode(rng.integers(0, 256, (200, 300), np.uint8)),
        "noise-of-colours.png": encode(rng.integers(0, 256, (200, 300, 3), np.uint8)),
        "noise-of-alpha.png": encode(rng.integers(0, 256, (200, 300, 4), np.uint8)),
        "noise-of-bits.png": encode(Image.fromarray(rng.random((200, 300)) < 0.5)),
        "hint-of-noise.png": encode(rng.integers(126, 129, (200, 300), np.uint8)),
        "all-ink-but-a-hole.png": encode(hole),
        "one-dark-pixel.png": encode(dot),
        "ramp-across.png": encode(np.tile(ramp, (200, 1))),
        "ramp-down.png": encode(np.tile(ramp[:, None], (1, 200))),
        "ramp-of-colours.png": encode(
            np.stack([np.add.outer(ramp, k * ramp) for k in (0, 1, 2)], axis=2).astype(np.uint8)
        ),
        "only-lines.png": encode(ruled),
        "chessboard.png": encode(board),
        "many-digits.png": encode(many),
        "one-half-black.png": encode(
            np.repeat([[0, 255]], 100, axis=1).repeat(200, 0)[:, :200].astype(np.uint8)
        ),
        "in-shadow.jpg": encode(shaded.astype(np.uint8), "JPEG"),
        "in-a-frame.png": encode(framed),
        "in-noise.jpg": encode(noisy.clip(0, 255).astype(np.uint8), "JPEG"),
    }


@functools.cache
def depths() -> dict[str, bytes]:
    shades = np.asarray(digit())
    wide = shades.astype(np.uint16) * 257
    floats = shades.astype(np.float32) / 255
    holed = floats.copy()
    holed[:20, :20] = np.nan
    holed[:20, 20:40], holed[20:40, :20] = np.inf, -np.inf
    return {
        "bits.png": encode(digit().convert("1")),
        "two-bits.png": encode(digit().quantize(4), "PNG"),
        "sixteen-bits.png": encode(Image.fromarray(wide)),
        "twelve-bits.png": encode(Image.fromarray(wide // 16)),
        "sixteen-bits-of-colour.png": png(
            *digit().size, 16, [row.tobytes() for row in wide.astype(">u2").repeat(3, 1)], colour=2
        ),
        "sixteen-bits-of-alpha.png": png(
            *digit().size, 16, [row.tobytes() for row in wide.astype(">u2").repeat(2, 1)], colour=4
        ),
        "sixteen-bits.tif": encode(Image.fromarray(wide), "TIFF"),
        "sixteen-bits-big-endian.tif": encode(Image.fromarray(wide.astype(">u2")), "TIFF"),
        "twelve-bits.tif": encode(Image.fromarray(wide // 16), "TIFF"),
        "thirty-two-bits.tif": encode(Image.fromarray(shades.astype(np.int32) * 2**23), "TIFF"),
        "below-zero.tif": encode(Image.fromarray(shades.astype(np.int32) - 1_000), "TIFF"),
        "floats.tif": encode(Image.fromarray(floats), "TIFF"),
        "floats-with-holes.tif": encode(Image.fromarray(holed), "TIFF"),
        "floats-without-numbers.tif": encode(Image.fromarray(np.full_like(floats, np.nan)), "TIFF"),
        "floats-of-infinity.tif": encode(Image.fromarray(np.full_like(floats, np.inf)), "TIFF"),
        "huge-floats.tif": encode(Image.fromarray(floats * np.float32(3e38)), "TIFF"),
        "tiny-floats.tif": encode(Image.fromarray(floats * np.float32(1e-40)), "TIFF"),
        "bits.tif": encode(digit().convert("1"), "TIFF"),
        "bits.bmp": encode(digit().convert("1"), "BMP"),
        "palette.bmp": encode(digit().quantize(16), "BMP"),
        "alpha.bmp": encode(with_alpha(digit(), 255), "BMP"),
    }


@functools.cache
def colours() -> dict[str, bytes]:
    rgb = digit().convert("RGB")
    ink = ImageOps.invert(digit())
    clear = Image.new("RGBA", digit().size)
    clear.putalpha(ink)
    light = Image.new("RGBA", digit().size, (255, 255, 255, 0))
    light.putalpha(ink)
    palette = digit().quantize(8)
    # Both are equally bright; only the hue tells them apart.
    red_on_green = Image.composite(
        Image.new("RGB", digit().size, (0, 120, 0)),
        Image.new("RGB", digit().size, (235, 0, 0)),
        digit(),
    )
    return {
        "cmyk.jpg": encode(rgb.convert("CMYK"), "JPEG"),
        "cmyk.tif": encode(rgb.convert("CMYK"), "TIFF"),
        "ycbcr.jpg": encode(rgb.convert("YCbCr"), "JPEG"),
        "ycbcr.tif": encode(rgb.convert("YCbCr"), "TIFF"),
        "lab.tif": save(rgb.convert("LAB"), "TIFF", icc_profile=None),
        "grey-and-alpha.png": encode(clear.convert("LA")),
        "grey-and-alpha.tif": encode(clear.convert("LA"), "TIFF"),
        "black-on-clear.png": encode(clear),
        "white-on-clear.png": encode(light),
        "black-on-clear.webp": save(clear, "WEBP", lossless=True),
        "black-on-clear.gif": encode(clear, "GIF"),
        "black-on-clear.tif": encode(clear, "TIFF"),
        "palette.png": encode(palette),
        "palette-with-a-clear-colour.png": save(palette, "PNG", transparency=0),
        "palette-with-alphas.png": save(palette, "PNG", transparency=bytes(range(0, 256, 32))),
        "palette-of-one.png": encode(Image.new("P", (50, 50))),
        "palette-that-is-too-short.png": png(
            *digit().size,
            8,
            [bytes(row) for row in np.asarray(digit())],
            colour=3,
            palette=b"\0" * 6,
        ),
        "grey-with-a-clear-shade.png": save(digit(), "PNG", transparency=255),
        "bits-with-a-clear-shade.png": save(digit().convert("1"), "PNG", transparency=0),
        "colours-with-a-clear-colour.png": save(rgb, "PNG", transparency=(255, 255, 255)),
        "red-on-green.png": encode(red_on_green),
        "red-on-green.jpg": encode(red_on_green, "JPEG"),
        "profile-of-garbage.png": save(rgb, "PNG", icc_profile=b"garbage"),
        "profile-of-garbage.jpg": save(rgb, "JPEG", icc_profile=b"garbage" * 20_000),
        "profile-of-garbage.webp": save(rgb, "WEBP", icc_profile=b"garbage"),
        "profile-of-garbage.tif": save(rgb, "TIFF", icc_profile=b"garbage"),
    }


@functools.cache
def orientations() -> dict[str, bytes]:
    # How a camera stores a picture that is upright once the tag is applied.
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    made = {"orientation-1.jpg": encode(digit(), "JPEG", exif_of(1))}
    forms = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "AVIF": "avif"}
    for value, transpose in stored.items():
        turned = digit().transpose(transpose)
        for form, ending in forms.items():
            made[f"orientation-{value}.{ending}"] = encode(turned, form, exif_of(value))
    for value in (0, 9, 65_535):
        made[f"orientation-{value}.jpg"] = encode(digit(), "JPEG", exif_of(value))
    entry = struct.pack("<HHII", ORIENTATION, 3, 1, 6)
    broken = {
        "garbage": bytes(range(99)),
        "empty": b"",
        "cut-off": exif_of_entry(entry)[:-9],
        "text": exif_of_entry(struct.pack("<HHI4s", ORIENTATION, 2, 4, b"six\0")),
        "without-values": exif_of_entry(struct.pack("<HHII", ORIENTATION, 3, 0, 0)),
        "too-many-values": exif_of_entry(struct.pack("<HHII", ORIENTATION, 3, 5_000, 60_000)),
        "fraction": exif_of_entry(struct.pack("<HHII", ORIENTATION, 5, 1, 8)),
        "unknown-type": exif_of_entry(struct.pack("<HHII", ORIENTATION, 99, 1, 6)),
        "two-values": exif_of_entry(struct.pack("<HHIHH", ORIENTATION, 3, 2, 6, 6)),
        "other-tags": exif_of_entry(entry + struct.pack("<HHII", 0x8769, 4, 1, 9_999)),
        "circle": exif_of_entry(entry + struct.pack("<HHII", 0x8769, 4, 1, 8)),
        "too-far": b"II*\0" + struct.pack("<I", 60_000) + entry,
        "too-many-tags": b"II*\0" + struct.pack("<IH", 8, 65_535) + entry,
    }
    for name, exif in broken.items():
        made[f"exif-{name}.jpg"] = save(digit(), "JPEG", exif=b"Exif\0\0" + exif)
        made[f"exif-{name}.png"] = with_chunk(encode(digit()), b"eXIf", exif)
        made[f"exif-{name}.webp"] = save(digit(), "WEBP", exif=exif)
    made["xmp-of-garbage.jpg"] = save(
        digit(), "JPEG", exif=exif_of(6), xmp=b'<x tiff:Orientation="six">\xff'
    )
    return made


@functools.cache
def animations() -> dict[str, bytes]:
    frames = [on_paper(number, 120) for number in (5, 6, 7)]
    more = {"save_all": True, "append_images": frames[1:], "duration": 100}
    apng = save(frames[0], "PNG", **more)
    tif = save(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    mpo = save(frames[0], "MPO", save_all=True, append_images=frames[1:])
    index = mpo.index(b"MPF\0")
    (first,) = struct.unpack("<I", tif[4:8])
    (entries,) = struct.unpack("<H", tif[first : first + 2])
    following = first + 2 + 12 * entries
    return {
        "animated.gif": save(frames[0], "GIF", **more),
        "animated.webp": save(frames[0], "WEBP", **more),
        "animated.png": apng,
        "animated-with-a-picture-before.png": save(frames[0], "PNG", default_image=True, **more),
        "animated-with-no-frames.png": replaced_chunk(apng, b"acTL", bytes(8)),
        "animated-with-garbage.png": replaced_chunk(apng, b"fcTL", b"\xff" * 26),
        "animated-cut-off.gif": save(frames[0], "GIF", **more)[:-500],
        "pages.tif": tif,
        "pages-in-a-circle.tif": tif[:following] + tif[4:8] + tif[following + 4 :],
        "two-pictures.jpg": mpo,
        "two-pictures-with-a-broken-index.jpg": mpo[:index]
        + b"MPF\0"
        + b"\xff" * 40
        + mpo[index + 44 :],
        "gif-without-frames.gif": save(frames[0], "GIF")[:13] + b";",
    }


@functools.cache
def codecs() -> dict[str, bytes]:
    rgb = digit().convert("RGB")
    bits = digit().convert("1")
    made = {
        "progressive.jpg": save(rgb, "JPEG", progressive=True),
        "best.jpg": save(rgb, "JPEG", quality=100, subsampling=0),
        "worst.jpg": save(rgb, "JPEG", quality=1),
        "restarting.jpg": save(rgb, "JPEG", restart_marker_blocks=1),
        "lossless.webp": save(rgb, "WEBP", lossless=True),
        "interlaced.gif": save(digit(), "GIF", interlace=True),
        "interlaced.png": interlaced(),
        "uncompressed.png": save(digit(), "PNG", compress_level=0),
        "planes.tif": save(rgb, "TIFF", compression="tiff_deflate", tiffinfo={284: 2}),
        "uncompressed-by-hand.tif": tiff(*digit().size, digit().tobytes()),
        "deflated-by-hand.tif": tiff(*digit().size, zlib.compress(digit().tobytes()), 8),
        "unknown-codec.tif": tiff(*digit().size, digit().tobytes(), 12_345),
        "garbage-for-a-codec.tif": tiff(*digit().size, digit().tobytes(), 5),
        "garbage-for-fax.tif": tiff(*digit().size, digit().tobytes(), 4),
        "garbage-for-jpeg.tif": tiff(*digit().size, digit().tobytes(), 7),
        "large-tables.bmp": bmp(*digit().size, digit().tobytes(), colours=2**31),
        "upside-down.bmp": bmp(digit().width, -digit().height, rgb.tobytes()),
        "run-lengths.bmp": bmp(9, 9, bytes([9, 1, 0, 0] * 9 + [0, 1]), bits=8, compression=1),
        "run-lengths-beyond.bmp": bmp(9, 9, bytes([0, 2, 255, 255] * 99), bits=8, compression=1),
    }
    for codec in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        made[f"{codec}.tif"] = save(rgb, "TIFF", compression=codec)
    for codec in ("group3", "group4", "tiff_ccitt"):
        made[f"{codec}.tif"] = save(bits, "TIFF", compression=codec)
    return made


@functools.cache
def broken_png() -> dict[str, bytes]:
    data = encode(digit())
    made = {}
    for kind in (b"IHDR", b"IDAT", b"IEND"):
        at = data.index(kind)
        (length,) = struct.unpack(">I", data[at - 4 : at])
        end = at + 4 + length
        name = kind.decode().lower()
        made[f"wrong-checksum-of-{name}.png"] = data[:end] + b"oops" + data[end + 4 :]
        made[f"without-{name}.png"] = data[: at - 4] + data[end + 4 :]
        made[f"twice-{name}.png"] = data[: end + 4] + data[at - 4 :]
    width, height = digit().size
    rows = [bytes(row) for row in np.asarray(digit())]
    return {
        **made,
        "bytes-after-the-end.png": data + b"and so on" * 99,
        "bytes-before-the-start.png": b"\n" + data,
        "no-width.png": png(0, height, 8, rows),
        "no-height.png": png(width, 0, 8, rows),
        "negative-width.png": png(2**32 - width, height, 8, rows),
        "no-depth.png": png(width, height, 0, rows),
        "odd-depth.png": png(width, height, 3, rows),
        "odd-colours.png": png(width, height, 8, rows, colour=5),
        "no-palette.png": png(width, height, 8, rows, colour=3),
        "odd-filter.png": png(width, height, 8, rows, filtering=9),
        "too-few-rows.png": png(width, height, 8, rows[:100]),
        "too-many-rows.png": png(width, height, 8, rows + rows),
        "no-rows.png": png(width, height, 8, []),
        "unknown-chunk.png": with_chunk(data, b"ABCD", b"1234"),
        "unknown-chunk-of-lies.png": data[:33] + b"\x7f\xff\xff\xffabcd" + data[33:],
        "empty-chunks.png": with_chunk(
            with_chunk(with_chunk(data, b"pHYs", b""), b"gAMA", b""), b"cHRM", b""
        ),
        "empty-transparency.png": with_chunk(data, b"tRNS", b""),
        "empty-profile.png": with_chunk(data, b"iCCP", b""),
        "empty-text.png": with_chunk(with_chunk(data, b"zTXt", b""), b"iTXt", b""),
        "garbage-for-data.png": replaced_chunk(data, b"IDAT", b"garbage" * 20),
        "line-ends-of-windows.png": data.replace(b"\n", b"\r\n"),
    }


@functools.cache
def broken_headers() -> dict[str, bytes]:
    jpeg, gif = encode(digit(), "JPEG"), encode(digit(), "GIF")
    webp, tif = plain("WEBP"), encode(digit(), "TIFF")
    width, height = digit().size
    scan = jpeg.index(b"\xff\xda")
    return {
        "taller-than-its-data.jpg": with_jpeg_size(jpeg, width, 3 * height),
        "wider-than-its-data.jpg": with_jpeg_size(jpeg, 3 * width, height),
        "smaller-than-its-data.jpg": with_jpeg_size(jpeg, width // 2, height // 2),
        "no-width.jpg": with_jpeg_size(jpeg, 0, height),
        "no-height.jpg": with_jpeg_size(jpeg, width, 0),
        "without-a-scan.jpg": jpeg[:scan] + b"\xff\xd9",
        "without-tables.jpg": jpeg.replace(b"\xff\xdb", b"\xff\xfe").replace(
            b"\xff\xc4", b"\xff\xfe"
        ),
        "bytes-after-the-end.jpg": jpeg + b"and so on" * 99,
        "without-its-end.jpg": jpeg[:-2],
        "no-width.gif": gif[:6] + bytes(2) + gif[8:],
        "no-size.gif": gif[:6] + bytes(4) + gif[10:],
        "bytes-after-the-end.gif": gif + b"and so on" * 99,
        "wrong-length.webp": webp[:4] + b"\xff\xff\xff\xff" + webp[8:],
        "no-size.webp": riff((b"VP8X", bytes(10))),
        "bytes-after-the-end.webp": webp + b"and so on" * 99,
        "no-width.bmp": bmp(0, height),
        "no-height.bmp": bmp(width, 0),
        "least-height.bmp": bmp(width, -(2**31)),
        "odd-depth.bmp": bmp(width, height, bits=7),
        "odd-header.bmp": b"BM" + struct.pack("<IHHII", 99, 0, 0, 54, 13) + bytes(60),
        "no-size.tif": tiff(0, 0, b""),
        "tags-beyond-the-end.tif": b"II*\0" + struct.pack("<I", 99_999_999),
        "no-tags.tif": b"II*\0" + struct.pack("<IHI", 8, 0, 0),
        "big-tiff.tif": save(digit(), "TIFF", big_tiff=True),
        "tags-of-garbage.tif": tif[: int.from_bytes(tif[4:8], "little") + 2] + b"\xff" * 400,
        "strips-beyond-the-end.tif": tiff(width, height, b""),
    }


# Pieces of the formats, for files that Pillow would not write.


Group = Callable[[], dict[str, bytes]]
GROUPS: tuple[Group, ...] = (
    no_pictures,
    truncated,
    flipped,
    bombs,
    shapes,
    contents,
    depths,
    colours,
    orientations,
    animations,
    codecs,
    broken_png,
    broken_headers,
)


def pictures() -> dict[str, bytes]:
    """Return all pictures by name."""
    made: dict[str, bytes] = {}
    for group in GROUPS:
        assert made.keys().isdisjoint(group())
        made |= group()
    return made


def chunk(kind: bytes, body: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + check


def repeated(rows: list[bytes], times: int) -> Iterator[bytes]:
    return (row for row in rows for _ in range(times))


def png(
    width: int,
    height: int,
    bits: int,
    rows: "Iterator[bytes] | list[bytes]",
    colour: int = 0,
    palette: bytes = b"",
    filtering: int = 0,
) -> bytes:
    packer = zlib.compressobj()
    data = b"".join(packer.compress(bytes([filtering]) + row) for row in rows) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b"")]
    if palette:
        chunks.insert(1, chunk(b"PLTE", palette))
    return MAGIC["PNG"] + b"".join(chunks)


def with_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    """Insert a chunk after a PNG's first one, which is 25 bytes long."""
    return data[:33] + chunk(kind, body) + data[33:]


def replaced_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    """Replace the body of the first chunk of a kind."""
    at = data.index(kind) - 4
    (length,) = struct.unpack(">I", data[at : at + 4])
    return data[:at] + chunk(kind, body) + data[at + 12 + length :]


def interlaced() -> bytes:
    """Encode in Adam7's seven passes, which Pillow reads but does not write."""
    shades = np.asarray(digit())
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
    data = b"".join(
        b"\0" + bytes(row)
        for top, left, down, across in (*passes, (1, 0, 2, 1))
        for row in shades[top::down, left::across]
    )
    header = struct.pack(">IIBBBBB", *digit().size, 8, 0, 0, 0, 1)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return MAGIC["PNG"] + chunks


def large_rows(shades: NDArray[np.uint8], times: int) -> Iterator[bytes]:
    """Yield the rows enlarged: each pixel and each row repeated."""
    return (row for line in shades for row in [line.repeat(times, axis=0).tobytes()] * times)


def large_bits() -> bytes:
    bits = np.packbits(np.repeat(np.asarray(on_paper(5, 62)) > 127, 8, axis=1), axis=1)
    return png(6_200, 6_200, 1, (b"".join([row[:775]]) for row in _bit_rows(bits)))


def _bit_rows(bits: NDArray[np.uint8]) -> Iterator[bytes]:
    return (
        row
        for line in bits
        for row in [np.packbits(np.unpackbits(line)[::8].repeat(100)).tobytes()] * 100
    )


def large_colours() -> bytes:
    shades = np.asarray(on_paper(5, 62))
    rgba = np.stack([shades // 2, shades // 3, shades // 4, 255 - shades], axis=2)
    return png(6_200, 6_200, 8, large_rows(rgba, 100), colour=6)


def large_sixteen_bits() -> bytes:
    shades = (np.asarray(on_paper(5, 62)).astype(">u2") * 257).view(np.uint8)
    return png(6_200, 6_200, 16, large_rows(shades.reshape(62, 62, 2), 100))


def with_jpeg_size(data: bytes, width: int, height: int) -> bytes:
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def bmp(
    width: int,
    height: int,
    data: bytes = bytes(99),
    bits: int = 24,
    compression: int = 0,
    colours: int = 0,
) -> bytes:
    table = bytes(range(256)) * 4 if bits == 8 else b""
    start = 54 + len(table)
    header = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, colours, 0
    )
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + table + data


def tiff(width: int, height: int, data: bytes, compression: int = 1) -> bytes:
    """Encode grey bytes as a TIFF with one strip."""
    start = 8 + 2 + 9 * 12 + 4
    entries = [
        *((256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, compression), (262, 3, 1)),
        *((273, 4, start), (277, 3, 1), (278, 4, height), (279, 4, len(data))),
    ]
    tags = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return MAGIC["TIFF"] + struct.pack("<H", len(entries)) + tags + bytes(4) + data


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def huge_canvas(side: int) -> bytes:
    """Encode an animated WEBP with a small frame on a canvas with this side."""
    frame = encode(digit(), "WEBP")[12:]
    size = (digit().width - 1).to_bytes(3, "little") + (digit().height - 1).to_bytes(3, "little")
    canvas = (side - 1).to_bytes(3, "little") * 2
    return riff(
        (b"VP8X", b"\x02\0\0\0" + canvas),
        (b"ANIM", bytes(6)),
        (b"ANMF", bytes(6) + size + b"\x64\0\0\0" + frame),
    )


def with_alpha(picture: Image.Image, alpha: int) -> Image.Image:
    picture = picture.convert("RGBA")
    picture.putalpha(alpha)
    return picture


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def exif_of_entry(entries: bytes) -> bytes:
    count = len(entries) // 12
    return b"II*\0" + struct.pack("<IH", 8, count) + entries + bytes(4)
