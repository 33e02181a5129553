// What is stored with a value: its metadata and its ordering key, all in one text.

import { give, take, type Taken } from "./value.js";

export type Meta = Record<string, unknown>;

/** Packs a value with its metadata, copied at the call. Throws if both together exceed the limit. */
export function pack(value: unknown, meta: Meta | undefined, orderingKey: string | undefined, limit: number): string {
  const data = take(value);
  const about: Taken | undefined = meta === undefined ? undefined : take(meta);
  const size = data.size + (about?.size ?? 0);
  if (size > limit) throw new Error(tooLarge(limit, size));
  const key = orderingKey === undefined ? "" : JSON.stringify(orderingKey);
  // JSON texts contain no line feeds.
  return `${data.text}\n${about?.text ?? ""}\n${key}`;
}

export function tooLarge(limit: number, size: number): string {
  return `payload exceeds limit (${limit} bytes): ${size} bytes`;
}

export interface Unpacked<T> {
  data: T;
  orderingKey?: string;
  meta?: Meta;
}

/** Adds a fresh copy of a packed value to the object that describes it. */
export function unpack<T, About extends object>(text: string, about: About): About & Unpacked<T> {
  const [data, meta, key] = text.split("\n") as [string, string, string];
  // Not a spread of both: adding members after a spread is many times slower.
  const unpacked = about as About & Unpacked<T>;
  unpacked.data = give(data) as T;
  if (key !== "") unpacked.orderingKey = JSON.parse(key) as string;
  if (meta !== "") unpacked.meta = give(meta) as Meta;
  return unpacked;
}
