// Keys of stores: their parts, and names of any length.

import { wellFormed } from "./check.js";
import { digest } from "./core.js";
import { final } from "./mark.js";

/** The longest name that stands for itself, in UTF-16 units. */
const MAX_LITERAL = 128;

/** A part of a key behind its prefix: two different ones never become one. */
export function part(text: string): string {
  const escaped = text.includes("%") ? text.replaceAll("%", "%25") : text;
  return escaped.includes(":") ? escaped.replaceAll(":", "%3A") : escaped;
}

/** The key of these parts. Two lists of parts never have one key behind the same prefix. */
export function storeKey(prefix: string, ...parts: string[]): string {
  return [prefix, ...parts.map(part)].join(":");
}

/** An identifier or a resource; a long one is its digest. */
export function hashed(value: unknown, path: string): string {
  if (typeof value !== "string" || value === "") throw new Error(`${path} must be non-empty`);
  const isLong = value.length > MAX_LITERAL || value.startsWith("hash:");
  return isLong ? `hash:${digest(wellFormed(path, value))}` : value;
}

/** What is said of a value that cannot be what was stored under its key. */
export function corrupt(key: string): Error {
  return final(new Error(`corrupt value in store: ${key}`));
}
