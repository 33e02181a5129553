// What the examples of the documents leave to their reader, and what later ones take from earlier ones.

import type { JobHandle, Queue } from "tidelock/browser";

/** Any value that an example stores. */
type Value = { type?: string; file?: File; text?: string; room?: number };
type Order = { item: string; count: number };

declare global {
  const orders: Queue<Order>;
  const digest: JobHandle<object, unknown>;

  const schema: { parse(value: unknown): Value };
  const signal: AbortSignal;
  const file: File;
  const url: string;
  const draft: Value;
  const changed: Value;

  function brew(order: Order): Promise<void>;
  function prepare(input: Value): Promise<string>;
  function relist(): void;
  function render(data: Value): void;
  function save(): Promise<void>;
}
