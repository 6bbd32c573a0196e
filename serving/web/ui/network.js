// Runs the network in the browser: reads its weights from the model's ONNX file, and computes the
// same as the service.

export const SIDE = 28; // pixels
const PATCH = 5; // pixels, the side of the patch that is blanked out to see what mattered

/**
 * A layer of a network.
 *
 * @typedef {object} Layer
 * @property {number} inputs
 * @property {number} units
 * @property {Float32Array} weights Unit by unit.
 * @property {Float32Array} bias
 * @property {string} activation ONNX's name; "" for the last layer, which has none.
 * @property {number} slope The slope of a leaky ReLU below zero.
 */

/**
 * A forward pass.
 *
 * @typedef {object} Pass
 * @property {Float32Array[]} values The inputs of each layer: the pixels, 0…255, then the outputs of
 *   the layer before; the last are the logits.
 * @property {Float32Array} probabilities
 */

/**
 * The effect of blanking out a patch on the most likely digit, for each place of the patch.
 *
 * @typedef {object} Occlusion
 * @property {Float32Array} losses The loss of its log-odds, by the patch's middle pixel.
 * @property {{x: number, y: number, side: number, digit: number, probability: number}} worst The
 *   corner of the patch with the largest loss, and the answer without it.
 */

/** A multi-layer perceptron with 28 x 28 pixels as its input. */
export class Network {
  /**
   * @param {Layer[]} layers
   * @param {number} temperature The divisor of the logits.
   */
  constructor(layers, temperature) {
    this.layers = layers;
    this.temperature = temperature;
  }

  /** The number of weights, including biases. */
  get size() {
    return this.layers.reduce((sum, { weights, bias }) => sum + weights.length + bias.length, 0);
  }

  /**
   * Reads a model's ONNX file.
   *
   * @param {Uint8Array} onnx
   * @throws {Error} It is a different kind of network.
   */
  static read(onnx) {
    const { nodes, tensors } = readModel(onnx);
    const makers = new Map(nodes.map((node) => [node.outputs[0], node]));
    const unknown = new Error("The page cannot draw this kind of network.");
    /** @param {string | undefined} name */
    const tensor = (name) => {
      const found = name === undefined ? undefined : tensors.get(name);
      if (!found) throw unknown;
      return found;
    };
    // From the answer back to the pixels.
    let node = makers.get("probabilities");
    if (node?.type !== "Softmax") throw unknown;
    node = makers.get(node.inputs[0]);
    let temperature = 1;
    if (node?.type === "Div") {
      temperature = tensor(node.inputs[1]).values[0];
      node = makers.get(node.inputs[0]);
    }
    /** @type {Layer[]} */
    const layers = [];
    let [activation, slope] = ["", 0];
    while (node?.type === "Gemm") {
      const { values: weights, shape } = tensor(node.inputs[1]);
      const [units, inputs] = shape;
      if (node.attributes.get("transB") !== 1) throw unknown;
      const bias = tensor(node.inputs[2]).values;
      layers.unshift({ inputs, units, weights, bias, activation, slope });
      node = makers.get(node.inputs[0]);
      if (node && ["Relu", "LeakyRelu", "Tanh"].includes(node.type)) {
        activation = node.type;
        slope = node.attributes.get("alpha") ?? 0;
        node = makers.get(node.inputs[0]);
      }
    }
    if (layers[0]?.inputs !== SIDE * SIDE || node?.type !== "Cast") throw unknown;
    return new Network(layers, temperature);
  }

