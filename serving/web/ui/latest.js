/** Runs one task at a time, and of those that come meanwhile only the last. */
export class Latest {
  #running = false;
  #waiting = null;

  async run(task) {
    this.#waiting = task;
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
}
