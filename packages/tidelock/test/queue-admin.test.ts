import { queue, type QueueConfig, type QueueReceived, type SetRateLimitConfig } from "tidelock/browser/queue";
import { any, describe, expect, failure, pinned, settled, test } from "./harness.js";
import { checksRates } from "./shared.js";

type Config = Partial<QueueConfig<{ parse(value: unknown): any }>>;

const make = (options: Config = {}) => queue({ id: "orders", schema: any<any>(), ...options });

const message = async (call: () => unknown) => (await failure(call)).message;
const data = (items: readonly { data: unknown }[]) => items.map((item) => item.data);

/** A queue with dead letters `0`, `1`, ..., each a second after the previous one. */
async function withDead(count: number, advance: (ms: number) => Promise<void>, options: Config = {}) {
  const orders = make({ delivery: { maxDeliveries: 1 }, ...options });
  const ids: string[] = [];
  for (let at = 0; at < count; at += 1) {
    ids.push((await orders.send({ data: at, meta: { at }, orderingKey: "k" })).messageId);
    await (await orders.recv({ wait: false }))?.nack({ reason: `note ${at}`, error: `error ${at}` });
    await advance(1_000);
  }
  return { orders, ids, dead: orders.deadLetters() };
}

describe("queue batches", () => {
  test("a batch is sent in its order, and its answers are those of sends", async () => {
    const orders = make();
    const first = await orders.send({ data: "first", idempotencyKey: "k" });
    const sent = await orders.sendMany([
      { data: "a", meta: { from: "test" } },
      { data: "b", idempotencyKey: "k" },
      { data: "c", orderingKey: "o", idempotencyKey: "new" },
      { data: "d", idempotencyKey: "new" },
    ]);
    expect(sent.map(({ duplicate }) => duplicate)).to.deep.equal([false, true, false, true]);
    expect([sent[1]?.messageId, sent[3]?.messageId]).to.deep.equal([first.messageId, sent[2]?.messageId]);
    const received = await orders.recvMany(10);
    expect(data(received)).to.deep.equal(["first", "a", "c"]);
    expect(received[1]).to.deep.include({ messageId: sent[0]?.messageId, meta: { from: "test" }, attempt: 1 });
    expect(received[2]?.orderingKey).to.equal("o");
  });

  test("a batch with something wrong in it sends nothing, and says where that is", async () => {
    const refuses = { parse: (value: unknown) => {
      if (value === "bad") throw refused;
      return value;
    } };
    const refused = new Error("bad value");
    const orders = queue({ id: "orders", schema: refuses, limits: { payloadBytes: 5 } });
    const fine = { data: "a" };
    const cases: [object[], string][] = [
      [[], "items must be 1 to 1000, but are 0"],
      [Array(1_001).fill(fine), "items must be 1 to 1000, but are 1001"],
      [[fine, { data: "b", delayMs: Number.NaN }], "item 1: delayMs must be >= 0"],
      [[fine, fine, { data: "abcd" }], "item 2: payload exceeds limit (5 bytes): 6 bytes"],
      [[fine, { data: "b", tenantId: "other" }], "item 1 is of tenant other: a batch is of one (default)"],
    ];
    for (const [items, text] of cases) expect(await message(() => orders.sendMany(items as never))).to.equal(text);
    expect(await failure(() => orders.sendMany([fine, { data: "bad" }]))).to.equal(refused);
    expect((await failure(() => orders.sendMany([fine, { data: () => 1 }]))).name).to.equal("DataCloneError");
    expect(await message(() => orders.sendMany([fine], { tenantId: "" }))).to.equal("tenantId must be non-empty");
    // Numbers are checked before any schema.
    expect(await message(() => orders.sendMany([{ data: "bad" }, { data: "b", delayMs: Number.NaN }]))).to.contain("item 1");
    expect((await orders.stats()).accepted).to.equal(0);
    const large = make({ limits: { payloadBytes: 10 * 1_024 * 1_024 } });
    const half = { data: "x".repeat(8 * 1_024 * 1_024) };
    expect(await message(() => large.sendMany([half, half, half]))).to.contain("item 1: payload exceeds limit");
    expect((await large.stats()).accepted).to.equal(0);
  });

  test("values of a batch are taken at the call, also one of the most there can be", async () => {
    const orders = make();
    const item = { at: new Date(5) };
    const sending = orders.sendMany(Array(1_000).fill({ data: item }));
    item.at.setTime(6);
    expect(await sending).to.have.length(1_000);
    const received = await orders.recvMany(1_000);
    expect(received).to.have.length(1_000);
    expect(received[999]?.data).to.deep.equal({ at: new Date(5) });
    expect(await orders.ackMany(received)).to.deep.equal(Array(1_000).fill(true));
    expect(await orders.stats()).to.include({ accepted: 1_000, settled: 1_000 });
  });

  test("a receive of many waits for the first, and takes what else is there, one of a key", async () => {
    const orders = make();
    const waiting = orders.recvMany(2);
    await settled();
    for (const key of ["a", "a", "b", "c"]) void orders.send({ data: key, orderingKey: key });
    expect(data(await waiting)).to.deep.equal(["a"]);
    expect(data(await orders.reader().recvMany(10, { consumerId: "me" }))).to.deep.equal(["b", "c"]);
    expect(await orders.recvMany(10, { wait: false })).to.deep.equal([]);
    const abort = new AbortController();
    const aborted = orders.recvMany(10, { signal: abort.signal });
    await settled();
    abort.abort();
    expect(await aborted).to.deep.equal([]);
    for (const max of [0, 1_001, 1.5, Number.NaN, undefined]) {
      expect(await message(() => orders.recvMany(max as number))).to.match(/^max must be /);
    }
  });

  test("an ack of many tells for each whether it was held", () =>
    pinned(async (time) => {
      const orders = make();
      await orders.sendMany([{ data: 1 }, { data: 2 }, { data: 3 }]);
      const late = await orders.recvMany(1, { leaseMs: 10 });
      const held = await orders.recvMany(2);
      await held[0]?.ack();
      await time.advance(10);
      expect(await orders.ackMany([...late, ...held])).to.deep.equal([false, false, true]);
      expect(await orders.ackMany([])).to.deep.equal([]);
    }));

  test("what is no delivery, or was changed, is refused before anything is done with the others", async () => {
    const orders = make();
    await orders.sendMany([{ data: 1 }, { data: 2 }]);
    const [first, second] = (await orders.recvMany(2)) as [QueueReceived<any>, QueueReceived<any>];
    const holed = [first, second];
    delete holed[1];
    for (const wrong of [[first, null], [first, 5], [first, { ...second }], holed] as QueueReceived<any>[][]) {
      expect(await message(() => orders.ackMany(wrong))).to.equal("item 1 was not received from this queue");
    }
    const own = second.deliveryId;
    for (const changed of ["x", `${own}0`, first.deliveryId, 5 as never]) {
      second.deliveryId = changed;
      const said = `must have the deliveryId ${own}, but has ${changed}`;
      expect(await message(() => orders.ackMany([first, second]))).to.equal(`item 1 ${said}`);
      expect(await message(() => orders.deadLetter(second, "no"))).to.equal(`it ${said}`);
      expect(await message(() => orders.giveBack(second))).to.equal(`it ${said}`);
    }
    expect(await orders.stats()).to.include({ leased: 2, dead: 0, settled: 0 });
    second.deliveryId = own;
    expect(await orders.ackMany([first, second])).to.deep.equal([true, true]);
  });

  test("an ack of many takes what one queue gave to one tenant, and nothing else", () =>
    pinned(async () => {
      const orders = make();
      const other = make();
      // At one instant, the numbers are the same in all of them.
      for (const tenantId of ["a", "b"]) await orders.send({ data: tenantId, tenantId });
      await other.send({ data: 1, tenantId: "a" });
      const [a, b] = await Promise.all(["a", "b"].map((tenantId) => orders.recv({ tenantId })));
      const foreign = await other.recv({ tenantId: "a" });
      const both = [a, b] as QueueReceived<any>[];
      expect(await message(() => orders.ackMany(both))).to.equal("item 1 is of tenant b: a batch is of one (a)");
      expect(await message(() => orders.ackMany([a!, foreign!]))).to.equal("item 1 was not received from this queue");
      expect(await message(() => orders.ackMany(Array(1_001).fill(a)))).to.contain("0 to 1000, but are 1001");
      expect(await orders.ackMany([b!])).to.deep.equal([true]);
      expect((await orders.stats({ tenantId: "a" })).leased).to.equal(1);
      expect((await other.stats({ tenantId: "a" })).leased).to.equal(1);
    }));
});

