import * as entry from "tidelock/browser/ratelimit";
import {
  RateLimitError,
  ratelimit,
  type RateLimitConfig,
  type RateLimitResult,
  type RateLimitRule,
  type RateLimitsConfig,
} from "tidelock/browser/ratelimit";
import { isRetryableTransportError, retry } from "tidelock/browser/retry";
import { createLocalStorageStore, createMemoryStore, type Store } from "tidelock/browser/store";
import { describe, expect, failure, pinned, settled, test } from "./harness.js";
import { withStorage } from "./storage.js";

const make = (options: Partial<RateLimitConfig> = {}) => ratelimit({ id: "api", limit: 5, ...options });
/** SHA-256 of 129 times `x`. */
const DIGEST = "0ec9eb33e74510bcdd1f2ea55206e82f21649c5c2becbf2b433eb475b34c01bd";
/** The beginning of a window of one second. */
const START = 1_700_000_000_000;

describe("ratelimit", () => {
  test("the entry has these values and no others", () => {
    expect(Object.keys(entry).sort()).to.deep.equal(["RateLimitError", "ratelimit"]);
  });

  test("five pass in a window, the sixth does not, and says when to come back", () =>
    pinned(async (time) => {
      const api = make();
      await time.advance(400);
      const results: RateLimitResult[] = [];
      for (let call = 0; call < 6; call += 1) results.push(await api.check("a"));
      expect(results.map(({ limited, remaining }) => [limited, remaining])).to.deep.equal([
        [false, 4], [false, 3], [false, 2], [false, 1], [false, 0], [true, 0],
      ]);
      expect(results[0]).to.deep.equal({ limited: false, remaining: 4, resetIn: 600, limit: 5, retryAfter: 0 });
      // In the next window, the weight of the five decreases every 200 ms.
      expect(results[5]).to.deep.equal({ limited: true, remaining: 0, resetIn: 600, limit: 5, retryAfter: 800 });
      await time.advance(799);
      expect((await api.check("a")).limited).to.equal(true);
      await time.advance(1);
      expect((await api.check("a")).limited).to.equal(false);
    }, START));

  test("of ten checks at once exactly five pass, in call order", async () => {
    const api = make({ windowSecs: 60 });
    const results = await Promise.all(Array.from({ length: 10 }, () => api.check("a")));
    expect(results.map(({ limited }) => limited)).to.deep.equal([...Array(5).fill(false), ...Array(5).fill(true)]);
  });

  test("identifiers share nothing, and a window slides", () =>
    pinned(async (time) => {
      const api = make({ limit: 2 });
      await api.check("a");
      await api.check("a");
      expect((await api.check("b")).remaining).to.equal(1);
      await time.advance(1_000);
      // The previous window still counts fully.
      expect((await api.check("a")).limited).to.equal(true);
      await time.advance(500);
      expect((await api.check("a")).limited).to.equal(false);
      await time.advance(1_500);
      expect((await api.check("a")).remaining).to.equal(1);
    }, START));

  test("a refused check consumes nothing, and writes nothing", () =>
    pinned(async () => {
      const store = createMemoryStore();
      const api = make({ limit: 1, store });
      await api.check("a");
      const before = store.keys().map((key) => [key, store.get(key)]);
      store.set = () => {
        throw new Error("written");
      };
      for (let call = 0; call < 10; call += 1) expect((await api.check("a")).limited).to.equal(true);
      expect([(await api.peek("a")).limited, (await api.peek("b")).limited]).to.deep.equal([true, false]);
      expect(store.keys().map((key) => [key, store.get(key)])).to.deep.equal(before);
    }, START));

  test("checkOrThrow throws what a refusal says", () =>
    pinned(async () => {
      const api = make({ limit: 1 });
      expect((await api.checkOrThrow("a")).remaining).to.equal(0);
      const error = await failure(() => api.checkOrThrow("a"));
      expect(error).to.be.instanceOf(RateLimitError).and.instanceOf(Error);
      expect(error).to.include({ name: "RateLimitError", message: "Rate limit exceeded", remaining: 0, resetIn: 1_000 });
      expect((error as RateLimitError).retryAfter).to.equal(2_000);
      const made = new RateLimitError({ remaining: 2, resetIn: 30 });
      expect([made.remaining, made.resetIn, made.retryAfter]).to.deep.equal([2, 30, 30]);
    }, START));

  test("a retried check waits as long as the refusal says", () =>
    pinned(async (time) => {
      const api = make({ limit: 1 });
      await api.check("a");
      let done = 0;
      void retry(() => api.checkOrThrow("a"), { jitter: 0 }).then(() => (done = Date.now()));
      await time.advance(1_999);
      expect(done).to.equal(0);
      await time.advance(1);
      expect(done).to.equal(START + 2_000);
      expect(isRetryableTransportError(await failure(() => api.checkOrThrow("a")))).to.equal(true);
    }, START));

  test("the factory throws at once, window first", async () => {
    const cases: [Partial<RateLimitConfig>, string][] = [
      [{ id: "" }, "config.id must be non-empty"],
      [{ id: "x".repeat(257) }, "config.id too long (max 256 chars)"],
      [{ windowSecs: 0, limit: 0 }, "windowSecs must be > 0"],
      [{ windowSecs: -1 }, "windowSecs must be > 0"],
      [{ windowSecs: Number.NaN }, "windowSecs must be > 0"],
      [{ windowSecs: Infinity }, "windowSecs must be > 0"],
      [{ windowSecs: "1" as unknown as number }, "windowSecs must be > 0"],
      [{ limit: 0 }, "limit must be > 0"],
      [{ limit: -5 }, "limit must be > 0"],
      [{ limit: Infinity }, "limit must be > 0"],
      [{ limit: undefined as unknown as number }, "limit must be > 0"],
    ];
    for (const [options, text] of cases) expect(() => make(options)).to.throw(Error, new RegExp(`^${text.replace(/[()]/g, "\\$&")}$`));
    expect(() => make({ limit: 1.5 })).to.throw("1.5");
    expect(() => make({ limit: 1e12 + 1 })).to.throw("1000000000001");
    expect(() => make({ windowSecs: 0.0005 })).to.throw("0.0005");
    expect(() => make({ windowSecs: 1.0005 })).to.throw("1.0005");
    expect(() => make({ windowSecs: 3_650 * 24 * 3_600 + 1 })).to.throw("315360001");
    for (const windowSecs of [0.001, 0.3, 1.005, 4.35, 30 * 86_400, 3_650 * 86_400]) make({ windowSecs });
    expect(make({ id: "x".repeat(256), limit: 1e12 }).id).to.equal("x".repeat(256));
  });

  test("the store has exactly these keys and values, for two windows", () =>
    pinned(async (time) => {
      const calls: unknown[] = [];
      const memory = createMemoryStore();
      const store: Store = { ...memory, get: memory.get, del: memory.del, keys: memory.keys, set: (...args) => {
        calls.push(args);
        memory.set(...args);
      } };
      const window = START / 1_000;
      await make({ store }).check("user");
      await make({ store, id: "a:b%", prefix: "my:app" }).check("c:d%");
      const long = "x".repeat(129);
      await make({ store }).check(long);
      await make({ store, prefix: "p" }).check("y".repeat(128));
      expect(calls).to.deep.equal([
        [`sync:ratelimit:api:user:${window}`, 1, 2_000],
        [`my:app:a%3Ab%25:c%3Ad%25:${window}`, 1, 2_000],
        [`sync:ratelimit:api:hash%3A${DIGEST}:${window}`, 1, 2_000],
        [`p:api:${"y".repeat(128)}:${window}`, 1, 2_000],
      ]);
      await time.advance(2_000);
      expect(memory.keys()).to.deep.equal([]);
    }, START));

  test("no two identifiers share a count, whatever they look like", async () => {
    const store = createMemoryStore();
    const long = "x".repeat(129);
    const names = [`hash:${DIGEST}`, long, "x".repeat(128), `${long}y`, "a:b", "a%3Ab", "ü".repeat(129)];
    const api = make({ store, windowSecs: 3_600 });
    for (const identifier of names) expect((await api.check(identifier)).remaining, identifier).to.equal(4);
    expect((await make({ store, windowSecs: 3_600, id: "api:a" }).check("b")).remaining).to.equal(4);
    expect((await api.check("a:b")).remaining).to.equal(3);
    expect((await failure(() => api.check(""))).message).to.equal("identifier must be non-empty");
    expect((await failure(() => api.check(5 as unknown as string))).message).to.equal("identifier must be non-empty");
  });

  test("limiters share counts by store, prefix and id, and nothing else", async () => {
    const store = createMemoryStore();
    const used = async (options: Partial<RateLimitConfig>) => 5 - (await make({ windowSecs: 3_600, ...options }).check("a")).remaining;
    expect(await used({ store })).to.equal(1);
    expect(await used({ store })).to.equal(2);
    expect(await used({ store, prefix: "other" })).to.equal(1);
    expect(await used({ store, id: "other" })).to.equal(1);
    expect(await used({ store: createMemoryStore() })).to.equal(1);
    expect(await used({})).to.equal(1);
    expect(await used({})).to.equal(1);
  });

  test("counts survive a reload in localStorage, and another limit judges them", () =>
    withStorage(() =>
      pinned(async () => {
        await make({ store: createLocalStorageStore() }).check("a");
        expect((await make({ store: createLocalStorageStore(), limit: 3 }).check("a")).remaining).to.equal(1);
      }, START),
    ));

  test("a value of a wrong type rejects and is left; a quota error rejects and leaves the count", () =>
    withStorage((storage) =>
      pinned(async () => {
        const store = createLocalStorageStore();
        const api = make({ store });
        const key = `sync:ratelimit:api:a:${START / 1_000}`;
        for (const value of ["1", null, -1, 1.5, {}]) {
          store.set(key, value);
          const error = await failure(() => api.check("a"));
          expect(error.message).to.equal(`corrupt value in store: ${key}`);
          expect(store.get(key)).to.deep.equal(value);
        }
        store.set(key, 2, 2_000);
        const before = [...storage.items];
        storage.fails = new Error("quota");
        expect((await failure(() => api.check("a"))).message).to.equal("quota");
        expect([...storage.items]).to.deep.equal(before);
      }, START),
    ));

  test("a clock that steps back admits no more", () =>
    pinned(async (time) => {
      for (const store of [undefined, createMemoryStore()]) {
        time.set(START);
        const api = make({ store });
        for (let call = 0; call < 5; call += 1) await api.check("a");
        for (const back of [1, 999, 1_000, 10_000, 3_600_000]) {
          time.set(START - back);
          expect(await api.check("a"), String(back)).to.include({ limited: true, resetIn: 1_000 });
          expect(await api.peek("other")).to.include({ limited: false, remaining: 5 });
        }
        time.set(START + 1_000);
        await api.peek("other");
        time.set(START - 5_000);
        expect((await api.check("a")).limited).to.equal(true);
        time.set(START + 2_000);
        expect((await api.check("a")).limited).to.equal(false);
      }
    }, START));

  test("with frozen timers every check answers by the clock", () =>
    pinned(async (time) => {
      const api = make({ limit: 1, windowSecs: 30 * 86_400 });
      const start = Math.ceil(START / 2_592_000_000) * 2_592_000_000;
      time.set(start);
      expect((await api.check("a")).limited).to.equal(false);
      const { retryAfter } = await api.check("a");
      time.set(start + retryAfter - 1);
      expect((await api.check("a")).limited).to.equal(true);
      time.set(start + retryAfter);
      expect((await api.check("a")).limited).to.equal(false);
    }));

  test("methods work without their object, and a store may call back", async () => {
    const memory = createMemoryStore();
    let inner: Promise<RateLimitResult> | undefined;
    let calls = 0;
    const store: Store = { ...memory, set: memory.set, del: memory.del, keys: memory.keys, get: (key) => {
      calls += 1;
      if (calls === 1) inner = api.check("b");
      return memory.get(key);
    } };
    const api = make({ store, windowSecs: 3_600 });
    const { check, checkOrThrow } = api;
    expect((await check("a")).remaining).to.equal(4);
    expect((await inner)?.remaining).to.equal(4);
    expect((await checkOrThrow("a")).remaining).to.equal(3);
  });
});

