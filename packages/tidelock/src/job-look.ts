// Inspection and administration of jobs: single jobs, listings, and all jobs of a name.

import { oneOf } from "./check.js";
import { settled, type RawJob } from "./core.js";
import { unpack } from "./envelope.js";
import {
  limitedOf,
  paged,
  pageOf,
  pausedOf,
  pauseOf,
  rateOf,
  type Changed,
  type Page,
  type PageConfig,
  type PauseConfig,
  type Paused,
  type RateLimitInfo,
  type SetRateLimitConfig,
  type ShownPause,
  type ShownRate,
} from "./page.js";
import { give } from "./value.js";

/** The state of a job. The last four are final. */
export type JobState = "submitted" | "running" | "completed" | "failed" | "cancelled" | "timed_out";

/** The jobs shown in a listing: due ones, delayed ones, running ones, or those that ended in a certain way. */
export type JobFilter = "ready" | "delayed" | Exclude<JobState, "submitted">;

/** A failure of a run. */
export type JobFailure = {
  message: string;
  /** Ordinary errors have no code. */
  code?: string;
  /** The run, from 1; 0 if the job was never started. */
  attempt: number;
  /** Epoch ms. */
  at: number;
};

/** A job as shown in a listing. Instants are in epoch ms, or `null` if there is none. */
export type JobSummary = {
  id: string;
  state: JobState;
  /** Runs so far; counted from 0 after `retry`. */
  attempt: number;
  /** Failed runs so far, out of `maxAttempts`. */
  failures: number;
  maxAttempts: number;
  submittedAt: number;
  /** When it may start, for the first time or again. */
  due: number;
  /** When its last run started. */
  startedAt: number | null;
  finishedAt: number | null;
  /** When it fails as `EXPIRED` unless it is started before. */
  expiresAt: number | null;
  /** How long it is kept after its end. */
  keptUntil: number | null;
  /** The key under which it was submitted; if that is longer than 200 bytes, its digest. */
  key: string | null;
  /** Its worker, and when its run expires unless there is a heartbeat. */
  lease: { worker: string; end: number } | null;
  /** The fencing token of its last run, 0 before the first. */
  fence: number;
  /** The number of stored steps. */
  steps: number;
  /** The last progress that its handler reported; `undefined` if none. */
  progress?: unknown;
  /** Its last failure. */
  lastFailure: JobFailure | null;
  cancelReason: string | null;
};

/** The current state of a job. */
export type JobInfo<Input, Result> = JobSummary & {
  /** The input as submitted. */
  input: Input;
  meta?: Record<string, unknown>;
  /** The result, if it has completed. */
  result?: Result;
  /** Its latest failures, oldest first; at most 10. */
  lastFailures: JobFailure[];
};

/** Statistics of all jobs of an id at one instant. */
export type JobStats = {
  /** Due, and not running. */
  ready: number;
  /** Not due yet. */
  delayed: number;
  running: number;
  /** Ended and still kept, by outcome. */
  completed: number;
  failed: number;
  cancelled: number;
  timedOut: number;
  /** How long the oldest startable job has been ready; `null` if there is none. */
  oldestReadyAgeMs: number | null;
  /** When the next delayed job is due, in epoch ms; `null` if there is none. */
  nextDue: number | null;
  /** The current pause. */
  paused: Paused | null;
  /** The current limit of the rate; `null` if there is none. */
  rateLimit: RateLimitInfo | null;
  /** More was overdue than one call processes: the numbers are those after its last step. */
  settling: boolean;
  /** Totals so far. */
  totals: {
    /** Not counting duplicates. */
    submitted: number;
    completed: number;
    failed: number;
    cancelled: number;
    timedOut: number;
    /** Runs that failed or timed out and were followed by another. */
    retries: number;
    /** Runs that were already over when they reported a result. */
    stale: number;
  };
};

/** The outcome of a retry. `not_retryable`: it has not ended, or has completed; nothing changed. */
export type JobRetryOutcome = { outcome: "submitted" | "not_found" } | { outcome: "not_retryable"; state: JobState };

/** Inspection and administration of jobs. Nothing here starts a worker. */
export type JobLook<Input, Result> = {
  /** `null` if there is no such job, or no longer. */
  get(id: string): Promise<JobInfo<Input, Result> | null>;
  /**
   * Ready ones in the order in which they will start, delayed ones by due time, running ones by start, ended ones
   * newest first.
   */
  list(filter: JobFilter, cfg?: PageConfig): Promise<Page<JobSummary>>;
  stats(): Promise<JobStats>;
  /**
   * Runs a failed, timed out or cancelled job again at once, with its attempts counted from 0 and its step values kept.
   * It needs a worker: a handle that has submitted and was not stopped.
   */
  retry(id: string): Promise<JobRetryOutcome>;
  /** Removes a job that is not running, with everything about it. `held`: it is running; nothing changed. */
  remove(id: string): Promise<"removed" | "held" | "absent">;
  /**
   * Stops starting runs in the page, until `resume` or for `forAtMostMs`; submits are accepted and runs under way
   * continue. A second pause replaces end and reason of the first. `reason` is shown by `stats`.
   */
  pause(cfg?: PauseConfig): Promise<Changed>;
  /** Ends a pause. */
  resume(): Promise<Changed>;
  /**
   * Limits the rate at which runs start, of all handles of this id in the page together: at most `limit` in each window
   * of `perMs`. Every run counts, also a repeated one. While a window is used up, workers wait as if nothing were due.
   * The limit lasts until it is replaced or removed; runs started in the window under way count towards the new one.
   */
  setRateLimit(cfg: SetRateLimitConfig): Promise<Changed>;
  /** Removes the limit of the rate. */
  removeRateLimit(): Promise<Changed>;
};

