import * as all from "tidelock/browser";
import * as ephemeral from "tidelock/browser/ephemeral";
import * as job from "tidelock/browser/job";
import * as mutex from "tidelock/browser/mutex";
import * as queue from "tidelock/browser/queue";
import * as ratelimit from "tidelock/browser/ratelimit";
import * as registry from "tidelock/browser/registry";
import * as retry from "tidelock/browser/retry";
import * as scheduler from "tidelock/browser/scheduler";
import * as store from "tidelock/browser/store";
import * as topic from "tidelock/browser/topic";
import { describe, expect, failure, pinned, test } from "./harness.js";

const ENTRIES: readonly (readonly [Record<string, unknown>, readonly string[]])[] = [
  [ephemeral, ["EphemeralCapacityError", "EphemeralPayloadTooLargeError", "ephemeral"]],
  [job, ["job"]],
  [mutex, ["LockError", "mutex"]],
  [queue, ["queue"]],
  [ratelimit, ["RateLimitError", "ratelimit"]],
  [registry, ["RegistryCapacityError", "RegistryPayloadTooLargeError", "registry"]],
  [retry, ["DEFAULT_RETRY_OPTIONS", "isRetryableTransportError", "retry"]],
  [scheduler, ["scheduler"]],
  [store, ["LocalStorageStore", "MemoryStore", "createLocalStorageStore", "createMemoryStore"]],
  [topic, ["topic"]],
];

describe("entries", () => {
  test("each has exactly its values, and the one for all has them all", () => {
    for (const [entry, values] of ENTRIES) expect(Object.keys(entry).sort()).to.deep.equal(values);
    expect(Object.keys(all).sort()).to.deep.equal(ENTRIES.flatMap(([, values]) => values).sort());
    expect(Object.keys(all)).to.have.length(21);
  });

  test("a value is the same object from every entry", () => {
    for (const [entry, values] of ENTRIES) {
      for (const value of values) expect(entry[value]).to.equal((all as Record<string, unknown>)[value]);
    }
  });

  test("errors are told by their class, their name and their text", () => {
    const refused = { remaining: 0, resetIn: 5 };
    const errors: [Error, string, string][] = [
      [new all.LockError("door"), "LockError", "Failed to acquire lock on resource: door"],
      [new all.RateLimitError(refused), "RateLimitError", "Rate limit exceeded"],
      [new all.RegistryCapacityError(), "RegistryCapacityError", "registry capacity reached"],
      [new all.EphemeralCapacityError("full"), "EphemeralCapacityError", "full"],
      [new all.RegistryPayloadTooLargeError("text"), "RegistryPayloadTooLargeError", "text"],
      [new all.EphemeralPayloadTooLargeError("text"), "EphemeralPayloadTooLargeError", "text"],
    ];
    for (const [error, name, message] of errors) {
      expect([error.name, error.message, error instanceof Error]).to.deep.equal([name, message, true]);
    }
  });

  test("what a limit refuses is never tried again, whatever its text", async () => {
    for (const Refusal of [
      all.RegistryCapacityError,
      all.RegistryPayloadTooLargeError,
      all.EphemeralCapacityError,
      all.EphemeralPayloadTooLargeError,
    ]) {
      expect(all.isRetryableTransportError(new Refusal("network connection"))).to.equal(false);
    }
    const schema = { parse: (value: unknown) => value };
    const records = all.registry({ id: "records", schema });
    expect(all.isRetryableTransportError(await failure(() => records.reader({ after: "network" })))).to.equal(false);
    const status = "connection" as "active";
    expect(all.isRetryableTransportError(await failure(() => records.list({ status })))).to.equal(false);
  });

  test("factories work without anything before them, and share the page", () =>
    pinned(async () => {
      const schema = { parse: (value: unknown) => value };
      const first = all.job({ id: "shared", schema, process: ({ input }) => input });
      const second = job.job({ id: "shared", schema, process: () => "never" });
      const id = await first.submit({ input: 7 });
      expect(await second.join({ id })).to.include({ status: "completed", result: 7 });
      first.stop();
    }));
});