describe("ratelimit, second step", () => {
  test("a cost counts as so many checks, all or nothing", () =>
    pinned(async () => {
      const api = make();
      expect((await api.check("a", { cost: 3 })).remaining).to.equal(2);
      expect(await api.check("a", { cost: 3 })).to.include({ limited: true, remaining: 2 });
      expect((await api.checkOrThrow("a", { cost: 2 })).remaining).to.equal(0);
      for (const cost of [0, -1, Number.NaN, 1.5, 6]) {
        const error = await failure(() => api.check("b", { cost }));
        expect(error.message).to.match(/^cost must be /);
      }
      expect((await api.check("b")).remaining).to.equal(4);
    }, START));

  test("a peek says what a check would", () =>
    pinned(async () => {
      const api = make();
      expect(await api.peek("a")).to.deep.equal({ limited: false, remaining: 5, resetIn: 1_000, limit: 5, retryAfter: 0 });
      await api.check("a", { cost: 4 });
      expect(await api.peek("a", { cost: 2 })).to.include({ limited: true, remaining: 1 });
      expect(await api.peek("a")).to.include({ limited: false, remaining: 1 });
    }, START));

  test("a reset forgets, and wakes who waits", () =>
    pinned(async (time) => {
      const api = make({ limit: 1 });
      expect(await api.reset("a")).to.equal(false);
      await api.check("a");
      const waits = api.acquire("a");
      await time.advance(100);
      expect(await api.reset("a")).to.equal(true);
      expect((await waits)?.limited).to.equal(false);
      await time.advance(900);
      expect(await api.reset("a")).to.equal(true);
      expect(await api.peek("a")).to.include({ remaining: 1, limited: false });
    }, START));

  test("acquires wait in order of arrival, and take nothing ahead", () =>
    pinned(async (time) => {
      const api = make({ limit: 1 });
      const passed: [number, number][] = [];
      for (let call = 0; call < 4; call += 1) {
        void api.acquire("a").then(() => passed.push([call, Date.now() - START]));
      }
      await settled();
      expect(passed).to.deep.equal([[0, 0]]);
      await time.advance(10_000);
      expect(passed.map(([call]) => call)).to.deep.equal([0, 1, 2, 3]);
      expect(passed.map(([, at]) => at)).to.deep.equal([0, 2_000, 4_000, 6_000]);
    }, START));

  test("who stands behind another is refused when that one passes too late, or at the end of its own time", () =>
    pinned(async (time) => {
      const api = make({ limit: 1 });
      await api.check("a");
      const ended: [string, boolean | undefined, number][] = [];
      const wait = (who: string, timeoutMs: number) =>
        void api.acquire("a", { timeoutMs }).then((result) => ended.push([who, result?.limited, Date.now() - START]));
      wait("first", 5_000);
      wait("second", 5_000);
      wait("third", 3_000);
      wait("fourth", 1_000);
      await time.advance(10_000);
      expect(ended).to.deep.equal([["fourth", true, 0], ["first", false, 2_000], ["third", true, 3_000], ["second", false, 4_000]]);
      wait("late", 1_000);
      await settled();
      expect(ended[4]?.[1]).to.equal(false);
    }, START));

  test("what cannot pass in time is refused at once; aborted it is null and consumes nothing", () =>
    pinned(async (time) => {
      const api = make({ limit: 1 });
      await api.check("a");
      expect(await api.acquire("a", { timeoutMs: 1_999 })).to.include({ limited: true, retryAfter: 2_000 });
      expect(await api.acquire("a", { timeoutMs: 0 })).to.include({ limited: true });
      const aborts = [new AbortController(), new AbortController(), new AbortController()];
      const results: unknown[] = [];
      for (const { signal } of aborts) void api.acquire("a", { signal }).then((result) => results.push(result?.limited ?? null));
      const late = api.acquire("a", { timeoutMs: 3_000 });
      await settled();
      aborts[1]?.abort();
      await settled();
      expect(results).to.deep.equal([null]);
      aborts[0]?.abort();
      await settled();
      expect(results).to.deep.equal([null, null]);
      await time.advance(2_000);
      expect(results).to.deep.equal([null, null, false]);
      expect(await late).to.include({ limited: true });
      expect(await api.acquire("a", { signal: AbortSignal.abort() })).to.equal(null);
      expect(await api.acquire("b", { signal: AbortSignal.abort() })).to.equal(null);
      expect((await api.peek("b")).remaining).to.equal(1);
    }, START));
});

