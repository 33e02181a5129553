// The host's timers, looked up at each use. They only wake; the clock decides whether something is over.

/** The longest delay of the host's timers: they overflow beyond it, and fire at once. */
export const LONGEST_STEP = 2 ** 31 - 1;

/** Calls `run` after a time of any length. The returned function cancels it. */
export function after(ms: number, run: () => void): () => void {
  let left = Math.max(0, Math.ceil(ms));
  let timer: unknown;
  const arm = () => {
    const step = Math.min(left, LONGEST_STEP);
    left -= step;
    timer = setTimeout(left > 0 ? arm : run, step);
  };
  arm();
  return () => clearTimeout(timer as number);
}

/** Lets the process end although the timer is set, on hosts with processes. */
export function letGo(timer: unknown): void {
  if (typeof timer === "object") {
    (timer as { unref?(): void } | null)?.unref?.();
    return;
  }
  const { Deno } = globalThis as { Deno?: { unrefTimer?(timer: unknown): void } };
  Deno?.unrefTimer?.(timer);
}

/** Clears a timer that was passed to `letGo`, if there is one. */
export function forget(timer: unknown): void {
  if (timer === undefined) return;
  // Node leaks a list for each duration of such timers, unless the timer is referenced again before it is cleared.
  if (typeof timer === "object") (timer as { ref?(): void } | null)?.ref?.();
  clearTimeout(timer as number);
}

/** Resolves after a time, when the signal aborts, or when the function passed to `early` is called. */
export function pause(ms: number, signal?: AbortSignal, early?: (end: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = () => {
      clear();
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const clear = after(ms, end);
    signal?.addEventListener("abort", end, { once: true });
    early?.(end);
  });
}
