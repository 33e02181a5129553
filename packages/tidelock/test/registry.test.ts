import { registry, RegistryCapacityError, RegistryPayloadTooLargeError } from "tidelock/browser/registry";
import { any, describe, drain, expect, failure, pinned, settled, test } from "./harness.js";
import { isLeftAtOnce, takesNothingOnceAborted } from "./shared.js";

const make = (options = {}) => registry({ id: "apps", schema: any<unknown>(), ...options });

const types = (events: readonly { type: string }[]) => events.map(({ type }) => type);
const keys = ({ entries }: { entries: { key: string }[] }) => entries.map(({ key }) => key);

describe("registry", () => {
  test("a record is stored, looked at and removed", () =>
    pinned(async (time) => {
      const apps = make();
      const entry = await apps.upsert({ key: "a/b", value: { n: 1 }, ttlMs: 1_000 });
      expect(entry).to.deep.equal({
        key: "a/b",
        value: { n: 1 },
        version: entry.version,
        status: "active",
        createdAt: time.now(),
        updatedAt: time.now(),
        ttlMs: 1_000,
        expiresAt: time.now() + 1_000,
      });
      expect(entry.version).to.match(/^[1-9][0-9]*$/);
      expect(await apps.get({ key: "a/b" })).to.deep.equal(entry);
      expect(await apps.get({ key: "b" })).to.equal(null);
      expect(await apps.remove({ key: "a/b" })).to.equal(true);
      expect(await apps.remove({ key: "a/b" })).to.equal(false);
      expect(await apps.get({ key: "a/b", includeExpired: true })).to.equal(null);
      const permanent = await apps.upsert({ key: "a/b", value: 2 });
      expect(permanent).to.include({ ttlMs: null, expiresAt: null });
    }));

  test("a record is over at its deadline, and can be looked at for the retention", () =>
    pinned(async (time) => {
      const apps = make({ limits: { tombstoneRetentionMs: 500 } });
      const before = await apps.upsert({ key: "a", value: 1, ttlMs: 1_000 });
      // Timers stand still; only the clock moves.
      time.set(time.now() + 999);
      expect((await apps.get({ key: "a" }))?.status).to.equal("active");
      expect(keys(await apps.list())).to.deep.equal(["a"]);
      time.set(time.now() + 1);
      expect(await apps.get({ key: "a" })).to.equal(null);
      expect(await apps.get({ key: "a", includeExpired: true })).to.deep.equal({ ...before, status: "expired" });
      expect(await apps.touch({ key: "a" })).to.deep.equal({ ok: false });
      expect(await apps.cas({ key: "a", version: before.version, value: 2 })).to.deep.equal({ ok: false });
      expect(await apps.remove({ key: "a" })).to.equal(false);
      expect(keys(await apps.list())).to.deep.equal([]);
      expect((await apps.list({ status: "expired" })).entries).to.deep.equal([{ ...before, status: "expired" }]);
      time.set(time.now() + 499);
      expect(keys(await apps.list({ status: "expired" }))).to.deep.equal(["a"]);
      time.set(time.now() + 1);
      expect(keys(await apps.list({ status: "expired" }))).to.deep.equal([]);
      expect(await apps.get({ key: "a", includeExpired: true })).to.equal(null);
    }));

  test("a touch restarts the life and keeps the version", () =>
    pinned(async (time) => {
      const apps = make();
      const { version } = await apps.upsert({ key: "a", value: 1, ttlMs: 1_000 });
      await time.advance(500);
      expect(await apps.touch({ key: "a" })).to.deep.equal({ ok: true, version, expiresAt: time.now() + 1_000 });
      expect(await apps.touch({ key: "a", ttlMs: 0.5 })).to.deep.equal({ ok: true, version, expiresAt: time.now() + 1 });
      expect((await apps.get({ key: "a" }))?.ttlMs).to.equal(1);
      await apps.upsert({ key: "p", value: 1 });
      expect(await apps.touch({ key: "p" })).to.deep.equal({ ok: false });
      expect((await apps.touch({ key: "p", ttlMs: 10 })).ok).to.equal(true);
      expect(await apps.touch({ key: "none" })).to.deep.equal({ ok: false });
    }));

  test("a swap needs the version, restarts the ttl and never creates", () =>
    pinned(async (time) => {
      const apps = make({ limits: { maxEntries: 1 } });
      const { version } = await apps.upsert({ key: "a", value: 1, ttlMs: 1_000 });
      await time.advance(400);
      await apps.touch({ key: "a" });
      const swapped = await apps.cas({ key: "a", version, value: 2 });
      expect(swapped.ok).to.equal(true);
      expect(swapped.entry).to.include({ value: 2, ttlMs: 1_000, expiresAt: time.now() + 1_000 });
      expect(Number(swapped.entry?.version)).to.be.greaterThan(Number(version));
      expect(await apps.cas({ key: "a", version, value: 3 })).to.deep.equal({ ok: false });
      for (const other of ["x", "1.0", `0${swapped.entry?.version}`, `+${swapped.entry?.version}`]) {
        expect(await apps.cas({ key: "a", version: other, value: 3 })).to.deep.equal({ ok: false });
      }
      expect(await apps.cas({ key: "none", version, value: 3 }), "also when it is full").to.deep.equal({ ok: false });
    }));

  test("pages go in byte order, without loss or repetition", async () => {
    const apps = make();
    const names = ["b", "B", "é", "a/b", "a", "a0", "a/c", "Z/ä/ö", "😀", "\uffff"];
    for (const key of names) await apps.upsert({ key, value: key });
    const bytes = (text: string) => [...new TextEncoder().encode(text)].map((byte) => String.fromCharCode(byte)).join("");
    const sorted = [...names].sort((one, other) => (bytes(one) < bytes(other) ? -1 : 1));
    expect(keys(await apps.list())).to.deep.equal(sorted);
    const seen: string[] = [];
    let afterKey: string | undefined;
    for (;;) {
      const page = await apps.list({ limit: 3, ...(afterKey === undefined ? {} : { afterKey }) });
      seen.push(...keys(page));
      afterKey = seen.at(-1);
      if (page.nextKey === undefined) {
        expect("nextKey" in page).to.equal(false);
        break;
      }
      expect(page.nextKey).to.equal(sorted[seen.length]);
    }
    expect(seen).to.deep.equal(sorted);
    expect(keys(await apps.list({ prefix: "a/" }))).to.deep.equal(["a/b", "a/c"]);
    expect(keys(await apps.list({ prefix: "a/", afterKey: "a/b" }))).to.deep.equal(["a/c"]);
    expect(keys(await apps.list({ prefix: "" }))).to.deep.equal(sorted);
  });

  test("a page is 1,000 records by default, and as long as wanted", async () => {
    const apps = make();
    await Promise.all(Array.from({ length: 3_000 }, (_, at) => apps.upsert({ key: `k${at}`, value: at })));
    const page = await apps.list();
    expect([page.entries.length, page.nextKey === undefined]).to.deep.equal([1_000, false]);
    expect((await apps.list({ limit: 2_500 })).entries.length).to.equal(2_500);
    const all = await apps.list({ limit: Number.MAX_SAFE_INTEGER });
    expect([all.entries.length, all.nextKey]).to.deep.equal([3_000, undefined]);
  });

  test("effects come in the order of the calls", async () => {
    const apps = make();
    const { version } = await apps.upsert({ key: "a", value: 1 });
    const [removed, swapped] = await Promise.all([apps.remove({ key: "a" }), apps.cas({ key: "a", version, value: 2 })]);
    expect([removed, swapped]).to.deep.equal([true, { ok: false }]);
    const results = await Promise.all([
      apps.upsert({ key: "b", value: 1, ttlMs: 50_000 }),
      apps.touch({ key: "b", ttlMs: 60_000 }),
      apps.get({ key: "b" }),
      apps.list(),
      apps.remove({ key: "b" }),
      apps.touch({ key: "b" }),
      apps.get({ key: "b" }),
    ]);
    expect(results[1].ok).to.equal(true);
    expect(results[2]?.ttlMs).to.equal(60_000);
    expect(keys(results[3])).to.deep.equal(["b"]);
    expect(results.slice(4)).to.deep.equal([true, { ok: false }, null]);
  });

  test("values are copied at the call, and handed out as fresh copies", async () => {
    const apps = make();
    const reader = apps.reader();
    const value = { at: new Date(5), map: new Map([["n", 1n]]), none: undefined };
    const like = { at: new Date(5), map: new Map([["n", 1n]]), none: undefined };
    const stored = apps.upsert({ key: "a", value });
    value.map.clear();
    (await stored).value = "changed";
    const first = await apps.get({ key: "a" });
    expect(first?.value).to.deep.equal(like);
    (first?.value as typeof value).map.clear();
    expect((await apps.get({ key: "a" }))?.value).to.deep.equal(like);
    const event = await reader.recv();
    expect(event?.type === "upsert" && event.entry.value).to.deep.equal(like);
    expect((await failure(() => apps.upsert({ key: "a", value: () => 1 }))).name).to.equal("DataCloneError");
    expect((await apps.get({ key: "a" }))?.value).to.deep.equal(like);
  });

  test("a schema runs once, and may call the registry itself", async () => {
    let runs = 0;
    const schema = {
      safeParse(value: unknown) {
        runs += 1;
        if (value === "no") return { success: false as const, error: new Error("not this") };
        void apps.remove({ key: "other" });
        return { success: true as const, data: { value } };
      },
    };
    const apps = registry({ id: "apps", schema });
    const entry = await apps.upsert({ key: "a", value: 1 as never });
    expect(entry.value).to.deep.equal({ value: 1 });
    const { ok } = await apps.cas({ key: "a", version: entry.version, value: 2 as never });
    expect([ok, (await apps.get({ key: "a" }))?.value, runs]).to.deep.equal([true, { value: 2 }, 2]);
    expect((await failure(() => apps.upsert({ key: "a", value: "no" as never }))).message).to.equal("not this");
    const later = registry({ id: "apps", schema: { parse: () => Promise.reject(new Error("late")) } });
    const refused = await failure(() => later.upsert({ key: "a", value: 1 as never }));
    expect(refused.message).to.equal("schema must validate synchronously");
  });

  test("what is too large or one too many is refused by its class and with its numbers", async () => {
    const apps = make({ limits: { maxEntries: 2, maxPayloadBytes: 6 } });
    const { version } = await apps.upsert({ key: "a", value: "äb1" });
    const texts = new Map([
      ["upsert", await failure(() => apps.upsert({ key: "b", value: "äb12" }))],
      ["cas", await failure(() => apps.cas({ key: "a", version, value: "äb12" }))],
    ]);
    for (const [call, error] of texts) {
      expect(error, call).to.be.instanceOf(RegistryPayloadTooLargeError).and.instanceOf(Error);
      expect(error.name).to.equal("RegistryPayloadTooLargeError");
      expect(error.message).to.equal("payload exceeds limit (6 bytes): 7 bytes");
    }
    await apps.upsert({ key: "b", value: new Uint8Array(1_000) });
    const full = await failure(() => apps.upsert({ key: "c", value: 1 }));
    expect(full).to.be.instanceOf(RegistryCapacityError).and.instanceOf(Error);
    expect([full.name, full.message]).to.deep.equal(["RegistryCapacityError", "maxEntries (2) reached"]);
    const large = await failure(() => apps.upsert({ key: "c", value: "large value" }));
    expect(large, "size before capacity").to.be.instanceOf(RegistryPayloadTooLargeError);
    await apps.upsert({ key: "a", value: 2 });
    await apps.remove({ key: "b" });
    await apps.upsert({ key: "c", value: 1 });
    expect(new RegistryCapacityError().message).to.equal("registry capacity reached");
    expect(new RegistryCapacityError("x").message).to.equal("x");
  });

  test("records that have expired leave room at once", () =>
    pinned(async (time) => {
      const apps = make({ limits: { maxEntries: 3 } });
      for (const key of ["a", "b", "c"]) await apps.upsert({ key, value: 1, ttlMs: 10 });
      time.set(time.now() + 9);
      expect(await failure(() => apps.upsert({ key: "d", value: 1 }))).to.be.instanceOf(RegistryCapacityError);
      time.set(time.now() + 1);
      await apps.upsert({ key: "d", value: 1 });
      expect(keys(await apps.list())).to.deep.equal(["d"]);
      expect(keys(await apps.list({ status: "expired" }))).to.deep.equal(["a", "b", "c"]);
    }));

  test("keys", async () => {
    const apps = make();
    const calls = (key: string) => [
      () => apps.upsert({ key, value: 1 }),
      () => apps.get({ key }),
      () => apps.touch({ key }),
      () => apps.remove({ key }),
      () => apps.cas({ key, version: "1", value: 1 }),
      () => apps.reader({ key }),
    ];
    const texts: [string, string][] = [
      ["", "key must be non-empty"],
      ["a\0b", "key must not contain null bytes"],
      ["/a", "key must not start with '/'"],
      ["a/", "key must not end with '/'"],
      ["a//b", "key must not contain '//'"],
      ["é".repeat(257), "key exceeds max length (512 bytes)"],
      ["1/2/3/4/5/6/7/8/9", "key depth exceeds max (8)"],
    ];
    for (const [key, text] of texts) {
      for (const call of calls(key)) expect((await failure(call)).message).to.equal(text);
    }
    expect(keys(await apps.list())).to.deep.equal([]);
    for (const key of ["é".repeat(256), "1/2/3/4/5/6/7/8", ": {}%*"]) {
      await apps.upsert({ key, value: key });
      expect((await apps.get({ key }))?.value).to.equal(key);
    }
  });

  test("prefixes, pages and readers", async () => {
    const apps = make();
    const texts: [string, string][] = [
      ["a\0/", "prefix must not contain null bytes"],
      ["/a/", "prefix must not start with '/'"],
      ["a", "prefix must end with '/'"],
      ["a//", "prefix must not contain '//'"],
      [`${"x".repeat(512)}/`, "prefix exceeds max length (512 bytes)"],
      ["1/2/3/4/5/6/7/8/9/", "prefix depth exceeds max (8)"],
    ];
    for (const [prefix, text] of texts) {
      expect((await failure(() => apps.list({ prefix }))).message).to.equal(text);
      expect(() => apps.reader({ prefix })).to.throw(text);
    }
    for (const limit of [0, -1, 1.5, Number.NaN, Infinity, "1" as never]) {
      const { message } = await failure(() => apps.list({ limit }));
      expect(message).to.equal("limit must be a positive integer when provided");
    }
    const text = async (call: () => unknown) => (await failure(call)).message;
    expect(await text(() => apps.list({ status: "gone" as never }))).to.equal("unsupported status: gone");
    expect(await text(() => apps.list({ prefix: "a/", afterKey: "b/c" }))).to.equal("afterKey must start with prefix");
    expect(await text(() => apps.list({ afterKey: "b/" }))).to.equal("afterKey must not end with '/'");
    expect(await text(() => apps.cas({ key: "a", version: "", value: 1 }))).to.equal("version must be non-empty");
    expect(() => apps.reader({ key: "a", prefix: "a/" })).to.throw("reader accepts either key or prefix, not both");
    for (const after of ["", "x", "-1", "1.5", "007", "1e3", "0-1", "9007199254740992"]) {
      expect(() => apps.reader({ after })).to.throw(`invalid cursor: ${after}`);
    }
  });

  test("names and numbers", async () => {
    expect(() => make({ id: "" })).to.throw("config.id must be non-empty");
    expect(() => make({ id: "x".repeat(257) })).to.throw("config.id too long (max 256 chars)");
    expect(() => make({ tenantId: "" })).to.throw("config.tenantId must be non-empty");
    const limits = ["maxEntries", "maxPayloadBytes", "eventMaxLen", "reconcileBatchSize"];
    for (const limit of [...limits, "eventRetentionMs", "tombstoneRetentionMs"]) {
      for (const value of [0, -1, Number.NaN, Infinity, "5"]) {
        expect(() => make({ limits: { [limit]: value } })).to.throw(`limits.${limit} must be > 0`);
      }
      make({ limits: { [limit]: undefined } });
      make({ limits: { [limit]: 315_360_000_000 } });
      expect(() => make({ limits: { [limit]: 315_360_000_001 } })).to.throw(new RegExp(`^limits.${limit} .*315360000001`));
      if (!limits.includes(limit)) make({ limits: { [limit]: 0.5 } });
      else expect(() => make({ limits: { [limit]: 1.5 } })).to.throw(new RegExp(`^limits.${limit} .*whole.*1.5`));
    }
    const apps = make();
    for (const ttlMs of [0, -1, Number.NaN, Infinity]) {
      expect((await failure(() => apps.upsert({ key: "a", value: 1, ttlMs }))).message).to.equal("ttlMs must be > 0");
      expect((await failure(() => apps.touch({ key: "a", ttlMs }))).message).to.equal("ttlMs must be > 0");
    }
    expect((await failure(() => apps.list({ tenantId: "" }))).message).to.equal("tenantId must be non-empty");
    const untimed = await failure(() => apps.reader().recv({ timeoutMs: Number.NaN }));
    expect(untimed.message).to.equal("timeoutMs must be >= 0");
    expect(keys(await apps.list())).to.deep.equal([]);
  });

  test("long lives end at their deadline, and not before", () =>
    pinned(async (time) => {
      const day = 86_400_000;
      for (const ttlMs of [30 * day, 3_650 * day]) {
        const apps = make();
        await apps.upsert({ key: "a", value: 1, ttlMs });
        await time.advance(ttlMs - 1);
        expect((await apps.get({ key: "a" }))?.value).to.equal(1);
        await time.advance(1);
        expect(await apps.get({ key: "a" })).to.equal(null);
      }
    }));

  test("tenants share nothing, and objects neither", async () => {
    const apps = make({ tenantId: "one" });
    await apps.upsert({ key: "a", value: 1 });
    await apps.upsert({ key: "b", value: 2, tenantId: "two:{}%*/" });
    expect(keys(await apps.list())).to.deep.equal(["a"]);
    expect(keys(await apps.list({ tenantId: "two:{}%*/" }))).to.deep.equal(["b"]);
    expect(await apps.get({ key: "a", tenantId: "two:{}%*/" })).to.equal(null);
    expect(await apps.reader({ after: "0", tenantId: "three" }).recv({ wait: false })).to.equal(null);
    expect(keys(await make({ tenantId: "one" }).list())).to.deep.equal([]);
  });

  test("methods work detached", async () => {
    const { upsert, get, reader } = make();
    const { recv } = reader();
    await upsert({ key: "a", value: 1 });
    expect((await get({ key: "a" }))?.value).to.equal(1);
    expect((await recv())?.type).to.equal("upsert");
  });

  test("every change is an event with a number of its own", () =>
    pinned(async (time) => {
      const apps = make();
      const reader = apps.reader();
      const start = time.now();
      const entry = await apps.upsert({ key: "a", value: 1, ttlMs: 100 });
      await time.advance(10);
      const touch = await apps.touch({ key: "a" });
      const [upserted, touched] = await drain(reader);
      expect(upserted).to.deep.equal({ cursor: entry.version, type: "upsert", entry });
      expect(touched).to.deep.equal({
        cursor: touched?.cursor,
        type: "touch",
        key: "a",
        version: entry.version,
        updatedAt: start + 10,
        expiresAt: touch.expiresAt,
      });
      await time.advance(100);
      await apps.upsert({ key: "a", value: 2 });
      await apps.remove({ key: "a", reason: "left" });
      await apps.upsert({ key: "b", value: 3 });
      await apps.remove({ key: "b", reason: "" });
      const events = await drain(reader);
      const cursors = [upserted, touched, ...events].map((event) => Number(event?.cursor));
      expect(cursors).to.deep.equal([...cursors].sort((one, other) => one - other));
      expect(new Set(cursors).size).to.equal(7);
      const [expired, , deleted, , quiet] = events;
      const own = (event: (typeof events)[number] | undefined) => ({ cursor: event?.cursor, version: event?.cursor });
      expect(expired).to.deep.equal({ ...own(expired), type: "expire", key: "a", removedAt: start + 110 });
      const removedAt = time.now();
      expect(deleted).to.deep.equal({ ...own(deleted), type: "delete", key: "a", removedAt, reason: "left" });
      expect(quiet).to.deep.equal({ ...own(quiet), type: "delete", key: "b", removedAt });
    }));

  test("what became due meanwhile is settled in the order of its deadlines", () =>
    pinned(async (time) => {
      const apps = make();
      const reader = apps.reader();
      await apps.upsert({ key: "late", value: 1, ttlMs: 30 });
      await apps.upsert({ key: "early", value: 1, ttlMs: 10 });
      await apps.upsert({ key: "middle", value: 1, ttlMs: 20 });
      await drain(reader);
      time.set(time.now() + 50);
      const behind = apps.reader();
      await apps.upsert({ key: "late", value: 2 });
      const events = await drain(reader);
      const told = events.map((event) => `${event.type} ${event.type === "expire" ? event.key : ""}`);
      expect(told).to.deep.equal(["expire early", "expire middle", "expire late", "upsert "]);
      expect(types(await drain(behind)), "from the instant of the reader").to.deep.equal(["upsert"]);
    }));

  test("a reader sees its selection, from its instant or from a place on", async () => {
    const apps = make();
    const empty = (await apps.list()).cursor;
    await apps.upsert({ key: "a/1", value: 1 });
    const { cursor } = await apps.list({ prefix: "a/" });
    const readers = {
      now: apps.reader({ after: "$" }),
      key: apps.reader({ key: "a/2" }),
      prefix: apps.reader({ prefix: "a/", after: cursor }),
      all: apps.reader({ after: "0" }),
      zero: apps.reader({ after: "0-0" }),
      empty: apps.reader({ after: empty }),
    };
    for (const key of ["a/2", "a", "b/1", "a/3"]) await apps.upsert({ key, value: key });
    const seen = async (reader: keyof typeof readers) =>
      (await drain(readers[reader])).map((event) => (event.type === "upsert" ? event.entry.key : event.type));
    expect(await seen("now")).to.deep.equal(["a/2", "a", "b/1", "a/3"]);
    expect(await seen("key")).to.deep.equal(["a/2"]);
    expect(await seen("prefix")).to.deep.equal(["a/2", "a/3"]);
    for (const reader of ["all", "zero", "empty"] as const) {
      expect(await seen(reader), reader).to.deep.equal(["a/1", "a/2", "a", "b/1", "a/3"]);
    }
  });

  test("a parked reader gets each change in the order of the calls that wait", async () => {
    const apps = make();
    const reader = apps.reader();
    const waiting = [reader.recv(), reader.recv(), reader.recv()];
    const none = reader.recv({ wait: false });
    for (const key of ["a", "b", "c", "d"]) void apps.upsert({ key, value: 1 });
    const seen = (await Promise.all(waiting)).map((event) => event?.type === "upsert" && event.entry.key);
    expect(seen).to.deep.equal(["a", "b", "c"]);
    expect(await none).to.equal(null);
    expect((await drain(reader)).length).to.equal(1);
  });

  test("with frozen timers a call that does not wait lets those in line be first", () =>
    pinned(async (time) => {
      const apps = make();
      for (const key of ["a", "b", "c"]) await apps.upsert({ key, value: 1, ttlMs: 10 });
      const reader = apps.reader();
      const waiting = [reader.recv(), reader.recv()];
      await settled();
      time.set(time.now() + 10);
      const third = await reader.recv({ wait: false });
      const seen = [...(await Promise.all(waiting)), third].map((event) => event?.type === "expire" && event.key);
      expect(seen).to.deep.equal(["a", "b", "c"]);
    }));

  test("a wait is over at its time, by abort, or with a change", () =>
    pinned(async (time) => {
      const apps = make();
      const reader = apps.reader();
      let over = 0;
      const waits = [reader.recv({ timeoutMs: 50 }), reader.recv({ timeoutMs: 20 })];
      for (const wait of waits) void wait.then((event) => (over += event === null ? 1 : 100));
      await time.advance(19);
      expect(over).to.equal(0);
      await time.advance(1);
      expect(over, "also behind another in line").to.equal(1);
      await time.advance(30);
      expect(over).to.equal(2);
      expect(await reader.recv({ timeoutMs: 0 })).to.equal(null);
      expect(await reader.recv({ timeoutMs: -5 })).to.equal(null);
      const abort = new AbortController();
      const parked = reader.recv({ timeoutMs: Infinity, signal: abort.signal });
      const behind = reader.recv({ timeoutMs: Infinity });
      await time.advance(100_000_000);
      abort.abort();
      expect(await parked).to.equal(null);
      await apps.upsert({ key: "a", value: 1 });
      expect((await behind)?.type).to.equal("upsert");
      await apps.upsert({ key: "a", value: 1 });
      expect(await reader.recv({ signal: abort.signal }), "aborted before").to.equal(null);
      expect((await reader.recv({ wait: false }))?.type).to.equal("upsert");
    }));

  test("a wait that ends while a test has replaced the timers holds no process", async () => {
    const { process } = globalThis as { process?: { getActiveResourcesInfo?(): string[] } };
    // Bun has the function, but it reports nothing.
    const tells = process?.getActiveResourcesInfo !== undefined && !("Bun" in globalThis);
    const timers = () => process?.getActiveResourcesInfo?.().filter((kind) => kind === "Timeout").length ?? 0;
    const before = timers();
    const abort = new AbortController();
    const waiting = make().reader().recv({ timeoutMs: 600_000, signal: abort.signal });
    if (tells) expect(timers()).to.be.greaterThan(before);
    await pinned(async () => abort.abort(), Date.now(), false);
    expect(await waiting).to.equal(null);
    expect(timers()).to.equal(before);
  });

  test("a parked reader hears of an expiry at its deadline", () =>
    pinned(async (time) => {
      const apps = make();
      await apps.upsert({ key: "a", value: 1, ttlMs: 40 });
      let heard: number | undefined;
      void apps.reader({ key: "a" }).recv().then(() => (heard = Date.now()));
      const deadline = time.now() + 40;
      await time.advance(39);
      expect(heard).to.equal(undefined);
      await time.advance(1);
      expect(heard).to.equal(deadline);
    }));

  test("a wait that is left or aborted takes nothing", async () => {
    for (const check of [isLeftAtOnce, takesNothingOnceAborted]) {
      const apps = make();
      await check(apps.reader({ prefix: "a/" }), () => apps.upsert({ key: "a/b", value: 1 }));
    }
  });

  test("streams give what comes, and end quietly", () =>
    pinned(async () => {
      const apps = make();
      const reader = apps.reader();
      await apps.upsert({ key: "a", value: 1 });
      await apps.upsert({ key: "b", value: 1 });
      const seen: string[] = [];
      for await (const event of reader.stream({ wait: false })) seen.push(event.type);
      for await (const event of reader.stream({ timeoutMs: 0 })) seen.push(event.type);
      expect(seen).to.deep.equal(["upsert", "upsert"]);
      const abort = new AbortController();
      const streaming = (async () => {
        for await (const event of reader.stream({ signal: abort.signal })) seen.push(event.type);
      })();
      await apps.remove({ key: "a" });
      await settled();
      abort.abort();
      await streaming;
      expect(seen).to.deep.equal(["upsert", "upsert", "delete"]);
    }));

  for (const [selection, what] of [
    [{}, "all"],
    [{ prefix: "a/" }, "a prefix"],
    [{ key: "a/1" }, "a key"],
  ] as const) {
    test(`a reader of ${what} that has fallen behind gets one overflow in each way`, () =>
      pinned(async (time) => {
        const apps = make({ limits: { eventMaxLen: 3, eventRetentionMs: 1_000 } });
        const write = async (count: number) => {
          for (let at = 0; at < count; at += 1) await apps.upsert({ key: "a/1", value: at });
        };
        const overflow = async (reader: ReturnType<typeof apps.reader>, after?: string) => {
          const latest = (await apps.list()).cursor;
          const event = await reader.recv({ wait: false });
          expect(event?.type).to.equal("overflow");
          expect(event?.cursor).to.equal(latest);
          if (event?.type === "overflow" && after !== undefined) expect(event.after).to.equal(after);
          expect(await drain(reader), "it goes on behind what it was told").to.deep.equal([]);
          await write(2);
          expect(types(await drain(reader))).to.deep.equal(["upsert", "upsert"]);
          return event?.type === "overflow" ? event : undefined;
        };
        // Before the first read.
        await write(1);
        const { cursor } = await apps.list();
        const early = apps.reader({ ...selection, after: cursor });
        await write(5);
        const told = await overflow(early, cursor);
        expect(Number(told?.firstAvailable)).to.be.greaterThan(Number(cursor)).and.lessThan(Number(told?.cursor));
        // Later, with more read ahead than was handed out.
        await write(3);
        expect((await early.recv({ wait: false }))?.type).to.equal("upsert");
        await write(3);
        await overflow(early);
        // By age, when nothing is left to read.
        await write(1);
        await time.advance(1_000);
        const aged = await overflow(early);
        expect(aged?.firstAvailable).to.equal(aged?.cursor);
        // A parked reader keeps up and misses nothing.
        const parked = early.recv();
        await write(1);
        await write(3);
        expect((await parked)?.type).to.equal("upsert");
        expect(types(await drain(early))).to.deep.equal(["upsert", "upsert", "upsert"]);
        // A reader from the oldest event, or of an empty object, gets no overflow.
        expect(types(await drain(apps.reader({ ...selection, after: "0" })))).to.deep.equal(["upsert", "upsert", "upsert"]);
        const fresh = make();
        const reader = fresh.reader({ ...selection, after: (await fresh.list()).cursor });
        await time.advance(5_000);
        await fresh.upsert({ key: "a/1", value: 1 });
        expect(types(await drain(reader))).to.deep.equal(["upsert"]);
      }));
  }

  test("a place of the future is an overflow, and what aged away in an idle object too", () =>
    pinned(async (time) => {
      const apps = make();
      const first = await apps.upsert({ key: "a", value: 1, ttlMs: 10 });
      const ahead = apps.reader({ after: String(Number(first.version) + 1_000_000_000_000) });
      expect((await ahead.recv({ wait: false }))?.type).to.equal("overflow");
      // Everything in the object has expired, and its counters have been forgotten.
      await time.advance(3 * 3_600_000);
      await apps.upsert({ key: "b", value: 1 });
      expect(types(await drain(apps.reader({ after: first.version })))).to.deep.equal(["overflow"]);
    }));

  test("numbers grow, also when the clock was set back", () =>
    pinned(async (time) => {
      const apps = make();
      const before = await apps.upsert({ key: "a", value: 1 });
      time.set(time.now() - 3_600_000);
      const after = await apps.upsert({ key: "a", value: 2, ttlMs: 100 });
      expect(Number(after.version)).to.be.greaterThan(Number(before.version));
      expect(after.expiresAt).to.equal(time.now() + 100);
      await time.advance(100);
      expect(await apps.get({ key: "a" })).to.equal(null);
    }));

  test("touches of a record are told as the latest one", async () => {
    const apps = make({ limits: { eventMaxLen: 1 } });
    await apps.upsert({ key: "a", value: 1, ttlMs: 1_000_000 });
    const reader = apps.reader();
    let last: { expiresAt?: number } = {};
    for (let at = 1; at <= 10; at += 1) last = await apps.touch({ key: "a", ttlMs: 1_000_000 + at });
    const events = await drain(reader);
    expect(types(events)).to.deep.equal(["touch"]);
    expect(events[0]).to.include({ expiresAt: last.expiresAt });
  });

  test("the page has its turn between two steps of what is overdue", () =>
    pinned(async (time) => {
      for (const [limits, step] of [[{ reconcileBatchSize: 10 }, 10], [{}, 200]] as const) {
        const apps = make({ limits });
        const total = 2 * step + 5;
        await Promise.all(Array.from({ length: total }, (_, at) => apps.upsert({ key: `k${at}`, value: 1, ttlMs: 1_000 })));
        let seen = 0;
        const abort = new AbortController();
        const streaming = (async () => {
          for await (const event of apps.reader().stream({ signal: abort.signal })) {
            if (event.type !== "expire") continue;
            seen += 1;
            // The work takes time.
            time.set(time.now() + 1);
          }
        })();
        await time.advance(999);
        const turns: number[] = [];
        for (let turn = 0; turn < 3; turn += 1) {
          await time.advance(1);
          turns.push(seen);
          expect(keys(await apps.list()), "to a call it is all over").to.deep.equal([]);
          expect((await apps.list({ status: "expired" })).entries.length).to.equal(total);
        }
        expect(turns).to.deep.equal([step, 2 * step, total]);
        abort.abort();
        await streaming;
      }
    }));

  test("20,000 records that expire together: a listing is empty at once, and each expiry is told once", () =>
    pinned(async (time) => {
      const apps = make({ limits: { maxEntries: 20_000 } });
      for (let at = 0; at < 20_000; at += 1) void apps.upsert({ key: `k${at}`, value: 1, ttlMs: 1_000 });
      const reader = apps.reader();
      time.set(time.now() + 1_000);
      expect(keys(await apps.list())).to.deep.equal([]);
      const gone = new Set<string>();
      for (const event of await drain(reader)) if (event.type === "expire") gone.add(event.key);
      expect(gone.size).to.equal(20_000);
      expect((await apps.list({ status: "expired", limit: 30_000 })).entries.length).to.equal(20_000);
    }));
});
