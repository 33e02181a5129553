// The core: the library as WebAssembly, and how its calls become promises.

import { initSync, Waiting } from "../wasm/tidelock.js";
import { wasm } from "../wasm/bytes.js";
import { TEN_YEARS } from "./check.js";

export * from "../wasm/tidelock.js";

/** The core, compiled; its bytes are let go of. */
function compiled(): WebAssembly.Module {
  const bytes = wasm();
  try {
    return new WebAssembly.Module(bytes);
  } catch (cause) {
    const text = "tidelock cannot start its WebAssembly; a content security policy needs 'wasm-unsafe-eval'";
    throw new Error(text, { cause });
  }
}

/** What the core works in. */
export const { memory }: { memory: WebAssembly.Memory } = initSync({ module: compiled() });

/** Not given, for the core. */
export const NONE = Number.NaN;

/** The answer of a call, or the promise of one that waits. */
export function settled<T>(answer: unknown): T | Promise<T> {
  return answer instanceof Waiting ? promiseOf<T>(answer) : (answer as T);
}

/** The promise of a call that nobody withdraws. What it holds of the core is given back now, and not when it is collected. */
function promiseOf<T>(answer: Waiting): Promise<T> {
  const promise = answer.promise as Promise<T>;
  answer.free();
  return promise;
}

export interface WaitConfig {
  readonly wait?: boolean;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** How long to wait: 0 not at all, NaN until aborted. */
export function waitMs({ wait, timeoutMs = 30_000 }: WaitConfig): number {
  if (typeof timeoutMs !== "number" || Number.isNaN(timeoutMs)) throw new Error("timeoutMs must be >= 0");
  if (wait === false || timeoutMs <= 0) return 0;
  // The longest time there is comes close enough to never.
  return timeoutMs === Infinity ? NONE : Math.min(timeoutMs, TEN_YEARS);
}

/**
 * Begins a call that waits until its signal aborts, or what `leaving` is given is called: then it is withdrawn, and gives
 * `null`.
 */
export function waiting<T>(
  signal: AbortSignal | undefined,
  begin: () => unknown,
  leaving?: (cancel: () => void) => void,
): T | null | Promise<T | null> {
  if (signal?.aborted) return null;
  const answer = begin();
  if (!(answer instanceof Waiting)) return answer as T | null;
  if (signal === undefined && leaving === undefined) return promiseOf(answer);
  let isOver = false;
  const cancel = () => {
    if (!isOver) answer.cancel();
  };
  signal?.addEventListener("abort", cancel, { once: true });
  leaving?.(cancel);
  return (answer.promise as Promise<T | null>).finally(() => {
    isOver = true;
    signal?.removeEventListener("abort", cancel);
    answer.free();
  });
}

/** Repeats a receive: until nothing is there, if it does not wait, else until the signal aborts or the loop is left. */
export async function* repeated<T, C extends WaitConfig>(
  cfg: C,
  recv: (cfg: C) => Promise<T | null>,
): AsyncGenerator<T, void, undefined> {
  while (!cfg.signal?.aborted) {
    const received = await recv(cfg);
    if (received !== null) yield received;
    else if (waitMs(cfg) === 0) return;
  }
}

/** An error that is told by its name. */
export function named(name: string, message: string, options?: ErrorOptions): Error {
  return Object.assign(new Error(message, options), { name });
}

/** Calls an observer, beside the work. What it throws is its own affair. */
export function tell<T>(observer: (told: T) => unknown, told: T): void {
  Promise.resolve(told).then(observer).catch(() => {});
}

/** Events whose reader does not wait for the next one to leave: `leave` withdraws that. */
export function leavable<T>(
  events: AsyncGenerator<T, void, undefined>,
  leave: () => void,
): AsyncGenerator<T, void, undefined> {
  const end = events.return.bind(events);
  events.return = (value) => {
    leave();
    return end(value);
  };
  return events;
}

/** What something that was thrown says. */
export function textOf(thrown: unknown): string {
  const { message } = (thrown ?? {}) as { message?: unknown };
  if (typeof message === "string") return message;
  try {
    return String(thrown);
  } catch {
    return "unknown error";
  }
}
