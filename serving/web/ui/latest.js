/** ms without a new answer after which the page does work that need not follow the pen. */
export const REST = 120;

/**
 * Runs one task at a time; of those that arrive meanwhile, only the last.
 *
 * @typedef {(signal: AbortSignal) => Promise<void>} Task Its signal is aborted if the task is given up.
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
   * Calls `again` after a while, unless another task comes first.
   *
   * @param {() => void} again
   * @param {number} wait ms
   */
  runLater(again, wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(again, wait);
  }

  /** Gives up the running and the waiting task. */
  giveUp() {
    clearTimeout(this.#timer);
    this.#waiting = null;
    this.#controller.abort();
    this.#controller = new AbortController();
  }
}
