// The core: the library as WebAssembly, and the conversion of its calls to promises.

import { initSync, Waiting } from "../wasm/tidelock.js";
import { wasm } from "../wasm/bytes.js";
import { signalOf, TEN_YEARS } from "./check.js";

export * from "../wasm/tidelock.js";

/** The compiled core. Its bytes are not kept. */
function compiled(): WebAssembly.Module {
  const bytes = wasm();
  try {
    return new WebAssembly.Module(bytes);
  } catch (cause) {
    const text = "tidelock cannot start its WebAssembly; a content security policy needs 'wasm-unsafe-eval'";
    throw new Error(text, { cause });
  }
}

/** The memory of the core. */
export const { memory }: { memory: WebAssembly.Memory } = initSync({ module: compiled() });

/** Means *not given* to the core. */
export const NONE = Number.NaN;

/** The answer of a call, or the promise of one that waits. */
export function settled<T>(answer: unknown): T | Promise<T> {
  return answer instanceof Waiting ? promiseOf<T>(answer) : (answer as T);
}

/** The promise of a call that nobody cancels. The core's part is freed now, not when it is garbage-collected. */
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

/** How long to wait, in ms: 0 not at all, NaN until aborted. */
export function waitMs({ wait, timeoutMs = 30_000 }: WaitConfig): number {
  if (typeof timeoutMs !== "number" || Number.isNaN(timeoutMs)) throw new Error("timeoutMs must be >= 0");
  if (wait === false || timeoutMs <= 0) return 0;
  // The longest time there is: close enough to never.
  return timeoutMs === Infinity ? NONE : Math.min(timeoutMs, TEN_YEARS);
}

/** The way out of a loop that waits. */
export interface Exit {
  isLeft: boolean;
  /** Cancels the current wait. */
  leave(): void;
}

/** Begins a call that waits. It resolves to `null` if its signal aborts or the loop around it is left. */
export function waiting<T>(
  given: AbortSignal | undefined,
  begin: () => unknown,
  exit?: Exit,
): T | null | Promise<T | null> {
  const signal = signalOf(given);
  if (signal?.aborted || exit?.isLeft) return null;
  const answer = begin();
  if (!(answer instanceof Waiting)) return answer as T | null;
  if (signal === undefined && exit === undefined) return promiseOf(answer);
  let isOver = false;
  const cancel = () => {
    if (!isOver) answer.cancel();
  };
  if (signal !== undefined) {
    // Other listeners may run before ours and do what the call waits for; the core must know of the abort even then.
    answer.watch(signal);
    signal.addEventListener("abort", cancel, { once: true });
  }
  if (exit !== undefined) exit.leave = cancel;
  return (answer.promise as Promise<T | null>).finally(() => {
    isOver = true;
    signal?.removeEventListener("abort", cancel);
    answer.free();
  });
}

/** An async generator that can be left while it waits for the next item: `made` gets the way out. */
export function leavable<T>(
  made: (exit: Exit) => AsyncGenerator<T, void, undefined>,
): AsyncGenerator<T, void, undefined> {
  const exit: Exit = { isLeft: false, leave: () => {} };
  const events = made(exit);
  const leaving = <Given>(end: (given: Given) => Promise<IteratorResult<T, void>>) => {
    return (given: Given) => {
      exit.isLeft = true;
      exit.leave();
      return end.call(events, given);
    };
  };
  events.return = leaving(events.return);
  events.throw = leaving(events.throw);
  return events;
}

/** Repeats a receive: without waiting until nothing is there, else until the signal aborts or the loop is left. */
export function repeated<T, C extends WaitConfig>(
  cfg: C,
  recv: (cfg: C, exit: Exit) => Promise<T | null>,
): AsyncGenerator<T, void, undefined> {
  return leavable(async function* (exit) {
    while (!exit.isLeft && !cfg.signal?.aborted) {
      const received = await recv(cfg, exit);
      if (received !== null) yield received;
      else if (waitMs(cfg) === 0) return;
    }
  });
}

/** An error that is recognised by its name. */
export function named(name: string, message: string, options?: ErrorOptions): Error {
  return Object.assign(new Error(message, options), { name });
}

/** Calls an optional observer. What it throws, now or later, is ignored. */
export function tell<T>(observer: ((told: T) => unknown) | undefined, told: T): void {
  try {
    Promise.resolve(observer?.(told)).catch(() => {});
  } catch {
    // Ignored.
  }
}

/** As `tell`, but asynchronously. */
export function tellLater<T>(observer: (told: T) => unknown, told: T): void {
  Promise.resolve(told).then(observer).catch(() => {});
}

/** Whether an answer that must be synchronous is a promise. If so, its rejection is ignored. */
export function isPromise(answer: unknown): boolean {
  if (typeof (answer as { then?: unknown } | null | undefined)?.then !== "function") return false;
  Promise.resolve(answer).catch(() => {});
  return true;
}

/** The `name` of a thrown value. */
export function nameOf(thrown: unknown): unknown {
  try {
    return ((thrown ?? {}) as { name?: unknown }).name;
  } catch {
    return undefined;
  }
}

/** The message of a thrown value. */
export function textOf(thrown: unknown): string {
  try {
    const { message } = (thrown ?? {}) as { message?: unknown };
    if (typeof message === "string") return message;
    return String(thrown);
  } catch {
    return "unknown error";
  }
}
