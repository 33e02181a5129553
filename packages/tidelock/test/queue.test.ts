import { queue, type QueueReader, type QueueReceived } from "tidelock/browser/queue";
import { z } from "zod";
import { any, countListeners, countTimers, describe, expect, failure, pinned, settled, test } from "./harness.js";
import { checksInOrder, isLeftAtOnce, refusesInvalid, refusesNames, takesNothingOnceAborted, waitsAsTold } from "./shared.js";

const DAY = 24 * 3_600_000;
const TEN_YEARS = 3_650 * DAY;
const now = { wait: false } as const;

const make = (options = {}) => queue({ id: "orders", schema: any<string>(), ...options });

/** All available messages, acknowledged. */
async function drain<T>(reader: QueueReader<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const message of reader.stream(now)) {
    all.push(message.data);
    expect(await message.ack()).to.equal(true);
  }
  return all;
}

const message = async (call: () => unknown) => (await failure(call)).message;

describe("queue", () => {
  test("a message is received once, and done with its ack", () =>
    pinned(async (time) => {
      const orders = make();
      const sent = await orders.send({ data: "one", meta: { from: "test" }, orderingKey: "k" });
      expect(sent).to.deep.equal({ messageId: sent.messageId, duplicate: false });
      const received = (await orders.recv({ ...now, consumerId: "test" })) as QueueReceived<string>;
      const { ack, touch, nack, ...fields } = received;
      expect([ack, touch, nack].map((method) => typeof method)).to.deep.equal(["function", "function", "function"]);
      expect(fields).to.deep.equal({
        data: "one",
        messageId: sent.messageId,
        deliveryId: received.deliveryId,
        attempt: 1,
        leaseUntil: time.now() + 30_000,
        orderingKey: "k",
        meta: { from: "test" },
      });
      expect(await orders.recv(now)).to.equal(null);
      expect(await ack()).to.equal(true);
      expect([await ack(), await touch(), await nack()]).to.deep.equal([false, false, false]);
    }));

  test("a message without key and metadata has none", async () => {
    const orders = make();
    await orders.send({ data: "one" });
    expect(await orders.recv(now)).to.have.all.keys(
      ...["data", "messageId", "deliveryId", "attempt", "leaseUntil", "ack", "touch", "nack"],
    );
  });

  test("message ids are decimal and grow, and each delivery has its own", async () => {
    const orders = make();
    const ids: string[] = [];
    for (let sent = 0; sent < 20; sent += 1) ids.push((await orders.send({ data: "one" })).messageId);
    for (const id of ids) expect(id).to.match(/^\d+$/);
    expect([...ids].sort((a, b) => Number(a) - Number(b))).to.deep.equal(ids);
    expect(new Set(ids).size).to.equal(20);
    const first = await orders.recv(now);
    await first?.nack();
    const deliveries = new Set<string>();
    for await (const { deliveryId } of orders.stream(now)) deliveries.add(deliveryId);
    expect(deliveries.size).to.equal(20);
    expect(deliveries.has(first?.deliveryId ?? "")).to.equal(false);
  });

  test("messages come in the order of their sends, a late one behind what was due before it", () =>
    pinned(async (time) => {
      const orders = make();
      void orders.send({ data: "late", delayMs: 10 });
      for (const data of ["one", "two", "three"]) void orders.send({ data });
      await time.advance(10);
      void orders.send({ data: "last" });
      expect(await drain(orders)).to.deep.equal(["one", "two", "three", "late", "last"]);
    }));

  test("what comes back stands behind what is ready", () =>
    pinned(async (time) => {
      const orders = make({ delivery: { defaultLeaseMs: 1_000 } });
      for (const data of ["one", "two", "three"]) void orders.send({ data });
      // All of it within one millisecond.
      expect(await (await orders.recv(now))?.nack()).to.equal(true);
      expect((await orders.recv(now))?.data).to.equal("two");
      await time.advance(1_000);
      expect(await drain(orders)).to.deep.equal(["three", "one", "two"]);
    }));

  test("all readers share the messages, and methods work without their objects", async () => {
    const orders = make();
    const { send, recv, reader } = orders;
    for (const data of ["one", "two", "three"]) void send({ data });
    const own = reader();
    const { stream } = reader();
    const got = [(await recv(now))?.data, (await own.recv(now))?.data];
    for await (const { data } of stream(now)) got.push(data);
    expect(got).to.deep.equal(["one", "two", "three"]);
  });

  test("a queue belongs to its factory call, and tenants share nothing", async () => {
    const orders = make({ tenantId: "a" });
    const messages = await Promise.all(["b", "default", undefined].map((tenantId) => orders.send({ data: `${tenantId}`, tenantId })));
    expect(messages.map(({ duplicate }) => duplicate)).to.deep.equal([false, false, false]);
    expect(await make({ tenantId: "a" }).recv(now)).to.equal(null);
    const b = await orders.recv({ ...now, tenantId: "b" });
    const a = await orders.recv(now);
    expect([a?.data, b?.data]).to.deep.equal(["undefined", "b"]);
    expect(await orders.recv({ ...now, tenantId: "b" })).to.equal(null);
    // Each is settled for the tenant that received it.
    expect([await b?.touch(), await b?.nack(), await a?.ack()]).to.deep.equal([true, true, true]);
    expect((await orders.recv({ ...now, tenantId: "b" }))?.attempt).to.equal(2);
    expect((await orders.recv({ ...now, tenantId: "default" }))?.data).to.equal("default");
  });

  test("effects come in the order of the calls", async () => {
    const orders = make();
    const [empty, , first, none, , second] = await Promise.all([
      orders.recv(now),
      orders.send({ data: "one" }),
      orders.recv(now),
      orders.recv(now),
      orders.send({ data: "two" }),
      orders.recv(now),
    ]);
    expect([empty, first?.data, none, second?.data]).to.deep.equal([null, "one", null, "two"]);
    const settles = await Promise.all([first?.touch(), first?.ack(), first?.nack(), second?.nack(), second?.ack(), orders.recv(now)]);
    expect(settles.slice(0, 5)).to.deep.equal([true, true, false, true, false]);
    expect((settles[5] as QueueReceived<string>).attempt).to.equal(2);
  });
});

