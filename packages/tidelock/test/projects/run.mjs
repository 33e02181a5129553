// The smoke test in a runtime with a command line.

import { smoke } from "./smoke.js";

const { passed, failed } = await smoke();
for (const { name, error } of failed) console.error(`FAILED ${name}\n${error}\n`);
console.log(`${passed} passed, ${failed.length} failed`);
if (failed.length > 0) globalThis.process.exitCode = 1;
