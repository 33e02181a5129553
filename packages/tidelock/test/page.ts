// Runs the tests in a page: `runTests()` gives what they found.

import "./all.js";
import { run } from "./harness.js";

Object.assign(globalThis, { runTests: run });
