// What registry and ephemeral have in common: keys, positions, readers, errors.

import { wellFormed } from "./check.js";
import { tooLarge } from "./envelope.js";
import { NONE, repeated, waiting, waitMs, type Exit, type RawFollower, type WaitConfig } from "./core.js";
import { final } from "./mark.js";
import { parse, type Schema } from "./schema.js";
import { give, take, utf8Length } from "./value.js";

/** What the core returns for a record. */
export type Shown = [
  key: string,
  value: string,
  version: string,
  created: number,
  updated: number,
  ttl: number | null,
  end: number | null,
  expired: boolean,
];

/** What the core returns for an event. */
export type Told =
  | ["upsert", cursor: number, record: Shown]
  | ["touch", cursor: number, at: number, key: string, version: string, end: number]
  | ["delete", cursor: number, at: number, key: string, reason: string | undefined]
  | ["expire", cursor: number, at: number, key: string]
  | ["overflow", cursor: number, after: number, first: number];

const MAX_BYTES = 512;
const MAX_DEPTH = 8;

/** A key that may be any text. */
export function key(value: unknown, what = "key"): string {
  const text = filled(value, what);
  if (utf8Length(text) > MAX_BYTES) throw new Error(`${what} exceeds max length (${MAX_BYTES} bytes)`);
  return wellFormed(what, text);
}

/** A key that is a path. */
export function path(value: unknown, what = "key"): string {
  return checkedPath(filled(value, what), what, false);
}

/** A prefix of paths; `undefined` means all. */
export function prefix(value: unknown): string {
  return value === undefined || value === "" ? "" : checkedPath(filled(value, "prefix"), "prefix", true);
}

function filled(value: unknown, what: string): string {
  if (typeof value !== "string" || value === "") throw new Error(`${what} must be non-empty`);
  if (value.includes("\0")) throw new Error(`${what} must not contain null bytes`);
  return value;
}

function checkedPath(text: string, what: string, isPrefix: boolean): string {
  if (text.startsWith("/")) throw new Error(`${what} must not start with '/'`);
  if (text.endsWith("/") !== isPrefix) throw new Error(`${what} must ${isPrefix ? "" : "not "}end with '/'`);
  if (text.includes("//")) throw new Error(`${what} must not contain '//'`);
  key(text, what);
  const depth = text.split("/").length - (isPrefix ? 1 : 0);
  if (depth > MAX_DEPTH) throw new Error(`${what} depth exceeds max (${MAX_DEPTH})`);
  return text;
}

/** The position after which a reader begins, for the core. */
export function place(after: string | undefined): number {
  if (after === undefined || after === "$") return NONE;
  if (after === "0" || after === "0-0") return -1;
  const revision = Number(after);
  if (!Number.isSafeInteger(revision) || revision < 0 || String(revision) !== after) {
    throw final(new Error(`invalid cursor: ${after}`));
  }
  return revision;
}

/** The parsed value, encoded at the call. */
export function taken(schema: Schema, value: unknown, limit: number, TooLarge: new (message: string) => Error): string {
  const { text, size } = take(parse(schema, value));
  if (size > limit) throw new TooLarge(tooLarge(limit, size));
  return text;
}

/** Runs a call that may exceed the maximum number of records. */
export function withRoom<R>(max: number, Full: new (message: string) => Error, call: () => unknown): R {
  try {
    return call() as R;
  } catch (error) {
    throw (error as { kind?: unknown }).kind === "capacity" ? new Full(`maxEntries (${max}) reached`) : error;
  }
}

/** A reader; `open` converts the core's events. */
export function reader<E>(follower: RawFollower, open: (told: Exclude<Told, ["overflow", ...unknown[]]>) => E) {
  type Overflow = { cursor: string; type: "overflow"; after: string; firstAvailable: string };
  const receive = async (cfg: WaitConfig, exit?: Exit): Promise<E | Overflow | null> => {
    const wait = waitMs(cfg);
    const told = await waiting<Told>(cfg.signal, () => follower.recv(wait), exit);
    if (told === null) return null;
    if (told[0] !== "overflow") return open(told);
    const [type, cursor, after, first] = told;
    return { cursor: String(cursor), type, after: String(after), firstAvailable: String(first) };
  };
  return {
    recv: (cfg: WaitConfig = {}) => receive(cfg),
    stream: (cfg: WaitConfig = {}) => repeated(cfg, receive),
  };
}

/** The value of a record. */
export function opened<T>(text: string): T {
  return give(text) as T;
}
