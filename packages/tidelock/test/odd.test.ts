// What plain JavaScript passes by mistake, and what it throws.

import * as browser from "tidelock/browser";
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
    const limiter = ratelimit({ id: "odd", limit: 1, windowSecs: 60 });
    await limiter.check("full");
    for (const signal of [new AbortController(), {}, true, "x", 0] as unknown as AbortSignal[]) {
      const calls = [
        orders.recv({ signal }),
        orders.stream({ signal })[Symbol.asyncIterator]().next(),
        reader.recv({ signal }),
        events.live({ signal })[Symbol.asyncIterator]().next(),
        retry(() => Promise.reject(new Error("once")), { signal }),
        limiter.acquire("full", { signal }),
      ];
      for (const call of calls) expect((await failure(() => call)).message).to.equal("signal must be an AbortSignal");
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
