/** Stores: what may outlive a page. */

/** Where values are kept by key. Each operation is over when it returns. Anybody may implement it. */
export interface Store {
  /** The value; `undefined`: missing or expired. `null` is a value. */
  get(key: string): unknown | undefined;
  /** Replaces value and expiry. `ttlMs`: ms until it expires; absent, not above 0 or not finite: never. */
  set(key: string, value: unknown, ttlMs?: number): void;
  /** Nothing happens if it is missing. */
  del(key: string): void;
  /** The keys that are there and begin with `prefix`. */
  keys(prefix?: string): string[];
}
