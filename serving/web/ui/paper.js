// The paper, for strokes with a mouse, a finger, a pen, or the arrow keys.

const PEN = 0.07; // the thickness of a stroke; all lengths are shares of the paper's side
const RUBBER = 0.14;
const STEP = 0.03; // of the pen, per arrow key
const SENT = 280; // pixels, the side of the picture that is sent

/**
 * @typedef {{ x: number, y: number }} Place
 * @typedef {Place & { width: number }} Point
 * @typedef {{ erases: boolean, points: Point[] }} Stroke
 */

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const PEN_ERASER = 32; // in `buttons`: the eraser end of a pen

/**
 * A canvas to draw on.
 *
 * Fires `change` whenever the drawing changes or a stroke ends, and `say`, with a sentence in
 * `detail`, when the keyboard lowers or lifts the pen.
 */
export class Paper extends EventTarget {
  erasing = false;
  #canvas;
  #context;
  /** @type {Stroke[]} */
  #strokes = [];
  /** @type {Stroke | null} The stroke being drawn. */
  #stroke = null;
  /** @type {number | null} The pointer that draws it. */
  #pointer = null;
  /** @type {Place | null} The keyboard's pen, while it is in use. */
  #pen = null;
  #down = false; // whether that pen is down

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    super();
    this.#canvas = canvas;
    this.#context = contextOf(canvas);
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#go(event));
    canvas.addEventListener("pointerup", (event) => this.#end(event));
    canvas.addEventListener("pointercancel", (event) => this.#end(event));
    canvas.addEventListener("keydown", (event) => this.#press(event));
    canvas.addEventListener("blur", () => this.#lift());
    new ResizeObserver(() => this.#show()).observe(canvas);
  }

  get isBeingDrawnOn() {
    return this.#stroke !== null;
  }

  get isBlank() {
    return this.#strokes.length === 0;
  }

  /** The drawing: a new array with each new stroke. */
  get strokes() {
    return this.#strokes;
  }

  set strokes(strokes) {
    this.#drop();
    this.#strokes = strokes;
    this.#show();
  }

  /**
   * Returns the drawing as a PNG file, black on white.
   *
   * @returns {Promise<Blob>}
   */
  toPicture() {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SENT;
    const context = contextOf(canvas);
    draw(this.#strokes, context, SENT);
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "white";
    context.fillRect(0, 0, SENT, SENT);
    return new Promise((resolve, reject) => {
      const failed = new Error("The browser has no memory left for the drawing.");
      canvas.toBlob((blob) => (blob ? resolve(blob) : reject(failed)), "image/png");
    });
  }

  /** @param {PointerEvent} event */
  #begin(event) {
    if (event.button !== 0 && !(event.buttons & PEN_ERASER)) return;
    if (this.#pointer !== null) return; // a second finger
    this.#lift();
    this.#pointer = event.pointerId;
    this.#canvas.setPointerCapture(event.pointerId);
    this.#start(this.erasing || Boolean(event.buttons & PEN_ERASER), this.#point(event));
  }

  /** @param {PointerEvent} event */
  #go(event) {
    if (event.pointerId !== this.#pointer || !this.#stroke) return;
    // A busy browser coalesces movements, and reports only the last.
    const movements = event.getCoalescedEvents?.() ?? [];
    for (const movement of movements.length > 0 ? movements : [event]) {
      this.#stroke.points.push(this.#point(movement));
    }
    this.#changed();
  }

  /** @param {PointerEvent} event */
  #end(event) {
    if (event.pointerId !== this.#pointer) return;
    this.#pointer = null;
    if (!this.#stroke) return; // undone meanwhile
    this.#stroke = null;
    this.#changed();
  }

  /**
   * @param {PointerEvent} event
   * @returns {Point}
   */
  #point(event) {
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    const x = (event.clientX - left) / width;
    const y = (event.clientY - top) / height;
    // Only pens report pressure; other pointers always report 0.5.
    const pressure = event.pointerType === "pen" && event.pressure > 0 ? event.pressure : 0.5;
    return { x, y, width: PEN * (0.4 + 1.2 * pressure) };
  }

  /** @param {KeyboardEvent} event */
  #press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key];
    if (arrow) this.#move(...arrow);
    else if (event.key === " ") this.#turn(event.repeat);
    else return;
    event.preventDefault(); // or the page would scroll
    this.#show();
  }

  /**
   * @param {number} right
   * @param {number} down
   */
  #move(right, down) {
    const { x, y } = this.#pen ?? { x: 0.5, y: 0.5 };
    /** @param {number} value */
    const within = (value) => Math.min(0.95, Math.max(0.05, value));
    this.#pen = { x: within(x + STEP * right), y: within(y + STEP * down) };
    if (this.#down && this.#stroke) {
      this.#stroke.points.push({ ...this.#pen, width: PEN });
      this.#changed();
    }
  }

  #drop() {
    if (this.#down) this.#say("Pen up.");
    this.#stroke = null;
    this.#down = false;
  }

  /** @param {boolean} isRepeated */
  #turn(isRepeated) {
    if (isRepeated) return;
    if (this.#down) this.#lift();
    else this.#lower();
  }

  #lower() {
    this.#pen ??= { x: 0.5, y: 0.5 };
    this.#down = true;
    this.#start(this.erasing, { ...this.#pen, width: PEN });
    this.#say("Pen down.");
  }

  #lift() {
    if (this.#down) {
      this.#down = false;
      this.#stroke = null;
      this.#say("Pen up.");
      this.#changed();
    }
    if (document.activeElement !== this.#canvas) this.#pen = null;
    this.#show();
  }

  /**
   * @param {boolean} erases
   * @param {Point} point
   */
  #start(erases, point) {
    this.#stroke = { erases, points: [point] };
    this.#strokes = [...this.#strokes, this.#stroke];
    this.#changed();
  }

  /** @param {string} sentence */
  #say(sentence) {
    this.dispatchEvent(new CustomEvent("say", { detail: sentence }));
  }

  #changed() {
    this.#show();
    this.dispatchEvent(new Event("change"));
  }

  #show() {
    const side = Math.round(this.#canvas.clientWidth * devicePixelRatio);
    if (this.#canvas.width !== side) this.#canvas.width = this.#canvas.height = side;
    this.#context.clearRect(0, 0, side, side);
    draw(this.#strokes, this.#context, side);
    if (this.#pen) ring(this.#context, this.#pen, this.#down, side);
  }
}

/** @param {HTMLCanvasElement} canvas */
function contextOf(canvas) {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("This browser cannot draw.");
  return context;
}

/**
 * @param {Stroke[]} strokes
 * @param {CanvasRenderingContext2D} context
 * @param {number} side
 */
function draw(strokes, context, side) {
  context.save();
  context.scale(side, side);
  context.lineCap = context.lineJoin = "round";
  for (const { erases, points } of strokes) {
    context.globalCompositeOperation = erases ? "destination-out" : "source-over";
    let last = points[0];
    for (const point of points) {
      context.beginPath();
      context.lineWidth = erases ? RUBBER : (last.width + point.width) / 2;
      context.moveTo(last.x, last.y);
      context.lineTo(point.x, point.y);
      context.stroke();
      last = point;
    }
  }
  context.restore();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Place} place
 * @param {boolean} down
 * @param {number} side
 */
function ring(context, { x, y }, down, side) {
  context.beginPath();
  context.arc(x * side, y * side, (PEN / 2) * side, 0, 2 * Math.PI);
  context.lineWidth = 2 * devicePixelRatio;
  context.strokeStyle = down ? "#c2410c" : "#1d4ed8";
  context.stroke();
}
