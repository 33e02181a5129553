// Timers of the host, looked up at each use. They only wake: whether something is over, the clock says.

/** The host's timers overflow behind it, and then fire at once. */
export const LONGEST_STEP = 2 ** 31 - 1;

/** Calls `run` after a time of any length. What is given back takes that back. */
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

/** Lets a process end although the timer is set, where there are processes. */
export function letGo(timer: unknown): void {
  if (typeof timer === "object") {
    (timer as { unref?(): void } | null)?.unref?.();
    return;
  }
  const { Deno } = globalThis as { Deno?: { unrefTimer?(timer: unknown): void } };
  Deno?.unrefTimer?.(timer);
}

/** Takes back a timer that was let go, if there is one. */
export function forget(timer: unknown): void {
  if (timer === undefined) return;
  // Node keeps a list for each duration that such a timer ever had, unless it is held again when it is cleared.
  if (typeof timer === "object") (timer as { ref?(): void } | null)?.ref?.();
  clearTimeout(timer as number);
}

/** Resolves after a time, when the signal aborts, or when what `early` was given is called. */
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
