import { job } from "tidelock/browser/job";
import { scheduler, type SchedulerConfig, type SchedulerMetric, type SchedulerRegisterConfig } from "tidelock/browser/scheduler";
import { MemoryStore, type Store } from "tidelock/browser/store";
import { describe, expect, failure, pinned, settled, test } from "./harness.js";

type Call = Parameters<SchedulerRegisterConfig["job"]["submit"]>[0];

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** 2023-11-14T22:13:20Z. */
const BEGIN = 1_700_000_000_000;
/** The first whole minute after `BEGIN`. */
const FIRST = BEGIN + 40_000;

/** Heartbeats are rare, so that hours pass quickly. */
const SELDOM = { leader: { leaseMs: 300_000, heartbeatMs: 100_000 }, dispatch: { tickMs: 60_000 } };

/** A target of runs. */
function target(answer: (cfg: Call) => Promise<string> | string = () => "") {
  const calls: Call[] = [];
  return {
    id: "target",
    calls,
    slots: () => calls.map(({ at }) => at),
    async submit(cfg: Call) {
      calls.push(cfg);
      return (await answer(cfg)) || `job ${calls.length}`;
    },
  };
}

let made = 0;

/** A scheduler with its own schedules and recorded events. */
function make(config: Partial<SchedulerConfig> = {}) {
  made += 1;
  const told: SchedulerMetric[] = [];
  const made_ = scheduler({ id: `scheduler ${made}`, onMetric: (metric) => void told.push(metric), ...config });
  const of = (type: SchedulerMetric["type"]) => told.filter((metric) => metric.type === type);
  return { ...made_, told, of, types: () => told.map(({ type }) => type).join(" ") };
}

const message = async (call: () => unknown) => (await failure(call)).message;

describe("scheduler", () => {
  for (const misfire of ["skip", "catch_up_one", "catch_up_all"] as const) {
    test(`each minute is one run, under ${misfire}`, () =>
      pinned(async (time) => {
        const platform = make(SELDOM);
        const runs = target();
        await platform.register({ id: "digest", cron: "* * * * *", input: { n: 1 }, job: runs, misfire });
        platform.start();
        await time.advance(HOUR);
        expect(runs.slots()).to.deep.equal(Array.from({ length: 60 }, (_, k) => FIRST + k * MINUTE));
        expect(platform.metrics()).to.include({ dispatchSubmitted: 60, dispatchSkipped: 0, missed: 0 });
        await platform.stop();
      }));
  }

  test("a slot is handed over with key, life of the key, instant and meta, in the instant in which it is due", () =>
    pinned(async (time) => {
      const platform = make({ id: "a:b", prefix: "p" });
      const runs = target(() => "17");
      const at: number[] = [];
      const submit = runs.submit;
      runs.submit = (cfg) => (at.push(time.now()), submit(cfg));
      const input = { when: new Date(5), list: [1] };
      const registered = platform.register({ id: "digest", cron: "* * * * *", input, job: runs, meta: { own: [1] } });
      input.list.push(2);
      await registered;
      platform.start();
      await time.advance(2 * MINUTE);
      expect(at).to.deep.equal([FIRST, FIRST + MINUTE]);
      const [first, second] = runs.calls as [Call, Call];
      expect({ ...first, key: "" }).to.deep.equal({
        input: { when: new Date(5), list: [1] },
        key: "",
        keyTtlMs: 90 * DAY,
        at: FIRST,
        meta: { own: [1], scheduleId: "digest", scheduleSlotTs: FIRST, schedulerId: "a:b" },
      });
      expect(first.key).to.be.a("string").and.not.equal(second.key);
      expect(first.input).not.to.equal(second.input);
      const [submitted] = platform.of("dispatch_submitted");
      expect(submitted).to.deep.equal({
        ts: FIRST,
        type: "dispatch_submitted",
        scheduleId: "digest",
        slotTs: FIRST,
        jobId: "17",
      });
      await platform.stop();
    }));

  test("keys of other schedulers, schedules and triggers never meet", () =>
    pinned(async (time) => {
      const runs = target();
      const names = [
        ["p", "a", "b"],
        ["p", "a:b", "c"],
        ["p", "a", "b:c"],
        ["p:a", "b", "c"],
        ["", "a", "b"],
      ] as const;
      const all = names.map(([prefix, id]) => make({ prefix, id }));
      for (const [at, platform] of all.entries()) {
        const id = names[at]![2];
        await platform.register({ id, cron: "* * * * *", input: 1, job: runs });
        await platform.triggerNow({ id, key: String(FIRST) });
        platform.start();
      }
      await time.advance(MINUTE);
      expect(new Set(runs.calls.map(({ key }) => key)).size).to.equal(2 * names.length);
      await Promise.all(all.map((platform) => platform.stop()));
    }));

  test("a job's handle of any input is a target", () =>
    pinned(async (time) => {
      const done: unknown[] = [];
      const schema = {
        parse(value: unknown): number {
          if (typeof value !== "number") throw new TypeError("no number");
          return value * 2;
        },
      };
      const handle = job({ id: "scheduled", schema, process: ({ input }) => void done.push(input) });
      const platform = make();
      const wrong = platform.register({ id: "d", cron: "* * * * *", input: "x", job: handle });
      expect(await failure(() => wrong)).to.be.instanceOf(TypeError);
      expect(await platform.list()).to.deep.equal([]);
      await platform.register({ id: "d", cron: "* * * * *", input: 21, job: handle });
      platform.start();
      await time.advance(2 * MINUTE);
      expect(done).to.deep.equal([42, 42]);
      const id = await platform.triggerNow({ id: "d" });
      expect(await handle.join({ id })).to.include({ status: "completed" });
      expect(platform.of("dispatch_submitted").every((metric) => "jobId" in metric && /^\d+$/.test(metric.jobId))).to.equal(true);
      await platform.stop();
      handle.stop();
    }));

  test("zones, seconds and the change of clocks", () =>
    pinned(async (time) => {
      const platform = make(SELDOM);
      const runs = target();
      await platform.register({ id: "berlin", cron: "30 2 * * *", tz: "europe/berlin", input: 1, job: runs });
      await platform.register({ id: "seconds", cron: "*/20 * * * * *", input: 1, job: target() });
      expect((await platform.get({ id: "berlin" }))?.nextRunAt).to.equal(Date.UTC(2026, 2, 28, 1, 30));
      expect((await platform.get({ id: "seconds" }))?.nextRunAt).to.equal(time.now() + 20_000);
      platform.start();
      await time.advance(48 * HOUR);
      // 02:30 does not exist on the 29th.
      expect(runs.slots()).to.deep.equal([Date.UTC(2026, 2, 28, 1, 30), Date.UTC(2026, 2, 29, 1, 0)]);
      await platform.stop();
    }, Date.UTC(2026, 2, 27, 22)));

  test("a page that slept judges its slots by misfire when it wakes", () =>
    pinned(async (time) => {
      const platform = make(SELDOM);
      const runs = { skip: target(), one: target(), all: target() };
      const cron = "*/5 * * * *";
      await platform.register({ id: "skip", cron, input: 1, job: runs.skip });
      await platform.register({ id: "one", cron, input: 1, job: runs.one, misfire: "catch_up_one" });
      const all = { misfire: "catch_up_all", maxCatchUpRuns: 10 } as const;
      await platform.register({ id: "all", cron, input: 1, job: runs.all, ...all });
      platform.start();
      const base = Date.UTC(2023, 10, 15, 7, 2);
      await time.advance(base - time.now());
      for (const { calls } of Object.values(runs)) calls.length = 0;
      // Timers are late: only the clock moves.
      time.set(base + 3 * HOUR);
      await time.advance(MINUTE);
      expect(runs.skip.slots()).to.deep.equal([]);
      expect(runs.one.slots()).to.deep.equal([Date.UTC(2023, 10, 15, 10, 0)]);
      const late = Array.from({ length: 10 }, (_, k) => Date.UTC(2023, 10, 15, 9, 15 + 5 * k));
      expect(runs.all.slots()).to.deep.equal(late);
      expect(platform.metrics()).to.include({ missed: 36 + 35 + 26, dispatchSkipped: 36 + 35 + 26 });
      const skipped = platform.of("dispatch_skipped").map((metric) => ({ ...metric, ts: 0 }));
      expect(skipped).to.deep.include({ ts: 0, type: "dispatch_skipped", scheduleId: "one", reason: "missed", count: 35 });
      await time.advance(3 * MINUTE);
      expect(runs.skip.slots()).to.deep.equal([Date.UTC(2023, 10, 15, 10, 5)]);
      await platform.stop();
    }));

  test("methods work detached from their object", async () => {
    const { register, get, list, metrics, start, stop, triggerNow, unregister } = scheduler({ id: "detached" });
    await register({ id: "d", cron: "* * * * *", input: 1, job: target() });
    expect((await get({ id: "d" }))?.id).to.equal("d");
    expect((await list()).length).to.equal(1);
    start();
    expect(metrics().isLeader).to.equal(true);
    await triggerNow({ id: "d" });
    await unregister({ id: "d" });
    await stop();
  });
});

