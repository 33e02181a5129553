import * as entry from "tidelock/browser/store";
import { createLocalStorageStore, createMemoryStore, LocalStorageStore, MemoryStore, type Store } from "tidelock/browser/store";
import { countTimers, describe, expect, pinned, test } from "./harness.js";
import { withStorage } from "./storage.js";

const YEARS = 3_650 * 24 * 3_600_000;

/** The guarantees of every store. */
function holds(make: () => Store & { clear(): void }): void {
  test("a value is there until it is replaced, deleted or over", () =>
    withStorage(() =>
      pinned(async (time) => {
        const store = make();
        expect(store.get("a")).to.equal(undefined);
        store.set("a", 1, 1_000);
        store.set("b", null);
        expect([store.get("a"), store.get("b")]).to.deep.equal([1, null]);
        await time.advance(999);
        expect(store.get("a")).to.equal(1);
        expect(store.keys()).to.have.members(["a", "b"]);
        await time.advance(1);
        expect(store.get("a")).to.equal(undefined);
        expect(store.keys()).to.deep.equal(["b"]);
        store.del("b");
        store.del("missing");
        expect(store.keys()).to.deep.equal([]);
      }),
    ));

  test("without a sensible ttl nothing expires, and a part of a millisecond counts as one", () =>
    withStorage(() =>
      pinned(async (time) => {
        const store = make();
        for (const ttl of [undefined, 0, -1, Number.NaN, Infinity, -Infinity]) store.set(String(ttl), true, ttl);
        store.set("part", true, 0.1);
        time.set(time.now() + 0.1);
        expect(store.get("part")).to.equal(true);
        time.set(time.now() + 2 * YEARS);
        expect(store.keys()).to.have.members(["undefined", "0", "-1", "NaN", "Infinity", "-Infinity"]);
      }),
    ));

  test("a write replaces value and expiry, sooner, later and never", () =>
    withStorage(() =>
      pinned(async (time) => {
        const store = make();
        store.set("later", 1, 100);
        store.set("later", 2, 300);
        store.set("sooner", 1, 300);
        store.set("sooner", 2, 100);
        store.set("never", 1, 100);
        store.set("never", 2);
        await time.advance(100);
        expect(["later", "sooner", "never"].map(store.get)).to.deep.equal([2, undefined, 2]);
        await time.advance(200);
        expect(["later", "sooner", "never"].map(store.get)).to.deep.equal([undefined, undefined, 2]);
      }),
    ));

  test("keys are found by how they begin", () =>
    withStorage(() => {
      const store = make();
      for (const key of ["a:1", "a:2", "b:1", ""]) store.set(key, 0);
      expect(store.keys("a:")).to.have.members(["a:1", "a:2"]);
      expect(store.keys()).to.have.length(4);
      expect(store.keys("c")).to.deep.equal([]);
    }));

  test("it can be emptied and used on, and no older timer touches a newer value", () =>
    withStorage(() =>
      pinned(async (time) => {
        const store = make();
        store.set("a", 1, 100);
        store.clear();
        expect(store.keys()).to.deep.equal([]);
        store.set("a", 2, 1_000);
        await time.advance(999);
        expect(store.get("a")).to.equal(2);
        await time.advance(1);
        expect(store.get("a")).to.equal(undefined);
      }),
    ));

  test("ten years are ten years", () =>
    withStorage(() =>
      pinned(async (time) => {
        const store = make();
        store.set("a", 1, YEARS);
        await time.advance(30 * 24 * 3_600_000);
        expect(store.get("a")).to.equal(1);
        time.set(time.now() + YEARS - 30 * 24 * 3_600_000 - 1);
        expect(store.get("a")).to.equal(1);
        time.set(time.now() + 1);
        expect(store.get("a")).to.equal(undefined);
      }),
    ));

  test("its methods work without it", () =>
    withStorage(() => {
      const { get, set, del, keys, clear } = make();
      set("a", 1);
      expect([get("a"), keys()]).to.deep.equal([1, ["a"]]);
      del("a");
      clear();
      expect(keys()).to.deep.equal([]);
    }));
}

describe("store", () => {
  test("the entry has these values and no others", () => {
    const names = ["LocalStorageStore", "MemoryStore", "createLocalStorageStore", "createMemoryStore"];
    expect(Object.keys(entry).sort()).to.deep.equal(names);
    expect(createMemoryStore()).to.be.instanceOf(MemoryStore);
    expect(createLocalStorageStore("app")).to.be.instanceOf(LocalStorageStore);
  });
});

describe("store in memory", () => {
  holds(createMemoryStore);

  test("values are kept by reference, keys in the order in which they came", () =>
    pinned(async (time) => {
      const store = createMemoryStore();
      const value = { n: 1 };
      store.set("first", value, 10);
      store.set("second", 2);
      store.set("first", value, 20);
      expect(store.get("first")).to.equal(value);
      expect(store.keys()).to.deep.equal(["first", "second"]);
      time.set(time.now() + 20);
      store.set("first", 3);
      expect(store.keys()).to.deep.equal(["second", "first"]);
    }));

  test("one timer frees all that is over, without a call", () =>
    pinned(async (time) => {
      const timers = countTimers();
      const store = new MemoryStore();
      for (let key = 0; key < 1_000; key += 1) store.set(String(key), key, 1_000);
      expect(timers.count).to.equal(1);
      store.set("later", 0, 500);
      store.set("later", 0, 900);
      await time.advance(1_000);
      // If they were only hidden, they would reappear.
      time.set(time.now() - 500);
      expect(store.keys()).to.deep.equal([]);
    }));

  test("a clock that was set back keeps values until their instant", () =>
    pinned(async (time) => {
      const store = createMemoryStore();
      store.set("a", 1, 1_000);
      time.set(time.now() - 5_000);
      await time.advance(5_999);
      expect(store.get("a")).to.equal(1);
      await time.advance(1);
      expect(store.get("a")).to.equal(undefined);
      time.set(time.now() - 500);
      expect(store.get("a")).to.equal(undefined);
    }));

  test("any number of writes to one key, and of deleted keys, costs what is there", () =>
    pinned(async (time) => {
      const store = createMemoryStore();
      for (let round = 0; round < 10_000; round += 1) {
        store.set("a", round, 10_000 - round);
        store.set(`gone ${round}`, round, 50_000);
        store.del(`gone ${round}`);
      }
      expect(store.get("a")).to.equal(9_999);
      await time.advance(1);
      expect(store.keys()).to.deep.equal([]);
    }));
});

