// The user's labels for pictures: kept only in this tab, and downloadable for training.

import { byId, make } from "./elements.js";
import { count } from "./words.js";
import { zip } from "./zip.js";

/** @import { Subject } from "./commands.js" */

const FILE = "my-digits.zip";

/** @type {Map<Blob, { label: number, ending: string, content: Uint8Array<ArrayBuffer> }>} */
const kept = new Map();
/** @type {Subject | null} */
let subject = null;

const buttons = Array.from({ length: 10 }, (_, label) => {
  const button = make("button", { type: "button" }, `${label}`);
  button.addEventListener("click", () => say(label));
  return button;
});
byId("label-choices").append(...buttons);
byId("download").addEventListener("click", download);
byId("forget").addEventListener("click", () => {
  kept.clear();
  render();
});

/**
 * Asks for the label of a picture of one digit.
 *
 * @param {Subject | null} picture `null` if there is no such picture.
 */
export function askForLabel(picture) {
  subject = picture;
  render();
}

/**
 * Keeps the picture with a label, or drops it if it has this label already.
 *
 * @param {number} label
 */
async function say(label) {
  if (!subject) return;
  const { picture, name } = subject;
  if (kept.get(picture)?.label === label) {
    kept.delete(picture);
  } else {
    const content = new Uint8Array(await picture.arrayBuffer());
    kept.set(picture, { label, ending: /\.\w+$/.exec(name)?.[0].toLowerCase() ?? "", content });
  }
  render();
}

function render() {
  const label = subject && kept.get(subject.picture)?.label;
  buttons.forEach((button, i) => {
    button.disabled = subject === null;
    button.setAttribute("aria-pressed", `${i === label}`);
  });
  byId("kept").hidden = kept.size === 0;
  const pictures = kept.size === 1 ? "picture is" : "pictures are";
  byId("kept-count").textContent = kept.size
    ? `${count(kept.size)} ${pictures} kept until you close this tab.`
    : "";
}

function download() {
  const files = [...kept.values()].map(({ label, ending, content }, i) => ({
    name: `${label}/${i + 1}${ending}`,
    content,
  }));
  const href = URL.createObjectURL(zip(files));
  make("a", { href, download: FILE }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000); // once the browser has saved it
}
