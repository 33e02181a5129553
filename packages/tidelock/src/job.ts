/** Jobs: work that is kept until it is done, with retries, limits, cancellation and steps that are not repeated. */

import { callable, callables, key as keyOf, name, number, options, signalOf, string, TEN_YEARS, text, WEEK } from "./check.js";
import {
  leavable,
  named,
  NONE,
  RawJob,
  repeated,
  settled,
  tellLater,
  textOf,
  waiting,
  waitMs,
  type Exit,
  type RawJobDelivery,
  type RawJobEvents,
  type RawJobReader,
  type RawRun,
} from "./core.js";
import { pack, tooLarge, unpack } from "./envelope.js";
import { look, type JobLook } from "./job-look.js";
import { parse, schemaOf, type Infer, type Schema } from "./schema.js";
import type { Topic, TopicDelivery, TopicLiveConfig, TopicLiveEvent, TopicReader, TopicRecvConfig } from "./topic.js";
import { turn } from "./turn.js";
import { give, take } from "./value.js";

export type { JobFailure, JobFilter, JobInfo, JobLook, JobRetryOutcome, JobState, JobStats, JobSummary } from "./job-look.js";
export type { Changed, Page, PageConfig, PauseConfig, Paused, RateLimitInfo, SetRateLimitConfig } from "./page.js";
export type { Infer, Schema } from "./schema.js";

/** The id of a job; a decimal number. */
export type JobId = string;

/** How a job has ended. */
export type JobStatus = "completed" | "failed" | "cancelled" | "timed_out";

/** The definition of a job. */
export type JobDefinition<S extends Schema, Result = unknown> = {
  /** 1 to 256 characters. All handles of one id in a page share the jobs. */
  id: string;
  /** The schema of inputs: checked on submit, and parsed again for `process`. */
  schema: S;
  /** Defaults for submits of this handle. */
  defaults?: Omit<SubmitOptions, "key" | "delayMs" | "at" | "meta">;
  /** Does the work. Its return value is the result; an error is retried as long as attempts are left. */
  process: (cfg: { ctx: JobContext; input: Infer<S> }) => Promise<Result> | Result;
};

/** The options of a job's runs. */
export type SubmitOptions = {
  /** A deduplication key: a second submit with it returns the first one's id and starts nothing. */
  key?: string;
  /** The minimum time for which the key is remembered, in ms; default 7 days, at least 1,000. */
  keyTtlMs?: number;
  /** The delay before it may start, in ms; default 0. */
  delayMs?: number;
  /** When it may start, in epoch ms; takes precedence over `delayMs`. */
  at?: number;
  /** The number of failed runs that ends the job; default 1. */
  maxAttempts?: number;
  /** The lease: the longest run without a heartbeat, in ms; default 30,000. */
  leaseMs?: number;
  /** The pause before the next attempt; default none. */
  backoff?: {
    /** `fixed`: always `baseMs`. `exp`: doubled with each attempt. */
    kind: "fixed" | "exp";
    /** In ms. */
    baseMs: number;
    /** The longest pause, in ms; default 1 hour. */
    maxMs?: number;
    /** The spread around the pause, as a fraction of it: 0 to 1, default 0. */
    jitter?: number;
  };
  /** Metadata, stored with the job. */
  meta?: Record<string, unknown>;
};

/** How to wait for the end of a job. */
export type JoinOptions = {
  /** The longest wait in ms, 0 checks once; default until the job has ended. */
  timeoutMs?: number;
};

/** How to cancel. */
export type CancelOptions = {
  /** The reason, shown as the job's error. */
  reason?: string;
};

/** The end of a job. */
export type JobTerminal<Result = unknown> = {
  id: JobId;
  status: JobStatus;
  /** The return value of `process`. */
  result?: Result;
  /** The error, if there is no result; ordinary errors have no code. */
  error?: { message: string; code?: string };
  /** Epoch ms. */
  finishedAt: number;
};

/** An event of a job. `ts` and `nextAt` are in epoch ms; `attempt` counts from 1. */
export type JobEvent = { id: JobId; ts: number } & (
  | { type: "submitted" }
  | { type: "started"; runId: string; attempt: number }
  | { type: "heartbeat"; runId: string }
  /** Progress reported by the handler: at most one every 100 ms, and the last one before the run ends. */
  | { type: "progress"; value: unknown }
  /** The value of a step was stored. A step id longer than 200 bytes is shown as its digest. */
  | { type: "step"; stepId: string }
  | { type: "completed" }
  | { type: "retry"; runId: string; nextAt: number; reason?: string }
  | { type: "failed"; reason?: string }
  | { type: "cancelled"; reason?: string }
);

