// Runs the conformance suite of the core, compiled for pages, in Node and in a page. The cases are those of
// `crates/tidelock/tests/conformance`.

import FakeTimers from "@sinonjs/fake-timers";
import { run, tell, test } from "./harness.js";

/** The compiled suite. */
interface Suite {
  default(given: { module_or_path: WebAssembly.Module }): Promise<unknown>;
  names(): string[];
  is_paused(index: number): boolean;
  run(index: number): Promise<void>;
}

const { process } = globalThis as { process?: { argv: string[] } };
const built = new URL("./conformance/", import.meta.url);
const compiled = await WebAssembly.compile(await read(new URL("conformance_bg.wasm", built)));
let opened = 0;
let suite = await open();

async function read(file: URL): Promise<BufferSource> {
  if (file.protocol !== "file:") return (await fetch(file)).arrayBuffer();
  const fs: string = "node:fs/promises";
  const { readFile } = (await import(fs)) as { readFile(file: URL): Promise<Uint8Array<ArrayBuffer>> };
  return readFile(file);
}

/** Creates a new instance: the query makes it a different module. */
async function open(): Promise<Suite> {
  opened += 1;
  const opening = (await import(new URL(`conformance.js?${opened}`, built).href)) as Suite;
  await unbroken(() => opening.default({ module_or_path: compiled }));
  return opening;
}

/** The result of a call, unless the instance panics meanwhile. */
function unbroken<T>(call: () => Promise<T>): Promise<T> {
  const panicked = new Promise<never>((_, reject) => {
    Object.assign(globalThis, { panicked: (message: string) => reject(new Error(message)) });
  });
  return Promise.race([call(), panicked]);
}

/** Runs a case in time that jumps to the next timer when nothing else is left to do. */
async function paused(body: () => Promise<void>): Promise<void> {
  const clock = FakeTimers.install({ now: Date.now(), toFake: ["Date", "setTimeout", "clearTimeout"] });
  clock.setTickMode({ mode: "nextAsync" });
  try {
    await body();
  } finally {
    clock.uninstall();
  }
}

for (const [index, name] of suite.names().entries()) {
  const body = () => unbroken(() => suite.run(index));
  test(name, async () => {
    try {
      await (suite.is_paused(index) ? paused(body) : body());
    } catch (error) {
      // After a panic, the instance is unusable.
      suite = await open();
      throw error;
    }
  });
}

const filter = process?.argv[2] ?? new URLSearchParams(globalThis.location?.search).get("only") ?? "";
const outcome = run(filter);
Object.assign(globalThis, { outcome });
if (process) tell(await outcome);
