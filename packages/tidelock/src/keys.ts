// Keys of stores: their parts, and names of any length.

import { wellFormed } from "./check.js";
import { digest } from "./core.js";
import { final } from "./mark.js";

/** Maximum length of a name that is used literally, in UTF-16 units. */
const MAX_LITERAL = 128;

/** Escapes a part of a key; injective. */
export function part(text: string): string {
  const escaped = text.includes("%") ? text.replaceAll("%", "%25") : text;
  return escaped.includes(":") ? escaped.replaceAll(":", "%3A") : escaped;
}

/** Joins parts to a key; injective for a given prefix. */
export function storeKey(prefix: string, ...parts: string[]): string {
  return [prefix, ...parts.map(part)].join(":");
}

/** An identifier or a resource; a long one is replaced by its digest. */
export function hashed(value: unknown, path: string): string {
  if (typeof value !== "string" || value === "") throw new Error(`${path} must be non-empty`);
  const isLong = value.length > MAX_LITERAL || value.startsWith("hash:");
  return isLong ? `hash:${digest(wellFormed(path, value))}` : value;
}

/** The error for a stored value that cannot have been written by this package. */
export function corrupt(key: string): Error {
  return final(new Error(`corrupt value in store: ${key}`));
}
