// The page to draw on. What is on the sheet is the subject: {picture, name, isFile, url}, whose
// picture is a Blob, and `null` when there is nothing. Every model is asked about it, and the
// answers are the readings, by the model's name.

import { showAnswer, showModels, showReadings, showSentence } from "./answer.js";
import { curl, python } from "./commands.js";
import { byId } from "./elements.js";
import { showGallery } from "./gallery.js";
import { Latest } from "./latest.js";
import { Paper } from "./paper.js";
import { Pictures } from "./pictures.js";
import { AGAIN, fetchPicture, key, listModels, passes, read } from "./service.js";

const NOTHING = "Draw a digit, and the answer follows.";
const LARGEST_COPIED = 100_000; // bytes of a picture that is copied as text, not as a file's name

const paper = new Paper(byId("paper"));
const pictures = new Pictures(byId("pictures"));
const shown = byId("picture");
const latest = new Latest();

let cards = []; // of all models
let model = null; // the name of the one whose answer is shown large
let subject = null;
let readings = {};
let asking = new AbortController();
let showing = Promise.resolve(); // until the browser has decoded the picture, or given up
let again;

paper.addEventListener("change", () => {
  byId("invitation").hidden = !paper.isBlank;
  if (paper.isBlank) empty();
  else update();
});
paper.addEventListener("say", ({ detail }) => {
  byId("pen").textContent = detail;
});

pictures.addEventListener("choose", ({ detail }) => show(detail));
pictures.addEventListener("problem", ({ detail }) => complain(detail));

/** Asks about what is on the sheet, once what is being asked has been answered. */
function update() {
  const { signal } = asking; // is given up if the sheet is another's before that
  clearTimeout(again);
  latest.run(async () => {
    await showing;
    if (!subject?.url && !paper.isBlank) {
      const picture = await paper.toPicture();
      if (!signal.aborted) subject = { picture, name: "drawing.png", isFile: false };
    }
    if (!signal.aborted) await ask(signal);
  });
}

/** Asks every model about the subject; those that refuse it all say the same. */
async function ask(signal) {
  try {
    if (cards.length === 0) await start();
    if (!subject || signal.aborted) return;
    const about = subject;
    const found = await read(about.picture, "*", signal);
    if (signal.aborted) return;
    readings = found;
    // Others are served by now.
    if (cards.map(({ name }) => name).join() !== Object.keys(readings).join()) await start();
    if (readings[model]) render();
    else update();
  } catch (error) {
    if (!signal.aborted) complain(error);
  }
}

async function start() {
  const served = await listModels();
  cards = served.models;
  if (!cards.some(({ name }) => name === model)) model = served.default;
  showModels(cards, model, choose);
  if (byId("key-form").contains(document.activeElement)) {
    byId(byId("paper").hidden ? "clear" : "paper").focus();
  }
  byId("key-form").hidden = true;
  byId("key-problem").textContent = "";
  pictures.ask(model);
  if (paper.isBlank && !subject) showSentence(NOTHING, false);
}

function complain(error) {
  if (error.code === "no_digit" && paper.isBeingDrawnOn) return; // a stroke has just begun
  readings = {};
  showReadings(readings);
  showSentence(error.message, true);
  byId("copy-curl").disabled = byId("copy-python").disabled = !subject || cards.length === 0;
  // These end what is known of the models, which are listed again.
  if (error.code === "unauthorized" || error.code === "unknown_model") cards = [];
  if (error.code === "unauthorized") askForKey(error);
  if (passes(error) || error.code === "unknown_model") again = setTimeout(update, AGAIN);
}

function askForKey(error) {
  if (key.get()) return; // it has been given meanwhile, and is about to be tried
  if (error.key) byId("key-problem").textContent = error.message;
  if (!byId("key-form").hidden) return; // nor take the focus again from who draws meanwhile
  if (paper.isBeingDrawnOn) return; // nor move the paper: at the stroke's end this comes again
  byId("key-form").hidden = false;
  byId("key").focus();
}

function choose(name) {
  model = name;
  if (readings[model]) render();
  pictures.ask(model);
}

/** Shows the readings. */
function render() {
  const card = cards.find(({ name }) => name === model);
  showReadings(readings);
  showAnswer(readings[model], card, sizeForBoxes());
  byId("copy-curl").disabled = byId("copy-python").disabled = false;
}

/** The size of the picture if its digits' boxes are to be seen, as of one drawn digit they are not. */
function sizeForBoxes() {
  if (shown.hidden) {
    const several = readings[model].digits.length > 1;
    return several ? { width: 280, height: 280 } : null;
  }
  return shown.naturalWidth ? { width: shown.naturalWidth, height: shown.naturalHeight } : null;
}

