// Validation of arguments, and its messages. All arguments of a call are checked before anything is changed.

import type { Store } from "./store.js";

export const WEEK = 7 * 24 * 3_600_000;
export const TEN_YEARS = 3_650 * 24 * 3_600_000;
const MAX_NAME = 256;
/** Matches up to as many characters as a name may have. */
const SHORT = /^.{0,256}$/su;

/** An id or a tenant. */
export function name(value: unknown, path: string): string {
  if (typeof value !== "string" || value === "") throw new Error(`${path} must be non-empty`);
  // A character may be two UTF-16 units. `length` is checked first, since most names are short.
  if (value.length > MAX_NAME && !SHORT.test(value)) throw new Error(`${path} too long (max ${MAX_NAME} chars)`);
  return wellFormed(path, value);
}

/** The tenant of a call; by default that of the configuration. */
export function tenant(given: string | undefined, configured: string): string {
  return given === undefined ? configured : name(given, "tenantId");
}

/** The tenant of a configuration. */
export function configuredTenant(given: string | undefined): string {
  return given === undefined ? "default" : name(given, "config.tenantId");
}

/** A text. The core takes it as it is, and anything else would break it. */
export function string(path: string, value: unknown): string {
  if (typeof value !== "string") throw new Error(`${path} must be a string`);
  return value;
}

/** An optional signal; `null` counts as not given. */
export function signalOf(value: unknown): AbortSignal | undefined {
  if (value === undefined || value === null) return undefined;
  const { aborted, addEventListener } = value as Partial<AbortSignal>;
  if (typeof aborted === "boolean" && typeof addEventListener === "function") return value as AbortSignal;
  throw new Error("signal must be an AbortSignal");
}

/** A function. */
export function callable<F>(path: string, given: F): F {
  if (typeof given === "function") return given;
  throw new Error(`${path} must be a function, but ${instead(given, "is an object")}`);
}

/** Optional functions, by their names in the object that contains them. */
export function callables(cfg: object, ...names: string[]): void {
  for (const name of names) {
    const given = (cfg as Record<string, unknown>)[name];
    if (given !== undefined) callable(name, given);
  }
}

/** An optional store. */
export function storeOf(given: Store | undefined): Store | undefined {
  if (given === undefined) return undefined;
  const missing = (["get", "set", "del", "keys"] as const).find((name) => typeof given?.[name] !== "function");
  if (missing === undefined) return given;
  throw new Error(`store must have get, set, del and keys, but ${instead(given, `has no ${missing}`)}`);
}

/** How an invalid value is described: by itself, or for an object by what is wrong with it. */
export function instead(given: unknown, wrong: string): string {
  return (typeof given === "object" && given !== null) || typeof given === "function" ? wrong : `is ${String(given)}`;
}

/** An optional prefix of keys. */
export function keyPrefix(given: string | undefined, otherwise: string): string {
  return given === undefined ? otherwise : wellFormed("prefix", string("prefix", given));
}

/** An optional object of options. */
export function options<T extends object>(path: string, given: T | undefined): Partial<T> {
  if (given === undefined) return {};
  if (typeof given === "object" && given !== null) return given;
  throw new Error(`${path} must be an object, but is ${typeof given === "function" ? "a function" : String(given)}`);
}

/** An optional text; the empty one counts as not given. */
export function text(path: string, value: string | undefined): string | undefined {
  return value === undefined || value === "" ? undefined : string(path, value);
}

/** An optional text that names something. */
export function key(path: string, value: string | undefined): string | undefined {
  const known = text(path, value);
  return known === undefined ? undefined : wellFormed(path, known);
}

/** An optional ordering key. The empty text is one, too. */
export function orderingKey(value: string | undefined): string | undefined {
  return value === undefined ? undefined : wellFormed("orderingKey", string("orderingKey", value));
}

/**
 * A text without lone surrogates. The core sees all lone surrogates as the same, so two different names could become
 * one.
 */
export function wellFormed(path: string, value: string): string {
  if (/\p{Surrogate}/u.test(value)) throw new Error(`${path} must not contain lone surrogates`);
  return value;
}

/** Checks that a text is one of several names. */
export function oneOf(names: readonly string[], path: string, given: string): void {
  if (names.includes(given)) return;
  const all = names.map((name) => `"${name}"`).join(", ");
  throw new Error(`${path} must be one of ${all}, but is ${String(given)}`);
}

export interface Range {
  /** The default. */
  readonly otherwise: number;
  /** Smaller numbers are raised to this. */
  readonly floor?: number;
  /** Whether 0 is allowed. */
  readonly orZero?: boolean;
  /** Whether fractions are rejected instead of rounded up. */
  readonly whole?: boolean;
  readonly most?: number;
}

/** Checks a time, count or size. */
export function number(path: string, value: number | undefined, range: Range): number {
  if (value === undefined) return range.otherwise;
  const least = range.orZero ? ">= 0" : "> 0";
  if (typeof value !== "number" || !Number.isFinite(value)) throw new Error(`${path} must be ${least}`);
  if (range.floor !== undefined && value < range.floor) return range.floor;
  if (range.orZero ? value < 0 : value <= 0) throw new Error(`${path} must be ${least}`);
  const most = range.most ?? TEN_YEARS;
  if (value > most) throw new Error(`${path} must be ${least} and at most ${most}, but is ${value}`);
  if (Number.isInteger(value)) return value;
  if (range.whole) throw new Error(`${path} must be a whole number ${least}, but is ${value}`);
  return Math.ceil(value);
}
