// Shows what was answered: the digit, its bars, what the network saw, and what other models say.

import { byId, make, makeSvg } from "./elements.js";
import { agreement, changes, percent, verdict } from "./words.js";

const QUIET = 700; // ms without another answer before one is read aloud

const [digit, words, seen, bars, boxes] = ["digit", "verdict", "seen", "bars", "boxes"].map(byId);
let speaking;

const rows = Array.from({ length: 10 }, (_, i) => {
  const bar = make("div");
  const share = make("td", { class: "share" });
  const row = make("tr", {}, make("th", { scope: "row" }, `${i}`), make("td", {}, bar), share);
  bars.tBodies[0].append(row);
  return { row, bar, share };
});

/** Shows one model's answer. `size` is that of the picture; without it the boxes are left out. */
export function showAnswer(reading, card, size) {
  const { text, digits } = reading;
  digit.textContent = text;
  digit.classList.toggle("several", text.length > 1);
  digit.classList.toggle("refused", digits.some(({ accepted }) => accepted === false));
  words.textContent = verdict(reading, card);
  words.classList.remove("problem");
  showSeen(reading);
  showBars(digits);
  showBoxes(digits, size);
  say(`${digits.length > 1 ? text.replaceAll("\n", ", ") : text}. ${words.textContent}`);
}

/** Shows a sentence in the place of an answer. */
export function showSentence(sentence, isProblem) {
  digit.textContent = isProblem ? "—" : "?";
  digit.classList.remove("several", "refused");
  words.textContent = sentence;
  words.classList.toggle("problem", isProblem);
  seen.hidden = true;
  showBars([]);
  showBoxes([]);
  say(sentence);
}

/** Tells those who do not see the page, once nothing has changed for a while. */
function say(sentence) {
  clearTimeout(speaking);
  speaking = setTimeout(() => {
    const announcement = byId("announcement");
    if (announcement.textContent !== sentence) announcement.textContent = sentence;
  }, QUIET);
}

/** Shows the models to choose from; `choose` is told the name of the one chosen. */
export function showModels(cards, chosen, choose) {
  const choices = cards.map(({ name }) => {
    const radio = make("input", { type: "radio", name: "model", value: name });
    radio.checked = name === chosen;
    radio.addEventListener("change", () => choose(name));
    const said = make("span", { class: "said" }, "—");
    const sure = make("span", { class: "sure" }, "\u00a0");
    return make("label", {}, radio, make("span", { class: "name" }, name), said, sure);
  });
  byId("model-choices").replaceChildren(...choices);
}

/** Shows what each model says, and where they disagree. */
export function showReadings(readings) {
  const texts = {};
  for (const radio of document.querySelectorAll("#model-choices input")) {
    const [said, sure] = ["said", "sure"].map((name) =>
      radio.parentElement.getElementsByClassName(name).item(0),
    );
    const reading = readings[radio.value];
    said.textContent = reading?.text ?? "—";
    sure.textContent = reading ? percent(least(reading)) : "\u00a0";
    if (reading) texts[radio.value] = reading.text;
  }
  byId("agreement").textContent = agreement(texts);
  byId("agreement").classList.toggle("disagree", new Set(Object.values(texts)).size > 1);
}

const least = ({ digits }) => Math.min(...digits.map(({ confidence }) => confidence));

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

function showSeen(reading) {
  const pictures = reading.digits.map(({ digit, confidence, explanation }) => {
    const source = `data:image/png;base64,${explanation.pixels}`;
    const alt = `What the network saw of the ${digit}, 28 by 28 pixels`;
    const picture = make("img", { src: source, alt, width: 28, height: 28 });
    if (reading.digits.length === 1) return picture;
    return make("div", {}, picture, make("span", {}, `${digit}: ${percent(confidence)}`));
  });
  byId("seen-pictures").replaceChildren(...pictures);
  byId("changes").textContent = `What the network saw. ${changes(reading)}`;
  seen.hidden = false;
}

function showBoxes(digits, size) {
  if (!size) {
    boxes.replaceChildren();
    return;
  }
  boxes.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  const unit = Math.max(size.width, size.height) / 100;
  boxes.replaceChildren(
    ...digits.map((found) => {
      const [x, y, width, height] = (found.box ?? found.explanation.box).map(Number);
      const frame = makeSvg("rect", { x: x - unit, y: y - unit, rx: unit });
      frame.setAttribute("width", width + 2 * unit);
      frame.setAttribute("height", height + 2 * unit);
      const label = makeSvg("text", { x: x + width + unit, y: y - 2 * unit }, `${found.digit}`);
      label.setAttribute("font-size", 6 * unit);
      const kind = found.accepted === false ? "refused" : "accepted";
      return makeSvg("g", { class: kind }, frame, label);
    }),
  );
}
