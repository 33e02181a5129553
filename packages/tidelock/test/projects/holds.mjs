// What keeps a process alive: `holds.mjs <case>` prints its result before the process ends by itself.

import { ephemeral } from "tidelock/browser/ephemeral";
import { job } from "tidelock/browser/job";
import { queue } from "tidelock/browser/queue";

const SOON = 100;
const LATER = 600_000;
const schema = { parse: (value) => value };
const forever = { timeoutMs: Infinity };
const orders = queue({ id: "orders", schema });
const mail = job({ id: "mail", schema, process: () => "sent" });

/** Waits for the event that ends a job. */
async function end(events) {
  for await (const { data } of events) if (data.type === "completed") return data.type;
}

const cases = {
  async delay() {
    await orders.send({ data: "delayed", delayMs: SOON });
    return (await orders.recv(forever)).data;
  },
  async lease() {
    await orders.send({ data: 1 });
    await orders.recv({ leaseMs: SOON });
    return (await orders.recv(forever)).attempt;
  },
  async nack() {
    await orders.send({ data: 1 });
    await (await orders.recv()).nack({ delayMs: SOON });
    return (await orders.recv(forever)).attempt;
  },
  async stream() {
    await orders.send({ data: "delayed", delayMs: SOON });
    for await (const { data } of orders.stream(forever)) return data;
  },
  async expiry() {
    const room = ephemeral({ id: "room", schema, ttlMs: SOON });
    await room.upsert({ key: "ada", value: 1 });
    return (await room.reader().recv(forever)).type;
  },
  async join() {
    return (await mail.join({ id: await mail.submit({ input: 1, delayMs: SOON }) })).result;
  },
  async group() {
    const id = await mail.submit({ input: 1, delayMs: SOON });
    return end(mail.events(id).reader().stream(forever));
  },
  async live() {
    const id = await mail.submit({ input: 1, delayMs: SOON });
    return end(mail.events(id).live({ after: "0" }));
  },
  /** Nobody waits. */
  async nothing() {
    await orders.send({ data: 1, delayMs: LATER, idempotencyKey: "key" });
    await mail.submit({ input: 1, delayMs: LATER });
    return "ended";
  },
  /** Nobody waits any more. */
  async withdrawn() {
    const abort = new AbortController();
    const waiting = orders.recv({ ...forever, signal: abort.signal });
    await orders.send({ data: 1, delayMs: LATER });
    await mail.submit({ input: 1, delayMs: LATER });
    abort.abort();
    return waiting;
  },
};

console.log(String(await cases[globalThis.process.argv[2]]()));
