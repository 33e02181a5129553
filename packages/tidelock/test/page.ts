// Runs the tests in a page: `outcome` is the promise of their results.

import "./all.js";
import { run } from "./harness.js";

Object.assign(globalThis, { outcome: run(new URLSearchParams(location.search).get("only") ?? "") });