describe("queue leases", () => {
  test("a lease is over at its deadline, and not a millisecond before", () =>
    pinned(async (time) => {
      const orders = make({ delivery: { defaultLeaseMs: 1_000 } });
      await orders.send({ data: "one" });
      const first = await orders.recv();
      expect(first?.leaseUntil).to.equal(time.now() + 1_000);
      // Timers stand still: the deadline alone decides.
      time.set(time.now() + 999);
      expect(await orders.recv(now)).to.equal(null);
      time.set(time.now() + 1);
      expect([await first?.touch(), await first?.nack(), await first?.ack()]).to.deep.equal([false, false, false]);
      const second = await orders.recv(now);
      expect(second?.attempt).to.equal(2);
      expect(await first?.ack()).to.equal(false);
      expect(await second?.ack()).to.equal(true);
    }));

  test("a lease is the receive's own; a touch restarts that one, or sets what it says", () =>
    pinned(async (time) => {
      const orders = make();
      await orders.send({ data: "one" });
      const first = await orders.recv({ leaseMs: 60_000 });
      const until = time.now() + 60_000;
      expect(first?.leaseUntil).to.equal(until);
      await time.advance(59_999);
      expect(await first?.touch()).to.equal(true);
      // It is fixed at the delivery.
      expect(first?.leaseUntil).to.equal(until);
      await time.advance(59_999);
      expect(await orders.recv(now)).to.equal(null);
      expect(await first?.touch({ leaseMs: 0.5 })).to.equal(true);
      await time.advance(1);
      expect(await first?.ack()).to.equal(false);
      expect((await orders.recv(now))?.leaseUntil).to.equal(time.now() + 30_000);
    }));

  test("a lapsed lease reaches a parked receiver", () =>
    pinned(async (time) => {
      const orders = make();
      await orders.send({ data: "one" });
      await orders.recv({ leaseMs: 1_000 });
      let again: QueueReceived<string> | null = null;
      void orders.recv().then((received) => (again = received));
      await time.advance(999);
      expect(again).to.equal(null);
      await time.advance(1);
      expect(again).to.include({ data: "one", attempt: 2 });
    }));

  test("a message is handed over so many times and no more", () =>
    pinned(async (time) => {
      const orders = make({ delivery: { maxDeliveries: 3, defaultLeaseMs: 1_000 } });
      for (const fails of [() => time.advance(1_000), (received: QueueReceived<string>) => received.nack()]) {
        await orders.send({ data: "one" });
        for (let attempt = 1; attempt <= 3; attempt += 1) {
          const received = (await orders.recv(now)) as QueueReceived<string>;
          expect(received.attempt).to.equal(attempt);
          await fails(received);
        }
        expect(await orders.recv(now)).to.equal(null);
      }
      const standard = make();
      await standard.send({ data: "one" });
      for (let attempt = 1; attempt <= 10; attempt += 1) {
        // The last one becomes a dead letter, which returns true as well.
        expect(await (await standard.recv(now))?.nack({ reason: "test", error: "none" })).to.equal(true);
      }
      expect(await standard.recv(now)).to.equal(null);
      make({ delivery: { maxDeliveries: Number.MAX_SAFE_INTEGER } });
    }));
});

