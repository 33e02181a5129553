/** Rate limits: so many units per sliding window, for each identifier. */

import { name, number, TEN_YEARS } from "./check.js";
import { RawWindow, waitMs } from "./core.js";
import { corrupt, hashed, part } from "./keys.js";
import { Turns } from "./line.js";
import { passing } from "./mark.js";
import { MemoryStore, type Store } from "./store.js";

export type { Store } from "./store.js";

/** How a limit is defined. */
export type RateLimitConfig = {
  /** 1 to 256 characters. */
  id: string;
  /** Units per window; whole, from 1. */
  limit: number;
  /** Length of the window in seconds, whole milliseconds; default 1. */
  windowSecs?: number;
  /** Before the keys of the store; default `sync:ratelimit`. */
  prefix?: string;
  /** Where the counts are kept; limits of equal prefix and id in one store share them. Default: its own, in memory. */
  store?: Store;
};

/** What a limit says. */
export type RateLimitResult = {
  limited: boolean;
  /** Units that are free now. */
  remaining: number;
  /** Ms to the end of the window. */
  resetIn: number;
  /** Units per window. */
  limit: number;
  /** Ms until the same check passes, if nothing else is counted; 0 if not limited. */
  retryAfter: number;
};

/** A rate limit. A refused check consumes nothing. */
export type RateLimiter = {
  id: string;
  /** Consumes `cost` units (default 1), if that many are free. */
  check(identifier: string, opts?: { cost?: number }): Promise<RateLimitResult>;
  /** The same; refused, it throws a `RateLimitError`. */
  checkOrThrow(identifier: string, opts?: { cost?: number }): Promise<RateLimitResult>;
  /** What a check would say. Consumes nothing. */
  peek(identifier: string, opts?: { cost?: number }): Promise<RateLimitResult>;
  /** Forgets the identifier. True: something was counted. */
  reset(identifier: string): Promise<boolean>;
  /**
   * A check that waits until it passes, in order of arrival; at most `timeoutMs` (default 30,000; `Infinity`: until
   * aborted). If it cannot pass in time it is the refusal, and aborted `null`.
   */
  acquire(
    identifier: string,
    opts?: { cost?: number; timeoutMs?: number; signal?: AbortSignal },
  ): Promise<RateLimitResult | null>;
};

/** A check was refused. */
export class RateLimitError extends Error {
  readonly remaining: number;
  /** Ms to the end of the window. */
  readonly resetIn: number;
  /** Ms until the same check passes, if nothing else is counted. */
  readonly retryAfter: number;

  constructor(result: { remaining: number; resetIn: number; retryAfter?: number }) {
    super("Rate limit exceeded");
    this.name = "RateLimitError";
    this.remaining = result.remaining;
    this.resetIn = result.resetIn;
    this.retryAfter = result.retryAfter ?? result.resetIn;
    passing(this, this.retryAfter);
  }
}

const MAX_LIMIT = 1e12;
const MAX_WINDOW_SECS = TEN_YEARS / 1_000;

/** Makes a rate limit of this page. */
export function ratelimit(config: RateLimitConfig): RateLimiter {
  const id = name(config.id, "config.id");
  const windowMs = windowOf(config.windowSecs);
  const limit = number("limit", config.limit ?? Number.NaN, { otherwise: 0, whole: true, most: MAX_LIMIT });
  const prefix = `${config.prefix ?? "sync:ratelimit"}:${part(id)}:`;
  const store = config.store ?? new MemoryStore();
  const raw = new RawWindow(limit, windowMs);
  const turns = new Turns();
  /** The latest instant at which something may have been counted. */
  let latest = 0;

  const keyOf = (identifier: string) => `${prefix}${part(hashed(identifier, "identifier"))}:`;
  const costOf = (cost: number | undefined) => number("cost", cost, { otherwise: 1, whole: true, most: limit });

  function count(key: string): number {
    const counted = store.get(key);
    if (counted === undefined) return 0;
    if (!Number.isSafeInteger(counted) || (counted as number) < 0) throw corrupt(key);
    return counted as number;
  }

  /** *Now* for an identifier: it never runs back behind a window in which something was counted. */
  function nowOf(key: string): number {
    const now = Date.now();
    if (now >= latest) return (latest = now);
    const last = Math.floor(latest / windowMs);
    // What was counted before these has lapsed.
    for (const window of [last, last - 1]) {
      if (window * windowMs > now && store.get(key + window) !== undefined) return window * windowMs;
    }
    return now;
  }

  function judge(key: string, cost: number, peeks: boolean): RateLimitResult {
    const now = nowOf(key);
    const window = Math.floor(now / windowMs);
    // One text for both uses, whose hash is computed once.
    const present = key + window;
    const used = count(present);
    const limited = !raw.judge(now, used, count(key + (window - 1)), cost, peeks);
    const { remaining, reset_in: resetIn, retry_after: retryAfter } = raw;
    if (!limited && !peeks) store.set(present, raw.used, 2 * windowMs);
    return { limited, remaining, resetIn, limit, retryAfter };
  }

  const limiter: RateLimiter = {
    id,
    async check(identifier, opts = {}) {
      return judge(keyOf(identifier), costOf(opts.cost), false);
    },
    async checkOrThrow(identifier, opts = {}) {
      const result = judge(keyOf(identifier), costOf(opts.cost), false);
      if (result.limited) throw new RateLimitError(result);
      return result;
    },
    async peek(identifier, opts = {}) {
      return judge(keyOf(identifier), costOf(opts.cost), true);
    },
    async reset(identifier) {
      const key = keyOf(identifier);
      const window = Math.floor(nowOf(key) / windowMs);
      const counted = count(key + window) + count(key + (window - 1)) > 0;
      store.del(key + window);
      store.del(key + (window - 1));
      turns.lookAgain(key);
      return counted;
    },
    async acquire(identifier, opts = {}) {
      const key = keyOf(identifier);
      const cost = costOf(opts.cost);
      const wait = waitMs(opts);
      if (opts.signal?.aborted) return null;
      const look = (peeks: boolean) => judge(key, cost, peeks);
      return turns.take(key, look, Number.isNaN(wait) ? Infinity : wait, opts.signal);
    },
  };
  return limiter;
}

function windowOf(secs = 1): number {
  if (typeof secs !== "number" || !Number.isFinite(secs) || secs <= 0) throw new Error("windowSecs must be > 0");
  const ms = Math.round(secs * 1_000);
  // Not by a remainder: 1.005 s are 1,004.999… ms for a computer.
  const isWhole = ms >= 1 && ms / 1_000 === secs;
  if (isWhole && secs <= MAX_WINDOW_SECS) return ms;
  throw new Error(`windowSecs must be > 0, at most ${MAX_WINDOW_SECS} and whole milliseconds, but is ${secs}`);
}
