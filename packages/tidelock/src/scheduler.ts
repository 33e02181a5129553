/** Schedulers: cron slots, each submitted once to the job that does the work. */

import { callables, key as keyOf, keyPrefix, name, number, storeOf, string } from "./check.js";
import { mapped, nameOf, NONE, RawScheduler, settled, tell, textOf, wrong_cron, wrong_zone } from "./core.js";
import { corrupt, storeKey } from "./keys.js";
import { synchronous } from "./schema.js";
import type { Store } from "./store.js";
import { give, json, take, type Taken } from "./value.js";

/** The definition of a scheduler. */
export type SchedulerConfig = {
  /** 1 to 256 characters. All schedulers of one prefix and id in a page share the schedules. */
  id: string;
  /** Default `sync:scheduler`. */
  prefix?: string;
  /** Whether a slot waits for a started scheduler that has its target (default true), or is skipped. */
  strictHandlers?: boolean;
  leader?: {
    /** How long a leader keeps the leadership without renewing it, in ms; default 5,000, at least 500. */
    leaseMs?: number;
    /** How often it renews, in ms; default 500, at least 100 and at most a third of the lease. */
    heartbeatMs?: number;
  };
  dispatch?: {
    /** The longest sleep of a leader in ms; default 500, at least 50. Slots wake it exactly. */
    tickMs?: number;
    /** Due schedules per pass; default 200. */
    batchSize?: number;
    /** Submits per pass; default 500. */
    maxSubmitsPerTick?: number;
    /** Repeated tries of a submit in one round; default 3. */
    submitRetries?: number;
    /** The first pause between them in ms, doubled each time; default 100, at least 10. */
    submitBackoffBaseMs?: number;
    /** The longest pause between them in ms; default 2,000. */
    submitBackoffMaxMs?: number;
    /** How long a target should remember the key of a slot or trigger, in ms; default 90 days, at least 60,000. */
    scheduledJobKeyTtlMs?: number;
    /** The number of given-up slots that are remembered; default 5,000. */
    dlqMaxEntries?: number;
    /** Rounds that may fail before a slot is given up; default 5. */
    maxConsecutiveDispatchFailures?: number;
  };
  /** Called with each event of this scheduler. Exceptions it throws are ignored. */
  onMetric?: (metric: SchedulerMetric) => void;
  /**
   * Stores the last decided slot of each schedule, so that slots missed while the page was closed are judged; default:
   * its own.
   */
  store?: Store;
};

/** A schedule. */
export type SchedulerRegisterConfig = {
  /** 1 to 256 characters. */
  id: string;
  /** Five fields, or six with seconds first. */
  cron: string;
  /** The time zone: an IANA name or `±HH:MM`; default `UTC`. */
  tz?: string;
  /** The input of each run. */
  input: unknown;
  /** The target: a job handle, or anything of this shape. */
  job: {
    id: string;
    validateInput?(input: unknown): void;
    submit(cfg: {
      input: unknown;
      key?: string;
      keyTtlMs?: number;
      at?: number;
      delayMs?: number;
      meta?: Record<string, unknown>;
    }): Promise<string>;
  };
  /** Which of the slots missed by 60 s or more run: none (default), the latest, or all. */
  misfire?: "skip" | "catch_up_one" | "catch_up_all";
  /** The maximum number of missed slots that `catch_up_all` runs; default 100. */
  maxCatchUpRuns?: number;
  /** Metadata passed to each run, in addition to the names of schedule and slot. */
  meta?: Record<string, unknown>;
};

export type SchedulerUnregisterConfig = { id: string };
export type SchedulerGetConfig = { id: string };
export type SchedulerTriggerNowConfig = {
  id: string;
  /** A deduplication key: the same key gives the same run. */
  key?: string;
};

/** A schedule at one instant. Times are epoch ms. */
export type SchedulerInfo = {
  id: string;
  cron: string;
  tz: string;
  misfire: "skip" | "catch_up_one" | "catch_up_all";
  maxCatchUpRuns: number;
  jobId: string;
  /** The next undecided slot; it may be in the past. */
  nextRunAt: number;
  createdAt: number;
  updatedAt: number;
};