describe("queue times", () => {
  for (const delayMs of [1, 1_000, 30 * DAY, TEN_YEARS]) {
    test(`a delay of ${delayMs} ms is over at its deadline, for who asks and for who waits`, () =>
      pinned(async (time) => {
        const orders = make();
        void orders.send({ data: "one", delayMs });
        time.set(time.now() + delayMs - 1);
        expect(await orders.recv(now)).to.equal(null);
        time.set(time.now() + 1);
        expect((await orders.recv(now))?.data).to.equal("one");
        let got: string | undefined;
        void orders.send({ data: "two", delayMs });
        void orders.recv({ timeoutMs: Infinity, leaseMs: TEN_YEARS }).then((received) => (got = received?.data));
        // The first message comes back meanwhile, unless it is acknowledged.
        for await (const { ack } of orders.stream(now)) await ack();
        await time.advance(delayMs - 1);
        const early = got;
        await time.advance(1);
        expect([early === "two", got !== undefined]).to.deep.equal([false, true]);
      }));
  }

  test("a part of a millisecond is rounded up, and a negative delay counts as none", () =>
    pinned(async (time) => {
      const orders = make();
      void orders.send({ data: "later", delayMs: 0.1 });
      void orders.send({ data: "one", delayMs: -5 });
      void orders.send({ data: "two", delayMs: 0 });
      const one = await orders.recv(now);
      expect([one?.data, await one?.nack({ delayMs: -1 })]).to.deep.equal(["one", true]);
      expect((await drain(orders)).sort()).to.deep.equal(["one", "two"]);
      await time.advance(1);
      expect(await drain(orders)).to.deep.equal(["later"]);
    }));

  test("a nack's delay holds the message back, and one too long leaves the delivery as it was", () =>
    pinned(async (time) => {
      const orders = make({ limits: { maxNackDelayMs: 5_000 } });
      await orders.send({ data: "one" });
      const first = await orders.recv();
      const text = await message(() => first?.nack({ delayMs: 5_001 }));
      expect(text).to.equal("nack delayMs (5001) exceeds maxNackDelayMs (5000)");
      expect(await first?.nack({ delayMs: 5_000 })).to.equal(true);
      time.set(time.now() + 4_999);
      expect(await orders.recv(now)).to.equal(null);
      time.set(time.now() + 1);
      expect((await orders.recv(now))?.attempt).to.equal(2);
      for (const delayMs of [5_000.5, 1e15, Infinity]) {
        const said = `nack delayMs (${delayMs}) exceeds maxNackDelayMs (5000)`;
        expect(await message(() => first?.nack({ delayMs }))).to.equal(said);
      }
      // It is checked first, whatever the state of the delivery.
      expect(await message(() => first?.nack({ delayMs: 5_001 }))).to.equal(text);
      const standard = make();
      await standard.send({ data: "one" });
      const held = await standard.recv();
      expect(await message(() => held?.nack({ delayMs: 7 * DAY + 1 }))).to.equal(
        "nack delayMs (604800001) exceeds maxNackDelayMs (604800000)",
      );
      expect(await held?.nack({ delayMs: 7 * DAY })).to.equal(true);
    }));

  for (const maxMessageAgeMs of [1_000, 30 * DAY, TEN_YEARS, undefined]) {
    const age = maxMessageAgeMs ?? 7 * DAY;
    test(`a message is kept for ${age} ms from its due time${maxMessageAgeMs === undefined ? " by default" : ""}`, () =>
      pinned(async (time) => {
        const orders = make({ limits: { maxMessageAgeMs } });
        void orders.send({ data: "in time" });
        void orders.send({ data: "too late" });
        void orders.send({ data: "due later", delayMs: 1 });
        time.set(time.now() + age - 1);
        const held = await orders.recv(now);
        expect(held?.data).to.equal("in time");
        time.set(time.now() + 1);
        // A held message is judged when it comes back.
        expect(await held?.ack()).to.equal(true);
        expect(await drain(orders)).to.deep.equal(["due later"]);
      }));
  }

  test("an hour goes as predicted, also after the clock was set back", () =>
    pinned(async (time) => {
      const orders = make({ delivery: { maxDeliveries: 1_000 } });
      const got: number[] = [];
      const start = time.now();
      const abort = new AbortController();
      const all = (async () => {
        for await (const received of orders.stream({ signal: abort.signal })) {
          got.push(time.now() - start);
          await received.nack({ delayMs: 10 * 60_000 });
        }
      })();
      await orders.send({ data: "one", delayMs: 60_000 });
      await time.advance(3_600_000);
      expect(got).to.deep.equal([1, 11, 21, 31, 41, 51].map((minute) => minute * 60_000));
      time.set(time.now() - 3_600_000);
      await orders.send({ data: "two" });
      await time.advance(0);
      expect(got.length).to.equal(7);
      abort.abort();
      await all;
    }));
});