describe("queue, looked at", () => {
  test("stats are those of one instant, and of one tenant", () =>
    pinned(async (time) => {
      const orders = make({ delivery: { maxDeliveries: 1 } });
      expect(await orders.stats()).to.deep.equal({
        ready: 0, blocked: 0, delayed: 0, leased: 0, dead: 0, accepted: 0, settled: 0,
        oldestReadyAgeMs: null, nextDue: null, paused: null, rateLimit: null, settling: false,
      });
      await orders.sendMany([{ data: 1 }, { data: 2 }, { data: 3 }, { data: 4, delayMs: 5_000 }]);
      await orders.sendMany([{ data: 5, orderingKey: "k" }, { data: 6, orderingKey: "k" }]);
      await (await orders.recv())?.ack();
      await (await orders.recv())?.nack();
      await orders.recv();
      await time.advance(1_000);
      expect(await orders.stats()).to.deep.equal({
        ready: 2, blocked: 1, delayed: 1, leased: 1, dead: 1, accepted: 6, settled: 1,
        oldestReadyAgeMs: 1_000, nextDue: time.now() + 4_000, paused: null, rateLimit: null, settling: false,
      });
      expect((await orders.stats({ tenantId: "other" })).accepted).to.equal(0);
    }));

  test("peek, list and get show messages as they are now, and change nothing", () =>
    pinned(async (time) => {
      const orders = make();
      const start = time.now();
      const sent = await orders.sendMany([
        { data: { n: 1 }, meta: { from: "test" }, orderingKey: "k" },
        { data: new Map([[1, 2]]), orderingKey: "k" },
        { data: "later", delayMs: 5_000 },
        { data: "held" },
      ]);
      const ids = sent.map(({ messageId }) => messageId);
      const taken = await orders.recv();
      const held = await orders.recv({ consumerId: "me", leaseMs: 1_000 });
      await taken?.nack({ reason: "why", error: "what" });
      expect(held?.data).to.equal("held");
      expect(await orders.peek(10)).to.deep.equal([
        {
          data: { n: 1 }, meta: { from: "test" }, orderingKey: "k", messageId: ids[0], state: "ready", blocked: false,
          attempts: 1, enqueuedAt: start, due: start, expiresAt: start + 7 * 24 * 3_600_000, note: "why", lastError: "what",
          lease: null,
        },
      ]);
      const ready = await orders.list("ready");
      expect(ready.items.map(({ messageId, blocked }) => [messageId, blocked])).to.deep.equal([[ids[0], false], [ids[1], true]]);
      expect(ready.items[1]?.data).to.deep.equal(new Map([[1, 2]]));
      expect((await orders.list("delayed")).items).to.have.length(1);
      expect((await orders.list("delayed")).items[0]).to.include({ messageId: ids[2], due: start + 5_000, attempts: 0 });
      const [leased] = (await orders.list("leased")).items;
      expect(leased).to.deep.include({ messageId: ids[3], state: "leased", attempts: 1 });
      expect(leased?.lease).to.deep.equal({ fence: Number(held?.deliveryId.split(".")[1]), end: start + 1_000, consumer: "me" });
      expect(await orders.get(ids[3]!)).to.deep.equal(leased);
      for (const none of ["1", "x", "", "-1"]) expect(await orders.get(none)).to.equal(null);
      expect(await orders.get(ids[0]!, { tenantId: "other" })).to.equal(null);
      // A lease that has ended is not shown.
      await time.advance(1_000);
      expect(await orders.get(ids[3]!)).to.include({ state: "ready", lease: null });
      expect(await held?.ack()).to.equal(false);
      expect((await orders.recv({ wait: false }))?.attempt).to.equal(2);
    }));

  test("a listing goes page by page", async () => {
    const orders = make();
    await orders.sendMany([1, 2, 3, 4, 5].map((data) => ({ data })));
    const first = await orders.list("ready", { limit: 2 });
    const second = await orders.list("ready", { limit: 2, after: first.next! });
    const third = await orders.list("ready", { limit: 2, after: second.next! });
    expect([first, second, third].map(({ items }) => data(items))).to.deep.equal([[1, 2], [3, 4], [5]]);
    expect(third.next).to.equal(null);
    expect(data(await orders.peek(2))).to.deep.equal([1, 2]);
    expect(await message(() => orders.list("dead" as never))).to.equal(
      'state must be one of "ready", "delayed", "leased", but is dead',
    );
    for (const limit of [0, 1_001, 0.5]) expect(await message(() => orders.list("ready", { limit }))).to.match(/^limit must be /);
    expect((await failure(() => orders.list("ready", { after: "nowhere" }))).message).to.contain("nowhere");
    expect(await message(() => orders.peek(0))).to.equal("max must be > 0");
  });
});