describe("scheduler register", () => {
  test("what it shows, and what was new", () =>
    pinned(async (time) => {
      const platform = make();
      const runs = target();
      const digest = { id: "digest", cron: " 0 7 * * mon-fri ", tz: "UTC", input: 1, job: runs };
      expect(await platform.register(digest)).to.deep.equal({ created: true, updated: false });
      expect(await platform.get({ id: "digest" })).to.deep.equal({
        id: "digest",
        cron: " 0 7 * * mon-fri ",
        tz: "UTC",
        misfire: "skip",
        maxCatchUpRuns: 100,
        jobId: "target",
        nextRunAt: Date.UTC(2023, 10, 15, 7),
        createdAt: BEGIN,
        updatedAt: BEGIN,
      });
      await time.advance(1_000);
      expect(await platform.register(digest)).to.deep.equal({ created: false, updated: true });
      const other = { ...digest, input: 2, misfire: "catch_up_all", maxCatchUpRuns: 0.5 } as const;
      expect(await platform.register(other)).to.deep.equal({ created: false, updated: true });
      const shown = { misfire: "catch_up_all", maxCatchUpRuns: 1, createdAt: BEGIN, updatedAt: BEGIN + 1_000 };
      expect(await platform.get({ id: "digest" })).to.deep.include(shown);
      expect(platform.types()).to.equal("schedule_registered schedule_registered schedule_updated");
      expect(platform.told.slice(0, 2)).to.deep.equal([
        { ts: BEGIN, type: "schedule_registered", scheduleId: "digest", created: true },
        { ts: BEGIN + 1_000, type: "schedule_registered", scheduleId: "digest", created: false },
      ]);
      expect(await platform.get({ id: "none" })).to.equal(null);
      await platform.unregister({ id: "digest" });
      await platform.unregister({ id: "digest" });
      expect(await platform.get({ id: "digest" })).to.equal(null);
      expect(platform.of("schedule_unregistered").length).to.equal(1);
    }));

  test("another input or meta is an update", async () => {
    const platform = make();
    const digest = { id: "d", cron: "* * * * *", input: 1, job: target() };
    await platform.register(digest);
    await platform.register({ ...digest, input: 2 });
    await platform.register({ ...digest, input: 2, meta: {} });
    expect(platform.types()).to.equal("schedule_registered schedule_updated schedule_updated");
  });

  test("schedules of any name are listed by it", async () => {
    const platform = make();
    const ids = ["b", "a", "\u{1f600}".repeat(256), "#", "x".repeat(256)];
    for (const id of ids) await platform.register({ id, cron: "* * * * *", input: 1, job: target() });
    expect((await platform.list()).map(({ id }) => id)).to.deep.equal([...ids].sort());
    await platform.triggerNow({ id: ids[2]! });
    expect(platform.of("trigger_submitted")[0]).to.include({ scheduleId: ids[2] });
  });

  test("zone, input and cron are checked in this order, and nothing is changed by what is refused", async () => {
    const store = new MemoryStore();
    const platform = make({ store });
    const runs = { ...target(), validateInput: (input: unknown) => { if (input !== 1) throw new TypeError("not one"); } };
    const cfg = { id: "d", cron: "* * * *", tz: "Mars/Olympus", input: 2, job: runs };
    const zone = await failure(() => platform.register(cfg));
    expect(zone).to.be.instanceOf(RangeError);
    expect(zone.message).to.contain("Mars/Olympus");
    expect(await failure(() => platform.register({ ...cfg, tz: "UTC" }))).to.be.instanceOf(TypeError);
    const wrong = { ...cfg, tz: "UTC", input: 1 };
    expect(await message(() => platform.register(wrong))).to.contain("cron must have 5 fields");
    expect(await message(() => platform.register({ ...wrong, cron: "60 * * * *" }))).to.contain("out-of-range minute: 60");
    expect(await message(() => platform.register({ ...wrong, cron: "0 0 30 2 *" }))).to.contain("never matches");
    expect(await message(() => platform.register({ ...wrong, id: "" }))).to.equal("id must be non-empty");
    expect(await message(() => platform.register({ ...wrong, maxCatchUpRuns: 1.5 }))).to.equal(
      "maxCatchUpRuns must be a whole number > 0, but is 1.5",
    );
    expect(await message(() => platform.register({ ...wrong, misfire: "all" as "skip" }))).to.equal(
      'misfire must be "skip", "catch_up_one" or "catch_up_all", but is all',
    );
    expect((await failure(() => platform.register({ ...wrong, cron: "* * * * *", input: () => 1 }))).name).to.equal("DataCloneError");
    expect(await platform.list()).to.deep.equal([]);
    expect(store.keys()).to.deep.equal([]);
    expect(platform.told).to.deep.equal([]);
  });

  test("a register takes no longer the more schedules a started scheduler has", async () => {
    const job = target();
    const register = async (platform: ReturnType<typeof make>, from: number, count: number) => {
      const begin = performance.now();
      for (let at = from; at < from + count; at += 1) {
        await platform.register({ id: `${at}`, cron: "0 0 1 1 *", input: 1, job });
      }
      return performance.now() - begin;
    };
    const [idle, started] = [make(SELDOM), make(SELDOM)];
    for (const platform of [idle, started]) await register(platform, 0, 2_000);
    started.start();
    const usual = await register(idle, 2_000, 300);
    expect(await register(started, 2_000, 300)).to.be.below(6 * usual);
    await started.stop();
  });

  test("a target that checks input later is refused, and its failure is nobody's", async () => {
    const platform = make();
    const validateInput = (async () => {
      throw new Error("of the target");
    }) as () => void;
    const registering = platform.register({ id: "d", cron: "* * * * *", input: 1, job: { ...target(), validateInput } });
    expect(await message(() => registering)).to.equal("schema must validate synchronously");
    expect(await platform.list()).to.deep.equal([]);
    await settled();
  });

  test("a configuration is refused at once, and numbers below their floors count as these", async () => {
    expect(() => scheduler({ id: "" })).to.throw("config.id must be non-empty");
    const wrong = (config: object) => () => scheduler({ id: "s", ...config });
    expect(wrong({ leader: { leaseMs: Number.NaN } })).to.throw("leader.leaseMs must be > 0");
    expect(wrong({ leader: { heartbeatMs: Infinity } })).to.throw("leader.heartbeatMs must be > 0");
    expect(wrong({ dispatch: { batchSize: 1.5 } })).to.throw("dispatch.batchSize must be a whole number > 0, but is 1.5");
    expect(wrong({ dispatch: { tickMs: "1" } })).to.throw("dispatch.tickMs must be > 0");
    expect(wrong({ dispatch: { submitRetries: Number.NaN } })).to.throw("dispatch.submitRetries must be >= 0");
    const dispatch = {
      tickMs: 0,
      batchSize: 0,
      maxSubmitsPerTick: -1,
      submitRetries: -1,
      submitBackoffBaseMs: 0,
      submitBackoffMaxMs: 0,
      scheduledJobKeyTtlMs: 0,
      dlqMaxEntries: 0,
      maxConsecutiveDispatchFailures: 0,
    };
    const low = scheduler({ id: "low", leader: { leaseMs: 0, heartbeatMs: 0 }, dispatch });
    low.start();
    const runs = target();
    await low.register({ id: "d", cron: "* * * * *", input: 1, job: runs });
    await low.triggerNow({ id: "d", key: "k" });
    expect(runs.calls[0]?.keyTtlMs).to.equal(60_000);
    await low.stop();
    const beat = scheduler({ id: "beat", leader: { leaseMs: 500, heartbeatMs: 400 } });
    beat.start();
    expect(beat.metrics().isLeader).to.equal(true);
    await beat.stop();
  });
});

