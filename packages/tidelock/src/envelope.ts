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

export function unpack<T>(text: string): Unpacked<T> {
  const [data, about, key] = text.split("\n") as [string, string, string];
  const unpacked: Unpacked<T> = { data: give(data) as T };
  if (key !== "") unpacked.orderingKey = JSON.parse(key) as string;
  if (about !== "") unpacked.meta = give(about) as Meta;
  return unpacked;
}
