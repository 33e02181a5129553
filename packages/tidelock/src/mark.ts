// What this package knows of its own errors, independent of their texts: whether the same call may succeed later.

interface Mark {
  readonly passes: boolean;
  /** Not before this many ms have passed. */
  readonly afterMs: number;
}

const marks = new WeakMap<object, Mark>();

/** Marks an error as permanent. */
export function final<E>(error: E): E {
  if (typeof error === "object" && error !== null) marks.set(error, { passes: false, afterMs: Number.NaN });
  return error;
}

/** Marks an error as transient; `afterMs`, if known, is the earliest time for another attempt. */
export function passing<E extends object>(error: E, afterMs = Number.NaN): E {
  marks.set(error, { passes: true, afterMs });
  return error;
}

export function mark(error: unknown): Mark | undefined {
  return marks.get(error as object);
}
