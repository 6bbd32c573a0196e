// Example pictures, drawn by tests/pictures/gallery.py.

import { make } from "./elements.js";

export const EXAMPLES = [
  ["seven", "A seven"],
  ["thin-pen", "A thin pen"],
  ["thick-pen", "A thick pen"],
  ["chalk", "Chalk on a board"],
  ["coloured", "Coloured paper"],
  ["squared", "Squared paper"],
  ["shadow", "A shadow"],
  ["specks", "Dust and holes"],
  ["corner", "Small, in a corner"],
  ["numbers", "Several digits"],
  ["letter", "A letter"],
  ["scribble", "A scribble"],
];

/**
 * Fills a list with the examples; `choose` is called with the address and name of one clicked.
 *
 * @param {HTMLElement} list
 * @param {(address: string, name: string) => void} choose
 */
export function showGallery(list, choose) {
  for (const [file, title] of EXAMPLES) {
    const name = `${file}.webp`;
    const address = `gallery/${name}`;
    const picture = make("img", { src: address, alt: "", width: 96, height: 96, loading: "lazy" });
    const button = make("button", { type: "button" }, picture, make("span", {}, title));
    button.addEventListener("click", () => choose(address, name));
    list.append(make("li", {}, button));
  }
}