/** What the core returns. */
type ShownFailure = [message: string, code: string, attempt: number, at: number];
type ShownSummary = [
  id: string,
  state: JobState,
  attempt: number,
  failures: number,
  maxAttempts: number,
  submittedAt: number,
  due: number,
  startedAt: number | null,
  finishedAt: number | null,
  expiresAt: number | null,
  keptUntil: number | null,
  key: string | null,
  lease: [worker: string, end: number] | null,
  fence: number,
  steps: number,
  progress: string | null,
  lastFailure: ShownFailure | null,
  cancelReason: string | null,
];
type ShownInfo = [summary: ShownSummary, input: string, result: string | null, failures: ShownFailure[]];
type Counts = [number, number, number, number, number, number, number];
type ShownStats = [
  now: Counts,
  oldest: number | null,
  next: number | null,
  paused: ShownPause,
  rate: ShownRate,
  settling: boolean,
  totals: Counts,
];

const FILTERS = ["ready", "delayed", "running", "completed", "failed", "cancelled", "timed_out"];

/** The inspection methods of a job handle. @internal */
export function look<Input, Result>(raw: RawJob): JobLook<Input, Result> {
  return {
    async get(id) {
      const shown = await settled<ShownInfo | null>(raw.get(String(id)));
      return shown && info<Input, Result>(shown);
    },
    async list(filter, cfg = {}) {
      oneOf(FILTERS, "filter", filter);
      return paged(await settled<[ShownSummary[], string | null]>(raw.list(filter, ...pageOf(cfg))), summary);
    },
    async stats() {
      const [counts, oldest, nextDue, pause, rate, settling, totals] = await settled<ShownStats>(raw.stats());
      const [ready, delayed, running, completed, failed, cancelled, timedOut] = counts;
      const now = { ready, delayed, running, completed, failed, cancelled, timedOut };
      const held = { paused: pausedOf(pause), rateLimit: limitedOf(rate) };
      return { ...now, oldestReadyAgeMs: oldest, nextDue, ...held, settling, totals: total(totals) };
    },
    async retry(id) {
      const [outcome, state] = await settled<[JobRetryOutcome["outcome"], JobState?]>(raw.retry(String(id)));
      return outcome === "not_retryable" ? { outcome, state: state as JobState } : { outcome };
    },
    remove: async (id) => settled(raw.remove(String(id))),
    pause: async (cfg = {}) => settled(raw.pause(...pauseOf(cfg))),
    resume: async () => settled(raw.resume()),
    setRateLimit: async (cfg) => settled(raw.set_rate_limit(...rateOf(cfg))),
    removeRateLimit: async () => settled(raw.remove_rate_limit()),
  };
}

function total([submitted, completed, failed, cancelled, timedOut, retries, stale]: Counts): JobStats["totals"] {
  return { submitted, completed, failed, cancelled, timedOut, retries, stale };
}

function info<Input, Result>([shown, input, result, failures]: ShownInfo): JobInfo<Input, Result> {
  const { data, meta } = unpack<Input, object>(input, {});
  const about: JobInfo<Input, Result> = { ...summary(shown), input: data, lastFailures: failures.map(failure) };
  if (meta !== undefined) about.meta = meta;
  if (result !== null) about.result = give(result) as Result;
  return about;
}

function summary(shown: ShownSummary): JobSummary {
  const [id, state, attempt, failures, maxAttempts, submittedAt, due, startedAt, finishedAt, ...more] = shown;
  const [expiresAt, keptUntil, key, held, fence, steps, progress, lastFailure, cancelReason] = more;
  const times = { submittedAt, due, startedAt, finishedAt, expiresAt, keptUntil };
  const about: JobSummary = {
    ...{ id, state, attempt, failures, maxAttempts, ...times, key, fence, steps, cancelReason },
    lease: held && { worker: held[0], end: held[1] },
    lastFailure: lastFailure && failure(lastFailure),
  };
  if (progress !== null) about.progress = give(progress);
  return about;
}

function failure([message, code, attempt, at]: ShownFailure): JobFailure {
  return code ? { message, code, attempt, at } : { message, attempt, at };
}
