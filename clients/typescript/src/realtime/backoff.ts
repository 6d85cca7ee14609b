/**
 * Back-off with full jitter: so that a server that comes back is not met by everybody at once.
 *
 * Source: "Exponential Backoff and Jitter", AWS Architecture Blog.
 */

export const BACKOFF_MIN_MS = 500;
export const BACKOFF_MAX_MS = 30_000;

export class Backoff {
  #failures = 0;

  /** `random` gives numbers in [0, 1). */
  constructor(private readonly random: () => number = Math.random) {}

  /** How long to wait before the next try, in milliseconds; at least `floorMs`, which a server may have asked for. */
  next(floorMs = 0): number {
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(this.#failures, 16));
    this.#failures += 1;
    return floorMs + this.random() * ceiling;
  }

  get failures(): number {
    return this.#failures;
  }

  /** Something worked, or the network is another one. */
  reset(): void {
    this.#failures = 0;
  }
}
