"""Extracts the main picture of a HEIF file (HEIC, AVIF), within limits.

A phone's file also holds thumbnails, depth, metadata and other pictures. The decoding libraries
read all of it and copy shared parts once per picture, so a few megabytes can take minutes.
Therefore they get a new file that holds only the picture, its tiles and its transparency.

The boxes are specified in ISO/IEC 14496-12 (files) and 23008-12 (pictures in files).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from imaging.errors import DamagedPicture, NotAPicture, PictureTooLarge

# The brands of picture files; image sequences contain a still picture, too.
BRANDS = {
    *(b"heic", b"heix", b"heim", b"heis", b"avif", b"mif1"),
    *(b"hevc", b"hevx", b"hevm", b"hevs", b"avis", b"msf1"),
}
# The item types of coded pictures, with the brand of such a file; and the type of a grid of tiles.
HEVC, AV1 = b"hvc1", b"av01"
CODED = {HEVC: b"heic", AV1: b"avif"}
GRID = b"grid"
# The properties needed to decode, lay out and rotate a picture.
KEPT = {b"hvcC", b"av1C", b"ispe", b"pixi", b"auxC", b"clap", b"irot", b"imir"}
ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")

# A phone writes 192 tiles for 48 megapixels, and few other items. libheif has the same limit of
# extents per item.
MAX_BOXES, MAX_TILES, MAX_EXTENTS = 5_000, 800, 32
# A coded picture is one frame or several progressive layers; most of its units are slices.
MAX_FRAMES, MAX_UNITS = 8, 10_000
MAX_PROPERTY = 16_384  # bytes; a decoder parses its configuration once per tile
MAX_CODED = 3  # coded pixels per allowed pixel, for alpha and for tiles that overlap the edges

# The units of a coded picture, as far as they matter here.
SEQUENCE, FRAME, OTHER = "sequence", "frame", "other"

DAMAGED = "The picture is damaged: it ends too early, or its contents are inconsistent."
IN_FILE, IN_IDAT = 0, 1  # where an item's bytes are
WIDE = 1  # the flag of property lists with two-byte numbers


@dataclass(frozen=True)
class Item:
    """A picture in a file.

    Attributes:
        properties: Complete boxes.
        size: Width and height in pixels, before rotation.
        tiles: The tiles of a grid.
    """

    kind: bytes
    data: bytes
    properties: tuple[bytes, ...]
    size: tuple[int, int]
    tiles: "tuple[Item, ...]" = ()

    @property
    def coded(self) -> "tuple[Item, ...]":
        """The items that are decoded."""
        return self.tiles or (self,)


class Reader:
    """Reads bytes in order; raises `DamagedPicture` if they end too early."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def bytes(self, length: int) -> bytes:
        """Read this many bytes."""
        self.place += length
        if self.place > len(self.data):
            raise DamagedPicture(DAMAGED)
        return self.data[self.place - length : self.place]

    def number(self, length: int) -> int:
        """Read a number of this many bytes."""
        return int.from_bytes(self.bytes(length), "big")

    def numbers(self, length: int, count: int) -> list[int]:
        """Read several numbers of this many bytes each."""
        read = self.bytes(length * count)
        return [int.from_bytes(read[at : at + length], "big") for at in range(0, len(read), length)]


class Bits:
    """Reads bits in order; raises `DamagedPicture` if they end too early."""

    def __init__(self, data: bytes) -> None:
        self.bits, self.left = int.from_bytes(data, "big"), 8 * len(data)

    def number(self, length: int) -> int:
        """Read a number of this many bits."""
        self.left -= length
        if self.left < 0:
            raise DamagedPicture(DAMAGED)
        return self.bits >> self.left & (1 << length) - 1


def is_heif(data: bytes) -> bool:
    """Whether the bytes begin like a HEIF file."""
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[place : place + 4] for place in (8, *range(16, end, 4))}
    return data[4:8] == b"ftyp" and not BRANDS.isdisjoint(brands)