/** An event of a scheduler. `ts` and `slotTs` are in epoch ms. */
export type SchedulerMetric = { ts: number } & (
  | { type: "leader_acquired" }
  | { type: "leader_lost"; reason: "extend_failed" | "stop" }
  | { type: "tick_error"; message: string }
  | { type: "schedule_registered"; scheduleId: string; created: boolean }
  | { type: "schedule_updated"; scheduleId: string }
  | { type: "schedule_unregistered"; scheduleId: string }
  | { type: "dispatch_submitted"; scheduleId: string; slotTs: number; jobId: string }
  | { type: "dispatch_failed"; scheduleId: string; message: string }
  | { type: "dispatch_skipped"; scheduleId: string; reason: "missing_handler" | "cas_stale" | "missed"; count?: number }
  | { type: "dispatch_dlq"; scheduleId: string; slotTs: number; message: string }
  | { type: "dispatch_advanced_after_failures"; scheduleId: string; slotTs: number; failures: number }
  | { type: "trigger_submitted"; scheduleId: string; jobId: string }
  | { type: "trigger_failed"; scheduleId: string; message: string }
  | { type: "trigger_rejected"; scheduleId: string; reason: "missing_schedule" | "missing_handler" | "invalid_schedule" }
);

/** The counters of a scheduler since its creation. */
export type SchedulerMetricsSnapshot = {
  isLeader: boolean;
  /** The epoch of its last leadership; 0 before the first. */
  leaderEpoch: number;
  /** How often it became or ceased to be the leader. */
  leaderChanges: number;
  dispatchSubmitted: number;
  /** Rounds of tries that failed. */
  dispatchFailed: number;
  /** Repeated tries. */
  dispatchRetried: number;
  /** Slots that did not run, for any reason. */
  dispatchSkipped: number;
  /** Slots that were given up. */
  dispatchDlq: number;
  triggerSubmitted: number;
  triggerFailed: number;
  triggerRejected: number;
  tickErrors: number;
  /** Epoch ms. */
  lastTickAt: number | null;
  /** Skipped slots that were missed. */
  missed: number;
};

/** A scheduler. */
export type Scheduler = {
  id: string;
  /** Starts the scheduler: it leads if no other one with its id does, and its targets are called. */
  start(): void;
  /**
   * Gives up leadership at once. Resolves when the submit under way has ended, or after `leaseMs` at the latest, in
   * which case it may be submitted again.
   */
  stop(): Promise<void>;
  metrics(): SchedulerMetricsSnapshot;
  /** Creates a schedule, or replaces the one with its id. */
  register(cfg: SchedulerRegisterConfig): Promise<{ created: boolean; updated: boolean }>;
  unregister(cfg: SchedulerUnregisterConfig): Promise<void>;
  /** Triggers a run now, and resolves to the job's id. The scheduler need not be started, but must have the target. */
  triggerNow(cfg: SchedulerTriggerNowConfig): Promise<string>;
  get(cfg: SchedulerGetConfig): Promise<SchedulerInfo | null>;
  /** All schedules by id. */
  list(): Promise<SchedulerInfo[]>;
};

const DAY = 24 * 3_600_000;

/** Stores the last decided slots. */
type Slots = Pick<Store, "get" | "set" | "del">;

/** What a scheduler contributes to the page. The core references it weakly, so that an unused one can be collected. */
interface Part {
  readonly id: string;
  readonly prefix: string;
  /** Targets by their schedules' names in the core. */
  readonly targets: Map<string, Target>;
  readonly slots: Slots;
  readonly keyTtl: number;
  readonly onMetric: ((metric: SchedulerMetric) => void) | undefined;
}

interface Target {
  readonly id: string;
  readonly job: SchedulerRegisterConfig["job"];
  readonly input: Taken;
  readonly meta: Taken | undefined;
  /** A later registration takes precedence. */
  readonly order: number;
}