describe("ratelimit, refusals that count", () => {
  test("who keeps asking stays out, and each refusal is told with what it added", () =>
    pinned(async (time) => {
      const plain = make({ limit: 2 });
      const strict = make({ limit: 2, countRefused: true });
      for (const api of [plain, strict]) for (let call = 0; call < 4; call += 1) await api.check("a");
      await time.advance(1_500);
      // Of two in the previous window, one still counts; of four, two.
      expect((await plain.peek("a")).limited).to.equal(false);
      expect(await strict.peek("a")).to.include({ limited: true, retryAfter: 250 });
      expect((await failure(() => strict.checkOrThrow("a"))).name).to.equal("RateLimitError");
      await time.advance(500);
      expect((await strict.check("a")).limited).to.equal(false);
    }, START));

  test("an acquire that waits counts one refusal, and a peek none", () =>
    pinned(async (time) => {
      const store = createMemoryStore();
      const api = make({ limit: 1, countRefused: true, store });
      const counted = () => store.get(`sync:ratelimit:api:a:${START / 1_000}`);
      await api.check("a");
      let passed = 0;
      void api.acquire("a").then(() => (passed = Date.now() - START));
      await settled();
      expect(counted()).to.equal(2);
      // Checking again is not another refusal.
      void api.reset("a");
      void api.check("a");
      void api.peek("a");
      await settled();
      expect(counted()).to.equal(1);
      await time.advance(10_000);
      expect(passed).to.equal(2_000);
    }, START));
});

