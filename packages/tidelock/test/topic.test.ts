import type { Store } from "tidelock/browser/store";
import { topic, type TopicDelivery, type TopicLiveEvent, type TopicReader } from "tidelock/browser/topic";
import { any, countListeners, countTimers, describe, expect, failure, pinned, settled, test } from "./harness.js";
import { checksInOrder, isLeftAtOnce, refusesInvalid, refusesNames, takesNothingOnceAborted, waitsAsTold } from "./shared.js";

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const now = { wait: false } as const;

const make = (options = {}) => topic({ id: "orders", schema: any<string>(), ...options });

/** All available events, committed. */
async function drain<T>(reader: TopicReader<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const event of reader.stream(now)) {
    all.push(event.data);
    expect(await event.commit()).to.equal(true);
  }
  return all;
}

/** The next events of a follower. */
async function take<T>(events: AsyncIterable<TopicLiveEvent<T>>, count: number): Promise<T[]> {
  const all: T[] = [];
  if (count === 0) return all;
  for await (const event of events) {
    all.push(event.data);
    if (all.length === count) break;
  }
  return all;
}

/** What a follower returns without waiting. */
async function there<T>(follow: (signal: AbortSignal) => AsyncIterable<TopicLiveEvent<T>>): Promise<T[]> {
  const abort = new AbortController();
  const all: T[] = [];
  const over = (async () => {
    for await (const event of follow(abort.signal)) all.push(event.data);
  })();
  await settled();
  abort.abort();
  await over;
  return all;
}

/** A store that exposes its entries, so that a test can inspect and change them. */
function observed(): Store & { entries: Map<string, { value: unknown; ttlMs: number | undefined }> } {
  const entries = new Map<string, { value: unknown; ttlMs: number | undefined; end: number }>();
  return {
    entries,
    get: (key) => {
      const entry = entries.get(key);
      return entry === undefined || entry.end <= Date.now() ? undefined : entry.value;
    },
    set: (key, value, ttlMs) => void entries.set(key, { value, ttlMs, end: Date.now() + (ttlMs ?? Infinity) }),
    del: (key) => void entries.delete(key),
    keys: (prefix = "") => [...entries.keys()].filter((key) => key.startsWith(prefix)),
  };
}

describe("topic", () => {
  test("a published event is what a group and a follower get", () =>
    pinned(async (time) => {
      const orders = make();
      const live = orders.live();
      const published = await orders.pub({ data: "one", orderingKey: "k", meta: { from: "test" } });
      expect(published).to.deep.equal({ eventId: published.cursor, cursor: published.eventId, duplicate: false });
      const event = {
        data: "one",
        eventId: published.eventId,
        cursor: published.cursor,
        orderingKey: "k",
        publishedAt: time.now(),
        meta: { from: "test" },
      };
      const { commit, deliveryId, ...rest } = (await orders.reader().recv()) as TopicDelivery<string>;
      expect(rest).to.deep.equal(event);
      expect(deliveryId).to.be.a("string").and.not.equal("");
      expect(await commit()).to.equal(true);
      expect(await commit()).to.equal(false);
      for await (const seen of live) {
        expect(seen).to.deep.equal(event);
        break;
      }
    }));

  test("what is published may be described by getters of a class, and be inherited", async () => {
    class Saved {
      get data() {
        return "tea";
      }
      get orderingKey() {
        return "green";
      }
      get idempotencyKey() {
        return "once";
      }
    }
    const events = make();
    await events.pub(new Saved());
    expect((await events.pub(Object.create(new Saved()) as Saved)).duplicate).to.equal(true);
    const event = await events.reader().recv(now);
    expect([event?.data, event?.orderingKey]).to.deep.equal(["tea", "green"]);
  });

  test("what was not given is not there", async () => {
    const orders = make();
    await orders.pub({ data: "one" });
    const received = (await orders.reader().recv()) as TopicDelivery<string>;
    expect(Object.keys(received).sort()).to.deep.equal(["commit", "cursor", "data", "deliveryId", "eventId", "publishedAt"]);
  });

  test("objects share nothing, also with equal ids", async () => {
    const [a, b] = [make(), make()];
    await a.pub({ data: "one" });
    expect(await b.reader().recv(now)).to.equal(null);
    expect(await drain(a.reader())).to.deep.equal(["one"]);
  });

  test("methods work without their object", async () => {
    const { pub, reader, live } = make();
    const followed = take(live(), 1);
    await pub({ data: "one" });
    const { recv, stream, group } = reader("g");
    expect(group).to.equal("g");
    expect((await recv())?.data).to.equal("one");
    for await (const event of stream(now)) expect(event).to.equal(undefined);
    expect(await followed).to.deep.equal(["one"]);
  });
});