/** The contributions of all schedulers of the page, by prefix and id. */
const parts = new Map<string, Set<WeakRef<Part>>>();
/** Those that are started; they are kept alive. */
const started = new Set<Part>();
let lastOrder = 0;

function address({ prefix, id }: Part): string {
  return json([prefix, id]);
}

function* partsOf(part: Part): Generator<Part> {
  const known = parts.get(address(part));
  for (const weak of known ?? []) {
    const other = weak.deref();
    if (other !== undefined) yield other;
  }
}

/** Removes collected ones. */
const letGo = /* @__PURE__ */ new FinalizationRegistry<{ where: string; weak: WeakRef<Part> }>(({ where, weak }) => {
  const known = parts.get(where);
  known?.delete(weak);
  if (known?.size === 0) parts.delete(where);
});

function enroll(part: Part): void {
  for (const other of partsOf(part)) if (other === part) return;
  const where = address(part);
  const weak = new WeakRef(part);
  parts.set(where, (parts.get(where) ?? new Set()).add(weak));
  letGo.register(part, { where, weak });
}

/** The target that was registered last among those of started schedulers. */
function served(part: Part, schedule: string): [Part, Target] | undefined {
  let found: [Part, Target] | undefined;
  for (const other of partsOf(part)) {
    const target = started.has(other) ? other.targets.get(schedule) : undefined;
    if (target !== undefined && target.order > (found?.[1].order ?? 0)) found = [other, target];
  }
  return found;
}

function slotKey({ prefix, id }: Part, schedule: string): string {
  return storeKey(prefix, id, "lastRun", schedule);
}

/** The stores that hold the slot of a schedule, with its key in each. */
function placesOf(part: Part, schedule: string): Map<Slots, string> {
  const places = new Map<Slots, string>();
  for (const { targets, slots } of partsOf(part)) {
    const target = targets.get(schedule);
    if (target !== undefined) places.set(slots, slotKey(part, target.id));
  }
  return places;
}

