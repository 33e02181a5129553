/** Stores: where counts, locks, remembered keys and slots are kept, in memory or beyond the life of a page. */

import { called } from "./called.js";
import { heapPop, heapPush, type Due } from "./heap.js";
import { forget, letGo, LONGEST_STEP } from "./timer.js";

/** A synchronous key-value store. You can implement your own. */
export interface Store {
  /** The value; `undefined`: missing or expired. `null` is a value. */
  get(key: string): unknown | undefined;
  /**
   * Replaces value and expiry. `ttlMs` is the time until it expires; if absent, not above 0 or not finite, it never
   * does.
   */
  set(key: string, value: unknown, ttlMs?: number): void;
  /** Deletes a key; does nothing if it is missing. */
  del(key: string): void;
  /** The existing keys that begin with `prefix`. */
  keys(prefix?: string): string[];
}

/** How many due items are freed before the page gets a turn. */
const FREE_AT_ONCE = 5_000;
/** How often a store in `localStorage` removes expired items, in ms. */
const PASS_EVERY = 60_000;

interface Entry {
  value: unknown;
  /** Epoch ms from which it counts as absent. */
  expires: number;
  /** The entry's item in the heap: never due later than the entry. */
  due: Due | undefined;
}

/** Clears the timers of collected stores. */
const leftTimers = /* @__PURE__ */ new FinalizationRegistry<{ timer: unknown }>(({ timer }) => forget(timer));

/** The expiry of something that is set now. */
function expiry(ttlMs: number | undefined): number {
  const ends = ttlMs !== undefined && ttlMs > 0 && Number.isFinite(ttlMs);
  return ends ? Date.now() + Math.ceil(ttlMs) : Infinity;
}

/** Binds the methods to their object, so that they work when detached. */
function bind<T extends Store & { clear(): void }>(store: T): void {
  for (const name of ["get", "set", "del", "keys", "clear"] as const) {
    Object.defineProperty(store, name, { value: store[name].bind(store), writable: true, configurable: true });
  }
}

/** Keeps values in memory, by reference, in insertion order of their keys. */
export class MemoryStore implements Store {
  static {
    called(this, "MemoryStore");
  }

  readonly #entries = new Map<string, Entry>();
  /** Expiring entries, the first one on top. An entry has at most one current item here; an item may be outdated. */
  #due: Due[] = [];
  readonly #armed: { timer: unknown; at: number } = { timer: undefined, at: Infinity };
  readonly #this = new WeakRef<MemoryStore>(this);