describe("queue, held back and emptied", () => {
  test("a pause hands nothing out until its end or a resume, and receivers wait", () =>
    pinned(async (time) => {
      const orders = make();
      expect(await orders.pause({ reason: "stocktaking" })).to.equal("yes");
      expect(await orders.pause({ reason: "stocktaking" })).to.equal("no");
      const received = orders.recv();
      await orders.send({ data: 1 });
      expect(await orders.recv({ wait: false })).to.equal(null);
      expect((await orders.stats()).paused).to.deep.equal({ until: null, reason: "stocktaking" });
      expect((await orders.stats({ tenantId: "other" })).paused).to.equal(null);
      expect(await orders.resume()).to.equal("yes");
      expect(await orders.resume()).to.equal("no");
      expect((await received)?.data).to.equal(1);
      expect(await orders.pause({ forAtMostMs: 500 })).to.equal("yes");
      expect((await orders.stats()).paused).to.deep.equal({ until: time.now() + 500, reason: null });
      let at = 0;
      void orders.recv().then(() => (at = Date.now()));
      await orders.send({ data: 2 });
      const end = time.now() + 500;
      await time.advance(1_000);
      expect(at).to.equal(end);
      for (const forAtMostMs of [0, -1, Number.NaN]) {
        expect(await message(() => orders.pause({ forAtMostMs }))).to.equal("forAtMostMs must be > 0");
      }
    }));

  test("a limit of the rate hands out so many in each window, and receivers wait for the next", () =>
    pinned(async (time) => {
      const orders = make();
      const limit: SetRateLimitConfig = { limit: 2, perMs: 1_000 };
      expect(await orders.setRateLimit(limit)).to.equal("yes");
      expect(await orders.setRateLimit(limit)).to.equal("no");
      await orders.sendMany([1, 2, 3, 4, 5, 6].map((data) => ({ data })));
      await time.advance(300);
      expect((await orders.stats()).rateLimit).to.deep.equal({ ...limit, used: 0, windowEndsAt: null });
      const end = time.now() + 1_000;
      expect(data(await orders.recvMany(10))).to.deep.equal([1, 2]);
      expect(await orders.recv({ wait: false })).to.equal(null);
      const { rateLimit, ready } = await orders.stats();
      expect([rateLimit, ready]).to.deep.equal([{ ...limit, used: 2, windowEndsAt: end }, 4]);
      const got: [data: unknown, at: number][] = [];
      for (let at = 0; at < 3; at += 1) void orders.recv().then((one) => got.push([one?.data, Date.now()]));
      await time.advance(999);
      expect(got).to.deep.equal([]);
      await time.advance(1);
      expect(got).to.deep.equal([[3, end], [4, end]]);
      await time.advance(5_000);
      expect(got[2]).to.deep.equal([5, end + 1_000]);
      expect((await orders.stats()).rateLimit).to.deep.equal({ ...limit, used: 0, windowEndsAt: null });
    }));

  test("every delivery counts towards a limit of the rate, which lasts until it is replaced or removed", () =>
    pinned(async (time) => {
      const orders = make();
      await orders.setRateLimit({ limit: 3, perMs: 1_000 });
      await orders.sendMany([1, 2, 3].map((data) => ({ data })));
      // A message that is given back keeps its place, one that is returned goes behind the others.
      expect(await orders.giveBack((await orders.recv())!)).to.equal(true);
      expect(await (await orders.recv())?.nack()).to.equal(true);
      expect((await orders.recv())?.data).to.equal(2);
      expect(await orders.recv({ wait: false })).to.equal(null);
      await time.advance(100);
      // What was handed out in the window under way counts towards another limit.
      expect(await orders.setRateLimit({ limit: 4, perMs: 500 })).to.equal("yes");
      const shown = { limit: 4, perMs: 500, used: 3, windowEndsAt: time.now() + 500 };
      expect((await orders.stats()).rateLimit).to.deep.equal(shown);
      expect(data(await orders.recvMany(10))).to.deep.equal([3]);
      const waits = orders.recv();
      expect(await orders.removeRateLimit()).to.equal("yes");
      expect(await orders.removeRateLimit()).to.equal("no");
      expect((await waits)?.data).to.equal(1);
      expect((await orders.stats()).rateLimit).to.equal(null);
      await orders.setRateLimit({ limit: 1, perMs: 1_000 });
      expect(await orders.delete()).to.equal(true);
      expect((await orders.stats()).rateLimit).to.equal(null);
    }));

  test("a limit of the rate belongs to one tenant", async () => {
    const orders = make();
    const tenantId = "other";
    expect(await orders.setRateLimit({ limit: 1, perMs: 60_000, tenantId })).to.equal("yes");
    expect((await orders.stats()).rateLimit).to.equal(null);
    expect((await orders.stats({ tenantId })).rateLimit).to.include({ limit: 1, perMs: 60_000, used: 0 });
    for (const of of [{}, { tenantId }]) await orders.sendMany([{ data: 1 }, { data: 2 }], of);
    expect(await orders.recvMany(10)).to.have.length(2);
    expect(await orders.recvMany(10, { tenantId })).to.have.length(1);
    expect(await orders.removeRateLimit()).to.equal("no");
    expect(await orders.removeRateLimit({ tenantId })).to.equal("yes");
    expect(await orders.recvMany(10, { tenantId })).to.have.length(1);
    const limit = { limit: 1, perMs: 1 };
    expect(await message(() => orders.setRateLimit({ ...limit, tenantId: "" }))).to.equal("tenantId must be non-empty");
    expect(await message(() => orders.removeRateLimit({ tenantId: "" }))).to.equal("tenantId must be non-empty");
  });

  test("a limit of the rate is a whole number from 1, in a time from 1 ms to 10 years", () => checksRates(make()));

  test("remove and purge take what nobody holds, delete takes all", async () => {
    const orders = make({ delivery: { maxDeliveries: 1 } });
    const sent = await orders.sendMany([{ data: 1 }, { data: 2 }, { data: 3 }, { data: 4, delayMs: 60_000 }, { data: 5 }]);
    const [first, second] = sent.map(({ messageId }) => messageId) as [string, string];
    const held = await orders.recv();
    expect(await orders.remove(first)).to.equal("held");
    expect(await orders.remove(second)).to.equal("removed");
    expect(await orders.remove(second)).to.equal("absent");
    expect(await orders.remove("none")).to.equal("absent");
    expect(await orders.purge({ tenantId: "other" })).to.equal(0);
    expect(await orders.purge()).to.equal(3);
    expect(await orders.stats()).to.include({ ready: 0, delayed: 0, leased: 1, settled: 4 });
    expect(await orders.deadLetter(held!, "no")).to.equal(true);
    expect(await orders.delete({ tenantId: "other" })).to.equal(false);
    expect(await orders.delete()).to.equal(true);
    expect(await orders.delete()).to.equal(false);
    expect(await orders.stats()).to.include({ dead: 0, accepted: 0 });
  });

  test("a delivery that is given back was none, and one that is refused is a dead letter", () =>
    pinned(async (time) => {
      const orders = make();
      await orders.send({ data: 1 });
      const first = await orders.recv();
      expect(await orders.giveBack(first!)).to.equal(true);
      expect(await orders.giveBack(first!)).to.equal(false);
      const second = await orders.recv({ leaseMs: 1_000 });
      expect(second?.attempt).to.equal(1);
      expect(await orders.deadLetter(second!, "spoilt", { error: "smells" })).to.equal(true);
      expect(await orders.deadLetter(second!, "spoilt")).to.equal(false);
      const [letter] = (await orders.deadLetters().list()).items;
      expect(letter).to.include({ reason: "rejected", note: "spoilt", lastError: "smells", attempts: 1 });
      for (const none of [undefined, ""] as string[]) {
        await orders.send({ data: 3 });
        await orders.deadLetter((await orders.recv())!, none);
        const [unsaid] = (await orders.deadLetters().list({ limit: 1 })).items;
        expect(unsaid).to.include({ data: 3, reason: "rejected", note: null, lastError: null });
      }
      await orders.send({ data: 2 });
      const late = await orders.recv({ leaseMs: 1_000 });
      await time.advance(1_000);
      expect(await orders.deadLetter(late!, "late")).to.equal(false);
      expect(await orders.giveBack(late!)).to.equal(false);
      for (const call of [() => make().giveBack(late!), () => make().deadLetter(late!, "foreign")])
        expect((await failure(call)).message).to.equal("it was not received from this queue");
    }));
});