describe("store in localStorage", () => {
  holds(createLocalStorageStore);

  test("an item holds value and expiry under its prefix and key", () =>
    withStorage((storage) =>
      pinned(async (time) => {
        createLocalStorageStore().set("a:b", { n: 1 });
        new LocalStorageStore("my%app:x").set("a", [1], 500);
        expect([...storage.items]).to.deep.equal([
          ["sync:a:b", `{"value":{"n":1},"expiresAt":null}`],
          ["my%25app%3Ax:a", `{"value":[1],"expiresAt":${time.now() + 500}}`],
        ]);
      }),
    ));

  test("a prefix sees its own only", () =>
    withStorage((storage) => {
      const [app, longer] = [new LocalStorageStore("app"), new LocalStorageStore("app:x")];
      app.set("a", 1);
      longer.set("b", 2);
      storage.setItem("app", "mine");
      expect([app.keys(), longer.keys()]).to.deep.equal([["a"], ["b"]]);
      app.clear();
      expect([app.keys(), longer.keys(), storage.getItem("app")]).to.deep.equal([[], ["b"], "mine"]);
    }));

  test("another object of the prefix, as after a reload, sees what is there", () =>
    withStorage(() => {
      createLocalStorageStore("app").set("a", 1);
      expect(createLocalStorageStore("app").get("a")).to.equal(1);
    }));

  test("storage is looked up when it is used", async () => {
    const store = createLocalStorageStore();
    await withStorage((storage) => {
      store.set("a", 1);
      expect(storage.length).to.equal(1);
    });
    await withStorage(() => expect(store.get("a")).to.equal(undefined));
  });

  test("text of another kind reads as missing and stays; without an expiry nothing expires", () =>
    withStorage((storage) =>
      pinned(async (time) => {
        const store = createLocalStorageStore();
        storage.setItem("sync:broken", "{");
        storage.setItem("sync:number", "5");
        storage.setItem("sync:null", "null");
        storage.setItem("sync:plain", `{"value":1}`);
        time.set(time.now() + 2 * YEARS);
        expect(["broken", "number", "null", "plain"].map(store.get)).to.deep.equal([undefined, undefined, undefined, 1]);
        expect(store.keys()).to.deep.equal(["plain"]);
        expect(storage.length).to.equal(4);
      }),
    ));

  test("what has expired goes when it is met, and in a pass once per minute of use", () =>
    withStorage((storage) =>
      pinned(async (time) => {
        const store = createLocalStorageStore();
        for (const key of ["a", "b", "c", "d"]) store.set(key, 1, 1_000);
        store.set("e", 1);
        await time.advance(59_999);
        expect(storage.length).to.equal(5);
        store.get("a");
        expect(storage.length).to.equal(4);
        await time.advance(1);
        expect(storage.length).to.equal(4);
        store.get("e");
        expect([...storage.items.keys()]).to.deep.equal(["sync:e"]);
      }),
    ));

  test("a look at some keys does not put the pass off", () =>
    withStorage((storage) =>
      pinned(async (time) => {
        const store = createLocalStorageStore();
        store.set("a", 1, 1_000);
        await time.advance(60_000);
        expect(store.keys("b")).to.deep.equal([]);
        expect(storage.length).to.equal(0);
      }),
    ));

  test("keys skips nothing while it removes", () =>
    withStorage((storage) =>
      pinned(async (time) => {
        const store = createLocalStorageStore();
        for (let key = 0; key < 10; key += 1) store.set(String(key), key, key % 2 === 0 ? 10 : undefined);
        await time.advance(10);
        expect(store.keys()).to.deep.equal(["1", "3", "5", "7", "9"]);
        expect(storage.length).to.equal(5);
      }),
    ));

  test("a value that another tab writes while an older one is removed is not lost", () =>
    withStorage((storage) =>
      pinned(async (time) => {
        const store = createLocalStorageStore();
        store.set("a", "old", 10);
        await time.advance(10);
        storage.onRead = () => {
          storage.items.set("sync:a", `{"value":"new","expiresAt":null}`);
          storage.onRead = () => {};
        };
        store.keys();
        expect(store.get("a")).to.equal("new");
      }),
    ));

  test("what the storage throws comes out, and the old value with its expiry stays", () =>
    withStorage((storage) => {
      const store = createLocalStorageStore();
      store.set("a", 1, 1_000);
      const before = storage.getItem("sync:a");
      storage.fails = new Error("quota");
      expect(() => store.set("a", 2)).to.throw("quota");
      expect(storage.getItem("sync:a")).to.equal(before);
    }));
});