describe("scheduler slots", () => {
  const key = (id: string, schedule: string) => `sync:scheduler:${id}:lastRun:${schedule}`;

  test("the last decided slot is kept in the store, from the register on", () =>
    pinned(async (time) => {
      const store = new MemoryStore();
      const platform = make({ id: "a:%", prefix: "own:p", store });
      const runs = target();
      await platform.register({ id: "x:y", cron: "* * * * *", input: 1, job: runs });
      const at = "own:p:a%3A%25:lastRun:x%3Ay";
      expect(store.keys()).to.deep.equal([at]);
      expect(store.get(at)).to.equal(BEGIN);
      await platform.triggerNow({ id: "x:y" });
      expect(store.get(at)).to.equal(BEGIN);
      platform.start();
      await time.advance(39_999);
      expect(store.get(at)).to.equal(BEGIN);
      await time.advance(1);
      expect(store.get(at)).to.equal(FIRST);
      await platform.unregister({ id: "x:y" });
      expect(store.keys()).to.deep.equal([]);
      await platform.stop();
    }));

  test("slots missed while the page was closed are judged", () =>
    pinned(async (time) => {
      const hours = time.now() - (time.now() % HOUR);
      const start = async (misfire: "skip" | "catch_up_one" | "catch_up_all", late = 0) => {
        const store = new MemoryStore();
        const platform = make({ store });
        const runs = target();
        store.set(key(platform.id, "d"), hours - 2 * DAY);
        const cron = late === 0 ? "0 * * * *" : "* * * * *";
        await platform.register({ id: "d", cron, input: 1, job: runs, misfire, maxCatchUpRuns: 5 });
        const info = await platform.get({ id: "d" });
        expect(info?.nextRunAt).to.equal(hours - 2 * DAY + (late === 0 ? HOUR : MINUTE));
        platform.start();
        await settled();
        await platform.stop();
        return { slots: runs.slots(), kept: store.get(key(platform.id, "d")) };
      };
      expect(await start("skip")).to.deep.equal({ slots: [], kept: hours });
      expect(await start("catch_up_one")).to.deep.equal({ slots: [hours], kept: hours });
      const last = [4, 3, 2, 1, 0].map((k) => hours - k * HOUR);
      expect(await start("catch_up_all")).to.deep.equal({ slots: last, kept: hours });
      // 22:13:00 is on time at 22:13:20.
      expect((await start("skip", 1)).slots).to.deep.equal([FIRST - MINUTE]);
    }));

  test("a kept instant in the future counts as now, and another timing goes on from what is kept", () =>
    pinned(async (time) => {
      const store = new MemoryStore();
      const platform = make({ store });
      const cfg = { id: "d", cron: "* * * * *", input: 1, job: target() };
      store.set(key(platform.id, "d"), time.now() + DAY);
      await platform.register(cfg);
      expect((await platform.get({ id: "d" }))?.nextRunAt).to.equal(FIRST);
      store.set(key(platform.id, "d"), time.now() - DAY);
      await platform.register({ ...cfg, cron: "0 * * * *" });
      expect((await platform.get({ id: "d" }))?.nextRunAt).to.equal(Date.UTC(2023, 10, 13, 23));
    }));

  test("without a kept instant a schedule that the page has keeps its next slot", () =>
    pinned(async (time) => {
      const one = make();
      const cfg = { id: "d", cron: "0 * * * *", input: 1, job: target() };
      await one.register(cfg);
      const next = (await one.get({ id: "d" }))?.nextRunAt;
      await time.advance(2 * HOUR);
      const other = make({ id: one.id });
      await other.register({ ...cfg, input: 2 });
      expect((await other.get({ id: "d" }))?.nextRunAt).to.equal(next);
      const third = make({ id: one.id });
      await third.register({ ...cfg, cron: "30 * * * *" });
      expect((await third.get({ id: "d" }))?.nextRunAt).to.equal(Date.UTC(2023, 10, 15, 0, 30));
    }));

  test("a value of a wrong type is refused and left, and errors of the store come out of the call", async () => {
    const store = new MemoryStore();
    const platform = make({ store });
    const cfg = { id: "d", cron: "* * * * *", input: 1, job: target() };
    store.set(key(platform.id, "d"), "yesterday");
    expect(await message(() => platform.register(cfg))).to.equal(`corrupt value in store: ${key(platform.id, "d")}`);
    expect(store.get(key(platform.id, "d"))).to.equal("yesterday");
    store.set(key(platform.id, "d"), Number.NaN);
    expect(await message(() => platform.register(cfg))).to.equal(`corrupt value in store: ${key(platform.id, "d")}`);
    // It is removed with its schedule, even if the schedule has not been registered since.
    await platform.unregister({ id: "d" });
    expect(store.keys()).to.deep.equal([]);
    const full: Store = {
      get: () => undefined,
      set() {
        throw new Error("quota");
      },
      del() {},
      keys: () => [],
    };
    const other = make({ store: full });
    expect(await message(() => other.register(cfg))).to.equal("quota");
    expect(await other.list()).to.deep.equal([]);
  });

  test("a store that fails with a decision is told, and the slots go on", () =>
    pinned(async (time) => {
      const store = new MemoryStore();
      const platform = make({ store });
      const runs = target();
      await platform.register({ id: "d", cron: "* * * * *", input: 1, job: runs });
      store.set = () => {
        throw new Error("quota");
      };
      platform.start();
      await time.advance(2 * MINUTE);
      expect(runs.calls.length).to.equal(2);
      expect(platform.of("tick_error")).to.deep.include({ ts: FIRST, type: "tick_error", message: "quota" });
      expect(platform.metrics().tickErrors).to.equal(2);
      await platform.stop();
    }));

  test("whoever leads, the stores of all that have the schedule are told", () =>
    pinned(async (time) => {
      const [mine, yours] = [new MemoryStore(), new MemoryStore()];
      const one = make({ store: mine });
      const other = make({ id: one.id, store: yours });
      for (const platform of [one, other]) {
        await platform.register({ id: "d", cron: "* * * * *", input: 1, job: target() });
      }
      one.start();
      await time.advance(MINUTE);
      for (const store of [mine, yours]) expect(store.get(key(one.id, "d"))).to.equal(FIRST);
      await one.stop();
    }));

  test("a store that fails keeps no other from being told, and its error comes out", () =>
    pinned(async (time) => {
      const stores = [new MemoryStore(), new MemoryStore(), new MemoryStore()] as const;
      const one = make({ store: stores[0] });
      const others = [make({ id: one.id, store: stores[1] }), make({ id: one.id, store: stores[2] })];
      for (const platform of [one, ...others]) {
        await platform.register({ id: "d", cron: "* * * * *", input: 1, job: target() });
      }
      stores[1].set = stores[1].del = () => {
        throw new Error("quota");
      };
      one.start();
      await time.advance(MINUTE);
      const at = key(one.id, "d");
      expect(stores.map((store) => store.get(at))).to.deep.equal([FIRST, BEGIN, FIRST]);
      expect(one.of("tick_error")[0]).to.include({ message: "quota" });
      expect(await message(() => one.unregister({ id: "d" }))).to.equal("quota");
      expect(stores.map((store) => store.keys())).to.deep.equal([[], [at], []]);
      expect(await one.list()).to.deep.equal([]);
      await one.stop();
    }));
});

