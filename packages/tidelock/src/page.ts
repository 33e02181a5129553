// Paged listings.

import { number, text } from "./check.js";
import { NONE } from "./core.js";

/** One page of a listing. */
export type Page<T> = {
  items: T[];
  /** Where the next page begins: its `after`. `null`: this was the last one. */
  next: string | null;
};

/** Which page. */
export type PageConfig = {
  /** Items of a page: whole, 1 to 1,000; default 100. */
  limit?: number;
  /** The `next` of the page before; default: from the beginning. */
  after?: string;
};

/** Maximum number of items in a page or a batch. */
export const MOST_ITEMS = 1_000;

/** The arguments of a page, for the core. */
export function pageOf({ limit, after }: PageConfig): [limit: number, after: string | undefined] {
  return [number("limit", limit, { otherwise: 100, whole: true, most: MOST_ITEMS }), text("after", after)];
}

/** A required maximum number of items. */
export function upTo(max: number): number {
  return number("max", max ?? NONE, { otherwise: NONE, whole: true, most: MOST_ITEMS });
}

/** A page of the core, with each item converted by `seen`. */
export function paged<S, T>([items, next]: [S[], string | null], seen: (shown: S) => T): Page<T> {
  return { items: items.map(seen), next };
}

/** A pause in force. */
export type Paused = {
  /** When it ends by itself, in epoch ms; `null`: when it is resumed. */
  until: number | null;
  /** Why, if somebody said so. */
  reason: string | null;
};

/** How a pause ends by itself, and why there is one. */
export type PauseConfig = { forAtMostMs?: number; reason?: string };

/** The arguments of a pause, for the core. */
export function pauseOf({ forAtMostMs, reason }: PauseConfig): [forAtMost: number, reason: string | undefined] {
  return [number("forAtMostMs", forAtMostMs, { otherwise: NONE }), text("reason", reason)];
}

/**
 * A limit of the rate at which work is handed out. A window begins with the first hand-out while none is under way. So
 * up to twice the limit can go within `perMs`, at the end of one window and the beginning of the next; 10 in 100 ms
 * spreads them better than 100 in 1,000 ms.
 */
export type SetRateLimitConfig = {
  /** How many are handed out at most in each window; whole, 1 to 2^53 - 1. */
  limit: number;
  /** How long a window lasts, in ms: at least 1, at most 10 years. */
  perMs: number;
};

/** The arguments of a limit of the rate, for the core. */
export function rateOf({ limit, perMs }: SetRateLimitConfig): [limit: number, per: number] {
  const whole = { otherwise: NONE, whole: true, most: Number.MAX_SAFE_INTEGER };
  return [number("limit", limit ?? NONE, whole), number("perMs", perMs ?? NONE, { otherwise: NONE })];
}

/** A limit of the rate in force, and what was handed out in the window under way. */
export type RateLimitInfo = {
  /** How many are handed out at most in each window. */
  limit: number;
  /** How long a window lasts, in ms. */
  perMs: number;
  /** How many were handed out in the window under way. */
  used: number;
  /** When that window ends, in epoch ms; `null` if none is under way: the next one begins with the next hand-out. */
  windowEndsAt: number | null;
};

/** What became of a change that may find nothing to do: `no`, it was so already; `absent`, there is no such thing. */
export type Changed = "yes" | "no" | "absent";

/** What the core returns for a pause. */
export type ShownPause = [until: number | null, reason: string | null] | null;

export function pausedOf(shown: ShownPause): Paused | null {
  return shown && { until: shown[0], reason: shown[1] };
}

/** What the core returns for a limit of the rate. */
export type ShownRate = [limit: number, perMs: number, used: number, windowEndsAt: number | null] | null;

export function limitedOf(shown: ShownRate): RateLimitInfo | null {
  return shown && { limit: shown[0], perMs: shown[1], used: shown[2], windowEndsAt: shown[3] };
}
