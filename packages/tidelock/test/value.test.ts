import { registry } from "tidelock/browser/registry";
import { scheduler } from "tidelock/browser/scheduler";
import { any, describe, expect, failure, otherRealm, test } from "./harness.js";

/** A value as it is returned. */
async function copied<T>(value: T): Promise<{ first: T; next(): Promise<T> }> {
  const records = registry({ id: "records", schema: any<T>() });
  const next = async () => (await records.get({ key: "a" }))!.value;
  return { first: (await records.upsert({ key: "a", value })).value, next };
}

describe("values", () => {
  test("a list with a gap and a name of its own comes back so", async () => {
    const list = Object.assign(new Array<number>(1), { x: 5 });
    const { first } = await copied(list);
    expect([first.length, 0 in first, first.x]).to.deep.equal([1, false, 5]);
    expect((await copied(Object.assign([1, 2], { y: 6 }))).first.y).to.equal(6);
    expect((await copied([, 1])).first).to.have.all.keys(["1"]);
  });

  test("a buffer that can grow comes back so, where structured cloning knows it", async () => {
    const Buffer = ArrayBuffer as unknown as new (length: number, options: object) => ArrayBuffer;
    const buffer = new Buffer(2, { maxByteLength: 8 });
    new Uint8Array(buffer).set([1, 2]);
    const shape = (of: ArrayBuffer & { resizable?: boolean; maxByteLength?: number }) =>
      [of.resizable, of.maxByteLength, ...new Uint8Array(of)];
    expect(shape((await copied(buffer)).first)).to.deep.equal(shape(structuredClone(buffer)));
  });

  test("an error of the host keeps its name and text, where structured cloning does", async () => {
    const shape = (of: DOMException) => [of.name, of.message, of instanceof DOMException];
    const error = new DOMException("gone", "NotFoundError");
    expect(shape((await copied(error)).first)).to.deep.equal(shape(structuredClone(error)));
  });

  test("objects of the host that can be changed are copied, in and out", async () => {
    const { DOMPoint } = globalThis;
    // Pages have it and can clone it; other runtimes lack one or the other.
    if (DOMPoint === undefined || !(structuredClone(new DOMPoint()) instanceof DOMPoint)) return;
    const point = new DOMPoint(1);
    const { first, next } = await copied([point, point] as const);
    for (const changed of [point, first[0], (await next())[0]]) changed.x = 5;
    expect(first[1]).to.equal(first[0]);
    const [again] = await next();
    expect([again instanceof DOMPoint, again.x]).to.deep.equal([true, 1]);
  });

  test("what old libraries add to lists and objects changes no value, and no size", async () => {
    const spoiled = [Array.prototype, Object.prototype, Map.prototype] as { toJSON?: unknown }[];
    const one = [[1, { a: [2] }], { list: ["b"], at: new Date(0) }, [new Map([["a", [1n]]])], "text"] as const;
    const size = async (value: unknown) => {
      const small = registry({ id: "small", schema: any<unknown>(), limits: { maxPayloadBytes: 1 } });
      return (await failure(() => small.upsert({ key: "a", value }))).message;
    };
    const sizes = await Promise.all(one.map(size));
    for (const prototype of spoiled) prototype.toJSON = () => "a";
    try {
      for (const [at, value] of one.entries()) {
        expect((await copied<unknown>(value)).first).to.deep.equal(value);
        expect(await size(value)).to.equal(sizes[at]);
      }
      const clock = scheduler({ id: "spoiled" });
      await clock.register({ id: "d", cron: "* * * * *", input: [1], job: { id: "j", submit: async () => "1" } });
      expect((await clock.get({ id: "d" }))?.cron).to.equal("* * * * *");
      await clock.unregister({ id: "d" });
    } finally {
      for (const prototype of spoiled) delete prototype.toJSON;
    }
  });

  test("copies of another realm are measured and kept like those of this one", async () => {
    const realm = await otherRealm();
    const foreign = () => {
      const object = Object.assign(new realm.Object() as object, {
        at: new realm.Date(7),
        list: realm.Array.of("a".repeat(40)),
        map: new realm.Map([["a", new realm.Set([1n])]]),
        bytes: new realm.Uint8Array([1, 2]),
        error: new realm.RangeError("far"),
        text: /a/g,
      });
      expect(object).not.to.be.instanceOf(Object);
      return object;
    };
    // Test runners give a page's code a realm of its own, but the `structuredClone` of another.
    const { structuredClone } = globalThis;
    globalThis.structuredClone = foreign as typeof structuredClone;
    try {
      const { first } = await copied<unknown>({ at: new Date() });
      expect(first).to.be.instanceOf(Object);
      expect(first).to.deep.include({
        at: new Date(7),
        list: ["a".repeat(40)],
        map: new Map([["a", new Set([1n])]]),
        bytes: new Uint8Array([1, 2]),
      });
      expect((first as { error: unknown }).error).to.be.instanceOf(RangeError);
      const small = registry({ id: "small", schema: any<unknown>(), limits: { maxPayloadBytes: 64 } });
      const refused = await failure(() => small.upsert({ key: "a", value: { at: new Date() } }));
      expect(refused.message).to.match(/^payload exceeds limit \(64 bytes\): 1\d\d bytes$/);
    } finally {
      globalThis.structuredClone = structuredClone;
    }
  });
});