describe("topic groups", () => {
  test("two readers share 1,000 events without overlap, and another group gets all", () =>
    pinned(async (time) => {
      const numbers = topic({ id: "numbers", schema: any<number>() });
      const expected = Array.from({ length: 1_000 }, (_, index) => index);
      const readers = [numbers.reader("a"), numbers.reader("a")] as const;
      const got: TopicDelivery<number>[][] = [[], []];
      const over = new AbortController();
      const reading = readers.map(async (reader, at) => {
        for await (const event of reader.stream({ signal: over.signal })) {
          got[at]!.push(event);
          if (event.data % 10 !== 0) expect(await event.commit()).to.equal(true);
        }
      });
      for (const data of expected) void numbers.pub({ data });
      while (got[0]!.length + got[1]!.length < 1_000) await settled();
      over.abort();
      await Promise.all(reading);
      expect(got[0]!.length).to.be.above(0);
      expect(got[1]!.length).to.be.above(0);
      const all = got.flat().sort((a, b) => a.data - b.data);
      expect(all.map((event) => event.data)).to.deep.equal(expected);
      expect(await drain(numbers.reader("b"))).to.deep.equal(expected);

      expect(await numbers.reader("a").recv(now)).to.equal(null);
      await time.advance(MINUTE - 1);
      expect(await numbers.reader("a").recv(now)).to.equal(null);
      await time.advance(1);
      expect(await drain(numbers.reader("a"))).to.deep.equal(expected.filter((data) => data % 10 === 0));
      expect(await all[0]!.commit()).to.equal(false);
    }));

  test("delivery ids differ between groups and attempts, and only the last can commit", () =>
    pinned(async (time) => {
      const orders = make();
      const { eventId } = await orders.pub({ data: "one" });
      const first = await orders.reader("a").recv();
      const other = await orders.reader("b").recv();
      // Timers stand still: the deadline alone decides.
      time.set(time.now() + MINUTE - 1);
      expect(await orders.reader("a").recv(now)).to.equal(null);
      time.set(time.now() + 1);
      const second = await orders.reader("a").recv(now);
      expect([first?.eventId, other?.eventId, second?.eventId]).to.deep.equal([eventId, eventId, eventId]);
      expect(new Set([first?.deliveryId, other?.deliveryId, second?.deliveryId]).size).to.equal(3);
      expect(await first?.commit()).to.equal(false);
      expect(await second?.commit()).to.equal(true);
      expect(await second?.commit()).to.equal(false);
    }));

  test("a delivery that is not committed reaches a parked reader when its time is over", () =>
    pinned(async (time) => {
      const orders = make();
      await orders.pub({ data: "one" });
      const held = await orders.reader().recv();
      let again: TopicDelivery<string> | null = null;
      void orders.reader().recv({ timeoutMs: Infinity }).then((event) => (again = event));
      await time.advance(MINUTE - 1);
      expect(again).to.equal(null);
      expect(await held?.commit()).to.equal(true);
      await orders.pub({ data: "two" });
      await settled();
      expect(again).to.include({ data: "two" });
      void orders.reader().recv({ timeoutMs: Infinity }).then((event) => (again = event));
      await time.advance(MINUTE);
      expect(again).to.include({ data: "two" });
    }));

  test("an event is delivered ten times", () =>
    pinned(async (time) => {
      const orders = make();
      await orders.pub({ data: "one" });
      for (let delivery = 0; delivery < 10; delivery += 1) {
        expect((await orders.reader().recv(now))?.data).to.equal("one");
        await time.advance(MINUTE);
      }
      expect(await orders.reader().recv(now)).to.equal(null);
      expect((await orders.reader("other").recv(now))?.data).to.equal("one");
    }));

  test("a new group begins at the oldest event kept, and a reader alone makes none", () =>
    pinned(async (time) => {
      const orders = make({ retentionMs: 1_000 });
      const gaps: unknown[] = [];
      const reader = orders.reader("late");
      await orders.pub({ data: "one" });
      await time.advance(1_000);
      await orders.pub({ data: "two" });
      expect((await reader.recv({ ...now, onGap: (gap) => gaps.push(gap) }))?.data).to.equal("two");
      expect(gaps).to.deep.equal([]);
    }));

  test("events of one key come one at a time, and others flow", async () => {
    const orders = make();
    for (const data of ["a1", "a2", "b1", "a3"]) void orders.pub({ data, orderingKey: data[0]! });
    const reader = orders.reader();
    const a1 = await reader.recv(now);
    expect(a1?.data).to.equal("a1");
    expect((await reader.recv(now))?.data).to.equal("b1");
    expect(await reader.recv(now)).to.equal(null);
    // In the order of the calls: the commit is done when the receive runs.
    const [done, again, a2] = await Promise.all([a1?.commit(), a1?.commit(), reader.recv(now)]);
    expect([done, again, a2?.data]).to.deep.equal([true, false, "a2"]);
    expect(await reader.recv(now)).to.equal(null);
  });

  test("an ordering key may be any text, and a long one is its own", async () => {
    const orders = make();
    const long = "k".repeat(600);
    for (const orderingKey of ["", long, `${long}x`, "\0"]) void orders.pub({ data: "one", orderingKey });
    const got: (string | undefined)[] = [];
    for await (const event of orders.reader().stream(now)) got.push(event.orderingKey);
    expect(got).to.deep.equal(["", long, `${long}x`, "\0"]);
  });

  test("a group's name is 1 to 256 characters; the default is default", async () => {
    const orders = make();
    expect(orders.reader().group).to.equal("default");
    expect(orders.reader(undefined).group).to.equal("default");
    expect((await failure(() => orders.reader(""))).message).to.equal("group must be non-empty");
    expect((await failure(() => orders.reader("g".repeat(257)))).message).to.equal("group too long (max 256 chars)");
    await orders.pub({ data: "one" });
    expect((await orders.reader("\u{1f600}".repeat(256)).recv(now))?.data).to.equal("one");
    expect((await orders.reader("ü".repeat(255)).recv(now))?.data).to.equal("one");
  });
});

