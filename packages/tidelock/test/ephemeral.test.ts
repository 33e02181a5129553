import { ephemeral, EphemeralCapacityError, EphemeralPayloadTooLargeError } from "tidelock/browser/ephemeral";
import { any, describe, drain, expect, failure, pinned, settled, test, type PinnedTime } from "./harness.js";
import { isLeftAtOnce, takesNothingOnceAborted } from "./shared.js";

const make = (options = {}) => ephemeral({ id: "room", schema: any<unknown>(), ttlMs: 1_000, ...options });

const types = (events: readonly { type: string }[]) => events.map(({ type }) => type);
const keys = ({ entries }: { entries: { key: string }[] }) => entries.map(({ key }) => key);

/** In pinned time, so that no machine is slower than a ttl. */
const timed = (name: string, run: (time: PinnedTime) => Promise<void>) => test(name, () => pinned(run));

describe("ephemeral", () => {
  timed("a record lives until its deadline", async (time) => {
    const room = make();
    const entry = await room.upsert({ key: "alice", value: { typing: true } });
    expect(entry).to.deep.equal({
      key: "alice",
      value: { typing: true },
      version: entry.version,
      updatedAt: time.now(),
      expiresAt: time.now() + 1_000,
    });
    const own = await room.upsert({ key: "bob", value: 1, ttlMs: 1_000.5 });
    expect(own.expiresAt).to.equal(time.now() + 1_001);
    time.set(time.now() + 999);
    expect((await room.snapshot()).entries).to.deep.equal([entry, own]);
    time.set(time.now() + 1);
    expect(keys(await room.snapshot())).to.deep.equal(["bob"]);
    expect(await room.touch({ key: "alice" })).to.deep.equal({ ok: false });
    expect(await room.remove({ key: "alice" })).to.equal(false);
    expect(await room.remove({ key: "bob" })).to.equal(true);
    expect(await room.remove({ key: "bob" })).to.equal(false);
  });

  timed("a touch is a new version and restarts the record's own ttl", async (time) => {
    const room = make();
    const { version } = await room.upsert({ key: "a", value: 1, ttlMs: 60_000 });
    await time.advance(500);
    const touched = await room.touch({ key: "a" });
    expect(touched).to.include({ ok: true, expiresAt: time.now() + 60_000 });
    expect(Number(touched.version)).to.be.greaterThan(Number(version));
    expect((await room.touch({ key: "a", ttlMs: 5 })).expiresAt).to.equal(time.now() + 5);
    await time.advance(4);
    expect((await room.touch({ key: "a" })).expiresAt).to.equal(time.now() + 5);
    await time.advance(5);
    expect(await room.touch({ key: "a" })).to.deep.equal({ ok: false });
  });

  timed("every change is an event with a number of its own", async (time) => {
    const room = make();
    const reader = room.reader();
    const entry = await room.upsert({ key: "a", value: 1 });
    const { version, expiresAt } = await room.touch({ key: "a" });
    const [upserted, touched] = await drain(reader);
    expect(upserted).to.deep.equal({ cursor: entry.version, type: "upsert", entry });
    expect(touched).to.deep.equal({ cursor: version, type: "touch", key: "a", version, expiresAt });
    await time.advance(1_500);
    await room.upsert({ key: "a", value: 2 });
    await room.remove({ key: "a", reason: "left" });
    const [expired, , deleted] = await drain(reader);
    const own = (event: { cursor: string } | undefined) => ({ cursor: event?.cursor, version: event?.cursor });
    expect(expired).to.deep.equal({ ...own(expired), type: "expire", key: "a", expiredAt: expiresAt });
    const deletedAt = time.now();
    expect(deleted).to.deep.equal({ ...own(deleted), type: "delete", key: "a", deletedAt, reason: "left" });
    await room.upsert({ key: "b", value: 2 });
    await room.remove({ key: "b" });
    const [, quiet] = await drain(reader);
    expect(quiet).to.deep.equal({ ...own(quiet), type: "delete", key: "b", deletedAt });
  });

  timed("a snapshot and the reader behind it miss nothing", async () => {
    const room = make({ limits: { maxEntries: 3_000 } });
    const empty = (await room.snapshot()).cursor;
    const names = Array.from({ length: 2_500 }, (_, at) => `k${at}`);
    await Promise.all(names.map((key) => room.upsert({ key, value: key })));
    const { entries, cursor } = await room.snapshot();
    expect(entries.map(({ key }) => key)).to.deep.equal([...names].sort());
    const reader = room.reader({ after: cursor });
    await room.remove({ key: "k7" });
    expect(types(await drain(reader))).to.deep.equal(["delete"]);
    expect((await drain(room.reader({ after: empty }))).length).to.equal(2_501);
    expect((await drain(room.reader({ after: "0" }))).length).to.equal(2_501);
    expect((await drain(room.reader({ after: "$" }))).length).to.equal(0);
  });

  timed("keys and numbers", async () => {
    const room = make();
    const texts: [string, string][] = [
      ["", "key must be non-empty"],
      ["a\0b", "key must not contain null bytes"],
      ["é".repeat(257), "key exceeds max length (512 bytes)"],
    ];
    for (const [key, text] of texts) {
      const calls = [() => room.upsert({ key, value: 1 }), () => room.touch({ key }), () => room.remove({ key })];
      for (const call of calls) expect((await failure(call)).message).to.equal(text);
    }
    for (const key of ["/a//b/", "1/2/3/4/5/6/7/8/9", "B", "é".repeat(256)]) await room.upsert({ key, value: 1 });
    expect(keys(await room.snapshot())).to.deep.equal(["/a//b/", "1/2/3/4/5/6/7/8/9", "B", "é".repeat(256)]);
    for (const ttlMs of [undefined, 0, -1, Number.NaN, Infinity]) {
      expect(() => make({ ttlMs })).to.throw("ttlMs must be > 0");
      if (ttlMs === undefined) continue;
      expect((await failure(() => room.upsert({ key: "a", value: 1, ttlMs }))).message).to.equal("ttlMs must be > 0");
      expect((await failure(() => room.touch({ key: "B", ttlMs }))).message).to.equal("ttlMs must be > 0");
    }
    expect(() => make({ ttlMs: 315_360_000_001 })).to.throw(/^ttlMs .*315360000000.*315360000001/);
    for (const limit of ["maxEntries", "maxPayloadBytes", "eventMaxLen", "eventRetentionMs"]) {
      expect(() => make({ limits: { [limit]: 0 } })).to.throw(`limits.${limit} must be > 0`);
    }
    expect(() => make({ id: "" })).to.throw("config.id must be non-empty");
    expect(() => make({ tenantId: "x".repeat(257) })).to.throw("config.tenantId too long (max 256 chars)");
    expect(() => room.reader({ after: "x" })).to.throw("invalid cursor: x");
    expect(() => room.reader({ tenantId: "" })).to.throw("tenantId must be non-empty");
    expect((await failure(() => room.snapshot({ tenantId: "" }))).message).to.equal("tenantId must be non-empty");
  });

  timed("what is too large or one too many is refused by its class and with its numbers", async (time) => {
    const room = make({ limits: { maxEntries: 1, maxPayloadBytes: 3 } });
    const large = await failure(() => room.upsert({ key: "a", value: 1_234 }));
    expect(large).to.be.instanceOf(EphemeralPayloadTooLargeError).and.instanceOf(Error);
    expect(large.name).to.equal("EphemeralPayloadTooLargeError");
    expect(large.message).to.equal("payload exceeds limit (3 bytes): 4 bytes");
    await room.upsert({ key: "a", value: 123 });
    await room.upsert({ key: "a", value: 124 });
    const full = await failure(() => room.upsert({ key: "b", value: 1 }));
    expect(full).to.be.instanceOf(EphemeralCapacityError).and.instanceOf(Error);
    expect([full.name, full.message]).to.deep.equal(["EphemeralCapacityError", "maxEntries (1) reached"]);
    expect(new EphemeralCapacityError().message).to.equal("ephemeral store capacity reached");
    time.set(time.now() + 1_000);
    await room.upsert({ key: "b", value: 1 });
    const standard = make();
    await standard.upsert({ key: "a", value: "x".repeat(4_094) });
    const refused = await failure(() => standard.upsert({ key: "a", value: "x".repeat(4_095) }));
    expect(refused.message).to.equal("payload exceeds limit (4096 bytes): 4097 bytes");
  });

  timed("effects come in the order of the calls, and tenants share nothing", async () => {
    const room = make();
    const reader = room.reader();
    const waiting = reader.recv();
    const [entry, touched, removed, again] = await Promise.all([
      room.upsert({ key: "a", value: 1 }),
      room.touch({ key: "a" }),
      room.remove({ key: "a" }),
      room.touch({ key: "a" }),
    ]);
    expect(Number(touched.version)).to.be.greaterThan(Number(entry.version));
    expect([removed, again]).to.deep.equal([true, { ok: false }]);
    expect((await waiting)?.type).to.equal("upsert");
    await room.upsert({ key: "a", value: 1, tenantId: "other" });
    expect(keys(await room.snapshot())).to.deep.equal([]);
    expect(keys(await room.snapshot({ tenantId: "other" }))).to.deep.equal(["a"]);
    expect(types(await drain(reader))).to.deep.equal(["delete"]);
  });

  timed("a parked reader hears of an end at its deadline, and an abort gives null", async (time) => {
    const room = make();
    const reader = room.reader();
    await room.upsert({ key: "a", value: 1 });
    await drain(reader);
    let heard: string | undefined;
    void reader.recv().then((event) => (heard = event?.type));
    await time.advance(999);
    expect(heard).to.equal(undefined);
    await time.advance(1);
    expect(heard).to.equal("expire");
    const abort = new AbortController();
    const waiting = reader.recv({ signal: abort.signal });
    await settled();
    abort.abort();
    expect(await waiting).to.equal(null);
    for await (const _ of reader.stream({ signal: abort.signal })) expect.fail("it was aborted");
  });

  timed("a reader that has fallen behind gets one overflow in each way", async (time) => {
    const room = make({ limits: { eventMaxLen: 2, eventRetentionMs: 500 } });
    const write = async (count: number) => {
      for (let at = 0; at < count; at += 1) await room.upsert({ key: "a", value: at, ttlMs: 1_000_000 });
    };
    await write(1);
    const { cursor } = await room.snapshot();
    const reader = room.reader({ after: cursor });
    await write(5);
    const overflow = async () => {
      const event = await reader.recv({ wait: false });
      expect(event?.type).to.equal("overflow");
      expect(event?.cursor).to.equal((await room.snapshot()).cursor);
      expect(await drain(reader)).to.deep.equal([]);
      await write(1);
      expect(types(await drain(reader))).to.deep.equal(["upsert"]);
    };
    await overflow();
    await write(2);
    expect((await reader.recv({ wait: false }))?.type).to.equal("upsert");
    await write(2);
    await overflow();
    await write(1);
    await time.advance(500);
    await overflow();
    // Heartbeats do not push other events out.
    for (let at = 0; at < 10; at += 1) await room.touch({ key: "a" });
    expect(types(await drain(reader))).to.deep.equal(["touch"]);
    const fresh = make();
    const early = fresh.reader({ after: (await fresh.snapshot()).cursor });
    await time.advance(5_000);
    await fresh.upsert({ key: "a", value: 1 });
    expect(types(await drain(early))).to.deep.equal(["upsert"]);
  });

  timed("values are copied, and a schema runs once", async () => {
    let runs = 0;
    const schema = {
      parse(value: unknown) {
        runs += 1;
        return { seen: new Date(Number(value)) };
      },
    };
    const room = ephemeral({ id: "room", schema, ttlMs: 60_000 });
    const reader = room.reader();
    const entry = await room.upsert({ key: "a", value: 5 as never });
    entry.value.seen.setTime(9);
    const { entries } = await room.snapshot();
    expect(entries[0]?.value).to.deep.equal({ seen: new Date(5) });
    const event = await reader.recv();
    expect(event?.type === "upsert" && event.entry.value).to.deep.equal({ seen: new Date(5) });
    expect(runs).to.equal(1);
  });

  timed("a wait that is left or aborted takes nothing", async () => {
    for (const check of [isLeftAtOnce, takesNothingOnceAborted]) {
      const room = make();
      await check(room.reader(), () => room.upsert({ key: "ada", value: 1 }));
    }
  });
});
