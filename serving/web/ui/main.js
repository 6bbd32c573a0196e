// The page to draw on: the sheet, the requests about it, and their answers.

import { showAnswer, showModels, showReadings, showSentence } from "./answer.js";
import { curl, python } from "./commands.js";
import { showComparison } from "./compare.js";
import { byId } from "./elements.js";
import { showGallery } from "./gallery.js";
import { showInside } from "./inside.js";
import { askForLabel } from "./labels.js";
import { Latest } from "./latest.js";
import { Paper } from "./paper.js";
import { Pictures } from "./pictures.js";
import { AGAIN, codeOf, fetchPicture, key, listModels, passes, read } from "./service.js";

/**
 * @import { Subject, Write } from "./commands.js"
 * @import { Stroke } from "./paper.js"
 * @import { Picture } from "./pictures.js"
 * @import { Card, Readings } from "./service.js"
 */

/**
 * The content of the sheet: a drawing, or a picture, which may be one of several.
 *
 * @typedef {{ strokes: Stroke[], picture: Picture | null, list: Picture[] }} Sheet
 */

/** @type {Sheet} */
const BLANK = { strokes: [], picture: null, list: [] };
const NOTHING = "Draw a digit to get an answer.";
const LARGEST_COPIED = 100_000; // bytes; larger pictures are copied as a file name, not as text

const canvas = byId("paper", HTMLCanvasElement);
const shown = byId("picture", HTMLImageElement);
const eraser = byId("erase", HTMLButtonElement);
const keyForm = byId("key-form", HTMLFormElement);
const keyField = byId("key", HTMLInputElement);
const copied = byId("copied", HTMLDialogElement);

const paper = new Paper(canvas);
const pictures = new Pictures(byId("pictures"));
const questions = new Latest();

/** What the page shows. After changes to the sheet call `renderSheet`, after others `renderAnswer`. */
const state = {
  sheet: BLANK,
  /** @type {Sheet[]} Earlier sheets, for undo; the latest is last. */
  before: [],
  /** @type {Card[]} The cards of all models; empty until they have been listed. */
  cards: [],
  /** The name of the model whose answer is shown large. */
  model: "",
  /** @type {Subject | null} The subject of the last request. */
  subject: null,
  /** @type {Readings} The answers. */
  readings: {},
  /** Shown instead of an answer. */
  said: { sentence: NOTHING, isProblem: false },
};

function renderSheet() {
  const { picture } = state.sheet;
  canvas.hidden = picture !== null;
  byId("invitation").hidden = picture !== null || !paper.isBlank;
  eraser.disabled = picture !== null;
  eraser.setAttribute("aria-pressed", `${paper.erasing}`);
  pictures.mark(picture);
}

function renderAnswer() {
  const { cards, model, readings, said, subject } = state;
  const card = cards.find(({ name }) => name === model);
  const reading = readings[model];
  showReadings(readings);
  if (card && reading) showAnswer(reading, card, sizeForBoxes(reading.digits.length));
  else showSentence(said.sentence, said.isProblem);
  askForLabel(reading?.endpoint === "predict" ? subject : null);
  showComparison(subject, readings, cards, model);
  showInside(reading);
  for (const button of copiers) button.disabled = !subject || cards.length === 0;
}

/**
 * Returns the picture's size to show boxes, or `null` for a single drawn digit, which needs none.
 *
 * @param {number} digits How many there are.
 */
function sizeForBoxes(digits) {
  if (!state.sheet.picture) return digits > 1 ? { width: 280, height: 280 } : null;
  return shown.naturalWidth ? { width: shown.naturalWidth, height: shown.naturalHeight } : null;
}

/**
 * Shows a sentence instead of an answer.
 *
 * @param {string} sentence
 * @param {boolean} isProblem
 */
function say(sentence, isProblem) {
  state.readings = {};
  state.said = { sentence, isProblem };
  renderAnswer();
}

/**
 * Replaces the content of the sheet, and gives up the current request.
 *
 * @param {Sheet} sheet
 */
