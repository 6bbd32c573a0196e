// Shows an answer's confidence and typicality, with their thresholds.

import { byId, make } from "./elements.js";
import { percent } from "./words.js";

/** @import { Card, Digit } from "./service.js" */

const meters = byId("meters");

/** @param {number} value */
const score = (value) => value.toFixed(1).replace("-", "\u2212");

const confidence = meter("Confidence", [0, 1], percent);
const typicality = meter("Typicality", [-20, 20], score); // few pictures are outside this range

/**
 * Shows both for a single digit, and which of them is too low.
 *
 * @param {Digit[]} digits
 * @param {Card | null} card
 */
export function showMeters(digits, card) {
  meters.hidden = digits.length > 1;
  meters.classList.toggle("empty", digits.length !== 1);
  if (digits.length !== 1) return;
  const [digit] = digits;
  const wanted = card?.calibration.acceptance;
  confidence(digit.confidence, wanted?.confidence, digit.reason === "unsure");
  typicality(digit.typicality, wanted?.typicality, digit.reason === "atypical");
}

/**
 * Makes a meter.
 *
 * @param {string} name
 * @param {[number, number]} ends
 * @param {(value: number) => string} format
 */
function meter(name, [from, to], format) {
  const level = make("div", { class: "level" });
  const threshold = make("div", { class: "threshold" });
  const scale = make("div", { role: "meter", "aria-label": name }, level, threshold);
  scale.setAttribute("aria-valuemin", `${from}`);
  scale.setAttribute("aria-valuemax", `${to}`);
  const said = make("span", { class: "share", "aria-hidden": "true" });
  const row = make("div", {}, make("span", { "aria-hidden": "true" }, name), scale, said);
  meters.append(row);

  /** @param {number} value */
  const place = (value) => Math.min(1, Math.max(0, (value - from) / (to - from)));
  /**
   * @param {number} value
   * @param {number | undefined} wanted
   * @param {boolean} refuses
   */
  return (value, wanted, refuses) => {
    const text =
      wanted === undefined
        ? format(value)
        : `${format(value)}${refuses ? ", too low" : ""} (needs ${format(wanted)})`;
    level.style.width = `${100 * place(value)}%`;
    threshold.hidden = wanted === undefined;
    threshold.style.left = `${100 * place(wanted ?? from)}%`;
    said.textContent = text;
    row.classList.toggle("refuses", refuses);
    scale.setAttribute("aria-valuenow", `${from + place(value) * (to - from)}`);
    scale.setAttribute("aria-valuetext", text);
  };
}