/** The events of one job: the reading side of a topic. `live` continues until its signal aborts. */
export type JobEvents = Pick<Topic<JobEvent>, "reader" | "live">;

/** The context of a run, passed to `process`. */
export type JobContext = {
  /** Aborted by a cancel, a timeout, or a failure of the run; not by `stop()`. */
  signal: AbortSignal;
  /**
   * The stored value of the step with this id, even from an earlier attempt; otherwise the result of `run`, which is
   * stored.
   */
  step<T>(cfg: { id: string; run: () => Promise<T> | T }): Promise<T>;
  /** Restarts the lease of this run, with this length in ms from now on. */
  heartbeat(cfg?: { leaseMs?: number }): Promise<void>;
  /**
   * Reports the progress of the run: shown by `get` and `list`, and among the events. The last value counts; at most
   * 4,096 bytes.
   */
  progress(value: unknown): Promise<void>;
};

/** The jobs of one id. */
export type JobHandle<Input, Result = unknown> = JobLook<Input, Result> & {
  id: string;
  /**
   * Submits a job and starts the worker of this handle, which runs one job at a time. When the handle is no longer
   * referenced, the worker continues until no job of this id is left; for that, `process` must not refer to the handle.
   */
  submit(cfg: { input: Input } & SubmitOptions): Promise<JobId>;
  /** Throws the schema's error. */
  validateInput(input: unknown): void;
  /** Waits for the end of a job. */
  join(cfg: { id: JobId } & JoinOptions): Promise<JobTerminal<Result>>;
  /** Cancels a job that has not ended. */
  cancel(cfg: { id: JobId } & CancelOptions): Promise<void>;
  events(id: JobId): JobEvents;
  /** Stops the worker after its current run; the next `submit` starts it again. */
  stop(): void;
};

/** Maximum bytes of input with metadata, of a result, and of a step's value. */
const LIMIT = 131_072;
/** Maximum bytes of a progress report. */
const PROGRESS_LIMIT = 4_096;

/** What the core returns for a job that has ended. */
type Shown = [status: JobStatus, finishedAt: number, result?: string, message?: string, code?: string];
/** What the core returns for an event. */
type ShownEvent = [
  cursor: string,
  ts: number,
  type: JobEvent["type"],
  runId?: string,
  nextAt?: number,
  /** The reason; for a step its id, for progress its value. */
  said?: string,
  attempt?: number,
  delivery?: string,
  held?: RawJobDelivery,
];
type Lost = [cursor: null, from: string, to: string, missed: number];
/** The outcome of a run: the result, or why there is none. */
type Outcome = string | [message: string, code?: string];

/** Creates a handle of jobs in this page. */
export function job<S extends Schema, Result = unknown>(
  definition: JobDefinition<S, Result>,
): JobHandle<Infer<S>, Result> {
  const id = name(definition.id, "config.id");
  const schema = schemaOf(definition.schema);
  const defaults = checked(options("defaults", definition.defaults), USUAL, "defaults.");
  const run = runner(schema, callable("process", definition.process));
  const raw = new RawJob(id);

  return {
    ...look<Infer<S>, Result>(raw),
    id,
    async submit(cfg) {
      const { input, key, meta, delayMs, at } = cfg;
      const start = at === undefined ? number("delayMs", delayMs, { otherwise: NONE, floor: 0, orZero: true }) : NONE;
      const latest = Date.now() + TEN_YEARS;
      const instant = number("at", at, { otherwise: NONE, floor: 0, orZero: true, most: latest });
      const [keyTtl, ...rules] = checked(cfg, defaults);
      parse(schema, input);
      const value = pack(input, meta, undefined, LIMIT);
      const named = keyOf("key", key);
      const keyFor = named === undefined ? NONE : keyTtl;
      const submitted = raw.submit(value, named, new Float64Array([keyFor, start, instant, ...rules]));
      raw.work(run);
      return settled<JobId>(submitted);
    },
    validateInput(input) {
      parse(schema, input);
    },
    async join(cfg) {
      const { id, timeoutMs } = cfg;
      const forever = timeoutMs === undefined || timeoutMs === Infinity;
      const wait = forever ? NONE : number("timeoutMs", timeoutMs, { otherwise: NONE, floor: 0, orZero: true });
      const shown = await settled<Shown | false | null>(raw.join(string("id", id), wait));
      if (shown === null) return ended(id, ["failed", Date.now(), , "job not found", "NOT_FOUND"]);
      return ended(id, shown || ["timed_out", Date.now(), , "join timed out", "JOIN_TIMEOUT"]);
    },
    async cancel(cfg) {
      await settled(raw.cancel(string("id", cfg.id), text("reason", cfg.reason)));
    },
    events(id) {
      string("id", id);
      return {
        live: (cfg = {}) => followed(id, raw.follow(id, placeOf(cfg)) as RawJobEvents, cfg),
        reader: (group = "default") => reader(id, raw.reader(id, name(group, "group")), group),
      };
    },
    stop: () => raw.stop(),
  };
}