describe("topic waiting", () => {
  test("a receive that was called before a publish gets its event, in the order of the calls", async () => {
    const orders = make();
    const reader = orders.reader();
    const got = await Promise.all([reader.recv(), reader.recv(), orders.pub({ data: "one" }), orders.pub({ data: "two" })]);
    expect([got[0]?.data, got[1]?.data]).to.deep.equal(["one", "two"]);
  });

  test("calls take effect in their order", async () => {
    const orders = make();
    const reader = orders.reader();
    const order = await Promise.all([
      orders.pub({ data: "one" }),
      reader.recv(now),
      reader.recv(now),
      orders.pub({ data: "two" }),
      reader.recv(now),
    ]);
    expect([order[1]?.data, order[2], order[4]?.data]).to.deep.equal(["one", null, "two"]);
  });

  test("a wait ends after 30 s, or when it was said to, or not at all", () => waitsAsTold(() => make().reader()));

  test("an aborted signal gives null and takes nothing", async () => {
    const orders = make();
    const abort = new AbortController();
    const waiting = orders.reader().recv({ signal: abort.signal });
    const next = orders.reader().recv();
    abort.abort();
    expect(await waiting).to.equal(null);
    await orders.pub({ data: "one" });
    expect((await next)?.data).to.equal("one");
    await orders.pub({ data: "two" });
    expect(await orders.reader().recv({ signal: abort.signal })).to.equal(null);
    expect(await drain(orders.reader())).to.deep.equal(["two"]);
  });

  test("a stream ends quietly: where nothing is there, with its signal, or when its loop is left", async () => {
    const orders = make();
    for (const data of ["one", "two"]) void orders.pub({ data });
    expect(await drain(orders.reader("a"))).to.deep.equal(["one", "two"]);
    const abort = new AbortController();
    const got: string[] = [];
    for await (const event of orders.reader("b").stream({ signal: abort.signal })) {
      got.push(event.data);
      if (got.length === 2) queueMicrotask(() => abort.abort());
    }
    for await (const event of orders.reader("b").stream({ signal: abort.signal })) got.push(event.data);
    for await (const event of orders.reader("c").stream()) {
      got.push(event.data);
      break;
    }
    expect(got).to.deep.equal(["one", "two", "one"]);
  });

  test("a stream that is left while it waits ends at once and takes nothing", () => {
    const events = make();
    return isLeftAtOnce(events.reader(), () => events.pub({ data: "one" }));
  });

  test("a wait takes nothing that comes while its abort is told", () => {
    const events = make();
    return takesNothingOnceAborted(events.reader(), () => events.pub({ data: "one" }));
  });

  test("a wait that is over leaves no listener behind", () =>
    pinned(async (time) => {
      const orders = make();
      const { signal, abort, listeners } = countListeners();
      for (let wait = 0; wait < 100; wait += 1) {
        const waiting = orders.reader().recv({ timeoutMs: 1, signal });
        await time.advance(1);
        expect(await waiting).to.equal(null);
      }
      expect(listeners()).to.equal(0);
      const live = take(orders.live({ signal }), 1);
      await orders.pub({ data: "one" });
      expect(await live).to.deep.equal(["one"]);
      void orders.live({ signal });
      expect(listeners()).to.equal(0);
      abort();
    }));
});

