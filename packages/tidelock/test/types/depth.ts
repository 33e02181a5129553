import type { Store } from "./contract.js";

/** With every option required, at any depth. */
export type Every<T> = T extends (...args: never[]) => unknown
  ? T
  : T extends AbortSignal | Store
    ? T
    : T extends object
      ? { [K in keyof T]-?: Every<NonNullable<T[K]>> }
      : T;
