// The page that shows the model cards.

import { confusion, curve, reliability } from "./charts.js";
import { byId, make } from "./elements.js";
import { codeOf, listModels } from "./service.js";
import { count, exactly, list } from "./words.js";

/** @import { Card, Evaluation, Served } from "./service.js" */

/** @param {number} bytes */
const kilobytes = (bytes) => `${count(Math.round(bytes / 1_000))} kB`;

byId("unsupported").remove();
listModels().then(
  (served) => {
    byId("choice").textContent = choice(served);
    byId("cards").append(...served.models.map((card) => show(card, card.name === served.default)));
  },
  (error) => {
    byId("problem").textContent =
      codeOf(error) === "unauthorized"
        ? "This service requires an API key. Enter it on the Draw page, then come back in the same tab."
        : error.message;
  },
);

/**
 * Explains why a model is the default, and how the models compare.
 *
 * @param {Served} served
 */
function choice({ default: chosen, models: served }) {
  const models = served.filter(({ comparison }) => !comparison);
  if (models.length < 2) return "";
  const validated = rightOn("validation", models);
  const said = validated.map(({ name, correct }) => `${name} ${count(correct)}`);
  const sentences =
    validated.length === models.length && validated[0].name === chosen
      ? [
          `${chosen} is the default because it gets the most validation digits right:`,
          `of ${count(validated[0].total)}, ${list(said)}.`,
        ]
      : [`${chosen} is the default because this service is configured that way.`];
  const split = models[0].details?.split;
  const tested = split ? rightOn(split, models) : [];
  if (tested.length === models.length) {
    const [{ correct, total }] = tested;
    const between = correct - tested[tested.length - 1].correct;
    const chance = 1.96 * Math.sqrt(correct * (1 - correct / total));
    sentences.push(
      `Test digits play no part in this: on ${split}, the best and the worst are ${count(between)} of`,
      `${count(total)} digits apart, and chance alone moves each count by`,
      `±\u00a0${count(Math.round(chance))}${between < chance ? ", so they are equally good there" : ""}.`,
    );
  }
  return sentences.join(" ");
}

/**
 * Returns how many digits of a split each model gets right, the best first.
 *
 * @param {string} split
 * @param {Card[]} models
 */
function rightOn(split, models) {
  return models
    .filter(({ evaluation }) => evaluation[split])
    .map(({ name, evaluation }) => ({ name, ...evaluation[split] }))
    .sort((one, other) => other.correct - one.correct);
}

/**
 * @param {Card} card
 * @param {boolean} isDefault
 */
function show(card, isDefault) {
  const { architecture, calibration, details, evaluation, training } = card;
  const test = details?.split;
  const title = make("h2", {}, card.name);
  if (isDefault) title.append(make("span", { class: "badge" }, "default"));
  if (card.comparison) title.append(make("span", { class: "badge" }, "for comparison"));
  const article = make("article", { class: "card" }, title);
  if (test) {
    const { correct, total, accuracy } = evaluation[test];
    article.append(
      make("p", { class: "large" }, exactly(accuracy)),
      make("p", {}, `right on ${test}: ${count(correct)} of ${count(total)}`),
    );
  }
  /** @type {Record<string, string | undefined>} */
  const facts = {
    Version: card.version,
    Network: architecture?.summary,
    Parameters: architecture && count(architecture.parameters),
    "ONNX file": card.sizes && kilobytes(card.sizes["model.onnx"]),
    "Runs on": card.provider,
    Recipe: training && `${training.recipe.name}, seed ${training.seed}`,
    ...splits(evaluation, test),
    ...(test && acceptance(evaluation[test], calibration)),
  };
  article.append(
    make(
      "dl",
      {},
      ...Object.entries(facts).flatMap(([name, fact]) =>
        fact === undefined ? [] : [make("dt", {}, name), make("dd", {}, fact)],
      ),
    ),
  );
  if (details) {
    article.append(
      make("h3", {}, `Mistakes on ${details.split}`),
      confusion(details.confusion),
      make("h3", {}, "Confidence and how often it is right"),
      reliability(details.reliability),
      make("h3", {}, "Training"),
      curve(details.validation_accuracies, details.losses),
    );
  }
  return article;
}

/**
 * @param {Record<string, Evaluation>} evaluation
 * @param {string | undefined} test
 */
function splits(evaluation, test) {
  const others = Object.entries(evaluation).filter(([split]) => split !== test);
  return Object.fromEntries(
    others.map(([split, { correct, total, accuracy }]) => [
      `Right on ${split}`,
      `${exactly(accuracy)}: ${count(correct)} of ${count(total)}`,
    ]),
  );
}

/**
 * @param {Evaluation} result
 * @param {Card["calibration"]} calibration
 */
function acceptance(result, { acceptance: thresholds }) {
  const { accepted, accepted_correct: right, total, calibration_error: error } = result;
  if (!thresholds || accepted === undefined || right === undefined) return {};
  return {
    Accepts: `${exactly(accepted / total)} of test digits: ${count(accepted)}`,
    "Of these, right": `${exactly(right / accepted)}: ${count(right)}`,
    "Minimum confidence": exactly(thresholds.confidence),
    "Calibration error": exactly(error),
  };
}