describe("topic live", () => {
  test("the place is fixed at the call", async () => {
    const orders = make();
    const { cursor } = await orders.pub({ data: "one" });
    void orders.pub({ data: "two" });
    const from = [undefined, "$", "0", "0-0", cursor].map((after) => orders.live({ after, timeoutMs: 1 }));
    void orders.pub({ data: "three" });
    const [none, latest, zero, zeros, after] = from as [typeof from[0], typeof from[0], typeof from[0], typeof from[0], typeof from[0]];
    expect(await take(none, 1)).to.deep.equal(["three"]);
    expect(await take(latest, 1)).to.deep.equal(["three"]);
    expect(await take(zero, 3)).to.deep.equal(["one", "two", "three"]);
    expect(await take(zeros, 3)).to.deep.equal(["one", "two", "three"]);
    expect(await take(after, 2)).to.deep.equal(["two", "three"]);
    expect(await there((signal) => orders.live({ signal }))).to.deep.equal([]);
  });

  test("replay goes over into following, once and in order", async () => {
    const numbers = topic({ id: "numbers", schema: any<number>() });
    for (let data = 0; data < 700; data += 1) void numbers.pub({ data });
    const got: number[] = [];
    for await (const { data } of numbers.live({ after: "0" })) {
      got.push(data);
      // Both while it replays, and when it is about to wait.
      if (data === 350) for (let next = 700; next < 710; next += 1) void numbers.pub({ data: next });
      if (data === 709) queueMicrotask(() => void numbers.pub({ data: 710 }));
      if (data === 710) break;
    }
    expect(got).to.deep.equal(Array.from({ length: 711 }, (_, index) => index));
  });

  test("a follower that waits gets what comes", async () => {
    const orders = make();
    const got = take(orders.live(), 2);
    await settled();
    void orders.pub({ data: "one" });
    await settled();
    void orders.pub({ data: "two" });
    expect(await got).to.deep.equal(["one", "two"]);
  });

  test("a cursor that is none of this topic and tenant is refused", async () => {
    const orders = make();
    const { cursor } = await orders.pub({ data: "one" });
    const foreign = await topic({ id: "other", schema: any<string>() }).pub({ data: "one" });
    const tenants = await orders.pub({ data: "one", tenantId: "other" });
    for (const after of ["", "1", "00", "0-1", "abc", cursor.slice(1), `${cursor}0`, foreign.cursor, tenants.cursor]) {
      expect((await failure(() => orders.live({ after }))).message).to.equal(`invalid cursor: ${after}`);
    }
    expect(await there((signal) => orders.live({ after: cursor, signal }))).to.deep.equal([]);
    expect(await there((signal) => orders.live({ after: tenants.cursor, tenantId: "other", signal }))).to.deep.equal([]);
  });

  test("a cursor fits the topic after a reload: what came since is read", () =>
    pinned(async (time) => {
      const before = await make().pub({ data: "one" });
      await time.advance(1);
      const orders = make();
      await orders.pub({ data: "two" });
      const gaps: unknown[] = [];
      const live = orders.live({ after: before.cursor, onGap: (gap) => gaps.push([gap.from, gap.missed, gap.cause]) });
      expect(await take(live, 1)).to.deep.equal(["two"]);
      expect(gaps).to.deep.equal([[before.cursor, null, "replaced"]]);
    }));

  test("it ends quietly: with its signal, before and while it waits, or when it is left", async () => {
    const orders = make();
    const abort = new AbortController();
    const waiting = take(orders.live({ signal: abort.signal }), 1);
    await settled();
    abort.abort();
    expect(await waiting).to.deep.equal([]);
    await orders.pub({ data: "one" });
    expect(await take(orders.live({ after: "0", signal: abort.signal }), 1)).to.deep.equal([]);
    // The iterator is left while it waits.
    const live = orders.live()[Symbol.asyncIterator]();
    const next = live.next();
    expect(await live.return?.()).to.deep.equal({ done: true, value: undefined });
    expect(await next).to.deep.equal({ done: true, value: undefined });
    await orders.pub({ data: "two" });
    expect(await live.next()).to.deep.equal({ done: true, value: undefined });
  });

  test("it waits for weeks, also while the clock is set back", () =>
    pinned(async (time) => {
      const orders = make();
      const timers = countTimers();
      const got = take(orders.live(), 1);
      const inGroup = orders.reader().recv({ timeoutMs: Infinity });
      await time.advance(40 * DAY);
      timers.stop();
      // No timer polls for new events.
      expect(timers.count).to.equal(0);
      time.set(time.now() - 60 * MINUTE);
      await orders.pub({ data: "one" });
      expect(await got).to.deep.equal(["one"]);
      expect((await inGroup)?.data).to.equal("one");
    }));
});

