// Shows the inside of the network: the activation of every unit, what a unit responds to, and which
// parts of the picture mattered. All of it is computed here, from the weights of the model.

import { byId, make } from "./elements.js";
import { REST } from "./latest.js";
import { Network, SIDE, likeliest } from "./network.js";
import { context2d, decode, paint } from "./pixels.js";
import { fetchModel } from "./service.js";
import { count, list, percent } from "./words.js";

/**
 * @import { Pass } from "./network.js"
 * @import { Reading } from "./service.js"
 */

/** @typedef {{depth: number, unit: number}} Unit A layer, and which of its units. */

/** @typedef {{from: number[], to: number[], share: number}} Wire Its share of the strongest, from -1 to 1. */

const ACTIVATIONS = new Map([
  ["Relu", "ReLU"],
  ["LeakyRelu", "leaky ReLU"],
  ["Tanh", "tanh"],
  ["", "logits"],
]);
const ROWS = 16; // of units, per column of a hidden layer
const TRACED = [7, 4, 3]; // inputs followed back from the answer, from each of those, and so on
const NAMED = 3; // inputs of a unit that are named

// RGB for no influence; and for raising and lowering, at half and full strength.
const DARK = [22, 28, 42];
const RAISES = [
  [255, 158, 44],
  [255, 240, 205],
];
const LOWERS = [
  [52, 132, 255],
  [200, 232, 255],
];

const NOTHING = "Draw a digit to watch it pass through the network.";

const details = byId("inside", HTMLDetailsElement);
const words = byId("inside-words");
const [stage, views] = [byId("stage"), byId("views")];
const unitPicture = byId("unit-picture", HTMLCanvasElement);
const matteredPicture = byId("mattered-picture", HTMLCanvasElement);
const frame = byId("mattered-frame");
const wires = make("canvas", { class: "wires", "aria-hidden": "true" });
const input = make("canvas", { class: "pixels", "aria-hidden": "true" });

/** @type {Map<string, Promise<Network>>} By model name and version. */
const fetched = new Map();

/** @type {Reading | undefined} The reading to show. */
let subject;
/** @type {Network | null} The network on the stage. */
let network = null;
/** @type {Pass | null} */
let pass = null;
/** @type {Unit | null} The selected unit; by default the answer. */
let chosen = null;
/** @type {HTMLElement[][]} By layer. */
let cells = [];
/** @type {number | undefined} */
let resting;

/**
 * Shows a digit's way through the network that answered, once the section is open.
 *
 * @param {Reading | undefined} reading Undefined to show nothing.
 */
export function showInside(reading) {
  subject = reading;
  if (!subject) empty(NOTHING);
  else if (details.open) update();
}

details.addEventListener("toggle", () => {
  if (details.open) update();
});

/** @param {string} sentence Shown instead. */
function empty(sentence) {
  pass = null;
  clearTimeout(resting);
  stage.hidden = views.hidden = true;
  words.textContent = sentence;
}

async function update() {
  const reading = subject;
  if (!reading) return;
  const { model, version, digits } = reading;
  const name = `${model} ${version}`;
  if (!fetched.has(name)) words.textContent = `Fetching the weights of ${model} …`;
  try {
    const [loaded, pixels] = await Promise.all([
      load(name, model, version),
      decode(digits[0].explanation.pixels),
    ]);
    if (subject !== reading) return;
    if (loaded !== network) build(loaded);
    pass = loaded.run(pixels);
    stage.hidden = views.hidden = false;
    words.textContent =
      `${digits.length > 1 ? "The first digit, in " : ""}${model}: computed in this browser from its ` +
      `${count(loaded.size)} weights. Point at a unit to see what it responds to.`;
    show();
  } catch (error) {
    if (subject === reading) empty(error.message);
  }
}

/**
 * @param {string} name
 * @param {string} model
 * @param {string} version
 */
function load(name, model, version) {
  const known = fetched.get(name);
  if (known) return known;
  const loading = fetchModel(model, version)
    .catch((error) => {
      fetched.delete(name); // so that the next answer tries again
      throw error;
    })
    .then(Network.read);
  fetched.set(name, loading);
  return loading;
}

/**
 * Puts a network on the stage.
 *
 * @param {Network} loaded
 */
function build(loaded) {
  network = loaded;
  chosen = null;
  const { layers } = loaded;
  cells = layers.map(({ units }, depth) =>
    Array.from({ length: units }, (_, unit) => {
      const isAnswer = depth === layers.length - 1;
      const content = isAnswer ? [make("b", {}, `${unit}`), make("i"), make("small")] : [];
      const cell = make("div", { role: "option", tabindex: unit === 0 ? 0 : -1 }, ...content);
      cell.dataset.depth = `${depth}`;
      cell.dataset.unit = `${unit}`;
      return cell;
    }),
  );
  /**
   * @param {string} name
   * @param {string} more
   */
  const label = (name, more) => make("p", {}, make("b", {}, name), ` ${more}`);
  stage.replaceChildren(
    make("div", { class: "layer" }, input, label("Input", `${SIDE} × ${SIDE} pixels`)),
    ...layers.map(({ units, activation }, depth) => {
      const isAnswer = depth === layers.length - 1;
      const name = isAnswer ? "Answer" : `Layer ${depth + 1}`;
      const box = make(
        "div",
        { role: "listbox", "aria-label": `${name}, ${units} units`, "aria-orientation": "horizontal" },
        ...cells[depth],
      );
      box.style.setProperty("--columns", `${Math.ceil(units / ROWS)}`);
      const kind = isAnswer ? "probabilities" : `${units} · ${ACTIVATIONS.get(activation)}`;
      return make("div", { class: isAnswer ? "layer answers" : "layer" }, box, label(name, kind));
    }),
    wires,
  );
}

