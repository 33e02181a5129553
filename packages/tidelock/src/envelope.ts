// What travels with a value: its metadata and its ordering key, in one text.

import { give, take, type Taken } from "./value.js";

export type Meta = Record<string, unknown>;

/** A value with its metadata, taken at the call. Throws if both together are larger than the limit. */
export function pack(value: unknown, meta: Meta | undefined, orderingKey: string | undefined, limit: number): string {
  const data = take(value);
  const about: Taken | undefined = meta === undefined ? undefined : take(meta);
  const size = data.size + (about?.size ?? 0);
  if (size > limit) throw new Error(tooLarge(limit, size));
  const key = orderingKey === undefined ? "" : JSON.stringify(orderingKey);
  // Texts of JSON have no line feed in them.
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

/** A fresh copy of a value that was packed, in the object that tells about it. */
export function unpack<T, About extends object>(text: string, about: About): About & Unpacked<T> {
  const [data, meta, key] = text.split("\n") as [string, string, string];
  // Not a spread of both: what gets members after one is many times as slow.
  const unpacked = about as About & Unpacked<T>;
  unpacked.data = give(data) as T;
  if (key !== "") unpacked.orderingKey = JSON.parse(key) as string;
  if (meta !== "") unpacked.meta = give(meta) as Meta;
  return unpacked;
}
