/** Retries: only after transient errors, with growing, capped, jittered pauses. */

import { callable, callables, signalOf, TEN_YEARS } from "./check.js";
import { isPromise, named, NONE, RawRetry, RawRetryBudget, tell } from "./core.js";
import { final, mark } from "./mark.js";
import { after, pause } from "./timer.js";

/** The options of a retried call. */
export type RetryOptions = {
  /** The number of attempts, including the first; from 1, `Infinity` is allowed; default 8. */
  attempts?: number;
  /** The pause after the first failure, before jitter, in ms; default 100. */
  minDelayMs?: number;
  /** The longest pause, including jitter, in ms; default 2,000. */
  maxDelayMs?: number;
  /** Growth of the pause with each failure, 1 to 1,000; default 2. */
  factor?: number;
  /** Spread around the pause as a fraction of it, 0 to 1; default 0.2. */
  jitter?: number;
  /** Ends the call when aborted: before, during or between attempts. A value that is ready by then is returned. */
  signal?: AbortSignal;
  /** Whether the same call may succeed later (synchronous); default `isRetryableTransportError`. */
  retryIf?: (error: unknown) => boolean;
  /** The time after which an attempt is cut off, in ms, which counts as a transient failure; default none. */
  attemptTimeoutMs?: number;
  /** The time after which the whole call ends, including pauses, in ms; default none. */
  deadlineMs?: number;
  /** Limits the retries of all calls that share this object. */
  budget?: RetryBudget;
  /** Called before each pause. `error` is `null` after an attempt that was cut off. */
  onRetry?: (retrying: { attempt: number; error: unknown; delayMs: number; elapsedMs: number }) => void;
  /** Called when the call gives up. `error` is the last one of the function, or `null` if there was none. */
  onGiveUp?: (failure: { attempts: number; elapsedMs: number; reason: RetryGaveUp; error: unknown }) => void;
};

type RetryGaveUp = "not_retryable" | "attempts" | "deadline" | "hint_too_long" | "budget" | "stopped";

/**
 * A retry budget shared by many calls: a token bucket, full at first. A retry takes one token before its pause; if
 * there is none, the call gives up. First attempts take none. Calls share the object itself, so keep one and pass it to
 * each of them; its numbers are read at its first use.
 */
export type RetryBudget = {
  /** Its capacity in tokens: whole, 1 to 1,000,000; default 100. */
  readonly capacity?: number;
  /** Tokens refilled per second, 0 to 1,000,000; default 10. */
  readonly perSecond?: number;
  /** Tokens refilled per successful call, 0 to 1; default 0.1. */
  readonly perSuccess?: number;
};

/** What an attempt gets besides its number. */
type Control = {
  /** Fires when the attempt is cut off or the call is aborted. */
  readonly signal: AbortSignal;
};

const CODES = new Set(
  (
    "ECONNRESET ETIMEDOUT ECONNREFUSED ENOTFOUND EPIPE " +
    "EHOSTUNREACH ECONNABORTED EAI_AGAIN ENETUNREACH ENETDOWN"
  ).split(" "),
);
const NAMES = ["TimeoutError", "NetworkError"];
const MAX_CAUSES = 8;
const MOST_TOKENS = 1_000_000;
/** JavaScript's transport errors often carry nothing but a message. */
const TEXTS =
  /(?<![\p{L}\p{N}_])(?:econnreset|etimedout|connection|socket|broken pipe|network|loading|tryagain|clusterdown)/iu;

/** Whether an error, or one of its causes, is a connection error that may be transient. */
export function isRetryableTransportError(error: unknown): boolean {
  const known = mark(error);
  if (known !== undefined) return known.passes;
  let link = error as { code?: unknown; name?: unknown; message?: unknown; cause?: unknown };
  for (let causes = 0; causes <= MAX_CAUSES && typeof link === "object" && link !== null; causes += 1) {
    const { code, name } = link;
    if (typeof code === "string" && CODES.has(code.toUpperCase())) return true;
    if (NAMES.includes(name as string) || mark(link)?.passes) return true;
    link = link.cause as typeof link;
  }
  if (typeof error !== "object" || error === null) return false;
  const { message } = error as { message?: unknown };
  return typeof message === "string" && TEXTS.test(message);
}