describe("scheduler leaders", () => {
  test("one of a page leads, and another one takes over when it stops", () =>
    pinned(async (time) => {
      const [one, other] = [make(), make({ id: `scheduler ${made}` })];
      const [mine, yours] = [target(), target()];
      await one.register({ id: "d", cron: "* * * * *", input: 1, job: mine });
      await other.register({ id: "d", cron: "* * * * *", input: 1, job: yours });
      one.start();
      one.start();
      other.start();
      expect([one.metrics().isLeader, other.metrics().isLeader]).to.deep.equal([true, false]);
      await time.advance(MINUTE);
      // The target registered last is called, whichever instance leads.
      expect([mine.calls.length, yours.calls.length]).to.deep.equal([0, 1]);
      const epoch = one.metrics().leaderEpoch;
      const stopped = one.stop();
      expect(one.metrics().isLeader).to.equal(false);
      expect(one.of("leader_lost")).to.deep.equal([{ ts: time.now(), type: "leader_lost", reason: "stop" }]);
      await stopped;
      await one.stop();
      await time.advance(100);
      expect(other.metrics()).to.include({ isLeader: true, leaderChanges: 1 });
      expect(other.metrics().leaderEpoch).to.be.greaterThan(epoch);
      await time.advance(MINUTE);
      expect([mine.calls.length, yours.calls.length]).to.deep.equal([0, 2]);
      one.start();
      await other.stop();
      await time.advance(MINUTE);
      expect(mine.calls.length).to.equal(1);
      expect(one.metrics().leaderChanges).to.equal(3);
      await one.stop();
    }));

  test("a leader that slept longer than its lease says so, and leads again", () =>
    pinned(async (time) => {
      const platform = make();
      platform.start();
      await time.advance(MINUTE);
      expect(platform.types()).to.equal("leader_acquired");
      time.set(time.now() + MINUTE);
      await time.advance(1_000);
      expect(platform.types()).to.equal("leader_acquired leader_lost leader_acquired");
      expect(platform.of("leader_lost")[0]).to.include({ reason: "extend_failed" });
      await platform.stop();
    }));

  test("stop resolves when the submission under way has ended, and nothing is begun after it", () =>
    pinned(async (time) => {
      let end = (_: string) => {};
      const runs = target(() => new Promise((ended) => (end = ended)));
      const store = new MemoryStore();
      const platform = make({ store });
      await platform.register({ id: "d", cron: "* * * * *", input: 1, job: runs });
      platform.start();
      await time.advance(MINUTE);
      let stopped = false;
      const stopping = platform.stop().then(() => (stopped = true));
      expect(platform.metrics().isLeader).to.equal(false);
      await time.advance(1_000);
      expect(stopped).to.equal(false);
      end("7");
      await stopping;
      expect(platform.of("dispatch_submitted").length).to.equal(1);
      expect(store.get(`sync:scheduler:${platform.id}:lastRun:d`)).to.equal(FIRST);
      await time.advance(10 * MINUTE);
      expect(runs.calls.length).to.equal(1);
      expect(platform.of("leader_lost").length).to.equal(1);
      // Started again, it continues.
      platform.start();
      platform.start();
      await time.advance(MINUTE);
      expect(runs.calls.length).to.equal(2);
      end("8");
      await platform.stop();
    }));

  test("a submission that never ends holds a stopped one for its lease; then another one leads, and submits it", () =>
    pinned(async (time) => {
      const [one, other] = [make(), make({ id: `scheduler ${made}` })];
      const never = target(() => new Promise<string>(() => {}));
      await one.register({ id: "d", cron: "* * * * *", input: 1, job: never });
      one.start();
      await time.advance(MINUTE);
      expect(never.slots()).to.deep.equal([FIRST]);
      const yours = target();
      await other.register({ id: "d", cron: "* * * * *", input: 1, job: yours });
      other.start();
      let stopped = false;
      const stopping = one.stop().then(() => (stopped = true));
      await time.advance(4_900);
      expect([stopped, other.metrics().isLeader]).to.deep.equal([false, false]);
      await time.advance(200);
      expect([stopped, other.metrics().isLeader]).to.deep.equal([true, true]);
      await stopping;
      expect(yours.slots()).to.deep.equal([FIRST]);
      expect(one.of("leader_lost").length).to.equal(1);
      await other.stop();
    }));

  test("a start during a stop gives one leader again", () =>
    pinned(async (time) => {
      const runs = target();
      const platform = make();
      await platform.register({ id: "d", cron: "* * * * *", input: 1, job: runs });
      platform.start();
      const stopping = platform.stop();
      platform.start();
      await stopping;
      await settled();
      expect(platform.metrics().isLeader).to.equal(true);
      await time.advance(MINUTE);
      expect(runs.calls.length).to.equal(1);
      await platform.stop();
    }));
});