  /**
   * Computes a forward pass.
   *
   * @param {ArrayLike<number>} pixels 28 x 28, 255 is ink.
   * @returns {Pass}
   */
  run(pixels) {
    /** @type {Float32Array[]} */
    const values = [Float32Array.from(pixels)];
    for (const layer of this.layers) {
      values.push(activate(layer, weigh(layer, values[values.length - 1])));
    }
    return { values, probabilities: this.#probabilities(values[values.length - 1]) };
  }

  /**
   * Returns the contribution of each input of a unit.
   *
   * @param {Pass} pass
   * @param {number} depth The unit's layer.
   * @param {number} unit
   */
  contributions({ values }, depth, unit) {
    const { inputs, weights } = this.layers[depth];
    return values[depth].map((value, i) => value * weights[unit * inputs + i]);
  }

  /**
   * Returns the influence of each pixel on a unit before its activation: in the first layer its
   * weights, in later layers the gradient.
   *
   * @param {Pass} pass
   * @param {number} depth The unit's layer.
   * @param {number} unit
   */
  influence({ values }, depth, unit) {
    const { inputs, weights } = this.layers[depth];
    /** @type {Float32Array} */
    let slopes = weights.slice(unit * inputs, (unit + 1) * inputs);
    for (let before = depth - 1; before >= 0; before -= 1) {
      const layer = this.layers[before];
      const through = new Float32Array(layer.inputs);
      slopes.forEach((slope, i) => {
        const steepness = slope * derivative(layer, values[before + 1][i]);
        if (steepness === 0) return;
        const row = i * layer.inputs;
        for (let j = 0; j < layer.inputs; j += 1) through[j] += steepness * layer.weights[row + j];
      });
      slopes = through;
    }
    return slopes;
  }

  /**
   * Blanks out a patch around each pixel in turn.
   *
   * @param {Pass} pass
   * @returns {Occlusion}
   */
  occlude({ values, probabilities }) {
    const [pixels] = values;
    const [first, ...rest] = this.layers;
    const whole = weigh(first, pixels);
    const digit = likeliest(probabilities);
    const odds = this.#logOdds(values[values.length - 1], digit);
    const losses = new Float32Array(pixels.length);
    const half = (PATCH - 1) / 2;
    let worst = { x: 0, y: 0, side: PATCH, digit, probability: probabilities[digit] };
    let most = -Infinity;
    for (let place = 0; place < pixels.length; place += 1) {
      const [x, y] = [(place % SIDE) - half, Math.floor(place / SIDE) - half];
      const ink = inked(pixels, x, y);
      if (ink.length === 0) continue;
      // Only these pixels change, so update only their part of the first layer.
      const weighed = whole.slice();
      for (let unit = 0; unit < first.units; unit += 1) {
        const row = unit * first.inputs;
        for (const pixel of ink) weighed[unit] -= first.weights[row + pixel] * pixels[pixel];
      }
      let given = activate(first, weighed);
      for (const layer of rest) given = activate(layer, weigh(layer, given));
      losses[place] = odds - this.#logOdds(given, digit);
      if (losses[place] <= most) continue;
      most = losses[place];
      const then = this.#probabilities(given);
      const answer = likeliest(then);
      worst = { x, y, side: PATCH, digit: answer, probability: then[answer] };
    }
    return { losses, worst };
  }

  /** @param {Float32Array} logits */
  #probabilities(logits) {
    const most = Math.max(...logits);
    const powers = logits.map((logit) => Math.exp((logit - most) / this.temperature));
    const sum = powers.reduce((total, power) => total + power, 0);
    return powers.map((power) => power / sum);
  }

  /**
   * Returns how much more likely a digit is than all others together, as a logarithm.
   *
   * @param {Float32Array} logits
   * @param {number} digit
   */
  #logOdds(logits, digit) {
    const most = Math.max(...logits.filter((_, i) => i !== digit));
    let others = 0;
    logits.forEach((logit, i) => {
      if (i !== digit) others += Math.exp((logit - most) / this.temperature);
    });
    return (logits[digit] - most) / this.temperature - Math.log(others);
  }
}

/**
 * Returns the index of the largest value.
 *
 * @param {Float32Array} values
 */
export const likeliest = (values) => values.indexOf(Math.max(...values));

/**
 * @param {Layer} layer
 * @param {Float32Array} given The layer's inputs.
 */
function weigh({ inputs, weights, bias }, given) {
  return bias.map((constant, unit) => {
    const row = unit * inputs;
    let sum = constant;
    for (let i = 0; i < inputs; i += 1) sum += weights[row + i] * given[i];
    return sum;
  });
}

/**
 * @param {Layer} layer
 * @param {Float32Array} weighed
 */
function activate({ activation, slope }, weighed) {
  if (activation === "Tanh") return weighed.map(Math.tanh);
  if (activation === "Relu") return weighed.map((value) => Math.max(0, value));
  if (activation === "LeakyRelu") {
    return weighed.map((value) => (value < 0 ? slope * value : value));
  }
  return weighed;
}

/**
 * Returns the derivative of a layer's activation where its output is this value.
 *
 * @param {Layer} layer
 * @param {number} value
 */
