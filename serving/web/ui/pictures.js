// The list of several pictures, each with its answer or its error.

import { make } from "./elements.js";
import { AGAIN, codeOf, passes, read } from "./service.js";
import { percent } from "./words.js";

/** @import { Subject } from "./commands.js" */

/** @typedef {Subject & { url: string }} Picture A picture with a URL to show it. */

/** A list of pictures; fires `choose`, with a picture in `detail`, and `problem`, with an error. */
export class Pictures extends EventTarget {
  #list;
  /** @type {{ picture: Picture, button: HTMLElement, outcome: HTMLElement }[]} */
  #items = [];
  #asking = new AbortController();

  /** @param {HTMLElement} list */
  constructor(list) {
    super();
    this.#list = list;
  }

  /**
   * Shows pictures, replacing earlier ones.
   *
   * @param {Picture[]} pictures
   */
  show(pictures) {
    this.#asking.abort();
    this.#items = pictures.map((picture) => {
      const small = make("img", { src: picture.url, alt: "", loading: "lazy" });
      const outcome = make("span", { class: "outcome" }, "…");
      const name = make("span", { class: "name" }, picture.name);
      const button = make("button", { type: "button" }, small, name, outcome);
      button.addEventListener("click", () =>
        this.dispatchEvent(new CustomEvent("choose", { detail: picture })),
      );
      return { picture, button, outcome };
    });
    this.#list.replaceChildren(...this.#items.map(({ button }) => make("li", {}, button)));
  }

  /**
   * Marks the picture that is on the sheet.
   *
   * @param {Picture | null} picture
   */
  mark(picture) {
    for (const item of this.#items) {
      item.button.setAttribute("aria-pressed", `${item.picture === picture}`);
    }
  }

  /**
   * Asks a model about all of them, one after the other.
   *
   * @param {string} model
   */
  async ask(model) {
    this.#asking.abort();
    const { signal } = (this.#asking = new AbortController());
    for (const { outcome } of this.#items) {
      outcome.textContent = "…";
      outcome.className = "outcome";
    }
    for (const { picture, outcome } of this.#items) {
      const found = await answer(picture.picture, model, signal);
      if (signal.aborted) return;
      if (codeOf(found.error) === "unauthorized") {
        this.dispatchEvent(new CustomEvent("problem", { detail: found.error }));
        return;
      }
      outcome.textContent = found.sentence;
      outcome.className = `outcome ${found.kind}`;
    }
  }
}

/**
 * Returns the outcome for a picture; retries until the service answers.
 *
 * @param {Blob} picture
 * @param {string} model
 * @param {AbortSignal} signal
 * @returns {Promise<{ sentence: string, kind: string, error?: unknown }>}
 */
async function answer(picture, model, signal) {
  try {
    const { text, digits } = (await read(picture, model, signal))[model];
    const least = Math.min(...digits.map(({ confidence }) => confidence));
    const refused = digits.some(({ accepted }) => accepted === false);
    const said = `${text.replaceAll("\n", " / ")}, ${percent(least)}`;
    return refused
      ? { sentence: `${said}, not accepted`, kind: "refused" }
      : { sentence: said, kind: "accepted" };
  } catch (error) {
    if (!signal.aborted && passes(error)) {
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
      return answer(picture, model, signal);
    }
    return { sentence: error.message, kind: "problem", error };
  }
}
