"""The one picture in a HEIF file (HEIC, AVIF), by itself and within limits.

A phone's file holds more than the picture: thumbnails, depth, metadata, other pictures. The
libraries that decode it read all of that, and copy what many pictures share once for each, so that
a few megabytes take minutes. So they get a file that is written here: the picture, its tiles and
its transparency are in it, and nothing else.

The boxes are those of ISO/IEC 14496-12 (files) and 23008-12 (pictures in files).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from imaging.errors import DamagedPicture, NotAPicture, PictureTooLarge

# The brands of files of pictures; those of sequences have a picture, too.
BRANDS = {
    *(b"heic", b"heix", b"heim", b"heis", b"avif", b"mif1"),
    *(b"hevc", b"hevx", b"hevm", b"hevs", b"avis", b"msf1"),
}
# The kinds of items that are coded pictures, with the brand of a file of such; and the kind that
# lays others side by side.
HEVC, AV1 = b"hvc1", b"av01"
CODED = {HEVC: b"heic", AV1: b"avif"}
GRID = b"grid"
# Of the properties, those that say how a picture is decoded, laid out and turned.
KEPT = {b"hvcC", b"av1C", b"ispe", b"pixi", b"auxC", b"clap", b"irot", b"imir"}
ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")

# Of a picture with 48 megapixels, a phone writes 192 tiles, and few items beside them. libheif has
# the limit of an item's extents, too.
MAX_BOXES, MAX_TILES, MAX_EXTENTS = 5_000, 800, 32
# A coded picture has one frame, or the layers of a progressive one; its units are mostly slices.
MAX_FRAMES, MAX_UNITS = 8, 10_000
MAX_PROPERTY = 16_384  # bytes; a decoder goes through its configuration once for each tile
MAX_CODED = 3  # coded pixels for each that is allowed: there is alpha, and tiles beyond the edges

# The units that a coded picture is made of, as far as they matter here.
SEQUENCE, FRAME, OTHER = "sequence", "frame", "other"

DAMAGED = "The picture is damaged: it ends too early, or what is in it does not fit together."
IN_FILE, IN_IDAT = 0, 1  # where the bytes of an item are
WIDE = 1  # the flag of a list of properties whose numbers have two bytes


@dataclass(frozen=True)
class Item:
    """A picture of a file.

    Attributes:
        properties: Whole boxes.
        size: Its width and height, before it is turned.
        tiles: What a grid lays side by side.
    """

    kind: bytes
    data: bytes
    properties: tuple[bytes, ...]
    size: tuple[int, int]
    tiles: "tuple[Item, ...]" = ()

    @property
    def coded(self) -> "tuple[Item, ...]":
        """What of it is decoded."""
        return self.tiles or (self,)


class Reader:
    """Reads bytes from the beginning on; where they end too early, it raises `DamagedPicture`."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def bytes(self, length: int) -> bytes:
        """Read so many bytes."""
        self.place += length
        if self.place > len(self.data):
            raise DamagedPicture(DAMAGED)
        return self.data[self.place - length : self.place]

    def number(self, length: int) -> int:
        """Read a number of so many bytes."""
        return int.from_bytes(self.bytes(length), "big")

    def numbers(self, length: int, count: int) -> list[int]:
        """Read several numbers of so many bytes each."""
        read = self.bytes(length * count)
        return [int.from_bytes(read[at : at + length], "big") for at in range(0, len(read), length)]


class Bits:
    """Reads bits as `Reader` reads bytes."""

    def __init__(self, data: bytes) -> None:
        self.bits, self.left = int.from_bytes(data, "big"), 8 * len(data)

    def number(self, length: int) -> int:
        """Read a number of so many bits."""
        self.left -= length
        if self.left < 0:
            raise DamagedPicture(DAMAGED)
        return self.bits >> self.left & (1 << length) - 1


def is_heif(data: bytes) -> bool:
    """Whether the bytes begin like a file of pictures."""
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[place : place + 4] for place in (8, *range(16, end, 4))}
    return data[4:8] == b"ftyp" and not BRANDS.isdisjoint(brands)


