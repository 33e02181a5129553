// Objects that only the page itself can hold, like `Blob`. Nobody else has them: what is taken and given out is a copy.
//
// Inside of a text such an object has a name. Texts come and go in the core, in queues, logs and records, and nobody says
// when the last copy is gone; so the memory of the core is searched for the names now and then, and an object whose name
// stands nowhere is let go of. What is left of a text that is gone may hold its object until that memory is used again.

import { memory } from "./core.js";
import { letGo } from "./timer.js";

interface Kept {
  /** `undefined`: no text in the core has it. Somebody here may, with the object itself. */
  object: object | undefined;
  readonly weak: WeakRef<object>;
}

/** What stands before the number of an object, and nowhere else. */
const SIGN = /* @__PURE__ */ Array.from(crypto.getRandomValues(new Uint32Array(3)), (part) => part.toString(36)).join("-");
/** More than the longest name has, in bytes. */
const OVERLAP = 64;
const CHUNK = 2 ** 20;
/** So many are kept without a search. */
const FEW = 64;

const objects = new Map<number, Kept>();
let last = 0;
/** How many are held for the core. */
let held = 0;
/** So many ask for a search. */
let many = FEW;

/** Keeps an object; gives its name. The search is not before the texts of this turn have reached the core. */
export function keep(object: object): string {
  last += 1;
  objects.set(last, { object, weak: new WeakRef(object) });
  held += 1;
  if (held >= many) {
    // One that a test has replaced the timers under may never come.
    many *= 2;
    letGo(setTimeout(search, 0));
  }
  return `${SIGN}/${last};`;
}

/** The object of this name. */
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
