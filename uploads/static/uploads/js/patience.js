// @ts-check
import { Trouble } from "./trouble.js";
import { backoff, nap } from "./waits.js";

/** Tries of one request while other requests get through: then it is this one that is ill. */
const TRIES = 8;
/** Tries while nothing gets through at all: the network or the store is away, about 20 minutes. */
const LONELY_TRIES = 45;
/** With the network cable out the browser says so; this often we look whether it is wrong. */
const OFFLINE_LOOK_MS = 5000;

/** When anything last got through, shared by all requests. */
export class Pulse {
  at = -1;

  beat() {
    this.at = performance.now();
  }
}

/** Counts the tries of one request and waits between them. */
export class Patience {
  tries = 0;
  /** @type {Map<string, number>} */
  counts = new Map();

  /** @param {Pulse} pulse */
  constructor(pulse) {
    this.pulse = pulse;
    this.since = performance.now();
  }

  /**
   * Waits before the next try. Time spent offline counts as no try at all.
   * @param {AbortSignal} signal
   * @param {number} [asked]  milliseconds the other side asked for
   * @throws {Trouble} `away` when it makes no sense to go on
   */
  async wait(signal, asked = 0) {
    if (navigator.onLine === false) return nap(OFFLINE_LOOK_MS, signal);
    const others = this.pulse.at > this.since;
    if (this.tries >= (others ? TRIES : LONELY_TRIES)) throw new Trouble("away");
    this.tries += 1;
    await nap(Math.max(asked, backoff(this.tries - 1)), signal);
  }

  /**
   * Allows something a bounded number of times.
   * @param {string} kind  also the name of the trouble when it happens too often
   * @param {number} most
   */
  allow(kind, most) {
    const count = (this.counts.get(kind) ?? 0) + 1;
    this.counts.set(kind, count);
    if (count > most) throw new Trouble(kind);
  }
}
