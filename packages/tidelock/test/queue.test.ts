import { queue } from "tidelock/browser/queue";
import { any, describe, expect, failure, pinned, settled, test } from "./harness.js";

const make = (options = {}) => queue({ id: "orders", schema: any<string>(), ...options });

describe("queue", () => {
  test("a message is received once, and done with its ack", async () => {
    const orders = make();
    const sent = await orders.send({ data: "one", meta: { from: "test" } });
    const received = await orders.recv({ wait: false });
    expect(received).to.include({ data: "one", messageId: sent.messageId, attempt: 1 });
    expect(received?.meta).to.deep.equal({ from: "test" });
    expect(await orders.recv({ wait: false })).to.equal(null);
    expect(await received?.ack()).to.equal(true);
    expect(await received?.ack()).to.equal(false);
  });

  test("a receive that was called before a send gets its message", async () => {
    const orders = make();
    const [received] = await Promise.all([orders.recv(), orders.send({ data: "one" })]);
    expect(received?.data).to.equal("one");
  });

  test("a lease is over at its deadline, and not a millisecond before", () =>
    pinned(async (time) => {
      const orders = make({ delivery: { defaultLeaseMs: 1_000 } });
      await orders.send({ data: "one" });
      const first = await orders.recv();
      expect(first?.leaseUntil).to.equal(time.now() + 1_000);
      await time.advance(999);
      expect(await orders.recv({ wait: false })).to.equal(null);
      await time.advance(1);
      expect((await orders.recv({ wait: false }))?.attempt).to.equal(2);
      expect(await first?.ack()).to.equal(false);
    }));

  test("an aborted signal gives null and takes nothing", async () => {
    const orders = make();
    const abort = new AbortController();
    const waiting = orders.recv({ signal: abort.signal });
    await settled();
    abort.abort();
    expect(await waiting).to.equal(null);
    await orders.send({ data: "one" });
    expect(await orders.recv({ signal: abort.signal })).to.equal(null);
    expect((await orders.recv({ wait: false }))?.attempt).to.equal(1);
  });

  test("what is too large is refused with both numbers", async () => {
    const orders = make({ limits: { payloadBytes: 5 } });
    await orders.send({ data: "abc" });
    expect((await failure(() => orders.send({ data: "abcd" }))).message).to.equal("payload exceeds limit (5 bytes): 6 bytes");
  });
});