function lay(sheet) {
  const { picture, list, strokes } = sheet;
  const isOtherList = list !== state.sheet.list;
  questions.giveUp();
  state.sheet = sheet;
  state.subject = picture;
  state.readings = {};
  paper.strokes = strokes;
  shown.hidden = picture === null;
  byId("not-shown").hidden = true;
  if (picture) {
    shown.src = picture.url;
    shown.alt = picture.name;
  }
  if (isOtherList) {
    pictures.show(list);
    if (state.cards.length > 0) pictures.ask(state.model);
  }
  renderSheet();
  if (picture || !paper.isBlank) ask();
  else say(NOTHING, false);
}

/**
 * Replaces the content of the sheet in a way that can be undone.
 *
 * @param {Sheet} sheet
 */
function replace(sheet) {
  if (state.sheet !== BLANK) state.before.push(state.sheet);
  lay(sheet);
}

function undo() {
  const sheet = state.before.pop();
  if (sheet) lay(sheet);
}

function clear() {
  paper.erasing = false;
  replace(BLANK);
}

function turnPen() {
  paper.erasing = !paper.erasing;
  renderSheet();
}

/**
 * Opens pictures: the first on the sheet, and several also in a list.
 *
 * @param {File[]} files
 * @param {boolean} areFiles Whether they are on the disk, where a copied command finds them.
 */
function open(files, areFiles) {
  const list = files.map((file) => ({
    picture: file,
    name: file.name,
    isFile: areFiles || file.size > LARGEST_COPIED,
    url: URL.createObjectURL(file), // never revoked, because undo may bring the picture back
  }));
  replace({ strokes: [], picture: list[0], list: list.length > 1 ? list : [] });
}

/** Asks about the content of the sheet, once the current request is answered. */
function ask() {
  questions.run(async (signal) => {
    try {
      await findSubject(signal);
      if (state.cards.length === 0) await start();
      if (state.subject && !signal.aborted) await answer(state.subject, signal);
    } catch (error) {
      if (!signal.aborted) complain(error);
    }
  });
}

/** @param {AbortSignal} signal */
async function findSubject(signal) {
  if (state.sheet.picture) {
    const isShown = await shown.decode().then(
      () => true,
      () => false,
    );
    if (signal.aborted) return;
    shown.hidden = !isShown;
    byId("not-shown").hidden = isShown;
  } else if (!paper.isBlank) {
    const picture = await paper.toPicture();
    if (!signal.aborted) state.subject = { picture, name: "drawing.png", isFile: false };
  }
}

/**
 * Asks every model; if they refuse the subject, all give the same error.
 *
 * @param {Subject} subject
 * @param {AbortSignal} signal
 */
async function answer(subject, signal) {
  const readings = await read(subject.picture, "*", signal);
  if (signal.aborted) return;
  state.readings = readings;
  // The models have changed meanwhile.
  if (state.cards.map(({ name }) => name).join() !== Object.keys(readings).join()) await start();
  if (readings[state.model]) renderAnswer();
  else ask();
}

async function start() {
  const served = await listModels();
  state.cards = served.models;
  if (!state.cards.some(({ name }) => name === state.model)) state.model = served.default;
  showModels(state.cards, state.model, choose);
  if (keyForm.contains(document.activeElement)) (canvas.hidden ? byId("clear") : canvas).focus();
  keyForm.hidden = true;
  byId("key-problem").textContent = "";
  pictures.ask(state.model);
  if (!state.subject) say(NOTHING, false);
}

/** @param {any} error */
function complain(error) {
  const code = codeOf(error);
  if (code === "no_digit" && paper.isBeingDrawnOn) return; // a stroke has just begun
  // The list of models is out of date.
  if (code === "unauthorized" || code === "unknown_model") state.cards = [];
  say(error.message, true);
  if (code === "unauthorized") askForKey(error);
  if (passes(error) || code === "unknown_model") questions.runLater(ask, AGAIN);
}

/** @param {any} error */
function askForKey(error) {
  if (key.get()) return; // one was entered meanwhile, and will be tried
  if (error.key) byId("key-problem").textContent = error.message;
  if (!keyForm.hidden) return; // do not take the focus again while somebody draws
  if (paper.isBeingDrawnOn) return; // do not move the paper; this is called again when the stroke ends
  keyForm.hidden = false;
  keyField.focus();
}

/** @param {string} name */
function choose(name) {
  state.model = name;
  if (state.readings[name]) renderAnswer();
  pictures.ask(name);
}

