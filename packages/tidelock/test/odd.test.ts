// What plain JavaScript passes by mistake, and the errors that result.

import * as browser from "tidelock/browser";
import { ephemeral } from "tidelock/browser/ephemeral";
import { job } from "tidelock/browser/job";
import { mutex } from "tidelock/browser/mutex";
import { queue } from "tidelock/browser/queue";
import { ratelimit } from "tidelock/browser/ratelimit";
import { registry } from "tidelock/browser/registry";
import { retry } from "tidelock/browser/retry";
import { scheduler } from "tidelock/browser/scheduler";
import { topic } from "tidelock/browser/topic";
import { any, describe, expect, failure, test } from "./harness.js";

const schema = any<unknown>();
const none = null as unknown as AbortSignal;

describe("odd input", () => {
  test("a signal that is none is refused before anything waits", async () => {
    const orders = queue({ id: "odd", schema });
    const events = topic({ id: "odd", schema });
    const reader = events.reader("odd");
    const work = job({ id: "odd", schema, process() {} });
    const limiter = ratelimit({ id: "odd", limit: 1, windowSecs: 60 });
    await limiter.check("full");
    for (const signal of [new AbortController(), {}, true, "x", 0] as unknown as AbortSignal[]) {
      const calls = [
        orders.recv({ signal }),
        orders.stream({ signal })[Symbol.asyncIterator]().next(),
        reader.recv({ signal }),
        retry(() => Promise.reject(new Error("once")), { signal }),
        limiter.acquire("full", { signal }),
      ];
      for (const call of calls) expect((await failure(() => call)).message).to.equal("signal must be an AbortSignal");
      for (const live of [() => events.live({ signal }), () => work.events("1").live({ signal })]) {
        expect(live).to.throw("signal must be an AbortSignal");
      }
    }
    await orders.send({ data: 1 });
    expect((await orders.recv({ wait: false }))?.data).to.equal(1);
    await events.pub({ data: 2 });
    expect((await reader.recv({ wait: false }))?.data).to.equal(2);
  });

  test("null is no signal", async () => {
    const orders = queue({ id: "null", schema });
    const waiting = orders.recv({ signal: none });
    await orders.send({ data: 1 });
    expect((await waiting)?.data).to.equal(1);
    expect(await retry(() => 1, { signal: none })).to.equal(1);
  });

  test("what is no schema is refused by whatever is made with it", async () => {
    const process = () => {};
    for (const [wrong, came] of [[undefined, "is undefined"], [null, "is null"], [{}, "has none"], [5, "is 5"]] as const) {
      const schema = wrong as never;
      const makes = [
        () => queue({ id: "odd", schema }),
        () => topic({ id: "odd", schema }),
        () => job({ id: "odd", schema, process }),
        () => registry({ id: "odd", schema }),
        () => ephemeral({ id: "odd", schema, ttlMs: 1 }),
      ];
      const said = `config.schema must have safeParse, parse or ~standard, but ${came}`;
      for (const make of makes) expect(make).to.throw(said);
    }
    for (const fine of [{ safeParse: process }, { "~standard": { validate: process } }] as unknown as (typeof schema)[]) {
      queue({ id: "odd", schema: fine });
    }
  });

  test("what is no store is refused", () => {
    const some = { get() {}, set() {}, del() {} };
    for (const [wrong, came] of [[null, "is null"], [5, "is 5"], [{}, "has no get"], [some, "has no keys"]] as const) {
      const store = wrong as never;
      const makes = [
        () => ratelimit({ id: "odd", limit: 1, store }),
        () => ratelimit({ id: "odd", limits: [{ limit: 1 }], store }),
        () => mutex({ id: "odd", store }),
        () => topic({ id: "odd", schema, store }),
        () => scheduler({ id: "odd", store }),
      ];
      for (const make of makes) expect(make).to.throw(`store must have get, set, del and keys, but ${came}`);
    }
    mutex({ id: "odd", store: undefined as never });
  });

  test("what is no function is refused before it would be called", async () => {
    const shelves = mutex({ id: "odd" });
    const events = topic({ id: "odd", schema });
    const work = job({ id: "odd", schema, process() {} });
    for (const [wrong, came] of [[null, "is null"], ["f", "is f"], [{}, "is an object"]] as const) {
      const not = wrong as never;
      const calls: [path: string, call: () => unknown][] = [
        ["process", () => job({ id: "odd", schema, process: not })],
        ["onMetric", () => scheduler({ id: "odd", onMetric: not })],
        ["onGap", () => events.reader("odd").recv({ onGap: not })],
        ["onInvalid", () => events.reader("odd").recv({ onInvalid: not })],
        ["onGap", () => events.live({ onGap: not })],
        ["onInvalid", () => events.live({ onInvalid: not })],
        ["onGap", () => work.events("1").live({ onGap: not })],
        ["onGap", () => work.events("1").reader().recv({ onGap: not })],
        ["fn", () => retry(not)],
        ["retryIf", () => retry(() => 1, { retryIf: not })],
        ["onRetry", () => retry(() => 1, { onRetry: not })],
        ["onGiveUp", () => retry(() => 1, { onGiveUp: not })],
        ["fn", () => shelves.withLock("r", not)],
        ["fn", () => shelves.withLockOrThrow("r", not)],
      ];
      for (const [path, call] of calls) {
        expect((await failure(call)).message).to.equal(`${path} must be a function, but ${came}`);
      }
    }
    expect(() => job({ id: "odd", schema, process: undefined as never })).to.throw("process must be a function, but is undefined");
  });

  test("classes have their names", () => {
    const { EphemeralCapacityError, EphemeralPayloadTooLargeError, LocalStorageStore, LockError, MemoryStore } = browser;
    const { RateLimitError, RegistryCapacityError, RegistryPayloadTooLargeError } = browser;
    const classes = { EphemeralCapacityError, EphemeralPayloadTooLargeError, LocalStorageStore, LockError, MemoryStore };
    const more = { RateLimitError, RegistryCapacityError, RegistryPayloadTooLargeError };
    for (const [name, made] of Object.entries({ ...classes, ...more })) expect(made.name).to.equal(name);
    expect(new LockError("r").constructor.name).to.equal("LockError");
  });

  test("an error that cannot be read ends its run, and its trigger", async () => {
    const unreadable = {
      get message() {
        throw new Error("never read");
      },
      get name() {
        throw new Error("never read");
      },
    };
    const work = job({
      id: "odd",
      schema,
      process() {
        throw unreadable;
      },
    });
    const id = await work.submit({ input: 1 });
    expect((await work.join({ id })).status).to.equal("failed");
    await work.stop();
    const clock = scheduler({ id: "odd" });
    const target = {
      id: "odd",
      submit: async (): Promise<string> => {
        throw unreadable;
      },
    };
    await clock.register({ id: "due", cron: "* * * * *", input: 1, job: target });
    expect(await failure(() => clock.triggerNow({ id: "due" }))).to.equal(unreadable);
    for (const wrong of [{}, { id: "", submit: target.submit }, { id: "odd" }] as unknown as (typeof target)[]) {
      const registering = clock.register({ id: "wrong", cron: "* * * * *", input: 1, job: wrong });
      expect((await failure(() => registering)).message).to.contain("job must be a job");
    }
  });

  test("a frozen lock is extended", async () => {
    const shelves = mutex({ id: "odd" });
    const lock = Object.freeze((await shelves.acquire("frozen", 1_000))!);
    expect(await shelves.extend(lock, 5_000)).to.equal(true);
    expect(await shelves.release(lock)).to.equal(true);
  });

  test("a loop that is thrown into ends, however long it would wait", async () => {
    const changes = registry({ id: "odd", schema }).reader().stream()[Symbol.asyncIterator]();
    const next = changes.next();
    const thrown = new Error("out");
    expect(await failure(() => changes.throw!(thrown))).to.equal(thrown);
    expect((await next).done).to.equal(true);
  });
});
