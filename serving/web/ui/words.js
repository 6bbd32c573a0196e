// Describes answers in words and numbers.

/** @import { Card, Reading } from "./service.js" */

/** @type {Record<string, string>} */
const REMOVED = { lines: "ruled lines", edges: "dark edges", specks: "specks" };

/**
 * Formats a share as a percentage; 100 % and 0 % only if they are exact.
 *
 * @param {number} share
 */
export function percent(share, digits = 1) {
  const smallest = 10 ** -digits;
  const value = 100 * share;
  if (value > 100 - smallest / 2) return `> ${(100 - smallest).toFixed(digits)} %`;
  if (value > 0 && value < smallest / 2) return `< ${smallest.toFixed(digits)} %`;
  return `${value.toFixed(digits)} %`;
}

/**
 * Formats an exact share, from counts, as a percentage.
 *
 * @param {number} share
 */
export const exactly = (share, digits = 2) => `${(100 * share).toFixed(digits)} %`;

/** @param {number} number */
export const count = (number) => number.toLocaleString("en");

/**
 * Joins words: a, b and c.
 *
 * @param {string[]} words
 */
export function list(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

/**
 * Says whether an answer is accepted and, if not, why; for several digits, how many are.
 *
 * @param {Reading} reading
 * @param {Card} card
 */
export function verdict({ digits }, card) {
  if (digits.length > 1) {
    const accepted = digits.filter((digit) => digit.accepted).length;
    if (digits[0].accepted === null) return `${digits.length} digits.`;
    return accepted === digits.length
      ? `${digits.length} digits, all accepted.`
      : `${digits.length} digits, ${accepted} of them accepted.`;
  }
  const [{ accepted, confidence, reason }] = digits;
  const sure = percent(confidence).replace(">", "more than");
  if (accepted === null) return `Confidence: ${sure}. This model has no acceptance thresholds.`;
  if (accepted) return `Accepted: ${sure} confidence.`;
  if (reason === "atypical") return "Not accepted: this does not look like a digit.";
  const wanted = card.calibration.acceptance?.confidence;
  const needed = wanted === undefined ? "" : `; it needs ${percent(wanted)}`;
  return `Not accepted: the confidence is only ${sure}${needed}.`;
}

/**
 * The steps from the picture to the network: the key in the explanation, the caption, and the
 * alternative text.
 *
 * @param {number} digit
 * @returns {["decoded" | "ink" | "strokes" | "pixels", string, string][]}
 */
export const steps = (digit) => [
  ["decoded", "Picture", `The ${digit} and its surroundings in the decoded picture`],
  ["ink", "Ink", "The same without the paper: all ink, light on black"],
  ["strokes", "Strokes", `The strokes of the ${digit} alone`],
  ["pixels", "Network", `The ${digit} as the network saw it, 28 by 28 pixels`],
];

/**
 * Describes what was done to the picture before the network saw it.
 *
 * @param {Reading} reading
 */
export function changes({ digits }) {
  const { polarity, removed } = digits[0].explanation;
  const done = [
    polarity === "dark on light"
      ? "Inverted, because the network expects light ink on dark."
      : "Not inverted: the ink is already light on dark.",
  ];
  if (removed.length > 0) {
    const what = list(removed.map((name) => REMOVED[name] ?? name));
    done.push(`${what[0].toUpperCase()}${what.slice(1)} removed.`);
  }
  return done.join(" ");
}

/**
 * Says whether models agree on a picture and, if not, what each says.
 *
 * @param {Record<string, string>} texts What each model says, by name.
 */
export function agreement(texts) {
  /** @type {Map<string, string[]>} */
  const says = new Map();
  for (const [name, text] of Object.entries(texts)) {
    says.set(text, [...(says.get(text) ?? []), name]);
  }
  if (Object.keys(texts).length < 2) return "";
  if (says.size === 1) return "All agree.";
  const sides = [...says].map(([text, who]) => {
    const verb = who.length > 1 ? "say" : "says";
    return `${list(who)} ${verb} ${text.replaceAll("\n", " / ")}`;
  });
  return `They disagree: ${sides.join("; ")}.`;
}
