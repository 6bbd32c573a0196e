"""Write HEIF files box by box: as phones write them, and invalid ones.

With the boxes of ISO/IEC 14496-12 and 23008-12, a file can have the tiles, orientations and
thumbnails of a phone's, or false statements that no encoder writes. This module does not encode
the pictures themselves.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image

# For each EXIF orientation: how many quarter turns anticlockwise the decoded picture needs, and the
# axis along which it is then mirrored, if at all (0: top to bottom, 1: left to right).
TURNS: dict[int, tuple[int, int | None]] = {
    1: (0, None),
    2: (0, 1),
    3: (2, None),
    4: (0, 0),
    5: (1, 0),
    6: (3, None),
    7: (1, 1),
    8: (1, None),
}

IN_FILE, IN_IDAT = 0, 1  # where an item's bytes are stored
HIDDEN = 1  # the flag of an item that is part of another
ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"  # the use of an auxiliary picture


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def full_box(kind: bytes, version: int, flags: int, *content: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *content)


def ispe(width: int, height: int) -> bytes:
    """Return the property with a picture's size."""
    return full_box(b"ispe", 0, 0, struct.pack(">II", width, height))


def pixi(*bits: int) -> bytes:
    """Return the property with the bits of each channel."""
    return full_box(b"pixi", 0, 0, bytes([len(bits), *bits]))


def turns(orientation: int) -> tuple[bytes, ...]:
    """Return the properties with the same effect as an EXIF orientation."""
    quarters, axis = TURNS[orientation]
    made = (box(b"irot", bytes([quarters])),) if quarters else ()
    return made if axis is None else (*made, box(b"imir", bytes([axis])))


def auxiliary(use: bytes) -> bytes:
    """Return the property with the use of an auxiliary picture."""
    return full_box(b"auxC", 0, 0, use + b"\0")


@dataclass(frozen=True)
class Item:
    """An item of a file: a picture, a grid of pictures, or metadata.

    Attributes:
        properties: Whole boxes. Equal boxes of several items are written once.
        references: The numbers of other items by kind of reference; the first item is 1.
    """

    kind: bytes
    data: bytes
    properties: Sequence[bytes] = ()
    references: Mapping[bytes, Sequence[int]] = field(default_factory=dict)
    hidden: bool = False


@dataclass(frozen=True)
class Frame:
    """An encoded picture: its bytes, and the properties that its codec needs."""

    kind: bytes
    configuration: bytes
    data: bytes
    size: tuple[int, int]
    bits: int

    def item(self, *properties: bytes, hidden: bool = False, **references: Sequence[int]) -> Item:
        """Return an item with this picture."""
        own = (self.configuration, ispe(*self.size), pixi(*[self.bits] * 3))
        named = {kind.encode(): numbers for kind, numbers in references.items()}
        return Item(self.kind, self.data, (*own, *properties), named, hidden)


def heif(items: Sequence[Item], brand: bytes, primary: int = 1) -> bytes:
    """Return a file with these items."""
    properties = list(dict.fromkeys(p for item in items for p in item.properties))
    infos, associations, references = [], [], []
    for number, item in enumerate(items, 1):
        flags = HIDDEN if item.hidden else 0
        infos.append(full_box(b"infe", 2, flags, struct.pack(">HH", number, 0), item.kind, b"\0"))
        if item.properties:
            own = b"".join(
                struct.pack(">H", 0x8000 | properties.index(p) + 1) for p in item.properties
            )
            associations.append(struct.pack(">HB", number, len(item.properties)) + own)
        for kind, numbers in item.references.items():
            count = len(numbers)
            references.append(box(kind, struct.pack(f">HH{count}H", number, count, *numbers)))
    idat = b"".join(item.data for item in items if item.kind == b"grid")

    def meta(start: int) -> bytes:
        places, in_file, in_idat = [], start, 0
        for number, item in enumerate(items, 1):
            length = len(item.data)
            if item.kind == b"grid":
                method, place, in_idat = IN_IDAT, in_idat, in_idat + length
            else:
                method, place, in_file = IN_FILE, in_file, in_file + length
            places.append(struct.pack(">HHHHII", number, method, 0, 1, place, length))
        return full_box(
            b"meta",
            0,
            0,
            full_box(b"hdlr", 0, 0, bytes(4), b"pict", bytes(13)),
            full_box(b"pitm", 0, 0, struct.pack(">H", primary)),
            full_box(b"iloc", 1, 0, struct.pack(">HH", 0x4400, len(items)), *places),
            full_box(b"iinf", 0, 0, struct.pack(">H", len(items)), *infos),
            full_box(b"iref", 0, 0, *references) if references else b"",
            box(
                b"iprp",
                box(b"ipco", *properties),
                full_box(b"ipma", 0, 1, struct.pack(">I", len(associations)), *associations),
            ),
            box(b"idat", idat) if idat else b"",
        )

    kinds = box(b"ftyp", brand, bytes(4), b"mif1", brand)
    start = len(kinds) + len(meta(0)) + 8
    data = [item.data for item in items if item.kind != b"grid"]
    return kinds + meta(start) + box(b"mdat", *data)


def exif(orientation: int) -> Item:
    """Return EXIF metadata for item 1 with an orientation."""
    said = Image.Exif()
    said[0x0112] = orientation
    return Item(b"Exif", struct.pack(">I", 6) + said.tobytes(), (), {b"cdsc": [1]})


def grid(rows: int, columns: int, width: int, height: int) -> bytes:
    """Return the content of an item that arranges tiles in a grid."""
    return struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)


def frame_of(file: bytes, bits: int = 8) -> Frame:
    """Return the encoded picture of a file that contains a single picture."""
    kind, name = (b"hvc1", b"hvcC") if b"hvcC" in file else (b"av01", b"av1C")

    def whole(kind: bytes) -> bytes:
        start = file.index(kind) - 4
        return file[start : start + int.from_bytes(file[start : start + 4], "big")]

    size = struct.unpack(">II", whole(b"ispe")[12:])
    return Frame(kind, whole(name), whole(b"mdat")[8:], size, bits)