describe("queue waiting", () => {
  test("a receive that was called before a send gets its message, in the order of the calls", async () => {
    const orders = make();
    const got = await Promise.all([
      orders.recv(),
      orders.reader().recv(),
      orders.send({ data: "one" }),
      orders.send({ data: "two" }),
    ]);
    expect([got[0]?.data, got[1]?.data]).to.deep.equal(["one", "two"]);
  });

  test("a wait ends after 30 s, or when it was said to, or not at all", () => waitsAsTold(() => make()));

  test("an aborted signal gives null and takes nothing", async () => {
    const orders = make();
    const abort = new AbortController();
    const waiting = orders.recv({ signal: abort.signal });
    const next = orders.recv();
    await settled();
    abort.abort();
    expect(await waiting).to.equal(null);
    await orders.send({ data: "one" });
    expect((await next)?.data).to.equal("one");
    await orders.send({ data: "two" });
    expect(await orders.recv({ signal: abort.signal })).to.equal(null);
    expect((await orders.recv(now))?.attempt).to.equal(1);
  });

  test("a stream ends quietly: where nothing is there, with its signal, or when its loop is left", async () => {
    const orders = make();
    for (const data of ["one", "two", "three", "four"]) void orders.send({ data });
    const abort = new AbortController();
    const got: string[] = [];
    for await (const { data, ack } of orders.stream({ signal: abort.signal })) {
      got.push(data);
      await ack();
      if (got.length === 2) queueMicrotask(() => abort.abort());
      if (got.length === 3) break;
    }
    for await (const { data } of orders.stream({ signal: abort.signal })) got.push(data);
    for await (const { data } of orders.stream()) {
      got.push(data);
      break;
    }
    expect(got.length).to.be.within(3, 4);
    expect([...got, ...(await drain(orders))]).to.deep.equal(["one", "two", "three", "four"]);
    expect(await drain(orders)).to.deep.equal([]);
  });

  test("a stream that is left while it waits ends at once and takes nothing", () => {
    const orders = make();
    return isLeftAtOnce(orders, () => orders.send({ data: "one" }));
  });

  test("a wait takes nothing that comes while its abort is told", () => {
    const orders = make();
    return takesNothingOnceAborted(orders, () => orders.send({ data: "one" }));
  });

  test("a wait that is over leaves no listener behind, and none looks now and then", () =>
    pinned(async (time) => {
      const orders = make();
      const { signal, listeners } = countListeners();
      for (let wait = 0; wait < 100; wait += 1) {
        const waiting = orders.recv({ timeoutMs: 1, signal });
        await time.advance(1);
        expect(await waiting).to.equal(null);
      }
      expect(listeners()).to.equal(0);
      const waiting = orders.recv({ timeoutMs: Infinity, signal });
      expect(listeners()).to.equal(1);
      // Let the remains of earlier waits settle.
      await time.advance(DAY);
      const timers = countTimers();
      await time.advance(40 * DAY);
      timers.stop();
      expect(timers.count).to.equal(0);
      await orders.send({ data: "one" });
      expect((await waiting)?.data).to.equal("one");
      expect(listeners()).to.equal(0);
    }));
});

