import { ephemeral } from "tidelock/browser/ephemeral";
import { ratelimit } from "tidelock/browser/ratelimit";
import { registry } from "tidelock/browser/registry";
import { any, describe, expect, pinned, test, type PinnedTime } from "./harness.js";

const DAY = 24 * 3_600_000;
const now = { wait: false } as const;
const schema = any<number>();

type Ends = (ms: number) => Promise<() => Promise<boolean>>;

/** Everything that ends after a time: how it begins, and how to see whether it has ended. */
const ENDS: Record<string, Ends> = {
  "a record of an ephemeral store": async (ttlMs) => {
    const room = ephemeral({ id: "room", schema, ttlMs });
    await room.upsert({ key: "key", value: 1 });
    return async () => (await room.snapshot()).entries.length === 0;
  },
  "one that was touched": async (ttlMs) => {
    const room = ephemeral({ id: "room", schema, ttlMs: 1 });
    await room.upsert({ key: "key", value: 1 });
    await room.touch({ key: "key", ttlMs });
    return async () => (await room.snapshot()).entries.length === 0;
  },
  "a change of a registry": async (eventRetentionMs) => {
    const records = registry({ id: "records", schema, limits: { eventRetentionMs } });
    const { cursor } = await records.list();
    await records.upsert({ key: "key", value: 1 });
    return async () => (await records.reader({ after: cursor }).recv(now))?.type === "overflow";
  },
};

/** Whether it has ended just before the deadline, and at it. `pass` lets time pass. */
async function seen(begin: Ends, ms: number, pass: (ms: number) => unknown): Promise<[boolean, boolean]> {
  const early = await begin(ms);
  await pass(ms - 1);
  const before = await early();
  const late = await begin(ms);
  await pass(ms);
  return [before, await late()];
}

describe("long times", () => {
  for (const [name, begin] of Object.entries(ENDS)) {
    for (const days of [30, 3_650]) {
      test(`${name} ends after ${days} days, and not a millisecond before`, () =>
        pinned(async (time: PinnedTime) => {
          expect(await seen(begin, days * DAY, time.advance)).to.deep.equal([false, true]);
        }));

      test(`${name} of ${days} days is over at its deadline, although no timer fired`, () =>
        pinned(async (time: PinnedTime) => {
          const pass = (ms: number) => time.set(time.now() + ms);
          expect(await seen(begin, days * DAY, pass)).to.deep.equal([false, true]);
        }));
    }
  }

  test("a window of ten years counts to its end", () =>
    pinned(async (time) => {
      const windowSecs = 3_650 * 24 * 3_600;
      const limiter = ratelimit({ id: "api", limit: 1, windowSecs });
      const { resetIn } = await limiter.check("ada");
      await time.advance(resetIn - 1);
      expect((await limiter.check("ada")).limited).to.equal(true);
      await time.advance(1 + windowSecs * 1_000);
      expect((await limiter.check("ada")).limited).to.equal(false);
    }));
});