/**
 * Starts a run. Returns the function to call if the run ends before `process` does. The core keeps this function while
 * its worker runs, so it must not reference the handle, which could then never be collected.
 */
function runner<S extends Schema, Result>(schema: S, process: JobDefinition<S, Result>["process"]) {
  return (run: RawRun, value: string, end: (outcome: Outcome) => void): ((tookTooLong: boolean) => void) => {
    const over = new AbortController();
    const failed = (error: unknown, code?: string) => {
      over.abort(error);
      end([textOf(error), code]);
    };
    const ctx = context(run, over.signal);
    const work = async () => {
      // The code that made it start continues first.
      await turn();
      if (over.signal.aborted) return;
      let input: Infer<S>;
      try {
        input = parse(schema, unpack(value, {}).data) as Infer<S>;
      } catch (error) {
        return failed(error, "UNDECODABLE");
      }
      let result: Result;
      try {
        result = await process({ ctx, input });
      } catch (error) {
        return failed(error);
      }
      try {
        end(kept(result));
      } catch (error) {
        failed(error, "UNENCODABLE");
      }
    };
    void work();
    return (tookTooLong) =>
      over.abort(tookTooLong ? named("JobTimeoutError", "job execution timed out") : undefined);
  };
}

function placeOf(cfg: TopicLiveConfig): string | undefined {
  callables(cfg, "onGap");
  signalOf(cfg.signal);
  const { after } = cfg;
  return after === undefined ? undefined : string("after", after);
}

/** The numbers of options: key lifetime, attempts, lease; and of the backoff base, maximum, factor and jitter. */
type Rules = [keyTtl: number, attempts: number, lease: number, ...backoff: number[]];

const USUAL: Rules = [WEEK, 1, 30_000, NONE, NONE, NONE, NONE];

/** Reads options by name, since they may be getters or inherited. Missing ones keep their defaults. */
function checked(
  { keyTtlMs, maxAttempts, leaseMs, backoff }: SubmitOptions,
  [keyTtl, attempts, lease, ...pauses]: Rules,
  path = "",
): Rules {
  const numbers: [number, number, number] = [
    number(`${path}keyTtlMs`, keyTtlMs, { otherwise: keyTtl, floor: 1_000 }),
    number(`${path}maxAttempts`, maxAttempts, { otherwise: attempts, floor: 1, whole: true, most: 1_000_000 }),
    number(`${path}leaseMs`, leaseMs, { otherwise: lease, floor: 1 }),
  ];
  if (backoff === undefined) return [...numbers, ...pauses];
  const { kind, baseMs, maxMs, jitter = 0 } = backoff;
  if (kind !== "fixed" && kind !== "exp") {
    throw new Error(`${path}backoff.kind must be "fixed" or "exp", but is ${String(kind)}`);
  }
  // Not `number`, which rounds up.
  if (typeof jitter !== "number" || !(jitter >= 0 && jitter <= 1)) {
    throw new Error(`${path}backoff.jitter must be >= 0 and at most 1, but is ${String(jitter)}`);
  }
  const max = Math.min(number(`${path}backoff.maxMs`, maxMs, { otherwise: 3_600_000, orZero: true }), WEEK);
  // Required.
  const base = number(`${path}backoff.baseMs`, baseMs ?? NONE, { otherwise: NONE, orZero: true });
  return [...numbers, Math.min(base, max), max, kind === "exp" ? 2 : 1, jitter];
}