describe("scheduler targets", () => {
  test("strict: a slot waits until a started scheduler has its target, and others go on", () =>
    pinned(async (time) => {
      const [leader, brings] = [make(), make({ id: `scheduler ${made}` })];
      const [runs, own] = [target(), target()];
      await brings.register({ id: "d", cron: "* * * * *", input: 1, job: runs, misfire: "catch_up_one" });
      await leader.register({ id: "own", cron: "* * * * *", input: 1, job: own });
      leader.start();
      await time.advance(5 * MINUTE);
      expect(runs.calls.length).to.equal(0);
      expect(own.calls.length).to.equal(5);
      const missing = leader.of("dispatch_skipped");
      expect(missing).to.deep.equal([
        { ts: FIRST, type: "dispatch_skipped", scheduleId: "d", reason: "missing_handler" },
      ]);
      expect((await leader.get({ id: "d" }))?.nextRunAt).to.equal(FIRST);
      brings.start();
      await settled();
      await time.advance(0);
      // By its misfire policy: the last slot is on time.
      expect(runs.slots()).to.deep.equal([FIRST + 4 * MINUTE]);
      expect(brings.metrics().isLeader).to.equal(false);
      await brings.stop();
      await time.advance(2 * MINUTE);
      expect(runs.calls.length).to.equal(1);
      expect(leader.of("dispatch_skipped").length).to.equal(3);
      await leader.stop();
    }));

  test("a target that is registered with a started scheduler is served at once", () =>
    pinned(async (time) => {
      const [leader, brings] = [make(), make({ id: `scheduler ${made}` })];
      const runs = target();
      const cfg = { id: "d", cron: "* * * * *", input: 1, job: target() };
      await brings.register(cfg);
      leader.start();
      await time.advance(MINUTE);
      expect(leader.of("dispatch_skipped").length).to.equal(1);
      await leader.register({ ...cfg, job: runs });
      await time.advance(0);
      expect(runs.slots()).to.deep.equal([FIRST]);
      await leader.stop();
    }));

  test("a schedule of a target that appears while its slot is set aside is not left waiting", () =>
    pinned(async (time) => {
      const brings = make();
      const runs = target();
      const onMetric = ({ type }: SchedulerMetric) => {
        if (type === "dispatch_skipped") brings.start();
      };
      const leader = make({ id: brings.id, onMetric, dispatch: { batchSize: 1_000 } });
      // More than fit into one write.
      const ids = Array.from({ length: 600 }, (_, k) => `d${k}`);
      for (const id of ids) await brings.register({ id, cron: "* * * * *", input: 1, job: runs });
      leader.start();
      await time.advance(MINUTE);
      expect(runs.calls.length).to.equal(600);
      for (const platform of [leader, brings]) await platform.stop();
    }));

  test("a target goes with its schedule, whoever unregisters it", () =>
    pinned(async (time) => {
      const store = new MemoryStore();
      const leader = make({ store });
      const other = make({ id: leader.id });
      const runs = target();
      const cfg = { id: "d", cron: "* * * * *", input: 1, job: runs };
      await leader.register(cfg);
      leader.start();
      await other.unregister({ id: "d" });
      expect(store.keys()).to.deep.equal([]);
      await other.register({ ...cfg, job: target() });
      await time.advance(2 * MINUTE);
      expect(runs.calls.length).to.equal(0);
      expect(leader.of("dispatch_skipped").length).to.equal(1);
      await leader.stop();
    }));

  test("not strict: the slot is passed", () =>
    pinned(async (time) => {
      const leader = make({ strictHandlers: false });
      const brings = make({ id: leader.id });
      const runs = target();
      await brings.register({ id: "d", cron: "* * * * *", input: 1, job: runs });
      leader.start();
      await time.advance(2 * MINUTE);
      expect(leader.of("dispatch_skipped")).to.deep.equal(
        [FIRST, FIRST + MINUTE].map((ts) => ({
          ts,
          type: "dispatch_skipped",
          scheduleId: "d",
          reason: "missing_handler",
          count: 1,
        })),
      );
      expect(leader.metrics()).to.include({ dispatchSkipped: 2, missed: 0 });
      brings.start();
      await time.advance(MINUTE);
      expect(runs.calls.length).to.equal(1);
      await Promise.all([leader.stop(), brings.stop()]);
    }));

  test("a target that refuses is tried again, given up after its rounds, and the next slot goes on", () =>
    pinned(async (time) => {
      let refuses = true;
      const runs = target(() => {
        if (refuses) throw new Error("busy");
        return "";
      });
      const store = new MemoryStore();
      const dispatch = { submitRetries: 2, maxConsecutiveDispatchFailures: 2 };
      const platform = make({ store, dispatch });
      const fine = target();
      await platform.register({ id: "d", cron: "*/10 * * * *", input: 1, job: runs });
      await platform.register({ id: "fine", cron: "* * * * *", input: 1, job: fine });
      platform.start();
      const slot = Date.UTC(2023, 10, 14, 22, 20);
      await time.advance(slot - time.now());
      await time.advance(10_000);
      expect(runs.calls.length).to.equal(6);
      expect(new Set(runs.calls.map(({ key }) => key)).size).to.equal(1);
      expect(platform.of("dispatch_failed").map((metric) => ({ ...metric, ts: 0 }))).to.deep.equal(
        [0, 0].map((ts) => ({ ts, type: "dispatch_failed", scheduleId: "d", message: "busy" })),
      );
      expect(platform.of("dispatch_dlq")[0]).to.include({ scheduleId: "d", slotTs: slot, message: "busy" });
      expect(platform.of("dispatch_advanced_after_failures")[0]).to.include({ scheduleId: "d", slotTs: slot, failures: 2 });
      expect(store.get(`sync:scheduler:${platform.id}:lastRun:d`)).to.equal(slot);
      expect(platform.metrics()).to.include({ dispatchFailed: 2, dispatchRetried: 4, dispatchDlq: 1 });
      expect(fine.slots()).to.deep.equal(Array.from({ length: 7 }, (_, k) => FIRST + k * MINUTE));
      refuses = false;
      await time.advance(10 * MINUTE);
      expect(runs.calls.length).to.equal(7);
      await platform.stop();
    }));

  for (const final of ["ZodError", "SchemaError"]) {
    test(`an error named ${final} is final at the first try`, () =>
      pinned(async (time) => {
        const error = Object.assign(new Error("no"), { name: final });
        const runs = target(() => {
          throw error;
        });
        const platform = make();
        await platform.register({ id: "d", cron: "* * * * *", input: 1, job: runs });
        platform.start();
        await time.advance(MINUTE);
        expect(runs.calls.length).to.equal(1);
        expect(platform.types()).to.equal(
          "schedule_registered leader_acquired dispatch_failed dispatch_dlq dispatch_advanced_after_failures",
        );
        expect(await failure(() => platform.triggerNow({ id: "d" }))).to.equal(error);
        expect(runs.calls.length).to.equal(2);
        await platform.stop();
      }));
  }

  test("a target that never answers holds up nobody else", () =>
    pinned(async (time) => {
      const platform = make({ dispatch: { batchSize: 1 } });
      const [hangs, fine] = [target(() => new Promise<string>(() => {})), target()];
      await platform.register({ id: "a", cron: "* * * * *", input: 1, job: hangs });
      await platform.register({ id: "b", cron: "* * * * *", input: 1, job: fine });
      platform.start();
      await time.advance(5 * MINUTE);
      expect(hangs.calls.length).to.equal(1);
      expect(fine.calls.length).to.equal(5);
      void platform.stop();
    }));
});

