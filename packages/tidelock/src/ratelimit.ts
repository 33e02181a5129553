/** Rate limits: a number of units per window, for each identifier. */

import { called } from "./called.js";
import { keyPrefix, name, number, oneOf, options, signalOf, storeOf, string, TEN_YEARS } from "./check.js";
import { NONE, RawLimits, RawWindow, waitMs } from "./core.js";
import { corrupt, hashed, part } from "./keys.js";
import { Turns, type Looking } from "./line.js";
import { passing } from "./mark.js";
import { MemoryStore, type Store } from "./store.js";

export type { Store } from "./store.js";

/** The definition of a limit. */
export type RateLimitConfig = {
  /** 1 to 256 characters. */
  id: string;
  /** Units per window; whole, from 1. */
  limit: number;
  /** Length of the window in seconds, whole milliseconds; default 1. */
  windowSecs?: number;
  /** Whether a refused check counts too, so that a caller who keeps asking stays out; default false. */
  countRefused?: boolean;
  /** The prefix of keys in the store; default `sync:ratelimit`. */
  prefix?: string;
  /**
   * Where counts are stored; limits with the same prefix and id in one store share them. Default: its own, in memory.
   */
  store?: Store;
};

/**
 * The definition of several limits that are checked together: a check passes if all of them let it pass, and otherwise
 * counts in none.
 */
export type RateLimitsConfig = Omit<RateLimitConfig, "limit" | "windowSecs"> & {
  /** 1 to 8, no two with the same algorithm and window, nor with the same name. */
  limits: RateLimitRule[];
};

/** One of several limits. */
export type RateLimitRule = {
  /** Units per window; whole, from 1. */
  limit: number;
  /**
   * The length of the window in seconds, whole milliseconds; default 1. For a bucket, the time in which `limit` tokens
   * are refilled.
   */
  windowSecs?: number;
  /**
   * `sliding` (default): `limit` in each clock-aligned window, less the weighted remainder of the previous one, so that
   * a span across their boundary may see nearly twice as many. `fixed`: `limit` in each clock-aligned window.
   * `token_bucket`: `burst` at once, and then evenly.
   */
  algorithm?: "sliding" | "fixed" | "token_bucket";
  /** The capacity of a bucket; whole, from 1; default `limit`. */
  burst?: number;
  /** Its name in results: 1 to 64 of `A-Z a-z 0-9 _ . -`; default algorithm and window, such as `sliding-60s`. */
  name?: string;
};

/** The result of one of several limits. */
export type RateLimitPart = {
  name: string;
  /** Whether this one refuses. */
  refused: boolean;
  /** Units per window, or the capacity of its bucket. */
  limit: number;
  remaining: number;
  /** Ms to the end of the window, or until the bucket is full. */
  resetIn: number;
  /** Ms until this one lets the check pass; 0 if it does not refuse. */
  retryAfter: number;
};

/**
 * The result of a check. With several limits, it is that of the one that refuses longest, or else of the one with the
 * least remaining.
 */
export type RateLimitResult = {
  limited: boolean;
  /** Units still available now. */
  remaining: number;
  /** Ms to the end of the window. */
  resetIn: number;
  /** Units per window. */
  limit: number;
  /** Ms until the same check passes, if nothing else is counted; 0 if not limited. */
  retryAfter: number;
  /** With `limits`: the result of each, in order. */
  parts?: RateLimitPart[];
};

/** A rate limit. A refused check consumes nothing, unless `countRefused` is set. */
export type RateLimiter = {
  id: string;
  /** Consumes `cost` units (default 1), if that many are available. */
  check(identifier: string, opts?: { cost?: number }): Promise<RateLimitResult>;
  /** The same, but throws a `RateLimitError` if refused. */
  checkOrThrow(identifier: string, opts?: { cost?: number }): Promise<RateLimitResult>;
  /** The result that a check would have. Consumes nothing. */
  peek(identifier: string, opts?: { cost?: number }): Promise<RateLimitResult>;
  /** Forgets the identifier. True if something had been counted. */
  reset(identifier: string): Promise<boolean>;
  /**
   * A check that waits until it passes, in order of arrival; at most `timeoutMs` (default 30,000; `Infinity`: until
   * aborted). If it cannot pass in time, it resolves to the refusal; if aborted, to `null`.
   */
  acquire(
    identifier: string,
    opts?: { cost?: number; timeoutMs?: number; signal?: AbortSignal },
  ): Promise<RateLimitResult | null>;
};