function derivative({ activation, slope }, value) {
  if (activation === "Tanh") return 1 - value * value;
  return value > 0 ? 1 : slope; // the slope of a ReLU is 0
}

/**
 * Returns the pixels with ink in a patch.
 *
 * @param {Float32Array} pixels
 * @param {number} left
 * @param {number} top
 */
function inked(pixels, left, top) {
  const found = [];
  for (let y = Math.max(0, top); y < Math.min(SIDE, top + PATCH); y += 1) {
    for (let x = Math.max(0, left); x < Math.min(SIDE, left + PATCH); x += 1) {
      if (pixels[y * SIDE + x] > 0) found.push(y * SIDE + x);
    }
  }
  return found;
}

// Below, fields of ONNX's messages are read by their numbers in onnx.proto.

/**
 * @typedef {{type: string, inputs: string[], outputs: string[], attributes: Map<string, number>}} Node
 * @typedef {{shape: number[], values: Float32Array}} Tensor
 */

/**
 * @param {Uint8Array} bytes A `ModelProto`.
 */
function readModel(bytes) {
  /** @type {Node[]} */
  const nodes = [];
  /** @type {Map<string, Tensor>} */
  const tensors = new Map();
  for (const [field, graph] of fields(bytes)) {
    if (field !== 7 || typeof graph === "number") continue;
    for (const [part, content] of fields(graph)) {
      if (typeof content === "number") continue;
      if (part === 1) nodes.push(readNode(content));
      if (part === 5) tensors.set(...readTensor(content));
    }
  }
  return { nodes, tensors };
}

/**
 * @param {Uint8Array} bytes A `NodeProto`.
 * @returns {Node}
 */
function readNode(bytes) {
  /** @type {Node} */
  const node = { type: "", inputs: [], outputs: [], attributes: new Map() };
  for (const [field, value] of fields(bytes)) {
    if (typeof value === "number") continue;
    if (field === 1) node.inputs.push(text(value));
    if (field === 2) node.outputs.push(text(value));
    if (field === 4) node.type = text(value);
    if (field === 5) node.attributes.set(...readAttribute(value));
  }
  return node;
}

/**
 * @param {Uint8Array} bytes An `AttributeProto`.
 * @returns {[string, number]}
 */
function readAttribute(bytes) {
  let [name, number] = ["", 0];
  for (const [field, value] of fields(bytes)) {
    if (field === 1 && typeof value !== "number") name = text(value);
    if ((field === 2 || field === 3) && typeof value === "number") number = value;
  }
  return [name, number];
}

/**
 * @param {Uint8Array} bytes A `TensorProto`.
 * @returns {[string, Tensor]}
 */
function readTensor(bytes) {
  const FLOAT = 1;
  let [name, type, values] = ["", 0, new Float32Array()];
  /** @type {number[]} */
  const shape = [];
  for (const [field, value] of fields(bytes)) {
    if (typeof value === "number") {
      if (field === 1) shape.push(value);
      if (field === 2) type = value;
    } else {
      if (field === 8) name = text(value);
      if (field === 9 && type === FLOAT) values = new Float32Array(value.slice().buffer);
    }
  }
  return [name, { shape, values }];
}

/**
 * Yields the number and content of each field of a protobuf message.
 *
 * @param {Uint8Array} bytes
 * @returns {Generator<[number, number | Uint8Array]>}
 */
function* fields(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const varint = () => {
    let [number, scale] = [0, 1];
    let byte;
    do {
      byte = view.getUint8(at);
      number += (byte & 0x7f) * scale;
      scale *= 0x80;
      at += 1;
    } while (byte & 0x80);
    return number;
  };
  while (at < bytes.length) {
    const tag = varint();
    const [number, kind] = [Math.floor(tag / 8), tag % 8];
    if (kind === 0) {
      yield [number, varint()];
    } else if (kind === 2) {
      const length = varint();
      yield [number, bytes.subarray(at, at + length)];
      at += length;
    } else if (kind === 5) {
      yield [number, view.getFloat32(at, true)];
      at += 4;
    } else {
      at += 8; // 64 bits, which no field used here has
    }
  }
}

/** @param {Uint8Array} bytes */
const text = (bytes) => new TextDecoder().decode(bytes);
