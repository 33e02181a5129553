import * as entry from "tidelock/browser/mutex";
import { LockError, mutex, type Lock, type MutexConfig } from "tidelock/browser/mutex";
import { isRetryableTransportError } from "tidelock/browser/retry";
import { createLocalStorageStore, createMemoryStore, type Store } from "tidelock/browser/store";
import { countTimers, describe, expect, failure, pinned, settled, test } from "./harness.js";
import { withStorage } from "./storage.js";

const START = 1_700_000_000_000;
const YEARS = 3_650 * 24 * 3_600_000;
const make = (options: Partial<MutexConfig> = {}) => mutex({ id: "orders", ...options });

/** Acquires a lock that must be free. */
async function acquired(from: ReturnType<typeof make>, resource = "a", ttl?: number): Promise<Lock> {
  const lock = await from.acquire(resource, ttl);
  if (lock === null) throw new Error("it was not free");
  return lock;
}

describe("mutex", () => {
  test("the entry has these values and no others", () => {
    expect(Object.keys(entry).sort()).to.deep.equal(["LockError", "mutex"]);
  });

  test("a lock says what it is", () =>
    pinned(async () => {
      const lock = await acquired(make());
      expect(Object.keys(lock).sort()).to.deep.equal(["expiration", "fence", "resource", "ttl", "value"]);
      expect(lock).to.include({ resource: "sync:mutex:orders:a", ttl: 10_000, expiration: START + 10_000 });
      expect(lock.value).to.match(/^[0-9a-f]{32}$/);
      expect((await acquired(make({ defaultTtl: 5 }))).ttl).to.equal(5);
      expect((await acquired(make({ defaultTtl: 5 }), "a", 7)).ttl).to.equal(7);
      expect(make().id).to.equal("orders");
    }, START));

  test("fences grow and tokens differ with every grant in the page", () =>
    pinned(async () => {
      const locks: Lock[] = [];
      for (let round = 0; round < 10; round += 1) {
        const orders = make({ id: `m${round % 2}` });
        locks.push(await acquired(orders), await acquired(orders, "b"));
      }
      const fences = locks.map(({ fence }) => fence);
      expect(fences).to.deep.equal([...fences].sort((a, b) => a - b));
      expect(new Set(fences).size).to.equal(20);
      expect(fences.every(Number.isSafeInteger)).to.equal(true);
      expect(new Set(locks.map(({ value }) => value)).size).to.equal(20);
    }));

  test("held, it is not given; released, it is, once", () =>
    pinned(async () => {
      const orders = make({ retryCount: 0 });
      const lock = await acquired(orders);
      expect(await orders.acquire("a")).to.equal(null);
      expect(await orders.acquire("b")).to.not.equal(null);
      expect(await orders.release(lock)).to.equal(true);
      expect(await orders.release(lock)).to.equal(false);
      expect(await orders.acquire("a")).to.not.equal(null);
    }));

  test("effects come in call order, without await between the calls", async () => {
    const orders = make({ retryCount: 0 });
    const lock = await acquired(orders);
    const [released, second, third] = await Promise.all([orders.release(lock), orders.acquire("a"), orders.acquire("a")]);
    expect([released, second === null, third]).to.deep.equal([true, false, null]);
    const [extended, gone, late] = await Promise.all([
      orders.extend(second as Lock, 50),
      orders.release(second as Lock),
      orders.extend(second as Lock, 60),
    ]);
    expect([extended, gone, late, second?.ttl]).to.deep.equal([true, true, false, 50]);
  });

  test("ten waiters get it in order, each in the instant of the release", () =>
    pinned(async () => {
      const orders = make();
      const first = await acquired(orders);
      const got: [number, Lock | null][] = [];
      for (let waiter = 0; waiter < 10; waiter += 1) void orders.acquire("a").then((lock) => got.push([waiter, lock]));
      let lock: Lock | null = first;
      for (let round = 0; round < 10; round += 1) {
        expect(got).to.have.length(round);
        void orders.release(lock as Lock);
        await settled();
        expect(got[round]?.[0]).to.equal(round);
        lock = got[round]?.[1] ?? null;
      }
    }));

  test("a lock ends at its instant, and the first who waits has it then", () =>
    pinned(async (time) => {
      const orders = make();
      const lock = await acquired(orders, "a", 1_000);
      let at = 0;
      void orders.acquire("a").then((lock) => (at = lock ? Date.now() : -1));
      await time.advance(999);
      expect([at, await orders.extend(lock, 1)]).to.deep.equal([0, true]);
      await time.advance(1);
      expect(at).to.equal(START + 1_000);
      expect([await orders.release(lock), await orders.extend(lock)]).to.deep.equal([false, false]);
    }, START));

  test("an extension moves the end, for who waits too, and shows in the object", () =>
    pinned(async (time) => {
      const orders = make({ defaultTtl: 500 });
      const lock = await acquired(orders, "a", 1_000);
      let at = 0;
      void orders.acquire("a").then(() => (at = Date.now()));
      await time.advance(900);
      expect(await orders.extend(lock)).to.equal(true);
      expect(lock).to.include({ ttl: 500, expiration: START + 1_400 });
      await time.advance(499);
      expect(at).to.equal(0);
      await time.advance(1);
      expect(at).to.equal(START + 1_400);
      const before = { ...lock };
      expect(await orders.extend(lock, 9_000)).to.equal(false);
      expect(lock).to.deep.equal(before);
      const sooner = await acquired(orders, "b", 10_000);
      void orders.acquire("b").then(() => (at = Date.now()));
      await orders.extend(sooner, 100);
      await time.advance(100);
      expect(at).to.equal(START + 1_500);
    }, START));

  test("it is waited for retryCount times retryDelay and 100 ms, and no longer", () =>
    pinned(async (time) => {
      const ends: [string, number][] = [];
      const store = createMemoryStore();
      await acquired(make({ store }), "a", 60_000);
      const wait = (who: string, options: Partial<MutexConfig>) =>
        void make({ store, ...options }).acquire("a").then((lock) => ends.push([who, lock === null ? Date.now() - START : -1]));
      wait("default", {});
      wait("two", { retryCount: 2, retryDelay: 50 });
      wait("none", { retryCount: 0 });
      wait("free", { retryCount: 3, retryDelay: 0 });
      await time.advance(5_000);
      expect(ends).to.deep.equal([["none", 0], ["two", 300], ["free", 300], ["default", 3_000]]);
    }, START));

  test("who asks once overtakes nobody, and who gave up leaves no place", () =>
    pinned(async (time) => {
      const store = createMemoryStore();
      const [orders, once] = [make({ store }), make({ store, retryCount: 0 })];
      const lock = await acquired(orders);
      const short = make({ store, retryCount: 1, retryDelay: 0 }).acquire("a");
      const waits = orders.acquire("a");
      await time.advance(100);
      expect(await short).to.equal(null);
      const [, asked] = await Promise.all([orders.release(lock), once.acquire("a")]);
      expect(asked).to.equal(null);
      expect(await waits).to.not.equal(null);
    }));

  test("any number that gives up at once costs each no more", async () => {
    const orders = make({ retryCount: 1, retryDelay: 0 });
    const lock = await acquired(orders, "a", YEARS);
    const waiting = Array.from({ length: 60_000 }, () => orders.acquire("a"));
    const begin = performance.now();
    expect(new Set(await Promise.all(waiting))).to.deep.equal(new Set([null]));
    expect(performance.now() - begin).to.be.below(5_000);
    expect(await orders.release(lock)).to.equal(true);
    expect(await orders.acquire("a")).to.not.equal(null);
  });

  test("who leaves the middle of a line, its end or its beginning leaves the others in order", () =>
    pinned(async (time) => {
      const store = createMemoryStore();
      const short = make({ store, retryCount: 1, retryDelay: 0 });
      const long = make({ store, retryCount: 1, retryDelay: 900 });
      let lock = await acquired(long);
      const order: string[] = [];
      const wait = (from: typeof long, called: string) =>
        void from.acquire("a").then((given) => {
          order.push(given === null ? `${called} gave up` : called);
          if (given !== null) lock = given;
        });
      const line: [typeof long, string][] = [[short, "1"], [long, "2"], [short, "3"], [long, "4"], [short, "5"]];
      for (const [from, called] of line) wait(from, called);
      await time.advance(100);
      expect(order.splice(0)).to.deep.equal(["1 gave up", "3 gave up", "5 gave up"]);
      wait(long, "6");
      for (let round = 0; round < 3; round += 1) {
        await long.release(lock);
        await settled();
      }
      expect(order).to.deep.equal(["2", "4", "6"]);
    }));

  test("what is free is given to who asks once, although the clock moves on meanwhile", () =>
    pinned(async () => {
      const { now } = Date;
      let instant = START;
      Date.now = () => instant++;
      try {
        await acquired(make({ retryCount: 0 }));
      } finally {
        Date.now = now;
      }
    }));

  test("with late timers things are settled in the order in which they were due", () =>
    pinned(async (time) => {
      const run = async (ttl: number) => {
        const orders = make();
        await acquired(orders, "a", ttl);
        const waits = orders.acquire("a");
        await settled();
        time.set(time.now() + 10_000);
        await time.advance(3_000);
        return (await waits) !== null;
      };
      expect([await run(2_999), await run(3_000), await run(3_001)]).to.deep.equal([true, true, false]);
    }));

  test("with frozen timers a lock is over by the clock", () =>
    pinned(async (time) => {
      const orders = make({ retryCount: 0 });
      for (const ttl of [1, 30 * 86_400_000, YEARS]) {
        await acquired(orders, String(ttl), ttl);
        time.set(time.now() + ttl - 1);
        expect(await orders.acquire(String(ttl))).to.equal(null);
        time.set(time.now() + 1);
        expect(await orders.acquire(String(ttl))).to.not.equal(null);
      }
    }));

  test("a tampered token, another mutex and another resource release and extend nothing", async () => {
    const store = createMemoryStore();
    const orders = make({ store, retryCount: 0 });
    const lock = await acquired(orders);
    await acquired(orders, "b");
    const others: [ReturnType<typeof make>, Partial<Lock>][] = [
      [orders, { value: "0".repeat(32) }],
      [orders, { value: undefined as unknown as string, resource: "sync:mutex:orders:missing" }],
      [orders, { resource: "sync:mutex:orders:b" }],
      [orders, { resource: "a" }],
      [orders, { resource: undefined as unknown as string }],
      [make({ store, id: "other" }), {}],
      [make({ store, prefix: "other" }), {}],
      [make(), {}],
    ];
    for (const [from, change] of others) {
      expect(await from.release({ ...lock, ...change })).to.equal(false);
      expect(await from.extend({ ...lock, ...change }, 1)).to.equal(false);
    }
    expect(await orders.acquire("a")).to.equal(null);
    // A copy works as well, and so does another mutex with the same store, prefix and id.
    expect(await make({ store }).release(JSON.parse(JSON.stringify(lock)) as Lock)).to.equal(true);
  });

  test("mutexes exclude each other by store, prefix and id; resources never", async () => {
    const store = createMemoryStore();
    const once = (options: Partial<MutexConfig>) => make({ retryCount: 0, ...options });
    await acquired(once({ store }), "a");
    expect(await once({ store }).acquire("a")).to.equal(null);
    await acquired(once({ store, id: "other" }), "a");
    await acquired(once({ store, prefix: "other" }), "a");
    await acquired(once({}), "a");
    await acquired(once({}), "a");
    await acquired(once({ store, id: "a" }), "b:c");
    await acquired(once({ store, id: "a:b" }), "c");
    const long = "x".repeat(129);
    const lock = await acquired(once({ store }), long);
    await acquired(once({ store }), `${long}y`);
    await acquired(once({ store }), "x".repeat(128));
    const hashed = lock.resource.slice("sync:mutex:orders:".length);
    expect(hashed).to.match(/^hash:[0-9a-f]{64}$/);
    // A name that looks like a digest is a different name.
    await acquired(once({ store }), hashed);
    expect(await once({ store }).release(lock)).to.equal(true);
    expect((await failure(() => make().acquire(""))).message).to.equal("resource must be non-empty");
  });

  test("the store has exactly these keys and values", () =>
    pinned(async () => {
      const store = createMemoryStore();
      const lock = await acquired(make({ store, id: "a:b%", prefix: "my:app" }), "c:d%");
      expect(lock.resource).to.equal("my:app:a:b%:c:d%");
      expect(store.keys()).to.deep.equal(["my:app:a%3Ab%25:c%3Ad%25"]);
      expect(store.get("my:app:a%3Ab%25:c%3Ad%25")).to.equal(lock.value);
      await make({ store, id: "a:b%", prefix: "my:app" }).release(lock);
      expect(store.keys()).to.deep.equal([]);
    }));

  test("a lock survives a reload in localStorage, and is found free within a look after another tab released it", () =>
    withStorage((storage) =>
      pinned(async (time) => {
        const lock = await acquired(make({ store: createLocalStorageStore() }), "a", 60_000);
        const store = createLocalStorageStore();
        let got = false;
        void make({ store }).acquire("a").then((lock) => (got = lock !== null));
        await time.advance(1_000);
        expect(got).to.equal(false);
        storage.items.delete("sync:sync:mutex:orders:a");
        await time.advance(300);
        expect(got).to.equal(true);
        expect(await make({ store }).release(lock)).to.equal(false);
      }),
    ));

  test("a wait that is over leaves no timer", () =>
    pinned(async () => {
      const { setTimeout, clearTimeout } = globalThis;
      const timers = new Set<unknown>();
      globalThis.setTimeout = ((run: () => void, ms: number) => {
        const timer = setTimeout(run, ms);
        timers.add(timer);
        return timer;
      }) as typeof setTimeout;
      globalThis.clearTimeout = ((timer: unknown) => {
        timers.delete(timer);
        clearTimeout(timer as number);
      }) as typeof clearTimeout;
      const orders = make({ store: createMemoryStore() });
      const lock = await acquired(orders);
      const waits = orders.acquire("a");
      await orders.release(lock);
      await orders.release((await waits) as Lock);
      // The timers for the ends of the locks: of the store and of the page.
      expect(timers.size).to.equal(2);
    }));

  test("a store of its own is not looked at in vain", () =>
    pinned(async (time) => {
      const orders = make();
      await acquired(orders);
      const waits = orders.acquire("a");
      const timers = countTimers();
      await time.advance(2_999);
      expect(timers.count).to.equal(0);
      await time.advance(1);
      expect(await waits).to.equal(null);
    }));

  test("a value of a wrong type rejects and is left; a store's errors come out", () =>
    pinned(async (time) => {
      const store = createMemoryStore();
      const orders = make({ store });
      const lock = await acquired(orders);
      const waits = failure(() => orders.acquire("a"));
      const key = "sync:mutex:orders:a";
      store.set(key, 5);
      await time.advance(300);
      for (const error of [await waits, await failure(() => orders.release(lock)), await failure(() => orders.extend(lock))]) {
        expect(error.message).to.equal(`corrupt value in store: ${key}`);
      }
      expect(store.get(key)).to.equal(5);
      store.del(key);
      store.set = () => {
        throw new Error("quota");
      };
      expect((await failure(() => orders.acquire("a"))).message).to.equal("quota");
      expect(store.keys()).to.deep.equal([]);
    }));

  test("a store may call back", async () => {
    const memory = createMemoryStore();
    const inner: (Lock | null)[] = [];
    let calls = 0;
    const store: Store = { ...memory, get: memory.get, del: memory.del, keys: memory.keys, set: (...args) => {
      calls += 1;
      if (calls === 1) {
        void orders.acquire("a").then((lock) => inner.push(lock));
        void once.acquire("a").then((lock) => inner.push(lock));
      }
      memory.set(...args);
    } };
    const [orders, once] = [make({ store }), make({ store, retryCount: 0 })];
    const lock = await acquired(orders);
    await settled();
    expect(inner).to.deep.equal([null]);
    expect(calls).to.equal(1);
    await orders.release(lock);
    await settled();
    expect(inner[1]).to.include({ resource: lock.resource });
  });

  test("what is no number of its kind is refused, and the lock is as it was", async () => {
    const cases: [Partial<MutexConfig>, string][] = [
      [{ id: "" }, "config.id must be non-empty"],
      [{ retryCount: -1 }, "retryCount must be >= 0"],
      [{ retryDelay: -1 }, "retryDelay must be >= 0"],
      [{ retryDelay: Number.NaN }, "retryDelay must be >= 0"],
      [{ defaultTtl: 0 }, "defaultTtl must be > 0"],
      [{ defaultTtl: Infinity }, "defaultTtl must be > 0"],
    ];
    for (const [options, text] of cases) expect(() => make(options)).to.throw(text);
    expect(() => make({ retryCount: 1.5 })).to.throw("1.5");
    expect(() => make({ defaultTtl: 1.5 })).to.throw("1.5");
    const orders = make({ retryCount: 0 });
    const lock = await acquired(orders);
    const before = { ...lock };
    for (const ttl of [0, -1, 1.5, Number.NaN, Infinity, "5" as unknown as number, null as unknown as number]) {
      for (const call of [() => orders.acquire("b", ttl), () => orders.extend(lock, ttl), () => orders.withLock("b", () => 1, ttl)]) {
        expect((await failure(call)).message).to.equal("ttl must be > 0");
      }
    }
    expect((await failure(() => orders.acquire("b", YEARS + 1))).message).to.contain(String(YEARS + 1));
    expect(lock).to.deep.equal(before);
    await acquired(orders, "b");
  });
});

