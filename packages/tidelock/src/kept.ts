// Objects that only the page itself can hold, like `Blob`. Nobody else has them: copies go in and out.
//
// In a text, such an object is represented by a name. Texts come and go in the queues, logs and records of the core,
// and nothing tells when the last copy is gone. So from time to time the core's memory is searched for the names, and
// an object whose name is not found is released. Remains of a freed text may keep its object alive until that memory is
// reused.

import { memory } from "./core.js";
import { letGo } from "./timer.js";

interface Kept {
  /** `undefined`: no text in the core names it. The page may still hold the object itself. */
  object: object | undefined;
  readonly weak: WeakRef<object>;
}

/** Precedes the number of an object, and occurs nowhere else. */
const SIGN = /* @__PURE__ */ Array.from(crypto.getRandomValues(new Uint32Array(3)), (part) => part.toString(36)).join("-");
/** Longer than the longest name, in bytes. */
const OVERLAP = 64;
const CHUNK = 2 ** 20;
/** So many are held without a search. */
const FEW = 64;

const objects = new Map<number, Kept>();
let last = 0;
/** How many are held for the core. */
let held = 0;
/** Reaching this number triggers a search. */
let many = FEW;

/** Keeps an object; returns its name. A search does not run before the texts of this turn have reached the core. */
export function keep(object: object): string {
  last += 1;
  objects.set(last, { object, weak: new WeakRef(object) });
  held += 1;
  if (held >= many) {
    // Doubled, so that another search is scheduled even if a test replaced the timers and this one never runs.
    many *= 2;
    letGo(setTimeout(search, 0));
  }
  return `${SIGN}/${last};`;
}

/** The object with this name. */
export function keptAs(name: string): object | undefined {
  return objects.get(numberOf(name))?.weak.deref();
}

function numberOf(name: string): number {
  return Number(name.slice(SIGN.length + 1, -1));
}

function search(): void {
  const found = namesIn(new Uint8Array(memory.buffer));
  held = 0;
  for (const [number, kept] of objects) {
    if (found.has(number)) held += 1;
    else kept.object = undefined;
    if (kept.weak.deref() === undefined) objects.delete(number);
  }
  many = Math.max(FEW, 2 * held);
}

function namesIn(bytes: Uint8Array): Set<number> {
  const found = new Set<number>();
  const letters = new TextDecoder("latin1");
  const name = new RegExp(`${SIGN}/\\d+;`, "g");
  for (let at = 0; at < bytes.length; at += CHUNK) {
    const text = letters.decode(bytes.subarray(at, at + CHUNK + OVERLAP));
    for (const [named] of text.matchAll(name)) found.add(numberOf(named));
  }
  return found;
}
