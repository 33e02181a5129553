// The lines of calls that wait until they pass.

import { pause } from "./timer.js";

interface Look {
  readonly limited: boolean;
  readonly retryAfter: number;
}

/** Why a check is made: for the first time, again while waiting, or only to see the current state. */
export type Looking = "first" | "again" | "peek";

/** A line. Only the first in it checks; the others wait for their turn. */
interface Line {
  places: number;
  /** Resolves when the last one has left the line. */
  end: Promise<void>;
  /** Makes the first one check again. */
  again: () => void;
  /** When the first one will pass, as far as is known. */
  passes: number;
}

/** Lines by key. A line exists while somebody is in it. */
export class Turns {
  readonly #lines = new Map<string, Line>();

  lookAgain(key: string): void {
    this.#lines.get(key)?.again();
  }

  /** Checks until it passes, in order of arrival. What cannot pass in time is refused at once; `null` if aborted. */
  async take<R extends Look>(
    key: string,
    look: (looking: Looking) => R,
    wait: number,
    signal: AbortSignal | undefined,
  ): Promise<R | null> {
    if (wait <= 0) return look("first");
    const deadline = Date.now() + wait;
    const refusal = () => ({ ...look("peek"), limited: true });
    const line = this.#lines.get(key) ?? { places: 0, end: Promise.resolve(), again: () => {}, passes: 0 };
    if (line.passes > deadline) return refusal();
    this.#lines.set(key, line);
    const before = line.end;
    let leave = () => {};
    line.end = new Promise((resolve) => (leave = resolve));
    line.places += 1;
    let isFirst = line.places === 1;
    try {
      if (!isFirst) {
        const turn = (end: () => void) => void before.then(() => ((isFirst = true), end()));
        await pause(wait, signal, turn);
        if (signal?.aborted) return null;
        if (!isFirst) return refusal();
      }
      for (let looking: Looking = "first"; ; looking = "again") {
        const seen = look(looking);
        if (!seen.limited) return seen;
        line.passes = Date.now() + seen.retryAfter;
        if (line.passes > deadline) return seen;
        await pause(seen.retryAfter, signal, (end) => (line.again = end));
        if (signal?.aborted) return null;
      }
    } finally {
      line.places -= 1;
      if (line.places === 0) this.#lines.delete(key);
      if (isFirst) {
        line.passes = 0;
        leave();
      } else void before.then(leave);
    }
  }
}