describe("topic retention", () => {
  for (const retentionMs of [1, 1_000, 30 * DAY, 3_650 * DAY]) {
    test(`an event can be read until ${retentionMs} ms are over`, () =>
      pinned(async (time) => {
        const orders = make({ retentionMs });
        await orders.pub({ data: "one" });
        // Timers stand still: the deadline alone decides.
        time.set(time.now() + retentionMs - 1);
        expect(await there((signal) => orders.live({ after: "0", signal }))).to.deep.equal(["one"]);
        expect((await orders.reader("before").recv(now))?.data).to.equal("one");
        time.set(time.now() + 1);
        expect(await there((signal) => orders.live({ after: "0", signal }))).to.deep.equal([]);
        expect(await orders.reader("at").recv(now)).to.equal(null);
      }));
  }

  test("the default is 7 days", () =>
    pinned(async (time) => {
      const orders = make();
      await orders.pub({ data: "one" });
      time.set(time.now() + 7 * DAY - 1);
      expect((await orders.reader("before").recv(now))?.data).to.equal("one");
      time.set(time.now() + 1);
      expect(await orders.reader("at").recv(now)).to.equal(null);
    }));

  test("a topic that nobody uses is forgotten a day after its last event", () =>
    pinned(async (time) => {
      for (const [unused, cause] of [[DAY - 1, undefined], [DAY, "replaced"]] as const) {
        const orders = make({ retentionMs: 1_000 });
        const { cursor } = await orders.pub({ data: "one" });
        expect(await drain(orders.reader())).to.deep.equal(["one"]);
        await time.advance(1_000);
        await time.advance(unused);
        await orders.pub({ data: "two" });
        const causes: string[] = [];
        const onGap = (gap: { cause: string }) => causes.push(gap.cause);
        expect(await take(orders.live({ after: cursor, onGap }), 1)).to.deep.equal(["two"]);
        expect(causes).to.deep.equal(cause ? [cause] : []);
        // The group continues where it was.
        expect(await drain(orders.reader())).to.deep.equal(["two"]);
      }
    }));

  test("what is in flight can be committed after its end", () =>
    pinned(async (time) => {
      const orders = make({ retentionMs: 1_000 });
      await orders.pub({ data: "one" });
      const held = await orders.reader().recv();
      await time.advance(2_000);
      expect(await held?.commit()).to.equal(true);
    }));

  test("a gap is told once, beside the events", () =>
    pinned(async (time) => {
      const orders = make({ retentionMs: 1_000 });
      const first = await orders.pub({ data: "one" });
      expect(await drain(orders.reader())).to.deep.equal(["one"]);
      void orders.pub({ data: "two" });
      const third = await orders.pub({ data: "three" });
      await time.advance(1_000);
      void orders.pub({ data: "four" });
      void orders.pub({ data: "five" });
      const told: unknown[] = [];
      const onGap = (gap: unknown) => told.push(gap);
      const gap = { from: first.cursor, missed: 2, cause: "trimmed" };

      const received = await Promise.all([orders.reader().recv({ onGap }), orders.reader().recv({ onGap })]);
      expect(received.map((event) => event?.data)).to.deep.equal(["four", "five"]);
      expect(told).to.have.length(1);
      const { to, ...rest } = told.pop() as { to: string };
      expect(rest).to.deep.equal(gap);
      expect(await there((signal) => orders.live({ after: to, signal, onGap }))).to.deep.equal(["four", "five"]);
      expect(told).to.deep.equal([]);

      expect(await there((signal) => orders.live({ after: first.cursor, signal, onGap }))).to.deep.equal(["four", "five"]);
      expect(told).to.deep.equal([{ ...gap, to }]);
      expect(await there((signal) => orders.live({ after: third.cursor, signal }))).to.deep.equal(["four", "five"]);
      expect(await drain(orders.reader("new"))).to.deep.equal(["four", "five"]);
    }));

  test("what observers throw or call changes nothing", () =>
    pinned(async (time) => {
      const orders = make({ retentionMs: 1_000 });
      const { cursor } = await orders.pub({ data: "one" });
      await drain(orders.reader());
      void orders.pub({ data: "two" });
      await time.advance(1_000);
      void orders.pub({ data: "three" });
      const onGap = async (): Promise<void> => {
        await orders.pub({ data: "from within" });
        throw new Error("of the observer");
      };
      const onGapToo = () => {
        throw new Error("of the other observer");
      };
      expect((await orders.reader().recv({ onGap }))?.data).to.equal("three");
      expect(await take(orders.live({ after: cursor, onGap: onGapToo }), 2)).to.deep.equal(["three", "from within"]);
    }));
});

