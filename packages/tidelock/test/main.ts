// Runs the tests in a runtime with a command line: `main.js [part of a name]`.

import "./all.js";
import { run, tell } from "./harness.js";

const { process, Deno } = globalThis as { process?: { argv: string[] }; Deno?: { args: string[] } };
tell(await run((Deno?.args ?? process?.argv.slice(2) ?? [])[0]));