/** Puts a picture on the sheet. */
function show(picture) {
  forget();
  subject = picture;
  byId("paper").hidden = byId("invitation").hidden = true;
  byId("not-shown").hidden = true;
  shown.hidden = false;
  shown.src = picture.url;
  shown.alt = picture.name;
  byId("erase").disabled = byId("undo").disabled = true;
  pictures.mark(picture);
  const decoded = shown.decode().catch(() => {
    if (showing !== decoded) return; // another one has been put there, or the same one again
    shown.hidden = true;
    byId("not-shown").hidden = false;
  });
  showing = decoded;
  update();
}

/** Takes all from the sheet: there is nothing to be answered. */
function empty() {
  forget();
  subject = null;
  byId("paper").hidden = false;
  shown.hidden = byId("not-shown").hidden = true;
  byId("erase").disabled = byId("undo").disabled = false;
  showReadings(readings);
  showSentence(NOTHING, false);
  byId("copy-curl").disabled = byId("copy-python").disabled = true;
}

/** Gives up what is being asked. */
function forget() {
  asking.abort();
  asking = new AbortController();
  clearTimeout(again);
  readings = {};
}

/** Shows files: one on the sheet, several in a list as well. */
function open(files, areFiles) {
  discard();
  const subjects = files.map((file) => {
    const url = URL.createObjectURL(file);
    return { picture: file, name: file.name, isFile: areFiles || file.size > LARGEST_COPIED, url };
  });
  pictures.show(subjects.length > 1 ? subjects : []);
  show(subjects[0]);
  if (cards.length > 0) pictures.ask(model);
}

/** Lets go of all pictures. */
function discard() {
  for (const { src } of [shown, ...byId("pictures").getElementsByTagName("img")]) {
    if (src.startsWith("blob:")) URL.revokeObjectURL(src);
  }
  pictures.show([]);
  shown.removeAttribute("src");
}

function clear() {
  erase(false);
  discard();
  paper.clear();
}

byId("erase").addEventListener("click", () => erase(!paper.erasing));
byId("undo").addEventListener("click", () => paper.undo());
byId("clear").addEventListener("click", clear);

function erase(on) {
  paper.erasing = on;
  byId("erase").setAttribute("aria-pressed", on);
}

document.addEventListener("keydown", (event) => {
  const { altKey, ctrlKey, metaKey, shiftKey, repeat, target } = event;
  if (target === byId("key") || byId("copied").open || altKey || shiftKey) return;
  const name = event.key.toLowerCase();
  const isOnPage = target === document.body || target.closest("#paper, #pictures") !== null;
  if (ctrlKey || metaKey) {
    if (name !== "z") return;
    if (subject?.url === undefined) paper.undo();
  } else if (target === byId("paper") && name === "e") {
    if (!repeat) erase(!paper.erasing);
  } else if (name === "delete" && isOnPage) {
    clear();
  } else return;
  event.preventDefault();
});

for (const id of ["open", "photograph"]) {
  byId(id).addEventListener("change", ({ target }) => {
    if (target.files.length > 0) open([...target.files], true);
    target.value = ""; // or the same file could not be opened again
  });
}

// The picture on the sheet is not to be dropped on itself.
document.addEventListener("dragstart", (event) => event.preventDefault());
document.addEventListener("dragover", (event) => {
  if (event.target === byId("key")) return;
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  if (event.target === byId("key")) return;
  event.preventDefault();
  document.body.classList.remove("dragging");
  take(event.dataTransfer.files, true, "What was dropped is not a file.");
});
document.addEventListener("paste", (event) => {
  if (event.target === byId("key")) return;
  take(event.clipboardData.files, false, "There is no picture in the clipboard.");
});

function take(files, areFiles, otherwise) {
  if (files.length > 0) open([...files], areFiles);
  else showSentence(otherwise, true);
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(byId("key").value);
  byId("key").value = "";
  update();
});

const LANGUAGES = { curl, Python: python };

for (const [name, write] of Object.entries(LANGUAGES)) {
  byId(`copy-${name.toLowerCase()}`).addEventListener("click", async () => {
    const text = await write(subject, readings[model]?.endpoint ?? "predict", model);
    byId("copied-title").textContent = `The same in ${name}`;
    byId("code").textContent = text;
    byId("copied-note").textContent = await copy(text);
    byId("copied").showModal();
  });
}

/** Copies text if the browser lets us, as it does only on https and on this machine. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return "Copied. It is:";
  } catch {
    return "This browser does not let the page copy it; select it and copy:";
  }
}

showGallery(byId("gallery"), showExample);

async function showExample(address, name) {
  forget();
  const { signal } = asking;
  try {
    const picture = await fetchPicture(address, signal);
    discard();
    show({ picture, name, isFile: false, url: URL.createObjectURL(picture) });
  } catch (error) {
    if (signal.aborted) return;
    complain(error);
    clearTimeout(again);
    again = setTimeout(() => showExample(address, name), AGAIN);
  }
}

update();