describe("topic idempotency", () => {
  test("a repeated key gives the first event's id and appends nothing", async () => {
    const orders = make();
    const first = await orders.pub({ data: "one", idempotencyKey: "k" });
    const again = await orders.pub({ data: "two", idempotencyKey: "k" });
    expect(again).to.deep.equal({ ...first, duplicate: true });
    expect((await orders.pub({ data: "three", idempotencyKey: "l" })).duplicate).to.equal(false);
    expect((await orders.pub({ data: "four", idempotencyKey: "k", tenantId: "other" })).duplicate).to.equal(false);
    for (const data of ["five", "six"]) {
      expect((await orders.pub({ data, idempotencyKey: "" })).duplicate).to.equal(false);
    }
    expect(await drain(orders.reader())).to.deep.equal(["one", "three", "five", "six"]);
  });

  for (const withStore of [false, true]) {
    const title = withStore ? "with a store" : "without a store";
    const fresh = (options = {}) => make({ ...options, ...(withStore ? { store: observed() } : {}) });

    test(`a key is remembered as long as was said, ${title}`, () =>
      pinned(async (time) => {
        const orders = fresh({ retentionMs: 30 * DAY });
        const pub = async (idempotencyTtlMs?: number) =>
          (await orders.pub({ data: "one", idempotencyKey: `k${idempotencyTtlMs}`, idempotencyTtlMs })).duplicate;
        for (const [ttl, given] of [[1_000, 1_000], [7 * DAY, undefined], [2, 1.5]] as const) {
          expect(await pub(given)).to.equal(false);
          time.set(time.now() + ttl - 1);
          expect(await pub(given)).to.equal(true);
          // The key's lifetime is not extended.
          time.set(time.now() + 1);
          expect(await pub(given)).to.equal(false);
        }
      }));

    test(`and never longer than its event, ${title}`, () =>
      pinned(async (time) => {
        const orders = fresh({ retentionMs: 1_000 });
        const pub = async () =>
          (await orders.pub({ data: "one", idempotencyKey: "k", idempotencyTtlMs: 60 * MINUTE })).duplicate;
        expect(await pub()).to.equal(false);
        time.set(time.now() + 999);
        expect(await pub()).to.equal(true);
        time.set(time.now() + 1);
        expect(await pub()).to.equal(false);
        expect(await drain(orders.reader())).to.deep.equal(["one"]);
      }));
  }

  test("a store sees exactly the key, the event's id and the shorter life", async () => {
    const store = observed();
    const orders = make({ store });
    const { eventId } = await orders.pub({ data: "one", idempotencyKey: "k", idempotencyTtlMs: 1_000 });
    expect(store.keys()).to.deep.equal(["sync:topic:default:orders:idempotency:k"]);
    expect(store.entries.get("sync:topic:default:orders:idempotency:k")).to.include({ value: eventId, ttlMs: 1_000 });
    const other = topic({ id: "a:b%", schema: any<string>(), store, prefix: "p:%", tenantId: "t:", retentionMs: 500 });
    await other.pub({ data: "one", idempotencyKey: "%:k" });
    await other.pub({ data: "one" });
    await other.pub({ data: "one", tenantId: "u", idempotencyKey: "k", idempotencyTtlMs: 400 });
    expect(store.keys("p")).to.deep.equal(["p:%:t%3A:a%3Ab%25:idempotency:%25%3Ak", "p:%:u:a%3Ab%25:idempotency:k"]);
    expect(store.keys("p").map((key) => store.entries.get(key)?.ttlMs)).to.deep.equal([500, 400]);
  });

  test("objects with one store share the keys, if prefix, tenant and id are equal", async () => {
    const store = observed();
    const first = await make({ store }).pub({ data: "one", idempotencyKey: "k" });
    const reloaded = make({ store });
    expect(await reloaded.pub({ data: "two", idempotencyKey: "k" })).to.deep.equal({ ...first, duplicate: true });
    expect(await reloaded.reader().recv(now)).to.equal(null);
    for (const options of [{ prefix: "other" }, { tenantId: "other" }, { id: "other" }, { store: observed() }]) {
      expect((await make({ store, ...options }).pub({ data: "two", idempotencyKey: "k" })).duplicate).to.equal(false);
    }
  });

  test("a value of a wrong type is told, and left", async () => {
    const store = observed();
    const orders = make({ store });
    const key = "sync:topic:default:orders:idempotency:k";
    for (const value of [null, 0, 7, true, {}, ["x"]]) {
      store.set(key, value);
      const error = await failure(() => orders.pub({ data: "one", idempotencyKey: "k" }));
      expect(error.message).to.equal(`corrupt value in store: ${key}`);
      expect(store.get(key)).to.equal(value);
    }
    expect(await orders.reader().recv(now)).to.equal(null);
    store.del(key);
    expect((await orders.pub({ data: "one", idempotencyKey: "k" })).duplicate).to.equal(false);
  });

  test("what a store refuses is not published, and reaches nobody who waits", async () => {
    const store = observed();
    const orders = make({ store });
    const waiting = orders.reader().recv();
    const live = take(orders.live(), 1);
    const { set } = store;
    store.set = () => {
      throw new RangeError("quota");
    };
    expect(await failure(() => orders.pub({ data: "one", idempotencyKey: "k" }))).to.be.instanceOf(RangeError);
    store.get = () => {
      throw new TypeError("security");
    };
    expect(await failure(() => orders.pub({ data: "one", idempotencyKey: "k" }))).to.be.instanceOf(TypeError);
    await settled();
    store.set = set;
    store.get = () => undefined;
    await orders.pub({ data: "two", idempotencyKey: "k" });
    expect((await waiting)?.data).to.equal("two");
    expect(await live).to.deep.equal(["two"]);
  });

  test("a store that calls the topic changes no outcome", async () => {
    const store = observed();
    const orders = make({ store });
    const { set, get } = store;
    let calls = 0;
    const within: Promise<unknown>[] = [];
    store.set = (...args) => {
      set(...args);
      calls += 1;
      within.push(orders.pub({ data: `set ${calls}` }), orders.reader().recv(now));
    };
    store.get = (key) => {
      within.push(orders.pub({ data: "get" }));
      return get(key);
    };
    const { eventId } = await orders.pub({ data: "one", idempotencyKey: "k" });
    expect(store.entries.get("sync:topic:default:orders:idempotency:k")?.value).to.equal(eventId);
    await Promise.all(within);
    const seen: string[] = [];
    for await (const event of orders.live({ after: "0" })) {
      seen.push(event.data);
      if (event.eventId === eventId) break;
    }
    expect(seen).to.deep.equal(["get", "set 1", "one"]);
    expect(calls).to.equal(2);
  });
});

