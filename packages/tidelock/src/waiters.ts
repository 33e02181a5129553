// Who holds the resources of a store, and who in this page waits for them. The holder is the one whose token is stored.

import { corrupt } from "./keys.js";
import { MemoryStore, type Store } from "./store.js";
import { after } from "./timer.js";

/** A call that asks for a resource. */
export interface Asking {
  /** Its token. */
  readonly value: string;
  readonly ttl: number;
  /** The longest wait in ms; 0 asks once. */
  readonly wait: number;
  /** After how many ms the store is checked again. */
  readonly lookAgain: () => number;
}

export interface Grant {
  /** Epoch ms. */
  readonly until: number;
  readonly fence: number;
}

/** What the page knows of a holder. */
interface Holding {
  readonly value: string;
  readonly ttl: number;
  readonly until: number;
}

interface Waiter extends Asking {
  readonly deadline: number;
  settle(end: Grant | null | Promise<never>): void;
  before?: Waiter | undefined;
  behind?: Waiter | undefined;
  hasLeft?: boolean;
}

/** The calls that wait for one resource, in order of arrival. */
interface Line {
  first?: Waiter | undefined;
  last?: Waiter | undefined;
  /** The store is being checked; calls that arrive meanwhile are served by that check. */
  isLooking: boolean;
  /** When the holder's lock ends, if that is known. */
  until: number;
  clear: () => void;
}

function enter(line: Line, waiter: Waiter): void {
  waiter.before = line.last;
  if (line.last === undefined) line.first = waiter;
  else line.last.behind = waiter;
  line.last = waiter;
}

/** Removes a waiter from any position in its line, since many may give up at once. */
function leave(line: Line, waiter: Waiter): void {
  const { before, behind, hasLeft } = waiter;
  if (hasLeft) return;
  waiter.hasLeft = true;
  if (before === undefined) line.first = behind;
  else before.behind = behind;
  if (behind === undefined) line.last = before;
  else behind.before = before;
}

/** The greatest fence of the page: microseconds, or one more than the last. */
let lastFence = 0;

const known = /* @__PURE__ */ new WeakMap<Store, Lines>();

/** The lines of a store, shared by all its mutexes. */
export function linesOf(store: Store): Lines {
  let lines = known.get(store);
  if (lines === undefined) known.set(store, (lines = new Lines(store)));
  return lines;
}

export class Lines {
  readonly #store: Store;
  /** What was granted in this page, until it ends. */
  readonly #holdings = new MemoryStore();
  /** Who is told when a lock is extended, by its token. */
  readonly #extended = new Map<string, () => void>();
  /** A line exists while somebody is in it. */
  readonly #lines = new Map<string, Line>();

  constructor(store: Store) {
    this.#store = store;
  }

  /** Joins the line at its end. `null`: not acquired in time. */
  join(key: string, asking: Asking): Promise<Grant | null> {
    const line: Line = this.#lines.get(key) ?? { isLooking: false, until: Infinity, clear: () => {} };
    this.#lines.set(key, line);
    return new Promise((resolve) => {
      let clear = () => {};
      const settle = (end: Grant | null | Promise<never>) => {
        clear();
        leave(line, waiter);
        resolve(end);
      };
      const now = Date.now();
      const waiter: Waiter = { ...asking, deadline: now + asking.wait, settle };
      const giveUp = (now?: number) => {
        this.#look(key, line, now);
        if (!waiter.hasLeft) settle(null);
        this.#arm(key, line);
      };
      enter(line, waiter);
      if (asking.wait > 0) {
        clear = after(asking.wait, () => giveUp());
        this.#look(key, line, now);
      } else giveUp(now);
    });
  }

  /** Releases a lock; returns whether it was held until now. */
  release(key: string, value: string): boolean {
    const isHeld = this.#isHeld(key, value);
    if (isHeld) {
      this.#store.del(key);
      this.#holdings.del(key);
    }
    this.#look(key);
    return isHeld;
  }

  /** Returns the new end, or `null` if it was not held. */
  extend(key: string, value: string, ttl: number): number | null {
    const isHeld = this.#isHeld(key, value);
    const until = isHeld ? this.#hold(key, value, ttl) : null;
    if (isHeld) this.#extended.get(value)?.();
    this.#look(key);
    return until;
  }

  /** Reports each extension of a lock, until the returned function is called. */
  onExtended(value: string, tell: () => void): () => void {
    this.#extended.set(value, tell);
    return () => void this.#extended.delete(value);
  }

  /** Extends a lock by its own ttl. */
  renew(key: string, value: string): Holding | null {
    const { ttl } = this.holding(key, value) ?? { ttl: 0 };
    if (ttl > 0) this.extend(key, value, ttl);
    return this.holding(key, value);
  }

  /** What the page knows of a lock that has not ended. */
  holding(key: string, value: string): Holding | null {
    const holding = this.#holdings.get(key) as Holding | undefined;
    return holding?.value === value ? holding : null;
  }

  #isHeld(key: string, value: string): boolean {
    const holder = this.#holder(key);
    return holder !== undefined && holder === value;
  }

  #holder(key: string): string | undefined {
    const holder = this.#store.get(key);
    if (holder !== undefined && typeof holder !== "string") throw corrupt(key);
    return holder;
  }

  #hold(key: string, value: string, ttl: number): number {
    const until = Date.now() + ttl;
    this.#store.set(key, value, ttl);
    this.#holdings.set(key, { value, ttl, until } satisfies Holding, ttl);
    return until;
  }

  /** Gives the resource to the first in line, if it is free. `now` is fixed, however long this takes. */
  #look(key: string, line = this.#lines.get(key), now = Date.now()): void {
    if (line === undefined || line.isLooking) return;
    line.isLooking = true;
    for (let { first } = line; first !== undefined; first = line.first) {
      try {
        const holder = this.#holder(key);
        if (holder !== undefined) {
          line.until = this.holding(key, holder)?.until ?? Infinity;
          break;
        }
        // If timers are late, a call whose deadline passed before the resource was free must not get it.
        const isLate = first.deadline < Math.min(line.until, now);
        first.settle(isLate ? null : this.#grant(key, first));
      } catch (error) {
        first.settle(Promise.reject(error as Error));
      }
    }
    line.isLooking = false;
    this.#arm(key, line);
  }

  #grant(key: string, { value, ttl }: Waiter): Grant {
    const until = this.#hold(key, value, ttl);
    lastFence = Math.max(lastFence + 1, Date.now() * 1_000);
    return { until, fence: lastFence };
  }

  /** One timer per line: for the end of the holder's lock, or the next check of the store. */
  #arm(key: string, line: Line): void {
    line.clear();
    const { first } = line;
    if (first === undefined) {
      if (!line.isLooking) this.#lines.delete(key);
      return;
    }
    const wait = Math.min(line.until - Date.now(), first.lookAgain());
    line.clear = wait === Infinity ? () => {} : after(wait, () => this.#look(key, line));
  }
}
