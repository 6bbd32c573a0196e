// Compares the notebook's method with this service's: two ways to make a drawing 28 x 28, and two
// networks, trained in two ways.

import { byId, make } from "./elements.js";
import { Latest, REST } from "./latest.js";
import { decode, paint, resize } from "./pixels.js";
import { classify } from "./service.js";
import { exactly, percent } from "./words.js";

/**
 * @import { Subject } from "./commands.js"
 * @import { Card, Readings } from "./service.js"
 */

/** @typedef {{ digit: number, confidence: number }} Answer */

/**
 * A way to 28 x 28 pixels.
 *
 * @typedef {object} Way
 * @property {string} name
 * @property {string} words A description.
 */

/** @type {Way[]} */
const WAYS = [
  { name: "A plain resize", words: "The whole picture, scaled down." },
  { name: "This service", words: "The digit, cleaned, scaled and centred as QMNIST's digits were." },
];

const section = byId("compare");
const questions = new Latest();

/**
 * Compares what the models say of one digit.
 *
 * @param {Subject | null} subject
 * @param {Readings} readings The answers for it.
 * @param {Card[]} cards
 * @param {string} chosen The model to compare with, unless it is itself for comparison.
 */
export function showComparison(subject, readings, cards, chosen) {
  const notebook = cards.find(({ comparison }) => comparison);
  const others = cards.filter(({ comparison }) => !comparison);
  const strong = others.find(({ name }) => name === chosen) ?? others[0];
  const [weaker, stronger] = [notebook, strong].map((card) => card && readings[card.name]?.digits);
  if (!subject || !notebook || weaker?.length !== 1 || stronger?.length !== 1) {
    questions.giveUp();
    section.hidden = true;
    return;
  }
  const models = [notebook, strong];
  const compare = () =>
    questions.run(async (signal) => {
      const seen = await decode(stronger[0].explanation.pixels);
      try {
        const plain = lightInk(await resize(subject.picture));
        const asked = models.map(({ name }) => classify(plain, name, signal));
        const answers = [await Promise.all(asked), [weaker[0], stronger[0]]];
        if (!signal.aborted) show(models, [plain, seen], answers);
      } catch {
        // The browser cannot read the picture; or the service is unreachable, as the next request
        // will report.
        if (!signal.aborted) section.hidden = true;
      }
    });
  questions.runLater(compare, REST);
}

/**
 * Inverts shades that are mostly light, so that ink is light.
 *
 * @param {Uint8Array<ArrayBuffer>} shades
 */
function lightInk(shades) {
  const mean = shades.reduce((sum, shade) => sum + shade, 0) / shades.length;
  return mean > 127 ? shades.map((shade) => 255 - shade) : shades;
}

/**
 * @param {Card[]} models The weak one and the strong one.
 * @param {Uint8Array[]} pixels By way.
 * @param {Answer[][]} answers By way, then by model.
 */
function show(models, pixels, answers) {
  const right = answers[1][1].digit; // presumably
  byId("compare-heads").replaceChildren(
    make("td"),
    ...models.map((card) => make("th", { scope: "col" }, make("b", {}, card.name), about(card))),
  );
  byId("compare-rows").replaceChildren(
    ...WAYS.map((way, i) => {
      const canvas = make("canvas", { "aria-hidden": "true" });
      paint(canvas, (pixel) => Array(3).fill(pixels[i][pixel]));
      const words = make("span", {}, make("b", {}, way.name), make("small", {}, way.words));
      const head = make("th", { scope: "row" }, make("div", {}, canvas, words));
      return make("tr", {}, head, ...answers[i].map((answer) => cell(answer, right)));
    }),
  );
  byId("compare-words").textContent = verdict(models, answers);
  section.hidden = false;
}

/** @param {Card} card */
function about({ training, evaluation, details }) {
  const accuracy = details && evaluation[details.split]?.accuracy;
  const recipe = training ? `recipe ${training.recipe.name}` : "";
  const right = accuracy === undefined ? "" : `${exactly(accuracy)} right on ${details?.split}`;
  return make("small", {}, [recipe, right].filter(Boolean).join(", "));
}

/**
 * @param {Answer} answer
 * @param {number} right
 */
function cell({ digit, confidence }, right) {
  const differs = digit !== right;
  return make(
    "td",
    { class: differs ? "differs" : "agrees" },
    make("span", { class: "said" }, `${digit}`),
    make("small", {}, percent(confidence)),
    ...(differs ? [make("small", {}, "✗ another digit")] : []),
  );
}

/**
 * @param {Card[]} models
 * @param {Answer[][]} answers
 */
function verdict(models, answers) {
  if (new Set(answers.flat().map(({ digit }) => digit)).size === 1) {
    return `All four say ${answers[1][1].digit}. Draw it small, thin, crooked or in a corner, and they may disagree.`;
  }
  const [plain, imaged] = answers.map(([one, other]) =>
    one.digit === other.digit
      ? `both say ${one.digit}`
      : `${models[0].name} says ${one.digit} and ${models[1].name} ${other.digit}`,
  );
  return `After a plain resize, ${plain}; after this service's processing, ${imaged}.`;
}