/** A check was refused. */
export class RateLimitError extends Error {
  static {
    called(this, "RateLimitError");
  }

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

/** How a cost is counted, as numbered by the core: 0 if it passes, 1 always, 2 never. */
type Counting = 0 | 1 | 2;

/** Whether a check with this verdict is counted. */
function isCounted(counting: Counting, limited: boolean): boolean {
  return counting === 1 || (counting === 0 && !limited);
}

/** How an identifier is judged; `key` is the beginning of its store keys. */
interface Judges {
  /** A higher cost can never pass. */
  readonly most: number;
  judge(key: string, cost: number, counting: Counting): RateLimitResult;
  /** Returns whether something had been counted. */
  reset(key: string): boolean;
}

/** Creates a rate limit in this page. */
export function ratelimit(config: RateLimitConfig | RateLimitsConfig): RateLimiter {
  const id = name(config.id, "config.id");
  const store = storeOf(config.store) ?? new MemoryStore();
  const { most, judge, reset } = isSeveral(config) ? several(config, store) : single(config, store);
  const prefix = `${keyPrefix(config.prefix, "sync:ratelimit")}:${part(id)}:`;
  const turns = new Turns();

  const keyOf = (identifier: string) => `${prefix}${part(hashed(identifier, "identifier"))}:`;
  const costOf = (cost: number | undefined) => number("cost", cost, { otherwise: 1, whole: true, most });
  const counting = config.countRefused ? 1 : 0;

  const limiter: RateLimiter = {
    id,
    async check(identifier, opts = {}) {
      return judge(keyOf(identifier), costOf(opts.cost), counting);
    },
    async checkOrThrow(identifier, opts = {}) {
      const result = judge(keyOf(identifier), costOf(opts.cost), counting);
      if (result.limited) throw new RateLimitError(result);
      return result;
    },
    async peek(identifier, opts = {}) {
      return judge(keyOf(identifier), costOf(opts.cost), 2);
    },
    async reset(identifier) {
      const key = keyOf(identifier);
      const counted = reset(key);
      turns.lookAgain(key);
      return counted;
    },
    async acquire(identifier, opts = {}) {
      const key = keyOf(identifier);
      const cost = costOf(opts.cost);
      const wait = waitMs(opts);
      const signal = signalOf(opts.signal);
      if (signal?.aborted) return null;
      // A refusal is counted only once, however often the call checks again.
      const look = (looking: Looking) => judge(key, cost, looking === "peek" ? 2 : looking === "first" ? counting : 0);
      return turns.take(key, look, Number.isNaN(wait) ? Infinity : wait, signal);
    },
  };
  return limiter;
}

function isSeveral(config: RateLimitConfig | RateLimitsConfig): config is RateLimitsConfig {
  return (config as Partial<RateLimitsConfig>).limits !== undefined;
}

/** One sliding window, the usual case: two numbers are stored, each under its own key. */
function single(config: RateLimitConfig, store: Store): Judges {
  const windowMs = windowOf("windowSecs", config.windowSecs);
  const limit = unitsOf("limit", config.limit ?? NONE);
  const raw = new RawWindow(limit, windowMs);
  /** The latest instant at which something may have been counted. */
  let latest = 0;

  function count(key: string): number {
    const counted = store.get(key);
    if (counted === undefined) return 0;
    if (!isNumber(counted)) throw corrupt(key);
    return counted;
  }

  /** *Now* for an identifier: never before a window in which something was counted. */
  function nowOf(key: string): number {
    const now = Date.now();
    if (now >= latest) return (latest = now);
    const last = Math.floor(latest / windowMs);
    // Anything counted in earlier windows has lapsed.
    for (const window of [last, last - 1]) {
      if (window * windowMs > now && store.get(key + window) !== undefined) return window * windowMs;
    }
    return now;
  }

  return {
    most: limit,
    judge(key, cost, counting) {
      const now = nowOf(key);
      const window = Math.floor(now / windowMs);
      // One string for both uses, so that its hash is computed only once.
      const present = key + window;
      const used = count(present);
      const limited = !raw.judge(now, used, count(key + (window - 1)), cost, counting);
      const { remaining, reset_in: resetIn, retry_after: retryAfter } = raw;
      if (isCounted(counting, limited)) store.set(present, raw.used, 2 * windowMs);
      return { limited, remaining, resetIn, limit, retryAfter };
    },
    reset(key) {
      const window = Math.floor(nowOf(key) / windowMs);
      const counted = count(key + window) + count(key + (window - 1)) > 0;
      store.del(key + window);
      store.del(key + (window - 1));
      return counted;
    },
  };
}

/** What the core returns for several limits, and for each of them. */
type Said = [limited: boolean, limit: number, remaining: number, resetIn: number, retryAfter: number];
type Judged = [...Said, parts: [...Said, name: string][], counts: number[], lapse: number];

/** Several limits. All counts of an identifier are one stored value, so that they change together or not at all. */
function several(config: RateLimitsConfig, store: Store): Judges {
  const { limit, windowSecs } = config as Partial<RateLimitConfig>;
  if (limit !== undefined || windowSecs !== undefined) {
    throw new Error("either limit and windowSecs or limits must be given, but both were");
  }
  if (!Array.isArray(config.limits)) throw new Error("limits must be a list");
  const rules = config.limits.map((rule, at) => {
    const { limit, windowSecs, algorithm = "sliding", burst, name } = options(`limits[${at}]`, rule);
    const path = `limits[${at}].`;
    const windowMs = windowOf(`${path}windowSecs`, windowSecs);
    const units = unitsOf(`${path}limit`, limit ?? NONE);
    oneOf(["sliding", "fixed", "token_bucket"], `${path}algorithm`, algorithm);
    if (name !== undefined) string(`${path}name`, name);
    return [units, windowMs, algorithm, burst === undefined ? NONE : unitsOf(`${path}burst`, burst), name] as const;
  });
  const raw = new RawLimits(rules);

  function countsOf(key: string): Float64Array {
    const counts = store.get(key) ?? [];
    const isList = Array.isArray(counts) && counts.length % 6 === 0 && counts.every(isNumber);
    if (!isList) throw corrupt(key);
    return new Float64Array(counts);
  }

  return {
    most: Math.min(...rules.map(([units, , , burst]) => burst || units)),
    judge(of, cost, counting) {
      const key = `${of}limits`;
      const now = Date.now();
      const judged = raw.judge(now, countsOf(key), cost, counting) as unknown as Judged;
      const [limited, limit, remaining, resetIn, retryAfter, said, counts, lapse] = judged;
      if (isCounted(counting, limited)) store.set(key, counts, lapse - now);
      const parts = said.map(([refused, limit, remaining, resetIn, retryAfter, name]) => {
        return { name, refused, limit, remaining, resetIn, retryAfter };
      });
      return { limited, remaining, resetIn, limit, retryAfter, parts };
    },
    reset(of) {
      const key = `${of}limits`;
      const counted = raw.counts(Date.now(), countsOf(key));
      store.del(key);
      return counted;
    },
  };
}

function isNumber(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function unitsOf(path: string, units: number): number {
  return number(path, units, { otherwise: 0, whole: true, most: MAX_LIMIT });
}

function windowOf(path: string, secs = 1): number {
  if (typeof secs !== "number" || !Number.isFinite(secs) || secs <= 0) throw new Error(`${path} must be > 0`);
  const ms = Math.round(secs * 1_000);
  // Not by remainder: in floating point, 1.005 s are 1,004.999… ms.
  const isWhole = ms >= 1 && ms / 1_000 === secs;
  if (isWhole && secs <= MAX_WINDOW_SECS) return ms;
  throw new Error(`${path} must be > 0, at most ${MAX_WINDOW_SECS} and whole milliseconds, but is ${secs}`);
}