describe("queue ordering", () => {
  test("messages of one key come one at a time and keep their order, and others flow", async () => {
    const orders = make();
    for (const data of ["a1", "a2", "b1", "a3", "none"]) {
      void orders.send({ data, ...(data === "none" ? {} : { orderingKey: data[0]! }) });
    }
    const a1 = await orders.recv(now);
    expect([a1?.data, (await orders.recv(now))?.data, (await orders.recv(now))?.data]).to.deep.equal(["a1", "b1", "none"]);
    expect(await orders.recv(now)).to.equal(null);
    // A returned message keeps its place in its line.
    const [, again] = await Promise.all([a1?.nack(), orders.recv(now)]);
    expect(again).to.include({ data: "a1", attempt: 2 });
    await again?.ack();
    expect(await drain(orders)).to.deep.equal(["a2", "a3"]);
  });

  test("a key may be any text, and a long one is its own", async () => {
    const orders = make();
    const long = "k".repeat(600);
    for (const orderingKey of ["", long, `${long}x`, "\0"]) void orders.send({ data: "one", orderingKey });
    const got: (string | undefined)[] = [];
    for await (const { orderingKey } of orders.stream(now)) got.push(orderingKey);
    expect(got).to.deep.equal(["", long, `${long}x`, "\0"]);
  });

  test("with best effort a key is a label", async () => {
    const orders = make({ ordering: { mode: "best_effort" } });
    for (const data of ["a1", "a2"]) void orders.send({ data, orderingKey: "a" });
    const got = [await orders.recv(now), await orders.recv(now)];
    expect(got.map((received) => [received?.data, received?.orderingKey])).to.deep.equal([["a1", "a"], ["a2", "a"]]);
  });

  test("with partitions the keys share so many lanes", async () => {
    const orders = make({ ordering: { mode: "ordering_key_partitioned", partitions: 3 } });
    const keys = Array.from({ length: 30 }, (_, key) => `key ${key}`);
    for (const orderingKey of keys) void orders.send({ data: orderingKey, orderingKey });
    const held: QueueReceived<string>[] = [];
    const got: string[] = [];
    const takeAll = async () => {
      for await (const received of orders.stream(now)) held.push(received);
    };
    await takeAll();
    expect(held.length).to.equal(3);
    for (let next = held.shift(); next !== undefined; next = held.shift()) {
      expect(await next.ack()).to.equal(true);
      got.push(next.data);
      await takeAll();
      expect(held.length).to.be.at.most(3);
    }
    expect([...got].sort()).to.deep.equal([...keys].sort());
    for (const [mode, text] of [["other", /ordering\.mode.*other/], [7, /ordering\.mode.*7/]] as const) {
      expect(() => make({ ordering: { mode } })).to.throw(text);
    }
    for (const partitions of [0, -1, NaN]) {
      expect(() => make({ ordering: { partitions } })).to.throw("ordering.partitions must be > 0");
    }
    expect(() => make({ ordering: { partitions: 1.5 } })).to.throw(/ordering\.partitions.*1\.5/);
  });
});

describe("queue idempotency", () => {
  test("a repeated key gives the first message's id and sends nothing", async () => {
    const orders = make();
    const first = await orders.send({ data: "one", idempotencyKey: "k" });
    expect(await orders.send({ data: "two", idempotencyKey: "k" })).to.deep.equal({ ...first, duplicate: true });
    expect(await drain(orders)).to.deep.equal(["one"]);
    // Even when the first one is done.
    expect(await orders.send({ data: "two", idempotencyKey: "k" })).to.deep.equal({ ...first, duplicate: true });
    expect((await orders.send({ data: "three", idempotencyKey: "k".repeat(600) })).duplicate).to.equal(false);
    expect((await orders.send({ data: "four", idempotencyKey: "k", tenantId: "other" })).duplicate).to.equal(false);
    for (const data of ["five", "six"]) {
      expect((await orders.send({ data, idempotencyKey: "" })).duplicate).to.equal(false);
    }
    expect(await drain(orders)).to.deep.equal(["three", "five", "six"]);
  });

  test("a key is remembered as long as was said, and not longer for being used", () =>
    pinned(async (time) => {
      const orders = make();
      for (const [life, idempotencyTtlMs] of [[1_000, 1_000], [2, 1.5], [30 * DAY, 30 * DAY], [TEN_YEARS, TEN_YEARS], [7 * DAY, undefined]] as const) {
        const key = { idempotencyKey: `k${life}`, idempotencyTtlMs };
        expect((await orders.send({ data: "one", ...key })).duplicate).to.equal(false);
        time.set(time.now() + life - 1);
        expect((await orders.send({ data: "two", ...key })).duplicate).to.equal(true);
        time.set(time.now() + 1);
        expect((await orders.send({ data: "three", ...key })).duplicate).to.equal(false);
      }
    }));
});