describe("mutex, withLock", () => {
  test("fn runs under the lock, and its result or error comes out unchanged", async () => {
    const orders = make({ retryCount: 0 });
    const result = await orders.withLock("a", async (lock) => {
      expect(await orders.acquire("a")).to.equal(null);
      return lock.resource;
    });
    expect(result).to.equal("sync:mutex:orders:a");
    const error = new Error("its own");
    const throws = () => {
      throw error;
    };
    expect(await failure(() => orders.withLock("a", throws))).to.equal(error);
    expect(await failure(() => orders.withLockOrThrow("a", () => Promise.reject(error)))).to.equal(error);
    expect(await orders.withLockOrThrow("a", () => 5)).to.equal(5);
    await acquired(orders);
  });

  test("not acquired, fn does not run: null, or a LockError", async () => {
    const orders = make({ retryCount: 0 });
    const long = "x".repeat(200);
    await acquired(orders, long);
    const fn = () => {
      throw new Error("it ran");
    };
    expect(await orders.withLock(long, fn)).to.equal(null);
    const error = await failure(() => orders.withLockOrThrow(long, fn));
    expect(error).to.be.instanceOf(LockError).and.instanceOf(Error);
    expect(error).to.include({ name: "LockError", resource: long, message: `Failed to acquire lock on resource: ${long}` });
    expect(isRetryableTransportError(error)).to.equal(true);
  });

  test("ten tasks that each add one give the right sum", async () => {
    const orders = make();
    let sum = 0;
    const add = async () => {
      const before = sum;
      await settled();
      sum = before + 1;
    };
    await Promise.all(Array.from({ length: 10 }, () => orders.withLock("a", add)));
    expect(sum).to.equal(10);
  });

  test("it is renewed while fn runs, from 100 ms on, and shows it; a lock of acquire is not", () =>
    pinned(async (time) => {
      const orders = make({ retryCount: 0 });
      for (const [ttl, isRenewed] of [[100, true], [99, false], [30_000, true]] as const) {
        let end = () => {};
        let held: Lock | undefined;
        const done = orders.withLock("a", (lock) => new Promise<void>((resolve) => ([held, end] = [lock, resolve])), ttl);
        await settled();
        await time.advance(ttl * 5 + 1);
        expect((await orders.acquire("a", 1)) === null, String(ttl)).to.equal(isRenewed);
        if (isRenewed) expect(held?.expiration).to.be.above(time.now());
        end();
        await done;
        await time.advance(1);
        expect(await orders.acquire("a", 1)).to.not.equal(null);
        await time.advance(ttl);
      }
    }));

  test("what fn extends is renewed so; a lock that was lost is not taken from the next", () =>
    pinned(async (time) => {
      const store = createMemoryStore();
      const orders = make({ store, retryCount: 0 });
      const key = "sync:mutex:orders:a";
      let end = () => {};
      const done = orders.withLock("a", async (lock) => {
        await orders.extend(lock, 60_000);
        await new Promise<void>((resolve) => (end = resolve));
      }, 3_000);
      await time.advance(1_000);
      await time.advance(59_000);
      expect(store.get(key)).to.be.a("string");
      store.set(key, "another's");
      await time.advance(120_000);
      end();
      await done;
      expect(store.get(key)).to.equal("another's");
    }));

  test("it is renewed by the time that an extension gives it, be that shorter, or long enough at last", () =>
    pinned(async (time) => {
      const store = createMemoryStore();
      const orders = make({ store, retryCount: 0 });
      for (const [ttl, next] of [[60_000, undefined], [50, 5_000]] as const) {
        let end = () => {};
        const done = orders.withLock("a", async (lock) => {
          // Anyone who shares the store may extend it.
          expect(await make({ store }).extend(lock, next)).to.equal(true);
          await new Promise<void>((resolve) => (end = resolve));
        }, ttl);
        await time.advance(100_000);
        expect(await orders.acquire("a")).to.equal(null);
        end();
        await done;
        expect(await orders.release(await acquired(orders))).to.equal(true);
      }
    }));

  test("what fn extends below 100 ms is no longer renewed", () =>
    pinned(async (time) => {
      const orders = make({ retryCount: 0 });
      let end = () => {};
      const done = orders.withLock("a", async (lock) => {
        await orders.extend(lock, 99);
        await new Promise<void>((resolve) => (end = resolve));
      }, 150);
      await time.advance(99);
      expect(await orders.acquire("a", 1)).to.not.equal(null);
      end();
      await done;
    }));

  test("a store that fails changes nothing of what fn gives, and is asked again", () =>
    pinned(async (time) => {
      const store = createMemoryStore();
      const { set, del } = store;
      const orders = make({ store, retryCount: 0 });
      let end = () => {};
      const done = orders.withLock("a", () => new Promise<string>((resolve) => (end = () => resolve("result"))), 600);
      await settled();
      store.set = () => {
        throw new Error("quota");
      };
      await time.advance(250);
      store.set = set;
      await time.advance(1_000);
      expect(await orders.acquire("a")).to.equal(null);
      store.del = () => {
        throw new Error("security");
      };
      end();
      expect(await done).to.equal("result");
      store.del = del;
      await time.advance(600);
      expect(await orders.acquire("a")).to.not.equal(null);
    }));

  test("methods work without their object", async () => {
    const { acquire, release, extend, withLock, withLockOrThrow } = make({ retryCount: 0 });
    const lock = (await acquire("a")) as Lock;
    expect([await extend(lock), await release(lock)]).to.deep.equal([true, true]);
    expect([await withLock("a", () => 1), await withLockOrThrow("a", () => 2)]).to.deep.equal([1, 2]);
  });
});
