import { ephemeral } from "tidelock/browser/ephemeral";
import { job } from "tidelock/browser/job";
import { mutex } from "tidelock/browser/mutex";
import { queue } from "tidelock/browser/queue";
import { ratelimit } from "tidelock/browser/ratelimit";
import { registry } from "tidelock/browser/registry";
import { scheduler } from "tidelock/browser/scheduler";
import { topic } from "tidelock/browser/topic";
import { any, describe, expect, failure, test } from "./harness.js";

const schema = any<unknown>();
const five = 5 as unknown as string;
/** Half of a character. */
const half = "a\ud800";

const orders = () => queue({ id: "orders", schema });
const events = () => topic({ id: "events", schema });
const mail = () => job({ id: "texts", schema, process: () => {} });

async function received() {
  const here = orders();
  await here.send({ data: 1 });
  return { here, message: (await here.recv())! };
}

describe("texts", () => {
  test("what is no text is refused wherever there has to be one", async () => {
    const { here, message } = await received();
    const work = { id: "mail", submit: async () => "1" };
    const due = { id: "due", cron: "* * * * *", input: 1, job: work };
    const clock = scheduler({ id: "texts" });
    const calls: [path: string, call: () => unknown][] = [
      ["orderingKey", () => here.send({ data: 1, orderingKey: five })],
      ["idempotencyKey", () => here.send({ data: 1, idempotencyKey: five })],
      ["item 0: orderingKey", () => here.sendMany([{ data: 1, orderingKey: five }])],
      ["consumerId", () => here.recv({ consumerId: five })],
      ["reason", () => message.nack({ reason: new Error("no") as never })],
      ["error", () => message.nack({ error: new Error("no") as never })],
      ["reason", () => here.deadLetter(message, five)],
      ["reason", () => here.deadLetter(message, null as never)],
      ["error", () => here.deadLetter(message, "no", { error: five })],
      ["reason", () => here.pause({ reason: five })],
      ["after", () => here.list("ready", { after: five })],
      ["orderingKey", () => events().pub({ data: 1, orderingKey: five })],
      ["idempotencyKey", () => events().pub({ data: 1, idempotencyKey: five })],
      ["after", () => events().live({ after: five })],
      ["key", () => mail().submit({ input: 1, key: five })],
      ["id", () => mail().join({ id: five })],
      ["id", () => mail().cancel({ id: five })],
      ["reason", () => mail().cancel({ id: "1", reason: five })],
      ["id", () => mail().events(five)],
      ["after", () => mail().events("1").live({ after: five })],
      ["cron", () => clock.register({ ...due, cron: five })],
      ["tz", () => clock.register({ ...due, tz: five })],
      ["key", () => clock.triggerNow({ id: "due", key: five })],
      ["reason", () => registry({ id: "apps", schema }).remove({ key: "a", reason: five })],
      ["reason", () => ephemeral({ id: "room", schema, ttlMs: 1 }).remove({ key: "a", reason: five })],
      ["limits[0].name", () => ratelimit({ id: "api", limits: [{ limit: 1, name: five }] })],
      ["prefix", () => ratelimit({ id: "api", limit: 1, prefix: five })],
      ["prefix", () => mutex({ id: "lock", prefix: five })],
      ["prefix", () => topic({ id: "events", schema, prefix: five })],
      ["prefix", () => scheduler({ id: "texts", prefix: five })],
    ];
    for (const [path, call] of calls) expect((await failure(call)).message).to.equal(`${path} must be a string`);
    expect(await message.ack()).to.equal(true);
    expect(await here.recv({ wait: false })).to.equal(null);
  });

  test("what is no object of options is refused", async () => {
    const five = 5 as never;
    const calls: [path: string, call: () => unknown][] = [
      ["ordering", () => queue({ id: "mail", schema, ordering: five })],
      ["delivery", () => queue({ id: "mail", schema, delivery: five })],
      ["limits", () => queue({ id: "mail", schema, limits: five })],
      ["limits", () => topic({ id: "mail", schema, limits: five })],
      ["limits", () => registry({ id: "mail", schema, limits: five })],
      ["limits", () => ephemeral({ id: "mail", schema, ttlMs: 1, limits: five })],
      ["limits[1]", () => ratelimit({ id: "mail", limits: [{ limit: 1 }, five] })],
    ];
    for (const [path, call] of calls) expect((await failure(call)).message).to.equal(`${path} must be an object, but is 5`);
    expect((await failure(() => ratelimit({ id: "mail", limits: five }))).message).to.equal("limits must be a list");
  });

  test("a name with half a character is refused: the core would take all of these for one", async () => {
    const long = half.repeat(100);
    const clock = scheduler({ id: "texts" });
    const calls: [path: string, call: () => unknown][] = [
      ["config.id", () => queue({ id: half, schema })],
      ["tenantId", () => orders().send({ data: 1, tenantId: half })],
      ["orderingKey", () => orders().send({ data: 1, orderingKey: half })],
      ["idempotencyKey", () => orders().send({ data: 1, idempotencyKey: half })],
      ["orderingKey", () => events().pub({ data: 1, orderingKey: half })],
      ["idempotencyKey", () => events().pub({ data: 1, idempotencyKey: half })],
      ["group", () => events().reader(half)],
      ["key", () => mail().submit({ input: 1, key: half })],
      ["id", () => clock.get({ id: half })],
      ["key", () => clock.triggerNow({ id: "due", key: half })],
      ["key", () => registry({ id: "apps", schema }).get({ key: half })],
      ["prefix", () => registry({ id: "apps", schema }).list({ prefix: `${half}/` })],
      ["key", () => ephemeral({ id: "room", schema, ttlMs: 1 }).touch({ key: half })],
      ["resource", () => mutex({ id: "doors" }).acquire(long)],
      ["identifier", () => ratelimit({ id: "api", limit: 1 }).check(long)],
    ];
    const said = (path: string) => `${path} must not contain lone surrogates`;
    for (const [path, call] of calls) expect((await failure(call)).message).to.equal(said(path));
    await orders().send({ data: half, orderingKey: "\u{1f600}", meta: { half } });
  });

  test("texts of people may have halves of characters: they are shown as others", async () => {
    const { message } = await received();
    expect(await message.nack({ reason: half, error: half })).to.equal(true);
  });
});
