// What this package knows of its errors, whatever their texts say: whether the same call may succeed later.

interface Mark {
  readonly passes: boolean;
  /** Not before this many ms have gone by. */
  readonly afterMs: number;
}

const marks = new WeakMap<object, Mark>();

/** What failed with this never succeeds later. */
export function final<E>(error: E): E {
  if (typeof error === "object" && error !== null) marks.set(error, { passes: false, afterMs: Number.NaN });
  return error;
}

/** What failed with this may succeed later, if known not before a time. */
export function passing<E extends object>(error: E, afterMs = Number.NaN): E {
  marks.set(error, { passes: true, afterMs });
  return error;
}

export function mark(error: unknown): Mark | undefined {
  return marks.get(error as object);
}