def main_picture(data: bytes, max_pixels: int) -> bytes:
    """Write a file of the main picture, its tiles and its transparency.

    Args:
        data: A file for which `is_heif` is true.
        max_pixels: The largest width times height that is allowed.

    Raises:
        NotAPicture: The picture is coded by neither HEVC nor AV1.
        PictureTooLarge: It has more pixels than allowed, or more parts than anyone writes.
        DamagedPicture: It cannot be found.
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
    """Raise `PictureTooLarge` if there are more pixels than allowed."""
    width, height = size
    if width * height > max_pixels:
        raise PictureTooLarge(
            f"The picture has {width} x {height} pixels; at most {max_pixels:,} are read."
        )


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the content of each of the boxes that follow each other."""
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
    """Return the content of the first box of a kind."""
    for kind, content in boxes(data):
        if kind == wanted:
            return content
    raise DamagedPicture(DAMAGED)


def check_count(count: int) -> int:
    """Return a count of what boxes list."""
    if count > MAX_BOXES:
        raise PictureTooLarge(f"The picture's file lists more than {MAX_BOXES:,} parts.")
    return count


class File:
    """A file of which the lists have been read: which items there are, and what is theirs."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = len(data)  # bytes that its pictures may have together
        meta = list(boxes(first(data, b"meta")[4:]))
        self._lists = dict(reversed(meta))  # the first of each kind
        pitm = self._list(b"pitm")
        self.main = pitm[1].number(2 if pitm[0] == 0 else 4)
        self._kinds = dict(self._read_kinds())
        self._places = dict(self._read_places())
        self._references = list(self._read_references())
        self._properties = dict(self._read_properties())

    def _list(self, kind: bytes) -> tuple[int, Reader]:
        """Return the version of one of the lists, and what comes after its flags."""
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
            reader.number(2)  # of the file, which is this one
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
        """Return a picture, with its tiles."""
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
                "The picture is in a HEIF file, but coded by neither HEVC nor AV1. "
                "Send it as a JPEG."
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
    """Return how many pixels a decoder may come to, which may be more than is said of them.

    Raises:
        PictureTooLarge: There are more units or frames than anyone writes.
        DamagedPicture: They end too early.
    """
    pixels = units = 0
    for part in coded:
        frames = 0
        width, height = part.size
        for kind, content in units_of_hevc(part) if part.kind == HEVC else units_of_av1(part):
            units += 1
            frames += kind == FRAME
            if kind == SEQUENCE:  # of HEVC, libheif refuses one that is larger than is said
                width, height = map(max, part.size, largest_size(content))
            if units > MAX_UNITS or frames > MAX_FRAMES:
                raise PictureTooLarge(
                    f"The picture has more than {MAX_FRAMES} frames, or {MAX_UNITS:,} units."
                )
        pixels += width * height
    return pixels


def units_of_hevc(part: Item) -> Iterator[tuple[str, bytes]]:
    """Yield the units of a picture: what they are, if that matters, and the content."""
    reader = Reader(part.data)
    while reader.place < len(part.data):
        content = reader.bytes(reader.number(4))
        # Of the units that hold a slice of a frame, one is the first (ITU H.265, 7.3.1.2, 7.3.6.1).
        is_first = content[:1] < b"\x40" and content[2:3] >= b"\x80"
        yield FRAME if is_first else OTHER, content


def units_of_av1(part: Item) -> Iterator[tuple[str, bytes]]:
    """Yield the units of a picture and of its configuration (AV1 specification, 5.3)."""
    configuration = b"".join(own[12:] for own in part.properties if own[4:8] == b"av1C")
    data = configuration + part.data
    reader = Reader(data)
    while reader.place < len(data):
        header = reader.number(1)
        if header & 4:  # there is an extension
            reader.number(1)
        length = len(data) - reader.place
        if header & 2:  # its length is said, seven bits a byte from the lowest on
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
    # A frame may have another size of as many bits, unless it is the only one.
    return (width, height) if is_reduced else (1 << lengths[0], 1 << lengths[1])


def box(kind: bytes, *content: bytes) -> bytes:
    """Write a box."""
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def full_box(kind: bytes, version: int, *content: bytes) -> bytes:
    """Write a box with a version."""
    return box(kind, struct.pack(">I", version << 24), *content)


def write(picture: Item, alpha: Item | None, brand: bytes) -> bytes:
    """Write a file of a picture and its transparency.

    Its items are the picture, its tiles, then the alpha and the tiles of that.
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
    """Write which items are the tiles of a grid, and follow it."""
    count = len(grid.tiles)
    following = range(number + 1, number + 1 + count)
    return box(b"dimg", struct.pack(f">{2 + count}H", number, count, *following)) if count else b""
