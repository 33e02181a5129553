// Jobs seen from outside: one, a listing, all of a name; and what is done with them there.

import { oneOf } from "./check.js";
import { settled, type RawJob } from "./core.js";
import { unpack } from "./envelope.js";
import {
  paged,
  pageOf,
  pausedOf,
  pauseOf,
  type Changed,
  type Page,
  type PageConfig,
  type PauseConfig,
  type Paused,
  type ShownPause,
} from "./page.js";
import { give } from "./value.js";

/** Where a job is in its life. The last four are ends. */
export type JobState = "submitted" | "running" | "completed" | "failed" | "cancelled" | "timed_out";

/** Which jobs a listing shows: those that are due and those that are not yet, running ones, and ended ones by their end. */
export type JobFilter = "ready" | "delayed" | Exclude<JobState, "submitted">;

/** Why a run failed. */
export type JobFailure = {
  message: string;
  /** An ordinary error has none. */
  code?: string;
  /** The run, from 1; 0 of a job that was never started. */
  attempt: number;
  /** Epoch ms. */
  at: number;
};

/** A job as a listing shows it. Instants are epoch ms; `null`: there is none. */
export type JobSummary = {
  id: string;
  state: JobState;
  /** Runs so far; counted anew after `retry`. */
  attempt: number;
  /** Runs that failed, of `maxAttempts`. */
  failures: number;
  maxAttempts: number;
  submittedAt: number;
  /** When it may start, for the first time or again. */
  due: number;
  /** When its last run was started. */
  startedAt: number | null;
  finishedAt: number | null;
  /** When it fails as `EXPIRED`, unless it is started before. */
  expiresAt: number | null;
  /** Until when an ended one is kept. */
  keptUntil: number | null;
  /** The key under which it was submitted; of one above 200 bytes its digest. */
  key: string | null;
  /** Who runs it, and when that run is over unless there is a heartbeat. */
  lease: { worker: string; end: number } | null;
  /** The number of its last run among all of its job id, 0 before the first. */
  fence: number;
  /** How many steps are kept. */
  steps: number;
  /** What its handler said last about how far it is; `undefined`: nothing. */
  progress?: unknown;
  /** Why its last failed run failed. */
  lastFailure: JobFailure | null;
  cancelReason: string | null;
};

/** A job as it is now. */
export type JobInfo<Input, Result> = JobSummary & {
  /** As it was submitted. */
  input: Input;
  meta?: Record<string, unknown>;
  /** What a completed one gave. */
  result?: Result;
  /** Why its last runs failed, the oldest first; at most 10. */
  lastFailures: JobFailure[];
};

/** All jobs of an id at one instant. */
export type JobStats = {
  /** Due, and not running. */
  ready: number;
  /** Not due yet. */
  delayed: number;
  running: number;
  /** Ended and kept, by their ends. */
  completed: number;
  failed: number;
  cancelled: number;
  timedOut: number;
  /** How long the oldest job that could be started has been ready; `null`: there is none. */
  oldestReadyAgeMs: number | null;
  /** When the next delayed job is due, in epoch ms; `null`: there is none. */
  nextDue: number | null;
  /** The pause in force. */
  paused: Paused | null;
  /** More was overdue than one look carries out: the numbers are those of its last step. */
  settling: boolean;
  /** What has happened so far. */
  totals: {
    /** Without those whose key was known. */
    submitted: number;
    completed: number;
    failed: number;
    cancelled: number;
    timedOut: number;
    /** Runs that failed or timed out and were not the last. */
    retries: number;
    /** Runs that came to something when they were over already. */
    stale: number;
  };
};

/** What became of a retry. `not_retryable`: it has not ended, or completed, and nothing has changed. */
export type JobRetryOutcome = { outcome: "submitted" | "not_found" } | { outcome: "not_retryable"; state: JobState };

/** Jobs seen from outside. Looking changes nothing, and nothing here starts a worker. */
export type JobLook<Input, Result> = {
  /** `null`: there is no such job, or no more. */
  get(id: string): Promise<JobInfo<Input, Result> | null>;
  /** Ready ones as they will be started, delayed ones by due time, running ones by start, ended ones newest first. */
  list(filter: JobFilter, cfg?: PageConfig): Promise<Page<JobSummary>>;
  stats(): Promise<JobStats>;
  /**
   * Lets a failed, timed out or cancelled job run again, at once, with its attempts counted anew; what its steps gave is kept.
   * It is run where a worker is: by a handle that has submitted and was not stopped.
   */
  retry(id: string): Promise<JobRetryOutcome>;
  /** Removes a job that does not run, with all about it. `held`: it runs, and nothing has changed. */
  remove(id: string): Promise<"removed" | "held" | "absent">;
  /**
   * No run is started any more in the page, until `resume` or for `forAtMostMs`; submits are accepted and runs go on. A second
   * pause replaces end and reason of the first. `reason` is shown by `stats`.
   */
  pause(cfg?: PauseConfig): Promise<Changed>;
  /** Ends a pause. */
  resume(): Promise<Changed>;
};

/** What the core shows. */
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
type ShownStats = [Counts, oldest: number | null, next: number | null, paused: ShownPause, settling: boolean, Counts];

const FILTERS = ["ready", "delayed", "running", "completed", "failed", "cancelled", "timed_out"];

/** What is seen of the jobs of one id. @internal */
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
      const [counts, oldest, nextDue, pause, settling, totals] = await settled<ShownStats>(raw.stats());
      const [ready, delayed, running, completed, failed, cancelled, timedOut] = counts;
      const now = { ready, delayed, running, completed, failed, cancelled, timedOut };
      return { ...now, oldestReadyAgeMs: oldest, nextDue, paused: pausedOf(pause), settling, totals: total(totals) };
    },
    async retry(id) {
      const [outcome, state] = await settled<[JobRetryOutcome["outcome"], JobState?]>(raw.retry(String(id)));
      return outcome === "not_retryable" ? { outcome, state: state as JobState } : { outcome };
    },
    remove: async (id) => settled(raw.remove(String(id))),
    pause: async (cfg = {}) => settled(raw.pause(...pauseOf(cfg))),
    resume: async () => settled(raw.resume()),
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