describe("scheduler triggers", () => {
  test("a trigger needs no start, and gives the job's id", () =>
    pinned(async (time) => {
      const platform = make();
      const runs = target();
      await platform.register({ id: "d", cron: "* * * * *", input: [1], job: runs, meta: { own: 1 } });
      const triggered = platform.triggerNow({ id: "d", key: "" });
      expect(runs.calls.length).to.equal(1);
      expect(await triggered).to.equal("job 1");
      const meta = { own: 1, scheduleId: "d", schedulerId: platform.id, scheduleTrigger: "manual" };
      expect(runs.calls).to.deep.equal([{ input: [1], meta }]);
      expect(platform.of("trigger_submitted")).to.deep.equal([
        { ts: time.now(), type: "trigger_submitted", scheduleId: "d", jobId: "job 1" },
      ]);
      expect((await platform.get({ id: "d" }))?.nextRunAt).to.equal(FIRST);
    }));

  test("one key is one run of a schedule", () =>
    pinned(async (time) => {
      const platform = make();
      const runs = target();
      for (const id of ["a", "b"]) await platform.register({ id, cron: "* * * * *", input: 1, job: runs });
      const key = "k".repeat(300);
      const first = await platform.triggerNow({ id: "a", key });
      expect(await platform.triggerNow({ id: "a", key })).to.equal(first);
      expect(await platform.triggerNow({ id: "b", key })).not.to.equal(first);
      expect(runs.calls.map(({ meta }) => meta?.scheduleManualKey)).to.deep.equal([key, key]);
      expect(runs.calls[0]).to.include({ keyTtlMs: 90 * DAY }).and.not.have.property("at");
      expect(platform.metrics().triggerSubmitted).to.equal(3);
      await time.advance(DAY);
      expect(await platform.triggerNow({ id: "a", key })).to.equal(first);
    }));

  test("a long key is whole at each try, also when another trigger with it has ended", () =>
    pinned(async (time) => {
      const platform = make();
      const runs = target(() => {
        if (runs.calls.length === 2) throw new Error("busy");
        return "17";
      });
      await platform.register({ id: "d", cron: "* * * * *", input: 1, job: runs });
      const key = "k".repeat(300);
      const first = platform.triggerNow({ id: "d", key });
      const second = platform.triggerNow({ id: "d", key });
      expect(await first).to.equal("17");
      await time.advance(1_000);
      expect(await second).to.equal("17");
      expect(runs.calls.map(({ meta }) => meta?.scheduleManualKey)).to.deep.equal([key, key, key]);
      expect(new Set(runs.calls.map((call) => call.key)).size).to.equal(1);
    }));

  test("what is not there is rejected", async () => {
    const platform = make();
    expect(await message(() => platform.triggerNow({ id: "none" }))).to.equal(
      "scheduler trigger rejected: missing schedule none",
    );
    const other = make({ id: platform.id });
    await other.register({ id: "d", cron: "* * * * *", input: 1, job: target() });
    other.start();
    expect(await message(() => platform.triggerNow({ id: "d" }))).to.equal(
      "scheduler trigger rejected: missing local handler for schedule d",
    );
    expect(platform.of("trigger_rejected").map((metric) => ({ ...metric, ts: 0 }))).to.deep.equal([
      { ts: 0, type: "trigger_rejected", scheduleId: "none", reason: "missing_schedule" },
      { ts: 0, type: "trigger_rejected", scheduleId: "d", reason: "missing_handler" },
    ]);
    expect(platform.metrics().triggerRejected).to.equal(2);
    await other.stop();
  });

  test("when all tries fail the target's own error comes out, and nobody tries again", () =>
    pinned(async (time) => {
      const error = new Error("busy");
      let refuses = true;
      const runs = target(() => {
        if (refuses) throw error;
        return "later";
      });
      const dispatch = { submitRetries: 1, submitBackoffBaseMs: 10_000, submitBackoffMaxMs: 10_000 };
      const platform = make({ dispatch });
      await platform.register({ id: "d", cron: "0 0 1 1 *", input: 1, job: runs });
      platform.start();
      const triggered = failure(() => platform.triggerNow({ id: "d", key: "k" }));
      await time.advance(20_000);
      expect(await triggered).to.equal(error);
      expect(runs.calls.length).to.equal(2);
      refuses = false;
      await time.advance(10 * MINUTE);
      expect(runs.calls.length).to.equal(2);
      expect(platform.of("trigger_failed").map((metric) => ({ ...metric, ts: 0 }))).to.deep.equal([
        { ts: 0, type: "trigger_failed", scheduleId: "d", message: "busy" },
      ]);
      expect(platform.metrics()).to.include({ triggerFailed: 1, dispatchRetried: 1 });
      // The key is free again.
      expect(await platform.triggerNow({ id: "d", key: "k" })).to.equal("later");
      await platform.stop();
    }));
});