  constructor() {
    bind(this);
    leftTimers.register(this, this.#armed);
  }

  get(key: string): unknown | undefined {
    return this.#live(key)?.value;
  }

  set(key: string, value: unknown, ttlMs?: number): void {
    const expires = expiry(ttlMs);
    let entry = this.#live(key);
    if (entry === undefined) {
      entry = { value, expires, due: undefined };
      // An expired entry does not keep its place in the order.
      this.#entries.delete(key);
      this.#entries.set(key, entry);
    } else {
      entry.value = value;
      entry.expires = expires;
    }
    this.#file(key, entry);
  }

  del(key: string): void {
    this.#entries.delete(key);
    this.#tidy();
  }

  keys(prefix = ""): string[] {
    const now = Date.now();
    const keys: string[] = [];
    for (const [key, { expires }] of this.#entries) if (expires > now && key.startsWith(prefix)) keys.push(key);
    return keys;
  }

  /** Removes everything. */
  clear(): void {
    this.#entries.clear();
    this.#due = [];
    this.#arm();
  }

  #live(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    return entry === undefined || (entry.expires !== Infinity && entry.expires <= Date.now()) ? undefined : entry;
  }

  /** Makes sure that the entry is checked in time. One that expires later than before is checked once too often. */
  #file(key: string, entry: Entry): void {
    if (entry.expires >= (entry.due?.at ?? Infinity)) return;
    entry.due = { at: entry.expires, key };
    heapPush(this.#due, entry.due);
    this.#tidy();
    this.#arm();
  }

  /** Keeps outdated items from filling the heap. */
  #tidy(): void {
    if (this.#due.length <= 2 * this.#entries.size + 64) return;
    const due: Due[] = [];
    for (const [key, entry] of this.#entries) {
      entry.due = entry.expires === Infinity ? undefined : { at: entry.expires, key };
      if (entry.due !== undefined) heapPush(due, entry.due);
    }
    this.#due = due;
    this.#arm();
  }

  /** One timer for all, set for the first due item. */
  #arm(again = false): void {
    const at = this.#due[0]?.at ?? Infinity;
    if (at === this.#armed.at && !again) return;
    forget(this.#armed.timer);
    this.#armed.at = at;
    if (at === Infinity) return;
    const it = this.#this;
    const free = () => {
      const store = it.deref();
      if (store !== undefined) store.#free();
    };
    this.#armed.timer = setTimeout(free, Math.min(Math.max(at - Date.now(), 0), LONGEST_STEP));
    letGo(this.#armed.timer);
  }

  /** Frees expired entries. */
  #free(): void {
    const now = Date.now();
    this.#armed.timer = undefined;
    for (let freed = 0; freed < FREE_AT_ONCE && (this.#due[0]?.at ?? Infinity) <= now; freed += 1) {
      const due = heapPop(this.#due) as Due;
      const entry = this.#entries.get(due.key);
      if (entry?.due !== due) continue;
      entry.due = undefined;
      if (entry.expires <= now) this.#entries.delete(due.key);
      else this.#file(due.key, entry);
    }
    this.#arm(true);
  }
}

/** The content of an item in `localStorage`. */
interface Item {
  value?: unknown;
  expiresAt?: unknown;
}

/** Keeps values as JSON in `localStorage`, under `<prefix>:<key>`: they outlive the page, and other tabs see them. */
export class LocalStorageStore implements Store {
  static {
    called(this, "LocalStorageStore");
  }

  readonly #prefix: string;
  #passed = -Infinity;

  /** `prefix` is put before all keys; default `sync`. Stores with the same prefix share their values. */
  constructor(prefix = "sync") {
    this.#prefix = `${prefix.replaceAll("%", "%25").replaceAll(":", "%3A")}:`;
    bind(this);
  }

  get(key: string): unknown | undefined {
    this.#pass();
    return this.#live(this.#prefix + key)?.value;
  }

  set(key: string, value: unknown, ttlMs?: number): void {
    this.#pass();
    const expires = expiry(ttlMs);
    const text = JSON.stringify({ value, expiresAt: expires === Infinity ? null : expires });
    storage().setItem(this.#prefix + key, text);
  }

  del(key: string): void {
    this.#pass();
    storage().removeItem(this.#prefix + key);
  }

  keys(prefix = ""): string[] {
    // Checking all items is a pass.
    if (prefix === "") this.#passed = Date.now();
    else this.#pass();
    const live = this.#items(prefix).filter((name) => this.#live(name) !== undefined);
    return live.map((name) => name.slice(this.#prefix.length));
  }

  /** Removes everything with this prefix. */
  clear(): void {
    for (const name of this.#items("")) storage().removeItem(name);
  }

  /** The names of items, listed before any of them is removed. */
  #items(prefix: string): string[] {
    const all = storage();
    const names = Array.from({ length: all.length }, (_, index) => all.key(index));
    return names.filter((name): name is string => name?.startsWith(this.#prefix + prefix) ?? false);
  }

  /** Removes expired items from time to time. */
  #pass(): void {
    const now = Date.now();
    // The clock may have been set back.
    if (now >= this.#passed && now < this.#passed + PASS_EVERY) return;
    this.#passed = now;
    for (const name of this.#items("")) this.#live(name);
  }

  #live(name: string): Item | undefined {
    const item = parsed(name);
    if (item === undefined || !isOver(item)) return item;
    // Another tab may have written it in the meantime.
    const newest = parsed(name);
    if (newest === undefined || !isOver(newest)) return newest;
    storage().removeItem(name);
    return undefined;
  }
}

function storage(): Storage {
  const { localStorage } = globalThis;
  if (localStorage == null) throw new Error("there is no localStorage here");
  return localStorage;
}

function parsed(name: string): Item | undefined {
  try {
    const item: unknown = JSON.parse(storage().getItem(name) ?? "null");
    return typeof item === "object" && item !== null ? item : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function isOver({ expiresAt }: Item): boolean {
  return typeof expiresAt === "number" && expiresAt <= Date.now();
}

/** Creates a store in memory. */
export function createMemoryStore(): MemoryStore {
  return new MemoryStore();
}

/** Creates a store in `localStorage`. `prefix` is put before all keys; default `sync`. */
export function createLocalStorageStore(prefix?: string): LocalStorageStore {
  return new LocalStorageStore(prefix);
}
