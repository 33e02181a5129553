// Values as texts, and back: plain JSON unchanged, everything else that can be cloned in a notation of its own.

import { keep, keptAs } from "./kept.js";

/** Marks a text that is not plain JSON. */
const MARK = "\u0001";

/** A value, copied at the call. */
export interface Taken {
  readonly text: string;
  /** The size of its JSON in bytes. */
  readonly size: number;
  /** Objects that the text only names. Whoever keeps the text outside the core has to keep these with it. */
  readonly objects: readonly object[];
}

const NONE: readonly object[] = [];

/** Whether `JSON.parse(JSON.stringify(value))` returns an equal value. */
function isPlain(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true;
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0);
    case "object":
      break;
    default:
      return false;
  }
  if (value === null) return true;
  // At greater depth it may be a cycle.
  if (depth > 64) return false;
  if (Array.isArray(value)) {
    // Indices come first and in order. If the last key is where it would be without holes, there are no holes and no
    // other keys.
    const { length } = value;
    const keys = Object.keys(value);
    if (keys.length !== length || (length > 0 && keys[length - 1] !== String(length - 1))) return false;
    return "toJSON" in value === false && value.every((item) => isPlain(item, depth + 1));
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  if ("toJSON" in value) return false;
  for (const key of Object.keys(value)) {
    if (!isPlain((value as Record<string, unknown>)[key], depth + 1)) return false;
  }
  return true;
}

/** Copies a value. Throws what structured cloning throws. */
export function take(value: unknown): Taken {
  if (isPlain(value, 0)) {
    const text = JSON.stringify(value);
    return { text, size: utf8Length(text), objects: NONE };
  }
  const clone: unknown = structuredClone(value);
  const writer = new Writer();
  const text = MARK + json(writer.write(clone));
  return { text, size: utf8Length(measured(clone)), objects: writer.objects };
}

/** A fresh copy of a value from its text. */
export function give(text: string): unknown {
  if (!text.startsWith(MARK)) return JSON.parse(text) as unknown;
  const [root, nodes] = JSON.parse(text.slice(MARK.length)) as [Note, Node[]];
  return new Reader(nodes).read(root);
}

/** The JSON text that determines the size of a value. */
function measured(value: unknown): string {
  try {
    return JSON.stringify(value, counted) ?? "";
  } catch {
    // A cycle has no JSON.
    return json(new Writer().write(value));
  }
}

/** The JSON text of nested arrays, even if an old library has added `toJSON` to all arrays. */
export function json(value: readonly unknown[]): string {
  return "toJSON" in Array.prototype ? JSON.stringify(value, own) : JSON.stringify(value);
}

/** The value itself, not the result of its `toJSON`. */
function own(this: unknown, key: string): unknown {
  return (this as Record<string, unknown>)[key];
}

function counted(this: unknown, key: string, given: unknown): unknown {
  const value = own.call(this, key);
  if (typeof value === "bigint") return null;
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  if (isObject(value)) return value;
  return kindOf(value) === "Date" ? given : null;
}

/**
 * Whether a clone is a plain object. Like all checks of clones, it works across realms: test runners give code a realm
 * of its own, but the `structuredClone` of another.
 */
function isObject(clone: object): boolean {
  return Object.getPrototypeOf(Object.getPrototypeOf(clone)) === null;
}

/** The kind of a clone. User code cannot interfere: clones have neither symbols nor classes. */
function kindOf(clone: object): string {
  return Object.prototype.toString.call(clone).slice("[object ".length, -1);
}

/** Bytes of a text in UTF-8. */
export function utf8Length(text: string): number {
  let length = text.length;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code < 0x80) continue;
    length += code < 0x800 ? 1 : 2;
    // A surrogate pair takes four bytes.
    if (code >= 0xd800 && code < 0xdc00 && at + 1 < text.length) {
      const next = text.charCodeAt(at + 1);
      if (next >= 0xdc00 && next < 0xe000) at += 1;
    }
  }
  return length;
}

/** The notation of a value: itself if JSON has it, otherwise an array that begins with a letter. */
type Note = string | boolean | null | number | readonly unknown[];
/** The notation of an object, which begins with its letter. */
type Node = readonly [string, ...unknown[]];

class Writer {
  private readonly known = new Map<object, number>();
  private readonly nodes: Node[] = [];
  /** Objects that the text only names. */
  readonly objects: object[] = [];

  /** The notation of a whole value. */
  write(value: unknown): [Note, Node[]] {
    return [this.note(value), this.nodes];
  }

  private note(value: unknown): Note {
    switch (typeof value) {
      case "string":
      case "boolean":
        return value;
      case "number":
        if (Number.isFinite(value) && !Object.is(value, -0)) return value;
        return ["n", Object.is(value, -0) ? "-0" : String(value)];
      case "bigint":
        return ["i", String(value)];
      case "object":
        return value === null ? null : ["r", this.object(value)];
      default:
        return ["u"];
    }
  }

  private object(object: object): number {
    const known = this.known.get(object);
    if (known !== undefined) return known;
    const index = this.nodes.length;
    this.known.set(object, index);
    // The index is reserved before the members are written, since they may refer back to this object.
    this.nodes.push(["?"]);
    this.nodes[index] = this.node(object);
    return index;
  }