/** Acts on each store. A failing store does not keep the others from their turn; its error is thrown at the end. */
function inEach(places: Map<Slots, string>, act: (store: Slots, key: string) => void): void {
  const errors: unknown[] = [];
  for (const [store, key] of places) {
    try {
      act(store, key);
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}

/** Receives the outcome of a call: the job's id, or the error, its text, and whether it is permanent. */
type Give = (outcome: [id: string] | [id: undefined, error: unknown, text: string, isFinal: boolean]) => void;

/** The callbacks of the core. */
function surface(weak: WeakRef<Part>) {
  return {
    isServed(schedule: string) {
      const part = weak.deref();
      return part !== undefined && served(part, schedule) !== undefined;
    },
    isHere: (schedule: string) => weak.deref()?.targets.has(schedule) ?? false,
    call(schedule: string, slot: number, key: string | undefined, give: Give) {
      const part = weak.deref();
      const own = part?.targets.get(schedule);
      const found = Number.isNaN(slot) ? own && ([part, own] as [Part, Target]) : part && served(part, schedule);
      if (found !== undefined) void submit(...found, slot, key, give);
      else give([undefined, undefined, `missing local handler for schedule ${schedule}`, false]);
    },
    decided(schedule: string, slot: number) {
      const part = weak.deref();
      if (part === undefined) return;
      inEach(placesOf(part, schedule), (store, key) => store.set(key, slot));
    },
    tell(metric: SchedulerMetric & { scheduleId?: string }) {
      const part = weak.deref();
      if (metric.scheduleId !== undefined) {
        for (const { targets } of part === undefined ? [] : partsOf(part)) {
          metric.scheduleId = targets.get(metric.scheduleId)?.id ?? metric.scheduleId;
        }
      }
      tell(part?.onMetric, metric);
    },
  };
}

/** Submits a slot, or a trigger without one, to its target. */
async function submit(part: Part, target: Target, slot: number, key: string | undefined, end: Give): Promise<void> {
  const isSlot = !Number.isNaN(slot);
  const { prefix, id: schedulerId, keyTtl } = part;
  const whose = [prefix, schedulerId, target.id];
  const known = isSlot ? json([...whose, slot]) : key && json([...whose, "manual", key]);
  let outcome: Parameters<Give>[0];
  try {
    const own = target.meta === undefined ? {} : (give(target.meta.text) as Record<string, unknown>);
    const meta: Record<string, unknown> = { ...own, scheduleId: target.id, schedulerId };
    if (isSlot) meta.scheduleSlotTs = slot;
    else meta.scheduleTrigger = "manual";
    if (key !== undefined) meta.scheduleManualKey = key;
    const keyed = known === undefined ? {} : { key: known, keyTtlMs: keyTtl };
    const cfg = { input: give(target.input.text), ...keyed, ...(isSlot ? { at: slot } : {}), meta };
    outcome = [String((await target.job.submit(cfg)) ?? "")];
  } catch (error) {
    const name = nameOf(error);
    outcome = [undefined, error, textOf(error), name === "ZodError" || name === "SchemaError"];
  }
  end(outcome);
}

/** The numbers of a configuration, in the order that the core expects. */
function rules({ leader = {}, dispatch = {} }: SchedulerConfig): number[] {
  const count = (otherwise: number, most: number) => ({ otherwise, floor: 1, whole: true, most });
  const lease = number("leader.leaseMs", leader.leaseMs, { otherwise: 5_000, floor: 500, most: 300_000 });
  const beat = number("leader.heartbeatMs", leader.heartbeatMs, { otherwise: 500, floor: 100 });
  const base = { otherwise: 100, floor: 10, most: 600_000 };
  const pause = number("dispatch.submitBackoffBaseMs", dispatch.submitBackoffBaseMs, base);
  const max = { otherwise: Math.max(2_000, pause), floor: pause, most: 600_000 };
  const memory = { otherwise: 90 * DAY, floor: 60_000 };
  const retries = { otherwise: 3, floor: 0, orZero: true, whole: true, most: 100 };
  const rounds = dispatch.maxConsecutiveDispatchFailures;
  return [
    lease,
    Math.min(beat, Math.floor(lease / 3)),
    number("dispatch.tickMs", dispatch.tickMs, { otherwise: 500, floor: 50, most: 60_000 }),
    number("dispatch.batchSize", dispatch.batchSize, count(200, 1_000)),
    number("dispatch.maxSubmitsPerTick", dispatch.maxSubmitsPerTick, count(500, 10_000)),
    number("dispatch.submitRetries", dispatch.submitRetries, retries),
    pause,
    number("dispatch.submitBackoffMaxMs", dispatch.submitBackoffMaxMs, max),
    number("dispatch.scheduledJobKeyTtlMs", dispatch.scheduledJobKeyTtlMs, memory),
    number("dispatch.dlqMaxEntries", dispatch.dlqMaxEntries, count(5_000, 100_000)),
    number("dispatch.maxConsecutiveDispatchFailures", rounds, count(5, 1_000)),
  ];
}

/** What the core stores about a schedule for inspection. */
type Written = [id: string, cron: string, tz: string, misfire: SchedulerInfo["misfire"], runs: number, jobId: string];
/** What the core returns. */
type Shown = [written: string, nextRunAt: number, createdAt: number, updatedAt: number];

function info([written, nextRunAt, createdAt, updatedAt]: Shown): SchedulerInfo {
  const [id, cron, tz, misfire, maxCatchUpRuns, jobId] = JSON.parse(written) as Written;
  return { id, cron, tz, misfire, maxCatchUpRuns, jobId, nextRunAt, createdAt, updatedAt };
}

function own(): Slots {
  const slots = new Map<string, unknown>();
  return {
    get: (key) => slots.get(key),
    set: (key, value) => void slots.set(key, value),
    del: (key) => void slots.delete(key),
  };
}

/** Creates a scheduler in this page. */
export function scheduler(config: SchedulerConfig): Scheduler {
  const id = name(config.id, "config.id");
  const { strictHandlers = true, onMetric } = config;
  const prefix = keyPrefix(config.prefix, "sync:scheduler");
  const numbers = rules(config);
  callables(config, "onMetric");
  const slots = storeOf(config.store) ?? own();
  const part: Part = { id, prefix, targets: new Map(), slots, keyTtl: numbers[8]!, onMetric };
  const watched = onMetric !== undefined;
  const raw = new RawScheduler(address(part), strictHandlers, watched, new Float64Array(numbers), surface(new WeakRef(part)));

  return {
    id,
    start() {
      started.add(part);
      enroll(part);
      raw.start();
      raw.appeared([...part.targets.keys()]);
    },
    async stop() {
      started.delete(part);
      await settled(raw.stop());
    },
    metrics: () => raw.metrics() as SchedulerMetricsSnapshot,
    async register(cfg) {
      const schedule = name(cfg.id, "id");
      const { cron, tz = "UTC", job, misfire = "skip" } = cfg;
      const most = { otherwise: 100, floor: 1, whole: true, most: 10_000 };
      const runs = number("maxCatchUpRuns", cfg.maxCatchUpRuns, most);
      if (misfire !== "skip" && misfire !== "catch_up_one" && misfire !== "catch_up_all") {
        throw new Error(`misfire must be "skip", "catch_up_one" or "catch_up_all", but is ${String(misfire)}`);
      }
      const zone = wrong_zone(string("tz", tz));
      if (zone !== undefined) throw new RangeError(zone);
      const input = take(cfg.input);
      const meta = cfg.meta === undefined ? undefined : take(cfg.meta);
      if (typeof job?.submit !== "function" || typeof job.id !== "string" || job.id === "") {
        throw new Error("job must be a job: with an id, and submit");
      }
      synchronous(job.validateInput?.(cfg.input));
      const wrong = wrong_cron(string("cron", cron));
      if (wrong !== undefined) throw new Error(wrong);
      const key = slotKey(part, schedule);
      const kept = slots.get(key);
      if (kept !== undefined && !Number.isFinite(kept)) throw corrupt(key);
      if (kept === undefined) slots.set(key, Date.now());
      const short = mapped(schedule);
      const before = part.targets.get(short);
      lastOrder += 1;
      part.targets.set(short, { id: schedule, job, input, meta, order: lastOrder });
      enroll(part);
      // A schedule with another input counts as changed, too.
      const content = mapped(`#${input.text}\n${meta?.text ?? ""}`);
      const written: [...Written, string] = [schedule, cron, tz, misfire, runs, String(job.id), content];
      const catchUp = { skip: NONE, catch_up_one: 0, catch_up_all: runs }[misfire];
      try {
        const behind = kept === undefined ? NONE : Math.max(0, kept as number);
        const registered = raw.register(schedule, cron, tz, catchUp, json(written), behind);
        if (started.has(part)) raw.appeared([short]);
        const created = await settled<boolean>(registered);
        return { created, updated: !created };
      } catch (error) {
        if (before === undefined) part.targets.delete(short);
        else part.targets.set(short, before);
        if (kept === undefined) slots.del(key);
        throw error;
      }
    },
    async unregister(cfg) {
      const schedule = name(cfg.id, "id");
      const short = mapped(schedule);
      // Completes at once, or throws: the slot must be removed only together with its schedule.
      const removed = raw.unregister(schedule);
      // Its own store may hold a slot from an earlier page.
      const places = placesOf(part, short).set(slots, slotKey(part, schedule));
      for (const { targets } of partsOf(part)) targets.delete(short);
      inEach(places, (store, key) => store.del(key));
      await settled(removed);
    },
    async triggerNow(cfg) {
      return settled<string>(raw.trigger(name(cfg.id, "id"), keyOf("key", cfg.key)));
    },
    async get(cfg) {
      const shown = await settled<Shown | null>(raw.get(name(cfg.id, "id")));
      return shown && info(shown);
    },
    async list() {
      const all = (await settled<Shown[]>(raw.list())).map(info);
      return all.sort((one, other) => (one.id < other.id ? -1 : 1));
    },
  };
}