describe("ratelimit, several limits", () => {
  const both: RateLimitRule[] = [{ limit: 2 }, { limit: 3, windowSecs: 60, name: "minute" }];
  const several = (limits: RateLimitRule[] = both, options: Partial<RateLimitsConfig> = {}) =>
    ratelimit({ id: "api", limits, ...options });
  /** The beginning of a minute. */
  const MINUTE = 1_700_000_040_000;

  test("all or nothing: one that is full refuses, and the other counts nothing", () =>
    pinned(async (time) => {
      const api = several();
      expect(await api.check("a")).to.deep.equal({
        limited: false,
        limit: 2,
        remaining: 1,
        resetIn: 1_000,
        retryAfter: 0,
        parts: [
          { name: "sliding-1s", refused: false, limit: 2, remaining: 1, resetIn: 1_000, retryAfter: 0 },
          { name: "minute", refused: false, limit: 3, remaining: 2, resetIn: 60_000, retryAfter: 0 },
        ],
      });
      await api.check("a");
      const refused = await api.check("a");
      expect(refused).to.include({ limited: true, limit: 2, remaining: 0, retryAfter: 1_500 });
      expect(refused.parts?.map(({ refused, remaining }) => [refused, remaining])).to.deep.equal([[true, 0], [false, 1]]);
      await time.advance(2_000);
      expect((await api.check("a")).limited).to.equal(false);
      await time.advance(2_000);
      const late = await api.check("a");
      expect(late).to.include({ limited: true, limit: 3, remaining: 0, resetIn: 56_000 });
      expect(late.parts?.map(({ refused }) => refused)).to.deep.equal([false, true]);
      expect((await api.peek("b")).remaining).to.equal(2);
      expect((await failure(() => api.checkOrThrow("a"))).name).to.equal("RateLimitError");
    }, MINUTE));

  test("a fixed window ends by the clock, and a bucket fills evenly", () =>
    pinned(async (time) => {
      const fixed = several([{ limit: 2, windowSecs: 10, algorithm: "fixed" }]);
      const bucket = several([{ limit: 10, algorithm: "token_bucket", burst: 3 }]);
      await time.advance(9_999);
      for (const api of [fixed, bucket]) await api.check("a", { cost: 2 });
      expect(await fixed.check("a")).to.include({ limited: true, resetIn: 1, retryAfter: 1 });
      expect(await bucket.check("a", { cost: 2 })).to.include({ limited: true, limit: 3, remaining: 1, retryAfter: 100 });
      await time.advance(1);
      expect((await fixed.check("a")).limited).to.equal(false);
      await time.advance(99);
      expect(await bucket.check("a", { cost: 2 })).to.include({ limited: false, remaining: 0, resetIn: 300 });
      expect((await fixed.peek("a")).parts?.[0]?.name).to.equal("fixed-10s");
      expect((await bucket.peek("a")).parts?.[0]?.name).to.equal("bucket-1s");
    }, MINUTE));

  test("a cost, a reset and an acquire are those of all of them", () =>
    pinned(async (time) => {
      const api = several();
      expect((await failure(() => api.check("a", { cost: 3 }))).message).to.equal("cost must be > 0 and at most 2, but is 3");
      const bucket = several([{ limit: 9, algorithm: "token_bucket", burst: 4 }]);
      expect((await failure(() => bucket.check("a", { cost: 5 }))).message).to.contain("at most 4");
      expect(await api.reset("a")).to.equal(false);
      await api.check("a", { cost: 2 });
      const waits = api.acquire("a");
      await settled();
      expect(await api.reset("a")).to.equal(true);
      expect((await waits)?.limited).to.equal(false);
      await api.check("a");
      const passed: number[] = [];
      void api.acquire("a").then(() => passed.push(Date.now() - MINUTE));
      expect(await api.acquire("a", { timeoutMs: 1_000 })).to.include({ limited: true });
      await time.advance(1_500);
      expect(passed).to.deep.equal([1_500]);
      // Counts of an hour ago have lapsed.
      await time.advance(3_600_000);
      expect(await api.reset("a")).to.equal(false);
    }, MINUTE));

  test("a refusal counts in all of them, if refusals count", () =>
    pinned(async () => {
      const api = several(both, { countRefused: true });
      for (let call = 0; call < 3; call += 1) await api.check("a");
      expect((await api.peek("a")).parts?.map(({ remaining }) => remaining)).to.deep.equal([0, 0]);
    }, MINUTE));

  test("all counts of an identifier are one value in the store, until the last of them lapses", () =>
    pinned(async (time) => {
      const store = createMemoryStore();
      const key = "sync:ratelimit:api:a%3Ab:limits";
      await several(both, { store }).check("a:b");
      expect(store.keys()).to.deep.equal([key]);
      expect(structuredClone(store.get(key))).to.deep.equal(JSON.parse(JSON.stringify(store.get(key))));
      // Other limits judge the existing count; another window begins a new one.
      const other = several([{ limit: 9, windowSecs: 60 }, { limit: 9, windowSecs: 30 }], { store });
      expect((await other.check("a:b")).parts?.map(({ remaining }) => remaining)).to.deep.equal([7, 8]);
      await time.advance(119_999);
      expect(store.keys()).to.deep.equal([key]);
      await time.advance(1);
      expect(store.keys()).to.deep.equal([]);
    }, MINUTE));

  test("a value of a wrong type rejects and is left; a quota error leaves the counts", () =>
    withStorage((storage) =>
      pinned(async () => {
        const store = createLocalStorageStore();
        const api = several(both, { store });
        const key = "sync:ratelimit:api:a:limits";
        for (const value of [1, "1", {}, [1], [0, 1, 2, 3, 4, -1], [0, 1, 2, 3, 4, "5"]]) {
          store.set(key, value);
          for (const call of [() => api.check("a"), () => api.reset("a")]) {
            expect((await failure(call)).message).to.equal(`corrupt value in store: ${key}`);
          }
          expect(store.get(key)).to.deep.equal(value);
        }
        store.del(key);
        await api.check("a");
        const before = [...storage.items];
        storage.fails = new Error("quota");
        expect((await failure(() => api.check("a"))).message).to.equal("quota");
        expect([...storage.items]).to.deep.equal(before);
      }, MINUTE),
    ));

  test("a clock that steps back admits no more", () =>
    pinned(async (time) => {
      const api = several([{ limit: 1, windowSecs: 10, algorithm: "fixed" }, { limit: 1, algorithm: "token_bucket" }]);
      await api.check("a");
      time.set(MINUTE - 20_000);
      expect(await api.check("a")).to.include({ limited: true, retryAfter: 10_000 });
      expect((await api.check("b")).limited).to.equal(false);
    }, MINUTE));

  test("the factory throws at once, with the place of what is wrong", () => {
    const cases: [RateLimitRule[], string][] = [
      [[], "a limiter must have 1..=8 limits, but has 0"],
      [Array.from({ length: 9 }, (_, at) => ({ limit: 1, windowSecs: at + 1 })), "1..=8 limits, but has 9"],
      [[{ limit: 1 }, { limit: 2 }], "limits must differ in algorithm or window, but two are sliding-1s"],
      [[{ limit: 1, name: "x" }, { limit: 1, windowSecs: 2, name: "x" }], 'but two are named "x"'],
      [[{ limit: 1, name: "no name" }], '"no name"'],
      [[{ limit: 1, windowSecs: 0 }], "limits[0].windowSecs must be > 0"],
      [[{ limit: 1 }, { limit: 0, windowSecs: 2 }], "limits[1].limit must be > 0"],
      [[{ limit: 1.5 }], "limits[0].limit must be a whole number > 0, but is 1.5"],
      [[{ limit: 1, algorithm: "token_bucket", burst: 0 }], "limits[0].burst must be > 0"],
      [[{ limit: 1, burst: 2 }], "burst belongs to a token bucket"],
      [[{ limit: 1, algorithm: "leaky" as never }], 'limits[0].algorithm must be one of "sliding", "fixed", "token_bucket", but is leaky'],
    ];
    for (const [limits, text] of cases) expect(() => several(limits)).to.throw(Error, text);
    const given = { id: "api", limit: 1, limits: both };
    expect(() => ratelimit(given)).to.throw("either limit and windowSecs or limits must be given, but both were");
  });
});