paper.addEventListener("change", () => {
  if (paper.strokes !== state.sheet.strokes) {
    state.before.push(state.sheet);
    state.sheet = { ...state.sheet, strokes: paper.strokes };
  }
  renderSheet();
  ask();
});
paper.addEventListener("say", (event) => {
  byId("pen").textContent = /** @type {CustomEvent<string>} */ (event).detail;
});

pictures.addEventListener("choose", (event) => {
  const picture = /** @type {CustomEvent<Picture>} */ (event).detail;
  lay({ ...state.sheet, picture });
});
pictures.addEventListener("problem", (event) => {
  complain(/** @type {CustomEvent<unknown>} */ (event).detail);
});

eraser.addEventListener("click", turnPen);
byId("undo").addEventListener("click", undo);
byId("clear").addEventListener("click", clear);

document.addEventListener("keydown", (event) => {
  const { altKey, ctrlKey, metaKey, shiftKey, repeat } = event;
  const target = /** @type {Element} */ (event.target);
  if (target === keyField || copied.open || altKey || shiftKey) return;
  const name = event.key.toLowerCase();
  const isOnPage = target === document.body || target.closest("#paper, #pictures") !== null;
  if (ctrlKey || metaKey) {
    if (name !== "z") return;
    undo();
  } else if (target === canvas && name === "e") {
    if (!repeat) turnPen();
  } else if (name === "delete" && isOnPage) {
    clear();
  } else return;
  event.preventDefault();
});

for (const input of [byId("open", HTMLInputElement), byId("photograph", HTMLInputElement)]) {
  input.addEventListener("change", () => {
    if (input.files?.length) open([...input.files], true);
    input.value = ""; // or the same file could not be opened again
  });
}

// The picture on the sheet must not be dropped on itself.
document.addEventListener("dragstart", (event) => event.preventDefault());
document.addEventListener("dragover", (event) => {
  if (event.target === keyField) return;
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  if (event.target === keyField) return;
  event.preventDefault();
  document.body.classList.remove("dragging");
  take(event.dataTransfer, true, "That is not a file. Drop a picture file.");
});
document.addEventListener("paste", (event) => {
  if (event.target === keyField) return;
  take(event.clipboardData, false, "There is no picture in the clipboard. Copy one first.");
});

/**
 * @param {DataTransfer | null} transfer
 * @param {boolean} areFiles
 * @param {string} otherwise Shown if there are no files in it.
 */
function take(transfer, areFiles, otherwise) {
  if (transfer?.files.length) open([...transfer.files], areFiles);
  else say(otherwise, true);
}

keyForm.addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(keyField.value);
  keyField.value = "";
  ask();
});

const copiers = [copier("curl", curl), copier("Python", python)];

/**
 * Sets up the button that copies the request in a language.
 *
 * @param {string} language
 * @param {Write} write
 */
function copier(language, write) {
  const button = byId(`copy-${language.toLowerCase()}`, HTMLButtonElement);
  button.addEventListener("click", async () => {
    const { model, readings, subject } = state;
    if (!subject) return;
    const text = await write(subject, readings[model]?.endpoint ?? "predict", model);
    byId("copied-title").textContent = `The same request in ${language}`;
    byId("code").textContent = text;
    byId("copied-note").textContent = await copy(text);
    copied.showModal();
  });
  return button;
}

/**
 * Copies text if the browser allows it, which it does only over https or on localhost.
 *
 * @param {string} text
 */
async function copy(text) {
  try {
    // eslint-disable-next-line baseline-js/use-baseline -- only its other methods are from 2024
    await navigator.clipboard.writeText(text);
    return "Copied:";
  } catch {
    return "This browser does not let the page copy. Select the text and copy it:";
  }
}

showGallery(byId("gallery"), (address, name) => {
  questions.giveUp();
  const fetchExample = () =>
    questions.run(async (signal) => {
      try {
        const picture = await fetchPicture(address, signal);
        if (!signal.aborted) open([new File([picture], name, { type: picture.type })], false);
      } catch (error) {
        if (signal.aborted) return;
        complain(error);
        questions.runLater(fetchExample, AGAIN);
      }
    });
  fetchExample();
});

byId("unsupported").remove();
renderSheet();
ask();