/** Shows the pass on the stage. */
function show() {
  if (!network || !pass) return;
  const { values, probabilities } = pass;
  paint(input, (pixel) => Array(3).fill(18 + values[0][pixel] * (237 / 255)));
  cells.forEach((row, depth) => {
    const isAnswer = depth === cells.length - 1;
    const given = isAnswer ? probabilities : values[depth + 1];
    const most = Math.max(...given.map(Math.abs)) || 1;
    row.forEach((cell, unit) => {
      const share = given[unit] / most;
      cell.setAttribute("aria-label", describe({ depth, unit }));
      if (isAnswer) {
        /** @type {HTMLElement} */ (cell.children[1]).style.setProperty("--share", `${given[unit]}`);
        cell.children[2].textContent = percent(given[unit]);
        cell.classList.toggle("likeliest", unit === likeliest(probabilities));
      } else {
        cell.style.backgroundColor = `rgb(${colour(share).join()})`;
        cell.classList.toggle("bright", Math.abs(share) > 0.6);
      }
    });
  });
  look();
  clearTimeout(resting);
  resting = setTimeout(showMattered, REST);
}

/**
 * Describes a unit and its value.
 *
 * @param {Unit} unit
 */
function describe({ depth, unit }) {
  if (!pass) return "";
  if (depth === cells.length - 1) return `Digit ${unit}: ${percent(pass.probabilities[unit])}`;
  const given = number(pass.values[depth + 1][unit]);
  return `Unit ${unit + 1} of ${cells[depth].length} in layer ${depth + 1}: ${given}`;
}

/** Shows what the selected unit responds to, and its strongest inputs. */
function look() {
  if (!network || !pass) return;
  const answer = { depth: cells.length - 1, unit: likeliest(pass.probabilities) };
  const { depth, unit } = chosen ?? answer;
  cells.forEach((row, i) =>
    row.forEach((cell, j) => {
      cell.setAttribute("aria-selected", `${i === depth && j === unit}`);
    }),
  );
  const influence = network.influence(pass, depth, unit);
  const most = Math.max(...influence.map(Math.abs)) || 1;
  paint(unitPicture, (pixel) => colour(influence[pixel] / most));
  byId("unit-title").textContent = describe({ depth, unit });
  byId("unit-words").textContent = explain({ depth, unit });
  draw(trace({ depth, unit }));
}

/**
 * Explains the picture of a unit.
 *
 * @param {Unit} unit
 */
function explain({ depth, unit }) {
  if (!network || !pass) return "";
  if (depth === 0) {
    return "Its weights, one per pixel: ink on orange raises its value, ink on blue lowers it.";
  }
  const strongest = largest(network.contributions(pass, depth, unit), NAMED).map(
    ([input, value]) => `${input + 1} (${value > 0 ? "+" : ""}${number(value)})`,
  );
  return (
    "More ink on orange would raise its value, more on blue would lower it, with the earlier layers " +
    `as they are. The strongest inputs are units ${list(strongest)} of layer ${depth}.`
  );
}

/** Computes what mattered, and shows it over the digit. */
function showMattered() {
  if (!network || !pass) return;
  const { losses, worst } = network.occlude(pass);
  const [pixels] = pass.values;
  const most = Math.max(1, ...losses.map(Math.abs)); // so that small changes look small
  paint(matteredPicture, (pixel) => {
    const share = losses[pixel] / most;
    const ink = 22 + pixels[pixel] * (110 / 255);
    const heat = Math.min(1, Math.abs(share)) ** 0.7;
    return colour(share).map((part) => ink + heat * (part - ink));
  });
  const digit = likeliest(pass.probabilities);
  for (const [side, value] of Object.entries({
    left: worst.x,
    top: worst.y,
    width: worst.side,
    height: worst.side,
  })) {
    frame.style.setProperty(side, `${(100 * value) / SIDE}%`);
  }
  frame.hidden = false;
  const sure = percent(worst.probability);
  const costs =
    worst.digit === digit
      ? `Without the ink in the frame, the answer is still ${digit} (${sure}).`
      : `Without the ink in the frame, the answer would be ${worst.digit} (${sure}).`;
  byId("mattered-words").textContent =
    `A patch of ${worst.side} × ${worst.side} pixels is blanked out at each place in turn: orange where ` +
    `this makes the ${digit} less certain, blue where more. ${costs}`;
}

/**
 * Follows the strongest inputs back from a unit to the pixels.
 *
 * @param {Unit} unit
 * @returns {Wire[]}
 */
