// What arguments must be, and what is said of those that are not. Nothing is changed before all of a call's are checked.

export const WEEK = 7 * 24 * 3_600_000;
export const TEN_YEARS = 3_650 * 24 * 3_600_000;
const MAX_NAME = 256;

/** An id or a tenant. */
export function name(value: unknown, path: string): string {
  if (typeof value !== "string" || value === "") throw new Error(`${path} must be non-empty`);
  if (value.length > MAX_NAME) throw new Error(`${path} too long (max ${MAX_NAME} chars)`);
  return value;
}

/** The tenant of a call, else that of the configuration. */
export function tenant(given: string | undefined, configured: string): string {
  return given === undefined ? configured : name(given, "tenantId");
}

/** The tenant of a configuration. */
export function configuredTenant(given: string | undefined): string {
  return given === undefined ? "default" : name(given, "config.tenantId");
}

/** An optional text for which the empty one counts as not given. */
export function text(value: string | undefined): string | undefined {
  return value === "" ? undefined : value;
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
