// Writes the current request as a command: for a shell, and for Python.

import { address, key } from "./service.js";

/**
 * The picture of a request. A command refers to a file by its name, and embeds any other picture as
 * base64.
 *
 * @typedef {{ picture: Blob, name: string, isFile: boolean }} Subject
 *
 * @callback Write Writes a request.
 * @param {Subject} subject
 * @param {string} endpoint
 * @param {string} model
 * @returns {Promise<string>}
 */

/**
 * A request with curl, for a shell.
 *
 * @type {Write}
 */
export const curl = async ({ picture, name, isFile }, endpoint, model) => {
  const options = [`-H ${quoted(`Content-Type: ${type(picture)}`)}`];
  if (key.get()) options.push('-H "Authorization: Bearer $QMNIST_API_KEY"');
  const rest = [...options, quoted(address(endpoint, model).href)].join(" \\\n  ");
  if (isFile) return `curl --data-binary @${quoted(name)} ${rest}`;
  return `base64 -d <<'END' | curl --data-binary @- ${rest}\n${await base64(picture)}\nEND`;
};

/**
 * A request in Python, with only its standard library.
 *
 * @type {Write}
 */
export const python = async ({ picture, name, isFile }, endpoint, model) => {
  const headers = [`"Content-Type": ${JSON.stringify(type(picture))}`];
  if (key.get()) headers.push('"Authorization": f"Bearer {os.environ[\'QMNIST_API_KEY\']}"');
  const imports = ["json", "urllib.request"];
  if (!isFile) imports.unshift("base64");
  if (key.get()) imports.splice(-1, 0, "os");
  if (isFile) imports.splice(-1, 0, "pathlib");
  const bytes = isFile
    ? `pathlib.Path(${JSON.stringify(name)}).read_bytes()`
    : `base64.b64decode("""\n${await base64(picture)}\n""")`;
  return [
    ...imports.map((module) => `import ${module}`),
    "",
    `picture = ${bytes}`,
    `url = ${JSON.stringify(address(endpoint, model).href)}`,
    `request = urllib.request.Request(url, picture, {${headers.join(", ")}})`,
    "with urllib.request.urlopen(request) as response:",
    "    print(json.load(response))",
  ].join("\n");
};

/** @param {Blob} picture */
const type = (picture) => picture.type || "application/octet-stream";

/** @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** @param {Blob} picture */
async function base64(picture) {
  const reader = new FileReader();
  const url = await new Promise((resolve, reject) => {
    reader.onload = () => resolve(/** @type {string} */ (reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(picture);
  });
  const text = url.slice(url.indexOf(",") + 1);
  return (text.match(/.{1,76}/g) ?? []).join("\n");
}
