// The tables and charts of the model cards.

import { make, makeSvg } from "./elements.js";
import { count, exactly } from "./words.js";

const [WIDTH, HEIGHT, LEFT, TOP, BOTTOM] = [300, 170, 38, 8, 30];

const digits = Array.from({ length: 10 }, (_, digit) => digit);

/** @import { Bin } from "./service.js" */

/**
 * Makes a confusion matrix.
 *
 * @param {number[][]} counts `[label][predicted]`
 */
export function confusion(counts) {
  const heads = digits.map((digit) => make("th", { scope: "col" }, `${digit}`));
  const rows = counts.map((row, label) => {
    const cells = row.map((number, predicted) => {
      if (number === 0) return make("td");
      const cell = make("td", { class: label === predicted ? "right" : "wrong" }, `${number}`);
      cell.style.setProperty("--share", `${Math.min(40, 10 + 8 * number)}%`);
      return cell;
    });
    return make("tr", {}, make("th", { scope: "row" }, `${label}`), ...cells);
  });
  return make(
    "table",
    { class: "confusion" },
    make("caption", {}, "Rows are true digits, columns are answers."),
    make("thead", {}, make("tr", {}, make("td"), ...heads)),
    make("tbody", {}, ...rows),
  );
}

/**
 * Makes a reliability diagram: a point for each bin, sized by its number of answers.
 *
 * @param {Bin[]} bins
 */
export function reliability(bins) {
  const filled = bins.filter((bin) => bin.count > 0);
  const { svg, x, y } = axes([0, 1], [0, 1], "confidence", [0, 0.5, 1], [0, 0.5, 1], percentage);
  svg.append(makeSvg("line", { class: "ideal", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }));
  for (const bin of filled) {
    const r = 1.5 + Math.log10(bin.count);
    const point = makeSvg("circle", { cx: x(bin.confidence), cy: y(bin.accuracy), r });
    const said = `${count(bin.count)} answers: ${exactly(bin.confidence)} confident, ${exactly(bin.accuracy)} right`;
    point.append(makeSvg("title", {}, said));
    svg.append(point);
  }
  const words = filled.map(
    (bin) =>
      `${count(bin.count)} answers ${exactly(bin.confidence, 0)} confident on average, ${exactly(bin.accuracy, 0)} right`,
  );
  return named(svg, `Reliability: ${words.join("; ")}.`);
}

/**
 * Plots the validation accuracy after each epoch; without validation digits, the training loss.
 *
 * @param {number[]} accuracies
 * @param {number[]} losses
 */
export function curve(accuracies, losses) {
  const values = accuracies.length > 0 ? accuracies : losses;
  const isAccuracy = values === accuracies;
  // The first epochs are so much worse that the rest would look like a flat line.
  const from = isAccuracy ? Math.max(0.9, Math.min(...values)) : 0;
  const to = isAccuracy ? 1 : Math.max(...values);
  const { svg, x, y } = axes(
    [1, values.length],
    [from, to],
    isAccuracy ? "epoch; validation accuracy" : "epoch; training loss",
    [1, Math.round(values.length / 2), values.length],
    [from, (from + to) / 2, to],
    isAccuracy ? percentage : twoDecimals,
  );
  const points = values.map((value, i) => `${x(i + 1)},${y(Math.max(value, from))}`);
  svg.append(makeSvg("polyline", { class: "curve", points: points.join(" ") }));
  const last = values[values.length - 1];
  const said = isAccuracy ? exactly(last) : last.toFixed(4);
  return named(svg, `${isAccuracy ? "Validation accuracy" : "Training loss"} after ${values.length} epochs: ${said}.`);
}

/** @param {number} value */
const percentage = (value) => `${Math.round(100 * value)} %`;

/** @param {number} value */
const twoDecimals = (value) => value.toFixed(2);

/**
 * @param {SVGElement} svg
 * @param {string} name
 */
function named(svg, name) {
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", name);
  return svg;
}

/**
 * @param {[number, number]} ends The range of the horizontal axis.
 * @param {[number, number]} heights The range of the vertical axis.
 * @param {string} name
 * @param {number[]} xTicks
 * @param {number[]} yTicks
 * @param {(value: number) => string} format
 */
function axes([x0, x1], [y0, y1], name, xTicks, yTicks, format) {
  const [right, bottom] = [WIDTH - 18, HEIGHT - BOTTOM];
  /** @param {number} value */
  const x = (value) => LEFT + ((value - x0) / (x1 - x0)) * (right - LEFT);
  /** @param {number} value */
  const y = (value) => bottom - ((value - y0) / (y1 - y0)) * (bottom - TOP);
  const svg = makeSvg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}` });
  svg.append(
    makeSvg("path", { class: "axis", d: `M${LEFT} ${TOP}V${bottom}H${right}` }),
    makeSvg("text", { x: (LEFT + right) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, name),
    ...xTicks.map((tick) =>
      makeSvg(
        "text",
        { x: x(tick), y: bottom + 12, "text-anchor": "middle" },
        x1 > 1 ? `${tick}` : format(tick),
      ),
    ),
    ...yTicks.map((tick) =>
      makeSvg("text", { x: LEFT - 4, y: y(tick) + 3, "text-anchor": "end" }, format(tick)),
    ),
  );
  return { svg, x, y };
}