/** The defaults of a retried call. */
export const DEFAULT_RETRY_OPTIONS: {
  readonly attempts: 8;
  readonly minDelayMs: 100;
  readonly maxDelayMs: 2000;
  readonly factor: 2;
  readonly jitter: 0.2;
  readonly retryIf: typeof isRetryableTransportError;
} = /* @__PURE__ */ Object.freeze({
  attempts: 8,
  minDelayMs: 100,
  maxDelayMs: 2000,
  factor: 2,
  jitter: 0.2,
  retryIf: isRetryableTransportError,
});

/** Number of microtask turns in which a value that is about to arrive still counts. */
const GRACE = 10;

/**
 * Runs `fn` until it returns a value, fails permanently, or a limit is reached; `attempt` counts from 1. It returns the
 * value, or throws the last error of `fn`; if aborted, an `AbortError` with that error as `lastError`.
 */
export async function retry<T>(
  fn: (attempt: number, control: Control) => Promise<T> | T,
  opts: RetryOptions = {},
): Promise<T> {
  const { retryIf = isRetryableTransportError, onRetry, onGiveUp } = opts;
  callable("fn", fn);
  callables(opts, "retryIf", "onRetry", "onGiveUp");
  const course = begin(opts);
  const signal = signalOf(opts.signal);
  let last: { error: unknown } | undefined;
  const giveUp = (reason: RetryGaveUp): unknown => {
    const { attempts, elapsed: elapsedMs } = course;
    tell(onGiveUp, { attempts, elapsedMs, reason, error: last ? last.error : null });
    if (reason === "stopped") return aborted(signal, last?.error);
    return last ? last.error : named("TimeoutError", `timed out after ${elapsedMs} ms`);
  };
  for (;;) {
    if (signal?.aborted) throw giveUp("stopped");
    const attempt = course.next();
    if (Number.isNaN(attempt)) throw giveUp("deadline");
    const ended = await run(fn, attempt, course, signal);
    if (ended === "stopped") throw giveUp("stopped");
    if (ended !== "cut off") {
      if ("value" in ended) {
        course.succeeded();
        return ended.value;
      }
      last = ended;
      if (!passes(retryIf, ended.error)) throw giveUp("not_retryable");
    }
    const isCutOff = ended === "cut off";
    const error = isCutOff ? null : ended.error;
    // A custom `retryIf` does not know our hints, so they are ignored.
    const hint = retryIf === isRetryableTransportError ? mark(error)?.afterMs : undefined;
    const delayMs = course.pause(isCutOff, signal?.aborted ?? false, hint ?? NONE) as number | RetryGaveUp;
    if (typeof delayMs === "string") throw giveUp(delayMs);
    tell(onRetry, { attempt, error, delayMs, elapsedMs: course.elapsed });
    // Even without a delay, this lets the page's other events run first.
    await pause(delayMs, signal);
  }
}

/** How an attempt ended. */
type Ended<T> = { value: T } | { error: unknown } | "cut off" | "stopped";

