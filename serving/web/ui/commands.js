// The request for what is on the screen, for a shell and for Python.

import { address, key } from "./service.js";

/**
 * A request in words of a shell.
 *
 * A picture from a file is named; any other stands in the text, as base64.
 */
export async function curl({ picture, name, isFile }, endpoint, model) {
  const options = [`-H ${quoted(`Content-Type: ${type(picture)}`)}`];
  if (key.get()) options.push('-H "Authorization: Bearer $QMNIST_API_KEY"');
  const rest = [...options, quoted(address(endpoint, model).href)].join(" \\\n  ");
  if (isFile) return `curl --data-binary @${quoted(name)} ${rest}`;
  return `base64 -d <<'END' | curl --data-binary @- ${rest}\n${await base64(picture)}\nEND`;
}

/** The same in Python, with its standard library. */
export async function python({ picture, name, isFile }, endpoint, model) {
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
}

const type = (picture) => picture.type || "application/octet-stream";

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

async function base64(picture) {
  const reader = new FileReader();
  await new Promise((resolve, reject) => {
    reader.onload = resolve;
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(picture);
  });
  const text = reader.result.slice(reader.result.indexOf(",") + 1);
  return (text.match(/.{1,76}/g) ?? []).join("\n");
}