def main_picture(data: bytes, max_pixels: int) -> bytes:
    """Return a file with only the main picture, its tiles and its transparency.

    Args:
        data: A file for which `is_heif` is true.
        max_pixels: The largest width times height allowed.

    Raises:
        NotAPicture: It is encoded with neither HEVC nor AV1.
        PictureTooLarge: It has more pixels or parts than allowed.
        DamagedPicture: The main picture cannot be found.
    """
    file = File(data)
    picture = file.picture(file.main)
    alpha = file.alpha()
    coded = [part for item in (picture, alpha) if item for part in item.coded]
    if any(part.kind != coded[0].kind for part in coded):
        raise DamagedPicture(DAMAGED)
    for item in (picture, alpha):
        if item:
            check_size(item.size, max_pixels)
    if coded_pixels(coded) > MAX_CODED * max_pixels:
        raise PictureTooLarge(
            f"The picture's parts have more than {MAX_CODED * max_pixels:,} pixels."
        )
    return write(picture, alpha, CODED[coded[0].kind])


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Raise `PictureTooLarge` if width times height exceeds `max_pixels`."""
    width, height = size
    if width * height > max_pixels:
        raise PictureTooLarge(
            f"The picture has {width} x {height} pixels. Send one of at most {max_pixels:,}."
        )


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the content of each box."""
    reader = Reader(data)
    for _ in range(MAX_BOXES):
        if reader.place == len(data):
            return
        start = reader.place
        length, kind = reader.number(4), reader.bytes(4)
        if length == 1:
            length = reader.number(8)
        elif length == 0:  # to the end
            length = len(data) - start
        if length < reader.place - start:
            raise DamagedPicture(DAMAGED)
        yield kind, reader.bytes(length - (reader.place - start))
    raise PictureTooLarge(f"The picture's file has more than {MAX_BOXES:,} boxes.")


def first(data: bytes, wanted: bytes) -> bytes:
    """Return the content of the first box of a type."""
    for kind, content in boxes(data):
        if kind == wanted:
            return content
    raise DamagedPicture(DAMAGED)


def check_count(count: int) -> int:
    """Return the count, or raise `PictureTooLarge` if it exceeds `MAX_BOXES`."""
    if count > MAX_BOXES:
        raise PictureTooLarge(f"The picture's file lists more than {MAX_BOXES:,} parts.")
    return count


