// Writes zip files (PKWARE's APPNOTE.TXT, 4.3) without compression: pictures are compressed already.

const VERSION = 20; // of the format: 2.0, which has folders
const DATE = 0x21; // 1 January 1980, the earliest date

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? (rest >>> 1) ^ 0xedb88320 : rest >>> 1;
  return rest;
});

/** @param {Uint8Array} bytes */
function crc32(bytes) {
  let rest = 0xffffffff;
  for (const byte of bytes) rest = (rest >>> 8) ^ table[(rest ^ byte) & 0xff];
  return ~rest >>> 0;
}

/**
 * Writes a header's numbers, of two or four bytes each.
 *
 * @param {[bytes: 2 | 4, value: number][]} fields
 */
function header(fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [bytes]) => sum + bytes, 0)));
  let place = 0;
  for (const [bytes, value] of fields) {
    if (bytes === 2) view.setUint16(place, value, true);
    else view.setUint32(place, value, true);
    place += bytes;
  }
  return new Uint8Array(view.buffer);
}

/**
 * Makes a zip file.
 *
 * @param {{ name: string, content: Uint8Array<ArrayBuffer> }[]} files Their names are ASCII.
 */
export function zip(files) {
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const contents = [];
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const directory = [];
  /** @param {Uint8Array[]} parts */
  const size = (parts) => parts.reduce((sum, part) => sum + part.length, 0);
  for (const file of files) {
    const name = new TextEncoder().encode(file.name);
    const { length } = file.content;
    /** @type {[2 | 4, number][]} Version, flags, method, time, date, CRC, two sizes, two lengths. */
    const said = [[2, VERSION], [2, 0], [2, 0], [2, 0], [2, DATE], [4, crc32(file.content)]];
    said.push([4, length], [4, length], [2, name.length], [2, 0]);
    /** @type {[2 | 4, number][]} Length of comment, disk, two kinds of attributes, place. */
    const place = [[2, 0], [2, 0], [2, 0], [4, 0], [4, size(contents)]];
    contents.push(header([[4, 0x04034b50], ...said]), name, file.content);
    directory.push(header([[4, 0x02014b50], [2, VERSION], ...said, ...place]), name);
  }
  const [count, start] = [files.length, size(contents)];
  /** @type {[2 | 4, number][]} Two disks, two counts, the directory's size and place, no comment. */
  const end = [[2, 0], [2, 0], [2, count], [2, count], [4, size(directory)], [4, start], [2, 0]];
  const parts = [...contents, ...directory, header([[4, 0x06054b50], ...end])];
  return new Blob(parts, { type: "application/zip" });
}