describe("topic arguments", () => {
  test("ids and tenants are 1 to 256 characters", async () => {
    const longest = await refusesNames(make, (orders, tenantId) => [
      () => orders.pub({ data: "one", tenantId }),
      () => orders.reader().recv({ tenantId }),
      () => orders.live({ tenantId }),
    ]);
    await longest.pub({ data: "one" });
    expect(await drain(longest.reader())).to.deep.equal(["one"]);
  });

  test("tenants share nothing", async () => {
    const orders = make({ tenantId: "a" });
    await orders.pub({ data: "one" });
    await orders.pub({ data: "two", tenantId: "b" });
    await orders.pub({ data: "three", tenantId: "default" });
    const reader = orders.reader();
    const b = await reader.recv({ ...now, tenantId: "b" });
    const a = await reader.recv({ ...now, tenantId: "a" });
    expect([a?.data, b?.data, (await reader.recv({ ...now, tenantId: "default" }))?.data]).to.deep.equal(["one", "two", "three"]);
    expect(await reader.recv(now)).to.equal(null);
    // Each is committed for the tenant that received it.
    expect([await b?.commit(), await a?.commit()]).to.deep.equal([true, true]);
    expect(await there((signal) => orders.live({ after: "0", tenantId: "b", signal }))).to.deep.equal(["two"]);
  });

  test("numbers are checked, and nothing is published", async () => {
    const text = async (call: () => unknown) => (await failure(call)).message;
    for (const bad of [0, -1, NaN, Infinity, -Infinity]) {
      expect(await text(() => make({ retentionMs: bad }))).to.equal("retentionMs must be > 0");
      expect(await text(() => make({ limits: { payloadBytes: bad } }))).to.equal("limits.payloadBytes must be > 0");
      const orders = make();
      const pub = () => orders.pub({ data: "one", idempotencyKey: "k", idempotencyTtlMs: bad });
      expect(await text(pub)).to.equal("idempotencyTtlMs must be > 0");
      expect(await orders.reader().recv(now)).to.equal(null);
    }
    const long = 3_650 * DAY + 1;
    expect(await text(() => make({ retentionMs: long }))).to.include("retentionMs").and.include(String(long));
    expect(await text(() => make().pub({ data: "one", idempotencyTtlMs: long }))).to.include(String(long));
    expect(await text(() => make({ limits: { payloadBytes: 1.5 } }))).to.include("limits.payloadBytes").and.include("1.5");
    make({ limits: { payloadBytes: undefined }, retentionMs: undefined, store: undefined, prefix: undefined });
  });

  test("what is too large is refused with both numbers, meta included", async () => {
    const orders = make({ limits: { payloadBytes: 12 } });
    await orders.pub({ data: "äbc", meta: { a: 1 } , orderingKey: "does not count" }).catch(() => {});
    const text = async (call: () => unknown) => (await failure(call)).message;
    await orders.pub({ data: "abc", meta: { a: 1 } });
    expect(await text(() => orders.pub({ data: "abcd", meta: { a: 1 } }))).to.equal("payload exceeds limit (12 bytes): 13 bytes");
    expect(await text(() => orders.pub({ data: "äääääa" }))).to.equal("payload exceeds limit (12 bytes): 13 bytes");
    const standard = make();
    await standard.pub({ data: "x".repeat(131_070) });
    expect(await text(() => standard.pub({ data: "x".repeat(131_071) }))).to.equal("payload exceeds limit (131072 bytes): 131073 bytes");
    const large = make({ limits: { payloadBytes: 18_000_000 } });
    await large.pub({ data: "x".repeat(17_999_998) });
    expect((await large.reader().recv())?.data.length).to.equal(17_999_998);
  });

  test("names and numbers are checked before the schema, and the schema before the size", () =>
    checksInOrder(
      make,
      (orders, data) => orders.pub({ data }),
      (orders) => [
        () => orders.pub({ data: "bad", tenantId: "" }),
        () => orders.pub({ data: "bad", idempotencyTtlMs: 0 }),
      ],
    ));
});