class File:
    """A file with its lists read: the items, and what belongs to each."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = len(data)  # bytes left for its pictures in total
        meta = list(boxes(first(data, b"meta")[4:]))
        self._lists = dict(reversed(meta))  # the first of each type
        pitm = self._list(b"pitm")
        self.main = pitm[1].number(2 if pitm[0] == 0 else 4)
        self._kinds = dict(self._read_kinds())
        self._places = dict(self._read_places())
        self._references = list(self._read_references())
        self._properties = dict(self._read_properties())

    def _list(self, kind: bytes) -> tuple[int, Reader]:
        """Return the version of a list, and a reader placed after its flags."""
        if kind not in self._lists:
            raise DamagedPicture(DAMAGED)
        reader = Reader(self._lists[kind])
        return reader.number(4) >> 24, reader

    def _read_kinds(self) -> Iterator[tuple[int, bytes]]:
        version, reader = self._list(b"iinf")
        reader.number(2 if version == 0 else 4)
        for _, content in boxes(reader.data[reader.place :]):
            entry = Reader(content)
            number = 4 if entry.number(4) >> 24 == 3 else 2
            identifier, _ = entry.number(number), entry.number(2)
            yield identifier, entry.bytes(4)

    def _read_places(self) -> Iterator[tuple[int, tuple[int, list[tuple[int, int]]]]]:
        version, reader = self._list(b"iloc")
        wide = 4 if version == 2 else 2
        sizes = reader.number(2)
        offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
        for _ in range(check_count(reader.number(wide))):
            identifier = reader.number(wide)
            method = reader.number(2) & 15 if version else IN_FILE
            reader.number(2)  # the data reference: this file
            start = reader.number(base)
            extents = reader.number(2)
            if extents > MAX_EXTENTS:
                raise PictureTooLarge(f"A part of the picture has more than {MAX_EXTENTS} extents.")
            found = []
            for _ in range(extents):
                reader.number(index if version else 0)
                found.append((start + reader.number(offset), reader.number(length)))
            yield identifier, (method, found)

    def _read_references(self) -> Iterator[tuple[bytes, int, list[int]]]:
        if b"iref" not in self._lists:
            return
        version, reader = self._list(b"iref")
        wide = 4 if version else 2
        for kind, content in boxes(reader.data[reader.place :]):
            entry = Reader(content)
            yield kind, entry.number(wide), entry.numbers(wide, check_count(entry.number(2)))

    def _read_properties(self) -> Iterator[tuple[int, tuple[bytes, ...]]]:
        iprp = self._lists.get(b"iprp", b"")
        properties = []
        for kind, content in boxes(first(iprp, b"ipco")):
            properties.append(box(kind, content) if kind in KEPT else b"")
            if len(properties[-1]) > MAX_PROPERTY:
                raise PictureTooLarge(
                    f"A property of the picture has more than {MAX_PROPERTY:,} bytes."
                )
        reader = Reader(first(iprp, b"ipma"))
        version_and_flags = reader.number(4)
        wide = 4 if version_and_flags >> 24 else 2
        length = 2 if version_and_flags & WIDE else 1
        for _ in range(check_count(reader.number(4))):
            identifier = reader.number(wide)
            numbers = reader.numbers(length, reader.number(1))
            places = [number & (0x7FFF if length == 2 else 0x7F) for number in numbers]
            if max(places, default=0) > len(properties):
                raise DamagedPicture(DAMAGED)
            own = [properties[place - 1] for place in places if place]
            yield identifier, tuple(filter(None, own))

    def _content(self, identifier: int) -> bytes:
        method, extents = self._places.get(identifier, (IN_FILE, []))
        if method == IN_FILE:
            source = self._data
        elif method == IN_IDAT:
            source = self._lists.get(b"idat", b"")
        else:
            raise DamagedPicture(DAMAGED)
        self._left -= sum(length for _, length in extents)
        ends = [start + length for start, length in extents]
        if self._left < 0 or max(ends, default=0) > len(source):
            raise DamagedPicture(DAMAGED)
        return b"".join(source[start : start + length] for start, length in extents)

    def picture(self, identifier: int, *, is_tile: bool = False) -> Item:
        """Return a picture with its tiles."""
        kind = self._kinds.get(identifier, b"")
        properties = self._properties.get(identifier, ())
        sizes = [box for box in properties if box[4:8] == b"ispe"]
        if not sizes:
            raise DamagedPicture(DAMAGED)
        size = struct.unpack(">II", Reader(sizes[0][12:]).bytes(8))
        content = self._content(identifier)
        if kind in CODED:
            return Item(kind, content, properties, size)
        if kind != GRID or is_tile:
            raise NotAPicture(
                "The HEIF file is encoded with neither HEVC nor AV1. Send the picture as a JPEG."
            )
        numbers = [to for use, of, to in self._references if (use, of) == (b"dimg", identifier)]
        tiles = numbers[0] if numbers else []
        if len(tiles) > MAX_TILES:
            raise PictureTooLarge(f"The picture has more than {MAX_TILES} tiles.")
        grid = Reader(content)
        wide = 4 if grid.number(2) & 1 else 2
        rows, columns = grid.number(1) + 1, grid.number(1) + 1
        if len(tiles) != rows * columns or grid.numbers(wide, 2) != list(size):
            raise DamagedPicture(DAMAGED)
        parts = tuple(self.picture(tile, is_tile=True) for tile in tiles)
        return Item(kind, content, properties, size, parts)

    def alpha(self) -> Item | None:
        """Return the transparency of the main picture, if it has any."""
        for use, identifier, to in self._references:
            if use == b"auxl" and self.main in to:
                boxes_of_use = (box[12:] for box in self._properties.get(identifier, ()))
                if any(content.startswith(ALPHA) for content in boxes_of_use):
                    return self.picture(identifier)
        return None


def coded_pixels(coded: Sequence[Item]) -> int:
    """Return how many pixels a decoder may produce, which can exceed the declared size.

    Raises:
        PictureTooLarge: There are more units or frames than allowed.
        DamagedPicture: The units end too early.
    """
    pixels = units = 0
    for part in coded:
        frames = 0
        width, height = part.size
        for kind, content in units_of_hevc(part) if part.kind == HEVC else units_of_av1(part):
            units += 1
            frames += kind == FRAME
            if kind == SEQUENCE:  # libheif itself rejects HEVC that is larger than declared
                width, height = map(max, part.size, largest_size(content))
            if units > MAX_UNITS or frames > MAX_FRAMES:
                raise PictureTooLarge(
                    f"The picture has more than {MAX_FRAMES} frames, or {MAX_UNITS:,} units."
                )
        pixels += width * height
    return pixels


def units_of_hevc(part: Item) -> Iterator[tuple[str, bytes]]:
    """Yield the kind and the content of each HEVC unit of a picture."""
    reader = Reader(part.data)
    while reader.place < len(part.data):
        content = reader.bytes(reader.number(4))
        # A slice unit with its first flag set begins a frame (ITU H.265, 7.3.1.2, 7.3.6.1).
        is_first = content[:1] < b"\x40" and content[2:3] >= b"\x80"
        yield FRAME if is_first else OTHER, content


def units_of_av1(part: Item) -> Iterator[tuple[str, bytes]]:
    """Yield the AV1 units of a picture and its configuration (AV1 specification, 5.3)."""
    configuration = b"".join(own[12:] for own in part.properties if own[4:8] == b"av1C")
    data = configuration + part.data
    reader = Reader(data)
    while reader.place < len(data):
        header = reader.number(1)
        if header & 4:  # there is an extension
            reader.number(1)
        length = len(data) - reader.place
        if header & 2:  # its length follows, seven bits per byte, lowest first
            length, shift, more = 0, 0, True
            while more and shift < 56:
                byte = reader.number(1)
                length |= (byte & 127) << shift
                shift, more = shift + 7, byte > 127
        kind = {1: SEQUENCE, 3: FRAME, 6: FRAME}.get(header >> 3 & 15, OTHER)
        yield kind, reader.bytes(length)


def largest_size(header: bytes) -> tuple[int, int]:
    """Return the largest width and height of a sequence (AV1 specification, 5.5.1)."""
    bits = Bits(header[:256])
    bits.number(4)
    is_reduced = bits.number(1)
    if is_reduced:
        bits.number(5)
    else:
        delay = -1
        if bits.number(1):  # there is timing information
            bits.number(64)
            if bits.number(1):
                zeros = 0
                while not bits.number(1):
                    zeros += 1
                bits.number(zeros)
            if bits.number(1):  # there is a decoder model
                delay = bits.number(5) + 1
                bits.number(42)
        is_delayed = bits.number(1)
        for _ in range(bits.number(5) + 1):
            bits.number(12)
            if bits.number(5) > 7:
                bits.number(1)
            if delay >= 0 and bits.number(1):
                bits.number(2 * delay + 1)
            if is_delayed and bits.number(1):
                bits.number(4)
    lengths = bits.number(4) + 1, bits.number(4) + 1
    width, height = (bits.number(length) + 1 for length in lengths)
    # Unless the header is reduced, a frame may have any size that fits these bits.
    return (width, height) if is_reduced else (1 << lengths[0], 1 << lengths[1])


def box(kind: bytes, *content: bytes) -> bytes:
    """Return a box."""
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def full_box(kind: bytes, version: int, *content: bytes) -> bytes:
    """Return a box with a version."""
    return box(kind, struct.pack(">I", version << 24), *content)


def write(picture: Item, alpha: Item | None, brand: bytes) -> bytes:
    """Return a file of a picture and its transparency.

    Its items are the picture, its tiles, the alpha, and the alpha's tiles.
    """
    items = [picture, *picture.tiles]
    references = [of_tiles(1, picture)]
    if alpha:
        number = len(items) + 1
        items += [alpha, *alpha.tiles]
        references += [box(b"auxl", struct.pack(">3H", number, 1, 1)), of_tiles(number, alpha)]
    places = {
        own: place
        for place, own in enumerate(
            dict.fromkeys(own for item in items for own in item.properties), 1
        )
    }
    infos, associations = [], []
    for number, item in enumerate(items, 1):
        infos.append(full_box(b"infe", 2, struct.pack(">HH", number, 0), item.kind, b"\0"))
        own = [0x8000 | places[own] for own in item.properties]
        associations.append(struct.pack(f">HB{len(own)}H", number, len(own), *own))

    def head(start: int) -> bytes:
        extents = []
        for number, item in enumerate(items, 1):
            extents.append(struct.pack(">4H2I", number, 0, 0, 1, start, len(item.data)))
            start += len(item.data)
        return box(b"ftyp", brand, bytes(4), b"mif1", brand) + full_box(
            b"meta",
            0,
            full_box(b"hdlr", 0, bytes(4), b"pict", bytes(13)),
            full_box(b"pitm", 0, struct.pack(">H", 1)),
            full_box(b"iloc", 1, struct.pack(">HH", 0x4400, len(items)), *extents),
            full_box(b"iinf", 0, struct.pack(">H", len(items)), *infos),
            full_box(b"iref", 0, *references),
            box(
                b"iprp",
                box(b"ipco", *places),
                box(b"ipma", struct.pack(">II", WIDE, len(items)), *associations),
            ),
        )

    start = len(head(0)) + 8
    return head(start) + box(b"mdat", *(item.data for item in items))


def of_tiles(number: int, grid: Item) -> bytes:
    """Return the reference from a grid to its tiles, the items after it."""
    count = len(grid.tiles)
    following = range(number + 1, number + 1 + count)
    return box(b"dimg", struct.pack(f">{2 + count}H", number, count, *following)) if count else b""