/** Runs one attempt until it ends or nobody waits for it any more. */
function run<T>(
  fn: (attempt: number, control: Control) => Promise<T> | T,
  attempt: number,
  course: RawRetry,
  signal: AbortSignal | undefined,
): Promise<Ended<T>> {
  let control: AbortController | undefined;
  /** Why nobody waits for the attempt any more. A signal that is requested afterwards is already aborted. */
  let gone: { reason: unknown } | undefined;
  const running = outcome(() =>
    fn(attempt, {
      get signal() {
        if (control === undefined) {
          control = new AbortController();
          if (gone !== undefined) control.abort(gone.reason);
        }
        return control.signal;
      },
    }),
  );
  const isLimited = !Number.isNaN(course.left());
  if (signal === undefined && !isLimited) return running;
  return new Promise((resolve) => {
    let isOver = false;
    let clear = () => {};
    const end = (ended: Ended<T>) => {
      isOver = true;
      clear();
      signal?.removeEventListener("abort", stop);
      resolve(ended);
    };
    const leave = async (ended: "cut off" | "stopped", reason: () => unknown) => {
      for (let turn = 0; turn < GRACE; turn += 1) await undefined;
      if (isOver) return;
      end(ended);
      gone = { reason: reason() };
      control?.abort(gone.reason);
    };
    const stop = () => void leave("stopped", () => signal?.reason);
    const look = () => {
      const left = course.left();
      if (left > 0) clear = after(left, look);
      else void leave("cut off", () => named("TimeoutError", "the attempt was cut off"));
    };
    void running.then((ended) => {
      if (isOver) return;
      // An attempt that fails with the signal's own reason was stopped by it.
      end(signal?.aborted && "error" in ended && ended.error === signal.reason ? "stopped" : ended);
    });
    if (isLimited) look();
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}

async function outcome<T>(fn: () => Promise<T> | T): Promise<{ value: T } | { error: unknown }> {
  try {
    return { value: await fn() };
  } catch (error) {
    return { error };
  }
}

/**
 * If `retryIf` throws, it counts as false, so that the original error is reported. A promise is an error: it would
 * always be truthy.
 */
function passes(retryIf: (error: unknown) => boolean, error: unknown): boolean {
  let answer: boolean;
  try {
    answer = retryIf(error);
  } catch {
    return false;
  }
  if (!isPromise(answer)) return answer;
  throw final(new Error("retryIf must answer synchronously, with true or false", { cause: error }));
}

function aborted(signal: AbortSignal | undefined, lastError: unknown): Error {
  return Object.assign(named("AbortError", "retry aborted", { cause: signal?.reason as unknown }), { lastError });
}

function begin(opts: RetryOptions): RawRetry {
  const { attempts, minDelayMs, maxDelayMs, factor, jitter } = DEFAULT_RETRY_OPTIONS;
  const runs = opts.attempts === Infinity ? NONE : Math.floor(within("attempts", opts.attempts, attempts, 1, 2 ** 32 - 1));
  const budget = opts.budget && budgetOf(opts.budget);
  const min = within("minDelayMs", opts.minDelayMs, minDelayMs, 0, TEN_YEARS);
  const course = new RawRetry(
    runs,
    min,
    Math.max(min, within("maxDelayMs", opts.maxDelayMs, maxDelayMs, 0, TEN_YEARS)),
    within("factor", opts.factor, factor, 1, 1_000),
    within("jitter", opts.jitter, jitter, 0, 1),
    within("attemptTimeoutMs", opts.attemptTimeoutMs, NONE, 1, TEN_YEARS),
    within("deadlineMs", opts.deadlineMs, NONE, 1, TEN_YEARS),
  );
  if (budget) course.limit(budget);
  return course;
}

const budgets = /* @__PURE__ */ new WeakMap<RetryBudget, RawRetryBudget>();

function budgetOf(given: RetryBudget): RawRetryBudget {
  let budget = budgets.get(given);
  if (budget === undefined) {
    budget = new RawRetryBudget(
      Math.floor(within("budget.capacity", given.capacity, 100, 1, MOST_TOKENS)),
      within("budget.perSecond", given.perSecond, 10, 0, MOST_TOKENS),
      within("budget.perSuccess", given.perSuccess, 0.1, 0, 1),
    );
    budgets.set(given, budget);
  }
  return budget;
}

/** Clamps a number to its range. */
function within(path: string, value: number | undefined, otherwise: number, least: number, most: number): number {
  if (value === undefined) return otherwise;
  const range = least > 0 ? "> 0" : ">= 0";
  if (typeof value !== "number" || !Number.isFinite(value)) throw new Error(`${path} must be ${range}`);
  return Math.min(Math.max(value, least), most);
}