describe("queue arguments", () => {
  test("ids and tenants are 1 to 256 characters", async () => {
    const longest = await refusesNames(make, (orders, tenantId) => [
      () => orders.send({ data: "one", tenantId }),
      () => orders.recv({ tenantId }),
    ]);
    await longest.send({ data: "one" });
    expect(await drain(longest)).to.deep.equal(["one"]);
  });

  test("numbers are checked, and nothing is changed", async () => {
    const orders = make();
    for (const bad of [0, -1, NaN, Infinity, -Infinity]) {
      for (const limit of ["payloadBytes", "maxMessageAgeMs", "maxNackDelayMs", "dlqRetentionMs"]) {
        expect(await message(() => make({ limits: { [limit]: bad } }))).to.equal(`limits.${limit} must be > 0`);
      }
      for (const option of ["defaultLeaseMs", "maxDeliveries"]) {
        expect(await message(() => make({ delivery: { [option]: bad } }))).to.equal(`delivery.${option} must be > 0`);
      }
      expect(await message(() => orders.send({ data: "one", idempotencyTtlMs: bad }))).to.equal("idempotencyTtlMs must be > 0");
      expect(await message(() => orders.recv({ leaseMs: bad }))).to.equal("leaseMs must be > 0");
    }
    for (const bad of [NaN, Infinity]) {
      expect(await message(() => orders.send({ data: "one", delayMs: bad }))).to.equal("delayMs must be >= 0");
    }
    expect(await orders.recv(now)).to.equal(null);
    const long = TEN_YEARS + 1;
    expect(await message(() => orders.send({ data: "one", delayMs: long }))).to.include("delayMs").and.include(String(long));
    expect(await message(() => orders.recv({ leaseMs: long }))).to.include("leaseMs").and.include(String(long));
    expect(await message(() => make({ limits: { maxMessageAgeMs: long } }))).to.include(String(long));
    expect(await message(() => make({ limits: { payloadBytes: 1.5 } }))).to.include("limits.payloadBytes").and.include("1.5");
    expect(await message(() => make({ delivery: { maxDeliveries: 1.5 } }))).to.include("maxDeliveries").and.include("1.5");
    await orders.send({ data: "one" });
    const held = await orders.recv();
    for (const bad of [0, NaN]) {
      expect(await message(() => held?.touch({ leaseMs: bad }))).to.equal("leaseMs must be > 0");
    }
    expect(await message(() => held?.nack({ delayMs: NaN }))).to.equal("delayMs must be >= 0");
    expect(await held?.ack()).to.equal(true);
    make({ prefix: undefined, tenantId: undefined, ordering: undefined, limits: {}, delivery: { maxDeliveries: undefined } });
  });

  test("names and numbers are checked before the schema, and the schema before the size", () =>
    checksInOrder(
      make,
      (orders, data) => orders.send({ data }),
      (orders) => [
        () => orders.send({ data: "bad", tenantId: "" }),
        () => orders.send({ data: "bad", delayMs: NaN }),
        () => orders.send({ data: "bad", idempotencyTtlMs: 0 }),
      ],
    ));

  test("what is too large is refused with both numbers, meta included", async () => {
    const orders = make({ limits: { payloadBytes: 12 } });
    await orders.send({ data: "abc", meta: { a: 1 }, orderingKey: "does not count" });
    expect(await message(() => orders.send({ data: "abcd", meta: { a: 1 } }))).to.equal("payload exceeds limit (12 bytes): 13 bytes");
    expect(await message(() => orders.send({ data: "äääääa" }))).to.equal("payload exceeds limit (12 bytes): 13 bytes");
    // The key of a rejected message stays free.
    await failure(() => orders.send({ data: "far too long", idempotencyKey: "k" }));
    expect((await orders.send({ data: "short", idempotencyKey: "k" })).duplicate).to.equal(false);
    const standard = make();
    await standard.send({ data: "x".repeat(131_070) });
    expect(await message(() => standard.send({ data: "x".repeat(131_071) }))).to.equal("payload exceeds limit (131072 bytes): 131073 bytes");
    expect((await standard.recv(now))?.data.length).to.equal(131_070);
  });
});

