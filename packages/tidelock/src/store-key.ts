// Keys in a store that was given, and what is said of values there that are not what they should be.

/** The key of these parts. Two lists of parts never have one key behind the same prefix. */
export function storeKey(prefix: string, ...parts: string[]): string {
  return [prefix, ...parts.map((part) => part.replaceAll("%", "%25").replaceAll(":", "%3A"))].join(":");
}

/** What is thrown at a value of a wrong type. It is left. */
export function corrupt(key: string): Error {
  return new Error(`corrupt value in store: ${key}`);
}
