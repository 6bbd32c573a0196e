// The client of the service.

export const ADDRESS = new URL("../", import.meta.url);

const KEY = "qmnist-api-key";

/**
 * The service's answers.
 *
 * @typedef {[number, number, number, number]} Box x, y, width, height
 *
 * @typedef {object} Explanation
 * @property {string} decoded A PNG in base64, like the next three.
 * @property {string} ink
 * @property {string} strokes
 * @property {string} pixels
 * @property {Box} box
 * @property {"dark on light" | "light on dark"} polarity
 * @property {string[]} removed
 *
 * @typedef {object} Digit
 * @property {number} digit
 * @property {number} confidence
 * @property {number} typicality
 * @property {boolean | null} accepted
 * @property {"unsure" | "atypical" | null} reason
 * @property {Explanation} explanation
 * @property {number[]} [probabilities] For a single digit.
 * @property {Box} [box] For one of several digits.
 *
 * @typedef {object} Reading One model's answer for a picture.
 * @property {"predict" | "read"} endpoint
 * @property {string} model
 * @property {string} version
 * @property {string} text
 * @property {Digit[]} digits
 *
 * @typedef {Record<string, Reading>} Readings By model name.
 *
 * @typedef {object} Evaluation
 * @property {number} correct
 * @property {number} total
 * @property {number} accuracy
 * @property {number} calibration_error
 * @property {number} [accepted]
 * @property {number} [accepted_correct]
 *
 * @typedef {{ confidence: number, accuracy: number, count: number }} Bin
 *
 * @typedef {object} Card A model's card; cards written by others may lack optional fields.
 * @property {string} name
 * @property {string} version
 * @property {string} provider
 * @property {boolean} comparison Whether it is only for comparison.
 * @property {{ summary: string, parameters: number }} [architecture]
 * @property {{ acceptance: { confidence: number, typicality: number } | null }} calibration
 * @property {Record<string, Evaluation>} evaluation By split.
 * @property {{ recipe: { name: string }, seed: number }} [training]
 * @property {Record<string, number>} [sizes] In bytes, by file.
 * @property {object} [details]
 * @property {string} details.split
 * @property {number[][]} details.confusion
 * @property {Bin[]} details.reliability
 * @property {number[]} details.validation_accuracies
 * @property {number[]} details.losses
 *
 * @typedef {{ default: string, models: Card[] }} Served
 */

/** An error response of the service. */
export class Refused extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {string | null} key
   */
  constructor(code, message, key) {
    super(message);
    this.code = code;
    this.key = key; // the key that was sent, or null
  }
}

/** The service did not answer at all. */
export class Gone extends Error {
  constructor() {
    super("The service does not answer. Trying again every two seconds.");
  }
}

export const AGAIN = 2_000; // ms until the next try, if the service has not answered

/**
 * Returns an error's code; `null` if it is not an error response.
 *
 * @param {unknown} error
 */
export const codeOf = (error) => (error instanceof Refused ? error.code : null);

/**
 * Returns whether the same request may succeed a little later.
 *
 * @param {unknown} error
 */
export const passes = (error) => error instanceof Gone || codeOf(error) === "overloaded";

/** The API key, kept until the tab is closed. */
export const key = {
  get: () => sessionStorage.getItem(KEY),
  /** @param {string} value */
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/**
 * Returns the models.
 *
 * @returns {Promise<Served>}
 */
export const listModels = () => send(new URL("models", ADDRESS));

/**
 * Returns the address for a picture: /predict for one digit, /read for several.
 *
 * @param {string} endpoint
 * @param {string} model
 */
export function address(endpoint, model) {
  const url = new URL(endpoint, ADDRESS);
  url.search = `${new URLSearchParams({ model, explain: "true" })}`;
  return url;
}

/**
 * Reads a picture, of one digit or of several.
 *
 * @param {Blob} picture
 * @param {string} models Names separated by commas, or "*" for all.
 * @param {AbortSignal} signal
 * @returns {Promise<Readings>}
 */
export async function read(picture, models, signal) {
  /**
   * @param {string} endpoint
   * @returns {Promise<any[]>}
   */
  const post = async (endpoint) => {
    const answer = await send(address(endpoint, models), {
      method: "POST",
      body: picture,
      headers: { "Content-Type": picture.type || "application/octet-stream" },
      signal,
    });
    return answer.answers ?? [answer];
  };
  /** @type {Reading[]} */
  let readings;
  try {
    readings = (await post("predict")).map((answer) => ({
      endpoint: "predict",
      model: answer.model,
      version: answer.version,
      text: String(answer.digit),
      digits: [answer],
    }));
  } catch (error) {
    if (codeOf(error) !== "several_digits") throw error;
    readings = (await post("read")).map((answer) => ({ endpoint: "read", ...answer }));
  }
  return Object.fromEntries(readings.map((reading) => [reading.model, reading]));
}

/**
 * Fetches one of the page's own pictures.
 *
 * @param {string} address
 * @param {AbortSignal} signal
 */
export async function fetchPicture(address, signal) {
  const response = await fetchOrGone(address, { signal });
  if (!response.ok) throw new Gone();
  return response.blob();
}

/**
 * Classifies 28 x 28 pixels with a model.
 *
 * @param {Uint8Array<ArrayBuffer>} pixels 255 is ink.
 * @param {string} model
 * @param {AbortSignal} signal
 * @returns {Promise<{ digit: number, confidence: number }>}
 */
export async function classify(pixels, model, signal) {
  const url = new URL("classify", ADDRESS);
  url.search = `${new URLSearchParams({ model })}`;
  const { digits, confidences } = await send(url, {
    method: "POST",
    body: new Blob([pixels]),
    headers: { "Content-Type": "application/octet-stream" },
    signal,
  });
  return { digit: digits[0], confidence: confidences[0] };
}

/**
 * Fetches a model's ONNX file.
 *
 * @param {string} model
 * @param {string} version
 */
export async function fetchModel(model, version) {
  const url = new URL("model.onnx", ADDRESS);
  url.search = `${new URLSearchParams({ model, version })}`;
  const response = await sendFor(url);
  return new Uint8Array(await response.arrayBuffer());
}

/**
 * @typedef {object} Options
 * @property {string} [method]
 * @property {Blob} [body]
 * @property {Record<string, string>} [headers]
 * @property {AbortSignal} [signal]
 */

/**
 * Sends a request, and returns the JSON of its answer.
 *
 * @param {URL} url
 * @param {Options} options
 */
async function send(url, options = {}) {
  const response = await sendFor(url, options);
  const body = await response.json().catch(() => null);
  options.signal?.throwIfAborted();
  if (!body) throw new Gone();
  return body;
}

/**
 * @param {URL} url
 * @param {Options} options
 */
async function sendFor(url, options = {}) {
  const headers = { ...options.headers };
  const sent = key.get();
  if (sent) headers.Authorization = `Bearer ${sent}`;
  const response = await fetchOrGone(url, { ...options, headers });
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  options.signal?.throwIfAborted();
  if (!body?.error) throw new Gone(); // a proxy's error page
  const { code, message } = body.error;
  // Unless another key was entered meanwhile.
  if (code === "unauthorized" && key.get() === sent) key.forget();
  throw new Refused(code, message, sent);
}

/**
 * @param {URL | string} url
 * @param {Options} options
 */
async function fetchOrGone(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    await options.body
      ?.slice(0, 1)
      .arrayBuffer()
      .catch(() => {
        const sentence = "The browser cannot read this: it is a folder, or a file that has changed.";
        throw new Refused("unreadable", sentence, null);
      });
    throw new Gone();
  }
}