describe("queue values", () => {
  test("a schema is applied once, at the send, and its output is what comes", () =>
    pinned(async (time) => {
      let parsed = 0;
      const schema = {
        parse: (value: unknown) => {
          parsed += 1;
          return { length: (value as string).length, at: new Date(0) };
        },
      };
      const lengths = queue({ id: "lengths", schema });
      await lengths.send({ data: "abc" as never });
      for (let attempt = 1; attempt <= 2; attempt += 1) {
        expect((await lengths.recv(now))?.data).to.deep.equal({ length: 3, at: new Date(0) });
        await time.advance(30_000);
      }
      expect(parsed).to.equal(1);
    }));

  test("a value that a schema refuses reaches nothing", async () => {
    await refusesInvalid((schema) => {
      const orders = queue({ id: "orders", schema });
      return { write: (data) => orders.send({ data }), read: () => orders.recv(now) };
    });
  });

  test("a schema that is asynchronous is refused, also if it says so by an error", async () => {
    const schema = z.string().refine(async () => true);
    expect(await message(() => make({ schema }).send({ data: "one" }))).to.equal("schema must validate synchronously");
    const error = new Error("of the schema");
    const failing = z.string().refine(() => {
      throw error;
    });
    expect(await failure(() => make({ schema: failing }).send({ data: "one" }))).to.equal(error);
  });

  test("a schema may send to the same queue", async () => {
    let nested: Promise<unknown> | undefined;
    const orders: ReturnType<typeof make> = queue({
      id: "orders",
      schema: {
        parse: (value: unknown): string => {
          if (value === "outer") nested = orders.send({ data: "inner" });
          return value as string;
        },
      },
    });
    await orders.send({ data: "outer" });
    await nested;
    expect(await drain(orders)).to.deep.equal(["inner", "outer"]);
  });

  test("values are copied, in and out", () =>
    pinned(async (time) => {
      type Order = { items: string[]; at: Date; tags: Map<string, bigint>; file: File; note?: undefined };
      const orders = queue({ id: "orders", schema: any<Order>() });
      const meta = { by: { name: "a" } };
      const file = new File(["text"], "a.txt", { type: "text/plain", lastModified: 7 });
      const order: Order = { items: ["x"], at: new Date(5), tags: new Map([["n", 2n ** 70n]]), file, note: undefined };
      const expected = { items: ["x"], at: new Date(5), tags: new Map([["n", 2n ** 70n]]), note: undefined };
      const sent = orders.send({ data: order, meta });
      order.items.push("y");
      order.at.setTime(9);
      order.tags.clear();
      meta.by.name = "b";
      await sent;
      for (let attempt = 1; attempt <= 2; attempt += 1) {
        const received = (await orders.recv(now)) as QueueReceived<Order>;
        const { file: copy, ...rest } = received.data;
        expect(rest).to.deep.equal(expected);
        expect("note" in received.data).to.equal(true);
        // Some hosts clone a file as a plain blob.
        const isFile = structuredClone(file) instanceof File;
        expect(copy).to.be.instanceOf(isFile ? File : Blob);
        expect([copy.type, await copy.text()]).to.deep.equal([file.type, "text"]);
        if (isFile) expect([copy.name, copy.lastModified]).to.deep.equal(["a.txt", 7]);
        expect(received.meta).to.deep.equal({ by: { name: "a" } });
        received.data.items.length = 0;
        (received.meta?.by as { name: string }).name = "c";
        await time.advance(30_000);
      }
      const refused = await failure(() => orders.send({ data: (() => {}) as never }));
      expect(refused.name).to.equal("DataCloneError");
      expect((await failure(() => orders.send({ data: order, meta: { call: () => {} } }))).name).to.equal("DataCloneError");
    }));
});
