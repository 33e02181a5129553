// The test harness for every runtime: in Node, Bun and Deno through `main.ts`, in a page through its bundle.

import FakeTimers from "@sinonjs/fake-timers";
import { expect } from "chai";

export { expect };

interface Case {
  readonly name: string;
  readonly run: () => void | Promise<void>;
}

const cases: Case[] = [];
let group = "";

/** Groups the tests defined by `define` under a name. */
export function describe(name: string, define: () => void): void {
  group = name;
  define();
  group = "";
}

export function test(name: string, run: () => void | Promise<void>): void {
  cases.push({ name: group === "" ? name : `${group}: ${name}`, run });
}

/** The page's time, pinned. */
export interface PinnedTime {
  /** Advances it step by step, and lets everything that becomes due run to its end. */
  advance(ms: number): Promise<void>;
  /** Sets the clock forwards or backwards; timers keep their remaining time. */
  set(now: number): void;
  now(): number;
}

/** Runs `body` with `Date` and the timers pinned. `clears`: whether pinned functions can clear earlier timers. */
export async function pinned<T>(
  body: (time: PinnedTime) => Promise<T>,
  now = 1_700_000_000_000,
  clears = true,
): Promise<T> {
  const toFake = ["Date", "setTimeout", "clearTimeout", "setInterval", "clearInterval"] as const;
  const clock = FakeTimers.install({ now, toFake: [...toFake], shouldClearNativeTimers: clears });
  try {
    return await body({
      advance: async (ms) => {
        await clock.tickAsync(ms);
      },
      set: (at) => clock.setSystemTime(at),
      now: () => Date.now(),
    });
  } finally {
    clock.uninstall();
  }
}

/** Lets everything run that needs no time. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}

/** Counts the timers set from now on, until `stop` or the end of pinned time. */
export function countTimers(): { count: number; stop(): void } {
  const { setTimeout } = globalThis;
  const timers = { count: 0, stop: () => void (globalThis.setTimeout = setTimeout) };
  globalThis.setTimeout = ((...args: Parameters<typeof setTimeout>) => {
    timers.count += 1;
    return setTimeout(...args);
  }) as typeof setTimeout;
  return timers;
}

/** A signal that counts its listeners. */
export function countListeners(): { signal: AbortSignal; abort(): void; listeners(): number } {
  const controller = new AbortController();
  const { signal } = controller;
  let count = 0;
  const { addEventListener: add, removeEventListener: remove } = signal;
  signal.addEventListener = (...args: unknown[]) => {
    count += 1;
    (add as (...args: unknown[]) => void).apply(signal, args);
  };
  signal.removeEventListener = (...args: unknown[]) => {
    count -= 1;
    (remove as (...args: unknown[]) => void).apply(signal, args);
  };
  return { signal, abort: () => controller.abort(), listeners: () => count };
}

/** Everything that a reader returns now. */
export async function drain<E>(reader: { recv(cfg: { wait: boolean }): Promise<E | null> }): Promise<E[]> {
  const events: E[] = [];
  for (;;) {
    const event = await reader.recv({ wait: false });
    if (event === null) return events;
    events.push(event);
  }
}

/** The error that a call throws or rejects with. */
export async function failure(call: () => unknown): Promise<Error> {
  try {
    await call();
  } catch (error) {
    return error as Error;
  }
  throw new Error("it was expected to fail");
}

/** A schema that accepts every value of a type. */
export function any<T>(): { parse(value: unknown): T } {
  return { parse: (value) => value as T };
}

/** The globals of another realm: that of a frame in a page, elsewhere that of a context. */
export async function otherRealm(): Promise<typeof globalThis> {
  const { document } = globalThis as { document?: Document };
  if (document !== undefined) {
    // The frame stays: without it, its realm ends.
    const frame = document.body.appendChild(document.createElement("iframe"));
    return frame.contentWindow as unknown as typeof globalThis;
  }
  // The bundle for pages must not import it.
  const vm = "node:vm";
  const { runInNewContext } = (await import(vm)) as { runInNewContext(code: string): typeof globalThis };
  return runInNewContext("globalThis");
}

/** The results of a test run. */
export interface Outcome {
  readonly passed: number;
  readonly failed: readonly { readonly name: string; readonly error: string }[];
}

/** How long a test may hang, in real time. */
const LIMIT = 60_000;

/** Runs the tests whose names contain `filter`, one after the other. Fails if there are none. */
export async function run(filter = ""): Promise<Outcome> {
  const chosen = cases.filter(({ name }) => name.includes(filter));
  if (chosen.length === 0) return { passed: 0, failed: [{ name: filter, error: "no test has this in its name" }] };
  // Tests replace these.
  const { setTimeout, clearTimeout } = globalThis;
  const failed: { name: string; error: string }[] = [];
  const rejected: unknown[] = [];
  const unhandled = (event: { reason?: unknown; preventDefault?(): void }) => {
    event.preventDefault?.();
    rejected.push(event.reason ?? event);
  };
  watch(unhandled);
  for (const { name, run } of chosen) {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const hung = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`still running after ${LIMIT} ms`)), LIMIT);
    });
    const fail = (error: unknown) =>
      failed.push({ name, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    // A test that throws synchronously fails, too.
    const failure = await Promise.race([(async () => run())(), hung]).then(() => undefined, (error: unknown) => ({ error }));
    // Unhandled rejections are reported after the microtasks.
    await new Promise((resolve) => setTimeout(resolve, 0));
    if (failure) fail(failure.error);
    else if (rejected.length > 0) fail(rejected[0]);
    rejected.length = 0;
    clearTimeout(timer);
  }
  return { passed: chosen.length - failed.length, failed };
}

/** Reports uncaught errors: rejections, and errors of timers. */
function watch(unhandled: (event: { reason?: unknown; preventDefault?(): void }) => void): void {
  const { process } = globalThis as { process?: { on?(event: string, listener: (reason: unknown) => void): void } };
  if (typeof process?.on === "function") {
    process.on("unhandledRejection", (reason) => unhandled({ reason }));
    process.on("uncaughtException", (reason) => unhandled({ reason }));
  } else {
    globalThis.addEventListener?.("unhandledrejection", (event) => unhandled(event));
    globalThis.addEventListener?.("error", (event) => unhandled({ reason: event.error, preventDefault: () => event.preventDefault() }));
  }
}

/** Prints the results and exits, since calls that tests have left open may keep the process alive. */
export function tell({ passed, failed }: Outcome): void {
  const { process, Deno } = globalThis as { process?: { exit(code: number): void }; Deno?: { exit(code: number): void } };
  for (const { name, error } of failed) console.error(`FAILED ${name}\n${error}\n`);
  console.log(`${passed} passed, ${failed.length} failed`);
  (Deno ?? process)?.exit(failed.length > 0 ? 1 : 0);
}
