// Asks the service, as any other client does.

export const ADDRESS = new URL("../", import.meta.url);

const KEY = "qmnist-api-key";

/** What the service answers when it does not answer what it was asked. */
export class Refused extends Error {
  constructor(code, message, key) {
    super(message);
    this.code = code;
    this.key = key; // the one that was sent, or null
  }
}

/** The service did not answer at all. */
export class Gone extends Error {
  constructor() {
    super("The service does not answer. It is asked again every two seconds.");
  }
}

export const AGAIN = 2_000; // ms until a service that has not answered is asked again

/** Whether the same request may be answered a little later. */
export const passes = (error) => error instanceof Gone || error.code === "overloaded";

/** The API key, kept until the tab is closed. */
export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** The models that are served: {default, models: cards}. */
export const listModels = () => send(new URL("models", ADDRESS));

/** Where a picture is sent: /predict for one digit, /read for several. */
export function address(endpoint, model) {
  const url = new URL(endpoint, ADDRESS);
  url.search = new URLSearchParams({ model, explain: true });
  return url;
}

/**
 * Reads a picture, of one digit or of several, by some models: names with commas, or "*" for all.
 *
 * Returns, by each model's name, {endpoint, text, digits: [{digit, confidence, accepted, reason,
 * explanation, …}]}; of one digit there are `probabilities`, of several the `box` of each.
 */
export async function read(picture, models, signal) {
  const post = async (endpoint) => {
    const answer = await send(address(endpoint, models), {
      method: "POST",
      body: picture,
      headers: { "Content-Type": picture.type || "application/octet-stream" },
      signal,
    });
    return answer.answers ?? [answer];
  };
  let readings;
  try {
    readings = (await post("predict")).map((answer) => ({
      endpoint: "predict",
      model: answer.model,
      text: String(answer.digit),
      digits: [answer],
    }));
  } catch (error) {
    if (error.code !== "several_digits") throw error;
    readings = (await post("read")).map((answer) => ({ endpoint: "read", ...answer }));
  }
  return Object.fromEntries(readings.map((reading) => [reading.model, reading]));
}

/** One of the page's own pictures. */
export async function fetchPicture(address, signal) {
  const response = await fetchOrGone(address, { signal });
  if (!response.ok) throw new Gone();
  return response.blob();
}

async function send(url, options = {}) {
  const headers = { ...options.headers };
  const sent = key.get();
  if (sent) headers.Authorization = `Bearer ${sent}`;
  const response = await fetchOrGone(url, { ...options, headers });
  const body = await response.json().catch(() => null);
  options.signal?.throwIfAborted();
  if (response.ok && body) return body;
  if (!body?.error) throw new Gone(); // a proxy says that nobody is there
  const { code, message } = body.error;
  // Unless another one has been given meanwhile.
  if (code === "unauthorized" && key.get() === sent) key.forget();
  throw new Refused(code, message, sent);
}

async function fetchOrGone(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    await options.body?.slice(0, 1).arrayBuffer().catch(() => {
      const sentence = "The browser cannot read this: it is a folder, or a file that has changed.";
      throw new Refused("unreadable", sentence, null);
    });
    throw new Gone();
  }
}
