// Runs the tests in a runtime with a command line: `main.js [part of a name]`.

import "./all.js";
import { run } from "./harness.js";

const { process, Deno } = globalThis as {
  process?: { argv: string[]; exitCode?: number };
  Deno?: { args: string[]; exit(code: number): void };
};
const filter = (Deno?.args ?? process?.argv.slice(2) ?? [])[0];
const { passed, failed } = await run(filter);
for (const { name, error } of failed) console.error(`FAILED ${name}\n${error}\n`);
console.log(`${passed} passed, ${failed.length} failed`);
if (failed.length > 0) {
  if (Deno) Deno.exit(1);
  else if (process) process.exitCode = 1;
}
