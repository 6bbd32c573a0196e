// Shows an answer: the digit, its bars, what the network saw, and what other models say.

import { byId, make, makeSvg } from "./elements.js";
import { showMeters } from "./meters.js";
import { agreement, changes, percent, steps, verdict } from "./words.js";

const QUIET = 700; // ms without a new answer before screen readers announce one

/** @import { Card, Digit, Reading, Readings } from "./service.js" */

const digit = byId("digit");
const words = byId("verdict");
const seen = byId("seen");
const bars = byId("bars", HTMLTableElement);
const boxes = byId("boxes", SVGSVGElement);
/** @type {number | undefined} */
let speaking;
/** @type {{ name: string, label: HTMLElement, said: HTMLElement, sure: HTMLElement }[]} */
let choices = [];

const rows = Array.from({ length: 10 }, (_, i) => {
  const bar = make("div");
  const share = make("td", { class: "share" });
  const row = make("tr", {}, make("th", { scope: "row" }, `${i}`), make("td", {}, bar), share);
  bars.tBodies[0].append(row);
  return { row, bar, share };
});

/**
 * Shows one model's answer.
 *
 * @param {Reading} reading
 * @param {Card} card
 * @param {Size | null} size The picture's size; without it, no boxes are shown.
 *
 * @typedef {{ width: number, height: number }} Size
 */
export function showAnswer(reading, card, size) {
  const { text, digits } = reading;
  digit.textContent = text;
  digit.classList.toggle("several", text.length > 1);
  digit.classList.toggle("refused", digits.some(({ accepted }) => accepted === false));
  words.textContent = verdict(reading, card);
  words.classList.remove("problem");
  showSeen(reading);
  showMeters(digits, card);
  showBars(digits);
  showBoxes(digits, size);
  say(`${digits.length > 1 ? text.replaceAll("\n", ", ") : text}. ${words.textContent}`);
}

/**
 * Shows a sentence instead of an answer.
 *
 * @param {string} sentence
 * @param {boolean} isProblem
 */
export function showSentence(sentence, isProblem) {
  digit.textContent = isProblem ? "—" : "?";
  digit.classList.remove("several", "refused");
  words.textContent = sentence;
  words.classList.toggle("problem", isProblem);
  seen.hidden = true;
  showMeters([], null);
  showBars([]);
  showBoxes([], null);
  say(sentence);
}

/**
 * Announces a sentence to screen readers, once nothing has changed for a while.
 *
 * @param {string} sentence
 */
function say(sentence) {
  clearTimeout(speaking);
  speaking = setTimeout(() => {
    const announcement = byId("announcement");
    if (announcement.textContent !== sentence) announcement.textContent = sentence;
  }, QUIET);
}

/**
 * Shows the models to choose from.
 *
 * @param {Card[]} cards
 * @param {string} chosen
 * @param {(name: string) => void} choose Called with the chosen name.
 */
export function showModels(cards, chosen, choose) {
  choices = cards.map(({ name }) => {
    const radio = make("input", { type: "radio", name: "model", value: name });
    radio.checked = name === chosen;
    radio.addEventListener("change", () => choose(name));
    const said = make("span", { class: "said" }, "—");
    const sure = make("span", { class: "sure" }, "\u00a0");
    const label = make("label", {}, radio, make("span", { class: "name" }, name), said, sure);
    return { name, label, said, sure };
  });
  byId("model-choices").replaceChildren(...choices.map(({ label }) => label));
}

/**
 * Shows what each model says, and where they disagree.
 *
 * @param {Readings} readings
 */
export function showReadings(readings) {
  /** @type {Record<string, string>} */
  const texts = {};
  for (const { name, said, sure } of choices) {
    const reading = readings[name];
    said.textContent = reading?.text ?? "—";
    sure.textContent = reading ? percent(least(reading)) : "\u00a0";
    if (reading) texts[name] = reading.text;
  }
  byId("agreement").textContent = agreement(texts);
  byId("agreement").classList.toggle("disagree", new Set(Object.values(texts)).size > 1);
}

/** @param {Reading} reading */
const least = ({ digits }) => Math.min(...digits.map(({ confidence }) => confidence));

/** @param {Digit[]} digits */
function showBars(digits) {
  bars.hidden = digits.length > 1;
  const probabilities = digits[0]?.probabilities;
  rows.forEach(({ row, bar, share }, i) => {
    const probability = probabilities?.[i] ?? 0;
    bar.style.width = `${100 * probability}%`;
    share.textContent = probabilities ? percent(probability) : "";
    row.classList.toggle("likeliest", probabilities !== undefined && i === digits[0].digit);
  });
}

/** @param {Reading} reading */
function showSeen(reading) {
  const { digits } = reading;
  const pictures = digits.flatMap(({ digit, confidence, explanation }) =>
    steps(digit)
      .filter(([step]) => digits.length === 1 || step === "pixels")
      .map(([step, name, alt]) => {
        const picture = make("img", { src: `data:image/png;base64,${explanation[step]}`, alt });
        picture.classList.add(step);
        const caption = digits.length === 1 ? name : `${digit}: ${percent(confidence)}`;
        return make("div", {}, picture, make("span", {}, caption));
      }),
  );
  byId("seen-pictures").replaceChildren(...pictures);
  byId("changes").textContent = changes(reading);
  seen.classList.toggle("several", digits.length > 1);
  seen.hidden = false;
}

/**
 * @param {Digit[]} digits
 * @param {Size | null} size
 */
function showBoxes(digits, size) {
  if (!size) {
    boxes.replaceChildren();
    return;
  }
  boxes.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  const unit = Math.max(size.width, size.height) / 100;
  boxes.replaceChildren(
    ...digits.map((found) => {
      const [x, y, width, height] = found.box ?? found.explanation.box;
      const frame = makeSvg("rect", {
        x: x - unit,
        y: y - unit,
        width: width + 2 * unit,
        height: height + 2 * unit,
        rx: unit,
      });
      const label = makeSvg(
        "text",
        { x: x + width + unit, y: Math.max(y - 2 * unit, 5 * unit), "font-size": 6 * unit },
        `${found.digit}`,
      );
      const kind = found.accepted === false ? "refused" : "accepted";
      return makeSvg("g", { class: kind }, frame, label);
    }),
  );
}