describe("topic values", () => {
  test("a schema is applied once, at the publish, and its output is what comes", async () => {
    let parsed = 0;
    const schema = {
      parse: (value: unknown) => {
        parsed += 1;
        return { length: (value as string).length, at: new Date(0) };
      },
    };
    const lengths = topic({ id: "lengths", schema });
    await lengths.pub({ data: "abc" as never });
    expect((await lengths.reader("a").recv())?.data).to.deep.equal({ length: 3, at: new Date(0) });
    expect((await lengths.reader("b").recv())?.data.at.getTime()).to.equal(0);
    expect(await take(lengths.live({ after: "0" }), 1)).to.deep.equal([{ length: 3, at: new Date(0) }]);
    expect(parsed).to.equal(1);
  });

  test("a value that a schema refuses reaches nothing", () =>
    refusesInvalid((schema) => {
      const orders = topic({ id: "orders", schema });
      return { write: (data) => orders.pub({ data }), read: () => orders.reader().recv(now) };
    }));

  test("a schema may publish to the same topic", async () => {
    let nested: Promise<unknown> | undefined;
    const orders: ReturnType<typeof make> = topic({
      id: "orders",
      schema: {
        parse: (value: unknown): string => {
          if (value === "outer") nested = orders.pub({ data: "inner" });
          return value as string;
        },
      },
    });
    await orders.pub({ data: "outer" });
    await nested;
    expect(await drain(orders.reader())).to.deep.equal(["inner", "outer"]);
  });

  test("values are copied, in and out", async () => {
    type Order = { items: string[]; at: Date; tags: Map<string, bigint>; note?: undefined };
    const orders = topic({ id: "orders", schema: any<Order>() });
    const meta = { by: { name: "a" } };
    const order: Order = { items: ["x"], at: new Date(5), tags: new Map([["n", 2n ** 70n]]), note: undefined };
    const expected = structuredClone(order);
    const published = orders.pub({ data: order, meta });
    order.items.push("y");
    order.at.setTime(9);
    order.tags.clear();
    meta.by.name = "b";
    await published;
    for (const group of ["a", "b"]) {
      const event = (await orders.reader(group).recv()) as TopicDelivery<Order>;
      expect(event.data).to.deep.equal(expected);
      expect("note" in event.data).to.equal(true);
      expect(event.meta).to.deep.equal({ by: { name: "a" } });
      event.data.items.length = 0;
      (event.meta?.by as { name: string }).name = "c";
    }
    for (let follower = 0; follower < 2; follower += 1) {
      const [data] = await take(orders.live({ after: "0" }), 1);
      expect(data).to.deep.equal(expected);
      data?.tags.clear();
    }
    const error = await failure(() => orders.pub({ data: (() => {}) as never }));
    expect(error.name).to.equal("DataCloneError");
  });

  test("an event that cannot be read is told, and nobody is held up", () =>
    pinned(async (time) => {
      const numbers = topic({ id: "numbers", schema: any<Int16Array | string>() });
      const { eventId } = await numbers.pub({ data: new Int16Array([1]) });
      await numbers.pub({ data: "two" });
      const told: { eventId: string; cursor: string; publishedAt: number; raw: Uint8Array; error: string }[] = [];
      const onInvalid = (event: (typeof told)[0]) => told.push(event);
      const { Int16Array: kind } = globalThis;
      Object.assign(globalThis, { Int16Array: undefined });
      try {
        expect((await numbers.reader().recv({ onInvalid }))?.data).to.equal("two");
        expect(await take(numbers.live({ after: "0", onInvalid }), 1)).to.deep.equal(["two"]);
        expect(await take(numbers.live({ after: "0" }), 1)).to.deep.equal(["two"]);
        expect((await numbers.reader("quiet").recv())?.data).to.equal("two");
      } finally {
        Object.assign(globalThis, { Int16Array: kind });
      }
      expect(told).to.have.length(2);
      for (const { raw, error, ...rest } of told) {
        expect(rest).to.deep.equal({ eventId, cursor: eventId, publishedAt: time.now() });
        expect(new TextDecoder().decode(raw)).to.include("Int16Array");
        expect(error).to.include("TypeError");
      }
      // It is a dead letter: it is not delivered again.
      await time.advance(MINUTE);
      expect((await numbers.reader().recv(now))?.data).to.equal("two");
      expect(await numbers.reader().recv(now)).to.equal(null);
    }));
});