describe("scheduler metrics", () => {
  test("they begin with nothing, and are a copy", () => {
    const { metrics } = scheduler({ id: "fresh" });
    const nothing = {
      isLeader: false,
      leaderEpoch: 0,
      leaderChanges: 0,
      dispatchSubmitted: 0,
      dispatchFailed: 0,
      dispatchRetried: 0,
      dispatchSkipped: 0,
      dispatchDlq: 0,
      triggerSubmitted: 0,
      triggerFailed: 0,
      triggerRejected: 0,
      tickErrors: 0,
      lastTickAt: null,
      missed: 0,
    };
    const seen = metrics();
    expect(seen).to.deep.equal(nothing);
    seen.missed = 5;
    expect(metrics()).to.deep.equal(nothing);
  });

  test("what onMetric throws is swallowed, and it may call its scheduler", () =>
    pinned(async (time) => {
      const runs = target();
      const seen: string[] = [];
      const platform = scheduler({
        id: "calls itself",
        onMetric({ type }) {
          seen.push(type);
          if (type === "dispatch_submitted") {
            void platform.stop();
            seen.push(String(platform.metrics().isLeader));
          }
          throw new Error("of the observer");
        },
      });
      await platform.register({ id: "d", cron: "* * * * *", input: 1, job: runs });
      platform.start();
      await time.advance(5 * MINUTE);
      expect(runs.calls.length).to.equal(1);
      expect(seen).to.deep.equal(["schedule_registered", "leader_acquired", "dispatch_submitted", "false", "leader_lost"]);
    }));

  test("what onMetric rejects with is swallowed", () =>
    pinned(async () => {
      const seen: string[] = [];
      const onMetric = (async ({ type }: { type: string }) => {
        seen.push(type);
        throw new Error("of the observer");
      }) as never;
      const platform = make({ onMetric });
      await platform.register({ id: "d", cron: "* * * * *", input: 1, job: target() });
      expect(seen).to.deep.equal(["schedule_registered"]);
    }));

  test("a target that names no job has its runs without a name", async () => {
    const platform = make();
    for (const none of [undefined, null]) {
      const job = { id: "silent", submit: async () => none as never };
      await platform.register({ id: "d", cron: "* * * * *", input: 1, job });
      expect(await platform.triggerNow({ id: "d" })).to.equal("");
    }
    expect(platform.of("trigger_submitted").map((metric) => "jobId" in metric && metric.jobId)).to.deep.equal(["", ""]);
  });

  test("a tick is by the clock of the page", () =>
    pinned(async (time) => {
      const platform = make();
      platform.start();
      expect(platform.metrics().lastTickAt).to.equal(time.now());
      await time.advance(500);
      expect(platform.metrics().lastTickAt).to.equal(time.now());
      await platform.stop();
    }));
});
