/** Locks: one holder per resource, by lease, first come, first served. */

import { called } from "./called.js";
import { callable, keyPrefix, name, number, storeOf, TEN_YEARS } from "./check.js";
import { hashed, part } from "./keys.js";
import { passing } from "./mark.js";
import { MemoryStore, type Store } from "./store.js";
import { after } from "./timer.js";
import { linesOf } from "./waiters.js";

export type { Store } from "./store.js";

/** The definition of a mutex. */
export type MutexConfig = {
  /** 1 to 256 characters. */
  id: string;
  /** The prefix of resource names; default `sync:mutex`. */
  prefix?: string;
  /** A lock is waited for at most `retryCount` times (`retryDelay` + 100) ms; whole; default 10, 0 tries once. */
  retryCount?: number;
  /** How often a given store is checked again, in ms, plus up to 100; default 200. */
  retryDelay?: number;
  /** How long a lock lasts unless a call says otherwise, in ms; default 10,000. */
  defaultTtl?: number;
  /**
   * Where locks are stored; mutexes with the same prefix and id in one store exclude each other. Default: its own, in
   * memory.
   */
  store?: Store;
};

/** A lock that is held. It is plain data, and must be released. */
export type Lock = {
  /** `<prefix>:<id>:<resource>`. */
  resource: string;
  /** The token of this lock; 32 hex digits. */
  value: string;
  /** Ms. */
  ttl: number;
  /** When it ends unless it is extended, epoch ms. */
  expiration: number;
  /**
   * The fencing token: greater than that of every earlier lock. Let the protected storage refuse a smaller one than it
   * has seen.
   */
  fence: number;
};

/** A mutex. */
export type Mutex = {
  id: string;
  /** Waits for a lock, in order of arrival; it lasts `ttl` ms, default `defaultTtl`. `null` if not acquired in time. */
  acquire(resource: string, ttl?: number): Promise<Lock | null>;
  /** Releases a lock. False if it was no longer held. */
  release(lock: Lock): Promise<boolean>;
  /** Sets the remaining time to `ttl` ms, default `defaultTtl`, also in the object. False if it was no longer held. */
  extend(lock: Lock, ttl?: number): Promise<boolean>;
  /**
   * Runs `fn` under a lock that is renewed meanwhile (if its ttl is at least 100 ms), by `ttl` or by its last
   * extension. `null` if not acquired; `fn` did not run then.
   */
  withLock<T>(resource: string, fn: (lock: Lock) => Promise<T> | T, ttl?: number): Promise<T | null>;
  /** The same, but throws a `LockError` if the lock is not acquired. */
  withLockOrThrow<T>(resource: string, fn: (lock: Lock) => Promise<T> | T, ttl?: number): Promise<T>;
};

/** A lock was not acquired. */
export class LockError extends Error {
  static {
    called(this, "LockError");
  }

  /** The resource, as passed to the call. */
  readonly resource: string;

  constructor(resource: string) {
    super(`Failed to acquire lock on resource: ${resource}`);
    this.name = "LockError";
    this.resource = resource;
    passing(this);
  }
}

/** Shorter locks are not renewed. */
const MIN_RENEWED = 100;
/** Maximum that is added at random to the delay between two checks. */
const SPREAD = 100;

/** Creates a mutex in this page. */
export function mutex(config: MutexConfig): Mutex {
  const id = name(config.id, "config.id");
  const retries = number("retryCount", config.retryCount, { otherwise: 10, whole: true, orZero: true });
  const delay = number("retryDelay", config.retryDelay, { otherwise: 200, orZero: true });
  const defaultTtl = number("defaultTtl", config.defaultTtl, { otherwise: 10_000, whole: true });
  const prefix = keyPrefix(config.prefix, "sync:mutex");
  const store = storeOf(config.store) ?? new MemoryStore();
  const lines = linesOf(store);
  const wait = Math.min(retries * (delay + SPREAD), TEN_YEARS);
  /** Nobody else writes to a mutex's own store, so it need not be checked again. */
  const lookAgain = config.store === undefined ? () => Infinity : () => delay + Math.random() * SPREAD;

  const keyOf = (resource: string) => `${prefix}:${part(id)}:${part(resource)}`;

  /** The store key of one of this mutex's locks. */
  function keyOfLock({ resource }: Lock): string | undefined {
    const own = `${prefix}:${id}:`;
    return typeof resource === "string" && resource.startsWith(own) ? keyOf(resource.slice(own.length)) : undefined;
  }

  async function take(resource: string, ttl: number): Promise<Lock | null> {
    const value = token();
    const grant = await lines.join(keyOf(resource), { value, ttl, wait, lookAgain });
    if (grant === null) return null;
    return { resource: `${prefix}:${id}:${resource}`, value, ttl, expiration: grant.until, fence: grant.fence };
  }

  /** Runs `fn` under a lock. The lock is renewed at each third of its current ttl, and released in any case. */
  async function held<T>(lock: Lock, fn: (lock: Lock) => Promise<T> | T): Promise<T> {
    const { value } = lock;
    const key = keyOfLock(lock) as string;
    let stop = () => {};
    const plan = (share = 3) => {
      stop();
      const ttl = lines.holding(key, value)?.ttl ?? 0;
      stop = ttl >= MIN_RENEWED ? after(ttl / share, renew) : () => {};
    };
    const renew = () => {
      try {
        const holding = lines.renew(key, value);
        if (holding === null) return;
        lock.expiration = holding.until;
        plan();
      } catch {
        // A failing store may recover before the lock ends.
        plan(6);
      }
    };
    plan();
    const leave = lines.onExtended(value, plan);
    try {
      return await fn(lock);
    } finally {
      leave();
      stop();
      try {
        lines.release(key, value);
      } catch {
        // The outcome of `fn` matters more; the lock expires by itself.
      }
    }
  }

  const handle: Mutex = {
    id,
    async acquire(resource, ttl) {
      const lasts = checkTtl(ttl, defaultTtl);
      return take(hashed(resource, "resource"), lasts);
    },
    async release(lock) {
      const key = keyOfLock(lock);
      return key !== undefined && lines.release(key, lock.value);
    },
    async extend(lock, ttl) {
      const lasts = checkTtl(ttl, defaultTtl);
      const key = keyOfLock(lock);
      const until = key === undefined ? null : lines.extend(key, lock.value, lasts);
      if (until === null) return false;
      // `Reflect.set` does not throw: a frozen lock is extended all the same.
      Reflect.set(lock, "ttl", lasts);
      Reflect.set(lock, "expiration", until);
      return true;
    },
    async withLock(resource, fn, ttl) {
      callable("fn", fn);
      const lock = await handle.acquire(resource, ttl);
      return lock && held(lock, fn);
    },
    async withLockOrThrow(resource, fn, ttl) {
      callable("fn", fn);
      const lock = await handle.acquire(resource, ttl);
      if (lock === null) throw new LockError(resource);
      return held(lock, fn);
    },
  };
  return handle;
}

function checkTtl(ttl: number | undefined, otherwise: number): number {
  if (ttl !== undefined && !(Number.isInteger(ttl) && ttl > 0)) throw new Error("ttl must be > 0");
  return number("ttl", ttl, { otherwise });
}

/** 128 random bits. */
function token(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