  private node(object: object): Node {
    if (Array.isArray(object)) {
      const items = Object.keys(object).map((key) => [key, this.note(object[key as unknown as number])]);
      return ["a", object.length, items];
    }
    if (ArrayBuffer.isView(object)) {
      const { buffer, byteOffset, byteLength } = object;
      const length = (object as { length?: number }).length ?? byteLength;
      return ["v", object.constructor.name, this.object(buffer), byteOffset, length];
    }
    switch (kindOf(object)) {
      case "Date":
        return ["d", this.note((object as Date).getTime())];
      case "RegExp":
        return ["x", (object as RegExp).source, (object as RegExp).flags];
      case "Map":
        return ["m", [...(object as Map<unknown, unknown>)].map(([key, value]) => [this.note(key), this.note(value)])];
      case "Set":
        return ["s", [...(object as Set<unknown>)].map((value) => this.note(value))];
      case "ArrayBuffer": {
        const { resizable, maxByteLength } = object as Resizable;
        return ["b", toBase64(new Uint8Array(object as Resizable)), resizable ? maxByteLength : null];
      }
      case "DOMException": {
        const { message, name, stack } = object as DOMException;
        return ["E", message, name, stack ?? null];
      }
      case "Error": {
        const { name, message, stack, cause } = object as Error;
        return ["e", name, message, stack ?? null, this.note(cause), "cause" in object];
      }
      case "Number":
      case "String":
      case "Boolean":
      case "BigInt":
        return ["o", this.note(object.valueOf())];
    }
    if (isObject(object)) {
      return ["p", Object.entries(object).map(([key, value]) => [key, this.note(value)])];
    }
    this.objects.push(object);
    return ["k", keep(object)];
  }
}

class Reader {
  private readonly made: unknown[] = [];

  constructor(private readonly nodes: readonly Node[]) {}

  read(note: Note): unknown {
    if (!Array.isArray(note)) return note;
    switch (note[0]) {
      case "n":
        return Number(note[1]);
      case "i":
        return BigInt(note[1] as string);
      case "r":
        return this.object(note[1] as number);
      default:
        return undefined;
    }
  }

  private object(index: number): unknown {
    if (index in this.made) return this.made[index];
    const [letter, ...parts] = this.nodes[index] as Node;
    const into = <T>(object: T): T => {
      this.made[index] = object;
      return object;
    };
    switch (letter) {
      case "a": {
        const array = into<unknown[]>(new Array(parts[0] as number));
        for (const [key, note] of parts[1] as [string, Note][]) array[key as unknown as number] = this.read(note);
        return array;
      }
      case "d":
        return into(new Date(this.read(parts[0] as Note) as number));
      case "x":
        return into(new RegExp(parts[0] as string, parts[1] as string));
      case "m": {
        const map = into(new Map<unknown, unknown>());
        for (const [key, value] of parts[0] as [Note, Note][]) map.set(this.read(key), this.read(value));
        return map;
      }
      case "s": {
        const set = into(new Set<unknown>());
        for (const note of parts[0] as Note[]) set.add(this.read(note));
        return set;
      }
      case "b":
        return into(buffer(parts[0] as string, parts[1] as number | null));
      case "v": {
        const [kind, buffer, offset, length] = parts as [string, number, number, number];
        const View = (globalThis as unknown as Record<string, new (...args: unknown[]) => unknown>)[kind]!;
        return into(new View(this.object(buffer), offset, length));
      }
      case "e":
        return this.error(parts, into);
      case "E":
        return into(withStack(new DOMException(parts[0] as string, parts[1] as string), parts[2] as string | null));
      case "o":
        return into(Object(this.read(parts[0] as Note)) as unknown);
      case "p": {
        const object = into<Record<string, unknown>>({});
        for (const [key, note] of parts[0] as [string, Note][]) {
          const value = this.read(note);
          Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
        }
        return object;
      }
      default:
        return into(copied(keptAs(parts[0] as string)));
    }
  }

  private error(parts: readonly unknown[], into: <T>(object: T) => T): unknown {
    const [name, message, stack, cause, hasCause] = parts as [string, string, string | null, Note, boolean];
    const kinds = { EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };
    const Kind = kinds[name as keyof typeof kinds] ?? Error;
    const error = into(withStack(new Kind(message), stack));
    if (hasCause) {
      Object.defineProperty(error, "cause", { value: this.read(cause), writable: true, configurable: true });
    }
    return error;
  }
}

function withStack<E extends object>(error: E, stack: string | null): E {
  if (stack !== null) Object.defineProperty(error, "stack", { value: stack, writable: true, configurable: true });
  return error;
}

/** A copy of an object that only the page can hold. Blobs are immutable, so they need no copy. */
function copied(kept: object | undefined): unknown {
  return kept instanceof Blob ? kept : structuredClone(kept);
}

/** An `ArrayBuffer` that may be resizable. */
interface Resizable extends ArrayBuffer {
  readonly resizable?: boolean;
  readonly maxByteLength?: number;
}

function buffer(base64: string, maxByteLength: number | null): ArrayBuffer {
  const bytes = fromBase64(base64);
  if (maxByteLength === null) return bytes.buffer;
  const Buffer = ArrayBuffer as new (length: number, options: { maxByteLength: number }) => ArrayBuffer;
  const resizable = new Buffer(bytes.length, { maxByteLength });
  new Uint8Array(resizable).set(bytes);
  return resizable;
}

function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}
