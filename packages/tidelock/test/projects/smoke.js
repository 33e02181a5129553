// Every entry point, at module top level: what a user does first.

import * as all from "tidelock/browser";
import { ephemeral } from "tidelock/browser/ephemeral";
import { job } from "tidelock/browser/job";
import { mutex } from "tidelock/browser/mutex";
import { queue } from "tidelock/browser/queue";
import { ratelimit } from "tidelock/browser/ratelimit";
import { registry } from "tidelock/browser/registry";
import { retry } from "tidelock/browser/retry";
import { scheduler } from "tidelock/browser/scheduler";
import { createMemoryStore } from "tidelock/browser/store";
import { topic } from "tidelock/browser/topic";

const schema = { parse: (value) => value };
const orders = queue({ id: "orders", schema });
const events = topic({ id: "events", schema });
const services = registry({ id: "services", schema });
const presence = ephemeral({ id: "presence", schema, ttlMs: 1_000 });
const limiter = ratelimit({ id: "api", limit: 1 });
const locks = mutex({ id: "locks", store: createMemoryStore() });
const mail = job({ id: "mail", schema, process: ({ input }) => `sent to ${input}` });
const clock = scheduler({ id: "clock" });

const checks = {
  async "all entries share one core"() {
    const entries = { ephemeral, job, mutex, queue, ratelimit, registry, retry, scheduler, topic };
    return Object.entries(entries).every(([name, value]) => all[name] === value);
  },
  async "a message goes through"() {
    await orders.send({ data: 1 });
    const received = await orders.recv();
    return received.data === 1 && (await received.ack());
  },
  async "an event reaches a group"() {
    await events.pub({ data: 2 });
    const delivered = await events.reader("group").recv();
    return delivered.data === 2 && (await delivered.commit());
  },
  async "a record is stored"() {
    await services.upsert({ key: "a/b", value: 3 });
    return (await services.get({ key: "a/b" })).value === 3;
  },
  async "presence is there"() {
    await presence.upsert({ key: "ada", value: 4 });
    return (await presence.snapshot()).entries.length === 1;
  },
  async "a limit limits"() {
    return !(await limiter.check("ada")).limited && (await limiter.check("ada")).limited;
  },
  async "a lock is exclusive"() {
    const lock = await locks.acquire("door");
    return (await locks.release(lock)) && !(await locks.release(lock));
  },
  async "a job runs"() {
    const { status, result } = await mail.join({ id: await mail.submit({ input: "ada" }) });
    return status === "completed" && result === "sent to ada";
  },
  async "a schedule is registered"() {
    await clock.register({ id: "digest", cron: "0 7 * * *", tz: "Europe/Berlin", input: 1, job: mail });
    return (await clock.get({ id: "digest" })).nextRunAt > Date.now();
  },
  async "a call is retried"() {
    const down = Object.assign(new Error("down"), { code: "ECONNRESET" });
    return (await retry((attempt) => (attempt < 2 ? Promise.reject(down) : attempt))) === 2;
  },
};

export async function smoke() {
  const failed = [];
  for (const [name, check] of Object.entries(checks)) {
    try {
      if (!(await check())) failed.push({ name, error: "it gave something else" });
    } catch (error) {
      failed.push({ name, error: error.stack });
    }
  }
  return { passed: Object.keys(checks).length - failed.length, failed };
}
