import { smoke } from "./smoke.js";

globalThis.outcome = smoke();
