// The models' cards, for people.

import { confusion, curve, reliability } from "./charts.js";
import { byId, make } from "./elements.js";
import { listModels } from "./service.js";
import { count, exactly } from "./words.js";

const kilobytes = (bytes) => `${count(Math.round(bytes / 1_000))} kB`;

try {
  const served = await listModels();
  byId("cards").append(...served.models.map((card) => show(card, card.name === served.default)));
} catch (error) {
  byId("problem").textContent =
    error.code === "unauthorized"
      ? "This service wants an API key: give it on the page to draw on, and come back in the same tab."
      : error.message;
}

function show(card, isDefault) {
  const { architecture, calibration, details, evaluation, training } = card;
  const test = details?.split;
  const title = make("h2", {}, card.name);
  if (isDefault) title.append(make("span", { class: "badge" }, "answers by default"));
  const article = make("article", { class: "card" }, title);
  if (test) {
    const { correct, total, accuracy } = evaluation[test];
    article.append(
      make("p", { class: "large" }, exactly(accuracy)),
      make("p", {}, `right on ${test}: ${count(correct)} of ${count(total)}`),
    );
  }
  const facts = {
    Version: card.version,
    Network: architecture?.summary,
    Parameters: architecture && count(architecture.parameters),
    "ONNX file": card.sizes && kilobytes(card.sizes["model.onnx"]),
    "Runs on": card.provider,
    Recipe: training && `${training.recipe.name}, seed ${training.seed}`,
    ...splits(evaluation, test),
    ...acceptance(evaluation[test], calibration),
  };
  article.append(
    make(
      "dl",
      {},
      ...Object.entries(facts)
        .filter(([, fact]) => fact !== undefined)
        .flatMap(([name, fact]) => [make("dt", {}, name), make("dd", {}, `${fact}`)]),
    ),
  );
  if (details) {
    article.append(
      make("h3", {}, `Mistakes on ${details.split}`),
      confusion(details.confusion),
      make("h3", {}, "Confidence, and how often it was right"),
      reliability(details.reliability),
      make("h3", {}, "Training"),
      curve(details.validation_accuracies, details.losses),
    );
  }
  return article;
}

function splits(evaluation, test) {
  const others = Object.entries(evaluation).filter(([split]) => split !== test);
  return Object.fromEntries(
    others.map(([split, { correct, total, accuracy }]) => [
      `Right on ${split}`,
      `${exactly(accuracy)}: ${count(correct)} of ${count(total)}`,
    ]),
  );
}

function acceptance(result, calibration) {
  if (result?.accepted === undefined) return {};
  const { accepted, accepted_correct: right, total, calibration_error: error } = result;
  return {
    Accepts: `${exactly(accepted / total)} of test digits: ${count(accepted)}`,
    "Of these right": `${exactly(right / accepted)}: ${count(right)}`,
    "From confidence": exactly(calibration.acceptance.confidence),
    "Calibration error": exactly(error),
  };
}