function trace({ depth, unit }) {
  if (!network || !pass) return [];
  const origin = stage.getBoundingClientRect();
  /** @param {Element} element */
  const middle = (element, across = 0.5, down = 0.5) => {
    const { left, top, width, height } = element.getBoundingClientRect();
    return [left + across * width - origin.left, top + down * height - origin.top];
  };
  /** @type {Wire[]} */
  const found = [];
  let units = [unit];
  for (let layer = depth; layer >= 0; layer -= 1) {
    const fan = TRACED[Math.min(depth - layer, TRACED.length - 1)];
    const next = new Set();
    for (const each of units) {
      const strongest = largest(network.contributions(pass, layer, each), fan);
      const most = Math.abs(strongest[0]?.[1] ?? 1);
      for (const [from, value] of strongest) {
        const start =
          layer === 0
            ? middle(input, ((from % SIDE) + 0.5) / SIDE, (Math.floor(from / SIDE) + 0.5) / SIDE)
            : middle(cells[layer - 1][from]);
        const end = middle(cells[layer][each], layer === cells.length - 1 ? 0 : 0.5);
        found.push({ from: start, to: end, share: value / most });
        next.add(from);
      }
    }
    units = [...next];
  }
  return found;
}

/**
 * Draws wires across the stage.
 *
 * @param {Wire[]} found
 */
function draw(found) {
  const { clientWidth: width, clientHeight: height } = stage;
  wires.width = width * devicePixelRatio;
  wires.height = height * devicePixelRatio;
  const context = context2d(wires);
  context.scale(devicePixelRatio, devicePixelRatio);
  context.lineCap = "round";
  for (const { from, to, share } of found) {
    const [x0, y0, x1, y1] = [...from, ...to];
    const isAcross = Math.abs(x1 - x0) > Math.abs(y1 - y0);
    context.beginPath();
    context.moveTo(x0, y0);
    if (isAcross) context.bezierCurveTo((x0 + x1) / 2, y0, (x0 + x1) / 2, y1, x1, y1);
    else context.bezierCurveTo(x0, (y0 + y1) / 2, x1, (y0 + y1) / 2, x1, y1);
    const [[red, green, blue]] = share > 0 ? RAISES : LOWERS;
    context.strokeStyle = `rgba(${red}, ${green}, ${blue}, ${0.1 + 0.4 * Math.abs(share)})`;
    context.lineWidth = 0.6 + 1.2 * Math.abs(share);
    context.stroke();
  }
}

/**
 * Returns the indices and values of the largest values, by magnitude.
 *
 * @param {Float32Array} values
 * @param {number} most How many to return.
 * @returns {[number, number][]}
 */
function largest(values, most) {
  return [...values.entries()]
    .filter(([, value]) => value !== 0)
    .sort(([, a], [, b]) => Math.abs(b) - Math.abs(a))
    .slice(0, most);
}

/**
 * Returns the colour of a share from -1 to 1.
 *
 * @param {number} share
 */
function colour(share) {
  const [half, whole] = share < 0 ? LOWERS : RAISES;
  const size = Math.min(1, Math.abs(share));
  const [from, to, part] = size < 0.7 ? [DARK, half, size / 0.7] : [half, whole, (size - 0.7) / 0.3];
  return from.map((value, i) => Math.round(value + part * (to[i] - value)));
}

/**
 * @param {number} value
 */
const number = (value) => (Math.abs(value) < 100 ? value.toFixed(2) : value.toFixed(0));

/**
 * Returns the unit of a cell or of an element in it.
 *
 * @param {EventTarget | null} target
 * @returns {Unit | null}
 */
function unitOf(target) {
  const cell = target instanceof Element ? target.closest("[data-unit]") : null;
  if (!(cell instanceof HTMLElement)) return null;
  return { depth: Number(cell.dataset.depth), unit: Number(cell.dataset.unit) };
}

/** @param {Event} event */
function choose({ target }) {
  const unit = unitOf(target);
  if (!unit || (chosen?.depth === unit.depth && chosen.unit === unit.unit)) return;
  chosen = unit;
  look();
}

for (const kind of ["pointerover", "pointerdown", "focusin"]) stage.addEventListener(kind, choose);

stage.addEventListener("keydown", (event) => {
  const at = unitOf(event.target);
  if (!at || event.ctrlKey || event.metaKey || event.altKey) return;
  const row = cells[at.depth];
  const box = /** @type {HTMLElement} */ (row[0].parentElement);
  const columns = getComputedStyle(box).gridTemplateColumns.split(" ").length;
  const steps = new Map([
    ["ArrowLeft", -1],
    ["ArrowRight", 1],
    ["ArrowUp", -columns],
    ["ArrowDown", columns],
    ["Home", -at.unit],
    ["End", row.length - 1 - at.unit],
  ]);
  const step = steps.get(event.key);
  if (step === undefined) return;
  event.preventDefault();
  const next = row[at.unit + step];
  if (!next) return;
  row[at.unit].tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});

new ResizeObserver(() => {
  if (pass && !stage.hidden) look();
}).observe(stage);
