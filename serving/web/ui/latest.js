/** ms without another answer after which the page does what is not needed to follow the pen. */
export const REST = 120;

/**
 * Runs one task at a time, and of those that come meanwhile only the last.
 *
 * @typedef {(signal: AbortSignal) => Promise<void>} Task Its signal tells that it is given up.
 */
export class Latest {
  #running = false;
  /** @type {(() => Promise<void>) | null} */
  #waiting = null;
  #controller = new AbortController();
  /** @type {number | undefined} */
  #timer;

  /** @param {Task} task */
  async run(task) {
    clearTimeout(this.#timer);
    const { signal } = this.#controller;
    this.#waiting = () => task(signal);
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#waiting) {
        const next = this.#waiting;
        this.#waiting = null;
        await next();
      }
    } finally {
      this.#running = false;
    }
  }

  /**
   * Calls what is to run a task in a while, unless another comes before.
   *
   * @param {() => void} again
   * @param {number} wait ms
   */
  runLater(again, wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(again, wait);
  }

  /** Gives up what runs and what waits. */
  giveUp() {
    clearTimeout(this.#timer);
    this.#waiting = null;
    this.#controller.abort();
    this.#controller = new AbortController();
  }
}