function context(run: RawRun, signal: AbortSignal): JobContext {
  return {
    signal,
    async step(cfg) {
      let failure: { error: unknown } | undefined;
      const body = async (give: (value: string | undefined) => void) => {
        let value: string | undefined;
        try {
          value = kept(await cfg.run());
        } catch (error) {
          failure = { error };
        }
        give(value);
      };
      const id = name(cfg.id, "id");
      const value = await whileRunning<string>(() => run.step(id, body));
      if (failure !== undefined) throw failure.error;
      return give(value) as never;
    },
    async heartbeat(cfg = {}) {
      const lease = number("leaseMs", cfg.leaseMs, { otherwise: NONE, floor: 1 });
      await whileRunning(() => run.heartbeat(lease));
    },
    async progress(value) {
      const said = kept(value, PROGRESS_LIMIT);
      await whileRunning(() => run.progress(said));
    },
  };
}

/** Awaits the answer to a call that a run makes. */
async function whileRunning<T>(call: () => unknown): Promise<T> {
  try {
    return await settled<T>(call());
  } catch (error) {
    if ((error as { kind?: string }).kind === "lease_lost") throw named("LeaseLostError", "job run is over");
    throw error;
  }
}

/** Encodes a result, a step's value or progress for storage. */
function kept(value: unknown, limit = LIMIT): string {
  const { text, size } = take(value);
  if (size > limit) throw new Error(tooLarge(limit, size));
  return text;
}

function ended<Result>(id: JobId, shown: Shown): JobTerminal<Result> {
  const [status, finishedAt, result, message, code] = shown;
  const terminal: JobTerminal<Result> = { id, status, finishedAt };
  const value = result === undefined ? undefined : give(result);
  if (value !== undefined) terminal.result = value as Result;
  if (message !== undefined) terminal.error = code ? { message, code } : { message };
  return terminal;
}

function followed(id: JobId, events: RawJobEvents, cfg: TopicLiveConfig): AsyncIterable<TopicLiveEvent<JobEvent>> {
  return leavable(async function* (exit) {
    try {
      const signal = signalOf(cfg.signal);
      while (!exit.isLeft && !signal?.aborted) {
        const shown = await waiting<ShownEvent | Lost>(signal, () => events.next(), exit);
        if (exit.isLeft || signal?.aborted) return;
        if (shown === null) await nothing(signal, exit);
        else if (shown[0] === null) lost(cfg, shown);
        else yield event(id, shown);
      }
    } finally {
      events.free();
    }
  });
}

/** Resolves when the signal aborts or the loop is left: nothing can come any more. */
async function nothing(signal: AbortSignal | undefined, exit: Exit): Promise<void> {
  let end = () => {};
  const ended = new Promise<void>((resolve) => (end = resolve));
  exit.leave = end;
  signal?.addEventListener("abort", end);
  await ended;
  signal?.removeEventListener("abort", end);
}

function reader(id: JobId, raw: RawJobReader, group: string): TopicReader<JobEvent> {
  async function receive(cfg: TopicRecvConfig, exit?: Exit): Promise<TopicDelivery<JobEvent> | null> {
    const wait = waitMs(cfg);
    callables(cfg, "onGap");
    const end = Date.now() + wait;
    for (let left = wait; ; left = Number.isNaN(end) ? NONE : Math.max(end - Date.now(), 0)) {
      const shown = await waiting<ShownEvent | Lost>(cfg.signal, () => raw.recv(left), exit);
      if (shown === null) return null;
      if (shown[0] === null) {
        lost(cfg, shown);
        continue;
      }
      const [deliveryId, held] = shown.slice(7) as [string, RawJobDelivery];
      return { ...event(id, shown), deliveryId, commit: async () => settled<boolean>(held.commit()) };
    }
  }
  return { group, recv: (cfg = {}) => receive(cfg), stream: (cfg = {}) => repeated(cfg, receive) };
}

/** Reports events that are no longer kept. */
function lost({ onGap }: TopicLiveConfig, [, from, to, missed]: Lost): void {
  if (onGap) tellLater(onGap, { from, to, missed, cause: "trimmed" });
}

function event(id: JobId, [cursor, ts, type, runId, nextAt, said, attempt]: ShownEvent): TopicLiveEvent<JobEvent> {
  const data: Record<string, unknown> = { id, ts, type };
  if (runId !== undefined) data.runId = runId;
  if (type === "started") data.attempt = attempt;
  if (nextAt !== undefined) data.nextAt = nextAt;
  if (type === "step") data.stepId = said;
  else if (type === "progress") data.value = give(said as string);
  else if (said !== undefined) data.reason = said;
  return { data: data as JobEvent, eventId: cursor, cursor, publishedAt: ts };
}
