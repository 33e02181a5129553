// What arguments must be, and what is said of those that are not. Nothing is changed before all of a call's are checked.

import type { Store } from "./store.js";

export const WEEK = 7 * 24 * 3_600_000;
export const TEN_YEARS = 3_650 * 24 * 3_600_000;
const MAX_NAME = 256;
/** As many characters as a name may have. */
const SHORT = /^.{0,256}$/su;

/** An id or a tenant. */
export function name(value: unknown, path: string): string {
  if (typeof value !== "string" || value === "") throw new Error(`${path} must be non-empty`);
  // A character may be two units of the text; `length` is asked first, since most names are short.
  if (value.length > MAX_NAME && !SHORT.test(value)) throw new Error(`${path} too long (max ${MAX_NAME} chars)`);
  return wellFormed(path, value);
}

/** The tenant of a call, else that of the configuration. */
export function tenant(given: string | undefined, configured: string): string {
  return given === undefined ? configured : name(given, "tenantId");
}

/** The tenant of a configuration. */
export function configuredTenant(given: string | undefined): string {
  return given === undefined ? "default" : name(given, "config.tenantId");
}

/** A text, which the core takes as it is: anything else breaks it. */
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

/** Functions that may be given, by their names in what they are given with. */
export function callables(cfg: object, ...names: string[]): void {
  for (const name of names) {
    const given = (cfg as Record<string, unknown>)[name];
    if (given !== undefined) callable(name, given);
  }
}

/** A store that may be given. */
export function storeOf(given: Store | undefined): Store | undefined {
  if (given === undefined) return undefined;
  const missing = (["get", "set", "del", "keys"] as const).find((name) => typeof given?.[name] !== "function");
  if (missing === undefined) return given;
  throw new Error(`store must have get, set, del and keys, but ${instead(given, `has no ${missing}`)}`);
}

/** What is said of what came: itself, and of an object what is wrong with it. */
export function instead(given: unknown, wrong: string): string {
  return (typeof given === "object" && given !== null) || typeof given === "function" ? wrong : `is ${String(given)}`;
}

/** What keys begin with, if it is given. */
export function keyPrefix(given: string | undefined, otherwise: string): string {
  return given === undefined ? otherwise : wellFormed("prefix", string("prefix", given));
}

/** Options that are given together, if any are. */
export function options<T extends object>(path: string, given: T | undefined): Partial<T> {
  if (given === undefined) return {};
  if (typeof given === "object" && given !== null) return given;
  throw new Error(`${path} must be an object, but is ${typeof given === "function" ? "a function" : String(given)}`);
}

/** An optional text for which the empty one counts as not given. */
export function text(path: string, value: string | undefined): string | undefined {
  return value === undefined || value === "" ? undefined : string(path, value);
}

/** An optional text that names something. */
export function key(path: string, value: string | undefined): string | undefined {
  const known = text(path, value);
  return known === undefined ? undefined : wellFormed(path, known);
}

/** An optional ordering key. The empty one is one, too. */
export function orderingKey(value: string | undefined): string | undefined {
  return value === undefined ? undefined : wellFormed("orderingKey", string("orderingKey", value));
}

/** A text of whole characters. In the core all halves of one are the same, and so would be two names. */
export function wellFormed(path: string, value: string): string {
  if (/\p{Surrogate}/u.test(value)) throw new Error(`${path} must not contain lone surrogates`);
  return value;
}

/** One of several names. */
export function oneOf(names: readonly string[], path: string, given: string): void {
  if (names.includes(given)) return;
  const all = names.map((name) => `"${name}"`).join(", ");
  throw new Error(`${path} must be one of ${all}, but is ${String(given)}`);
}

export interface Range {
  /** What counts if nothing is given. */
  readonly otherwise: number;
  /** Below it a number counts as this. */
  readonly floor?: number;
  /** 0 is fine. */
  readonly orZero?: boolean;
  /** Parts are refused, not rounded up. */
  readonly whole?: boolean;
  readonly most?: number;
}

/** A time, count or size. */
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