describe("queue dead letters", () => {
  test("a dead letter is the whole message with what became of it", () =>
    pinned(async (time) => {
      const start = time.now();
      const { dead, ids, orders } = await withDead(1, time.advance);
      const letter = {
        data: 0, meta: { at: 0 }, orderingKey: "k", messageId: ids[0], reason: "max_deliveries_exceeded", note: "note 0",
        lastError: "error 0", attempts: 1, enqueuedAt: start, movedAt: start, keptUntil: start + 7 * 24 * 3_600_000,
      };
      expect(await dead.list()).to.deep.equal({ items: [letter], next: null });
      expect(await dead.get(ids[0]!)).to.deep.equal(letter);
      for (const none of ["1", "x", ""]) expect(await dead.get(none)).to.equal(null);
      expect((await orders.deadLetters({ tenantId: "other" }).list()).items).to.deep.equal([]);
      expect(() => orders.deadLetters({ tenantId: "" })).to.throw("tenantId must be non-empty");
    }));

  test("they are listed newest first, page by page, by reason and by time", () =>
    pinned(async (time) => {
      const start = time.now();
      const { dead, orders } = await withDead(4, time.advance, { limits: { maxMessageAgeMs: 10_000 } });
      const first = await dead.list({ limit: 3 });
      expect(data(first.items)).to.deep.equal([3, 2, 1]);
      expect(data((await dead.list({ limit: 3, after: first.next! })).items)).to.deep.equal([0]);
      expect(data((await dead.list({ movedBefore: start + 2_000 })).items)).to.deep.equal([1, 0]);
      expect(data((await dead.list({ movedAfter: start + 2_000 })).items)).to.deep.equal([3, 2]);
      expect(data((await dead.list({ movedAfter: start + 1_000, movedBefore: start + 2_000 })).items)).to.deep.equal([1]);
      await orders.send({ data: "old" });
      await time.advance(10_000);
      expect(data((await dead.list({ reason: "expired" })).items)).to.deep.equal(["old"]);
      expect(data((await dead.list({ reason: "rejected" })).items)).to.deep.equal([]);
      expect(await message(() => dead.list({ reason: "lost" as never }))).to.equal(
        'reason must be one of "expired", "max_deliveries_exceeded", "rejected", "undecodable", but is lost',
      );
      expect(await message(() => dead.list({ movedBefore: Number.NaN }))).to.equal("movedBefore must be >= 0");
      expect(await message(() => dead.list({ limit: 1_001 }))).to.match(/^limit must be /);
    }));

  test("a requeued one is the message again, after its delay, with its attempts counted anew", () =>
    pinned(async (time) => {
      const { dead, ids, orders } = await withDead(2, time.advance);
      const waiting = orders.recv();
      expect(await dead.requeue(ids[0]!)).to.equal(true);
      expect(await waiting).to.deep.include({ data: 0, meta: { at: 0 }, orderingKey: "k", messageId: ids[0], attempt: 1 });
      expect(await dead.requeue(ids[0]!)).to.equal(false);
      expect(await dead.requeue("x")).to.equal(false);
      expect(await (await waiting)?.ack()).to.equal(true);
      expect(await dead.requeue(ids[1]!, { delayMs: 5_000 })).to.equal(true);
      await time.advance(4_999);
      expect(await orders.recv({ wait: false })).to.equal(null);
      await time.advance(1);
      expect((await orders.recv({ wait: false }))?.data).to.equal(1);
      expect(await message(() => dead.requeue(ids[1]!, { delayMs: Infinity }))).to.equal("delayMs must be >= 0");
    }));

  test("many are requeued or removed oldest first, as the filter and the limit say", () =>
    pinned(async (time) => {
      const start = time.now();
      const { dead, ids, orders } = await withDead(6, time.advance);
      expect(await dead.remove(ids[5]!)).to.equal(true);
      expect(await dead.remove(ids[5]!)).to.equal(false);
      expect(await dead.remove("x")).to.equal(false);
      expect(await dead.requeueAll({ limit: 2, delayMs: 1_000 })).to.equal(2);
      expect(data((await orders.list("delayed")).items)).to.deep.equal([0, 1]);
      expect(await dead.purge({ reason: "expired" })).to.equal(0);
      expect(await dead.purge({ movedAfter: start + 3_000, limit: 1 })).to.equal(1);
      expect(data((await dead.list()).items)).to.deep.equal([4, 2]);
      expect(await dead.requeueAll({ movedBefore: start + 4_000 })).to.equal(1);
      expect(await dead.purge()).to.equal(1);
      expect(await dead.requeueAll()).to.equal(0);
      expect(await orders.stats()).to.include({ ready: 1, delayed: 2, dead: 0, settled: 3 });
      expect(await message(() => dead.purge({ limit: 0 }))).to.equal("limit must be > 0");
      expect(await message(() => dead.requeueAll({ limit: 1.5 }))).to.equal("limit must be a whole number > 0, but is 1.5");
    }));

  test("one leaves at its time, without a call", () =>
    pinned(async (time) => {
      const { dead, ids, orders } = await withDead(1, time.advance, { limits: { dlqRetentionMs: 60_000 } });
      await time.advance(58_999);
      expect(await dead.get(ids[0]!)).to.include({ data: 0 });
      await time.advance(1);
      expect(await dead.get(ids[0]!)).to.equal(null);
      expect(await dead.requeue(ids[0]!)).to.equal(false);
      expect(await orders.stats()).to.include({ dead: 0, settled: 1 });
    }));

  test("calls take effect in the order in which they are made, and work without their object", async () => {
    const { sendMany, recvMany, pause, resume, setRateLimit, removeRateLimit, stats, purge, deadLetters } = make();
    const { list } = deadLetters();
    const [, paused, none, resumed, got, left] = await Promise.all([
      sendMany([{ data: 1 }, { data: 2 }, { data: 3 }]), pause(), recvMany(1, { wait: false }), resume(), recvMany(1), purge(),
    ]);
    expect([paused, none, resumed, data(got), left]).to.deep.equal(["yes", [], "yes", [1], 2]);
    expect(await stats()).to.include({ leased: 1, settled: 2 });
    const limit = { limit: 1, perMs: 60_000 };
    expect(await Promise.all([setRateLimit(limit), removeRateLimit()])).to.deep.equal(["yes", "yes"]);
    expect((await list()).items).to.deep.equal([]);
  });
});
