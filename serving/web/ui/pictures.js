// The list of several pictures, each with its answer or with what is wrong with it.

import { make } from "./elements.js";
import { AGAIN, passes, read } from "./service.js";
import { percent } from "./words.js";

/** A list of pictures; fires `choose`, with one of them in `detail`, and `problem`, with an error. */
export class Pictures extends EventTarget {
  #list;
  #items = []; // {subject, button, outcome}
  #asking = new AbortController();

  constructor(list) {
    super();
    this.#list = list;
  }

  /** Shows pictures in the place of those before; `subjects` are as in main.js. */
  show(subjects) {
    this.#asking.abort();
    this.#items = subjects.map((subject) => {
      const picture = make("img", { src: subject.url, alt: "", loading: "lazy" });
      const outcome = make("span", { class: "outcome" }, "…");
      const name = make("span", { class: "name" }, subject.name);
      const button = make("button", { type: "button" }, picture, name, outcome);
      button.addEventListener("click", () =>
        this.dispatchEvent(new CustomEvent("choose", { detail: subject })),
      );
      return { subject, button, outcome };
    });
    this.#list.replaceChildren(...this.#items.map(({ button }) => make("li", {}, button)));
  }

  /** Marks the picture that is on the sheet. */
  mark(subject) {
    for (const item of this.#items) {
      item.button.setAttribute("aria-pressed", item.subject === subject);
    }
  }

  /** Has a model answer all of them, one after the other. */
  async ask(model) {
    this.#asking.abort();
    const { signal } = (this.#asking = new AbortController());
    for (const { outcome } of this.#items) {
      outcome.textContent = "…";
      outcome.className = "outcome";
    }
    for (const { subject, outcome } of this.#items) {
      let found = null;
      while (!(found = await answer(subject.picture, model, signal))) {
        await new Promise((resolve) => setTimeout(resolve, AGAIN));
      }
      if (signal.aborted) return;
      if (found.error?.code === "unauthorized") {
        this.dispatchEvent(new CustomEvent("problem", { detail: found.error }));
        return;
      }
      outcome.textContent = found.sentence;
      outcome.className = `outcome ${found.kind}`;
    }
  }
}

/** What is said of a picture; `null` if it is to be asked again. */
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
    return !signal.aborted && passes(error)
      ? null
      : { sentence: error.message, kind: "problem", error };
  }
}
