import { ephemeral, job, mutex, queue, ratelimit, retry, scheduler, topic } from "tidelock/browser";

const $ = (id) => document.getElementById(id);
const any = { parse: (value) => value };
const text = { parse: (value) => String(value) };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const time = (at) => new Date(at).toLocaleTimeString("en-GB");

/** A line on top of a list, which keeps the latest. */
function line(list, left, right = "") {
  const item = document.createElement("li");
  for (const part of [left, right]) item.append(Object.assign(document.createElement("span"), { textContent: part }));
  list.prepend(item);
  while (list.children.length > 12) list.lastChild.remove();
  return item;
}

// What happens: everybody publishes, the board follows live.
const events = topic({ id: "events", schema: text });

async function follow() {
  for await (const event of events.live()) line($("events"), event.data, time(event.publishedAt));
}

// Orders: two stoves take them from a queue. There is one oven, so whoever bakes holds its lock.
const orders = queue({ id: "orders", schema: any, delivery: { defaultLeaseMs: 10_000 } });
const kitchen = mutex({ id: "kitchen" });
const cards = new Map();

function show({ messageId, item }, list, state) {
  cards.get(messageId)?.remove();
  cards.set(messageId, line($(list), item, state));
}

$("order").addEventListener("submit", async (event) => {
  event.preventDefault();
  const item = $("item").value.trim() || "Tea";
  $("item").value = "";
  const { messageId } = await orders.send({ data: { item } });
  show({ messageId, item }, "waiting", "");
  await events.pub({ data: `${item}: ordered` });
});

async function stove(name) {
  for await (const order of orders.stream()) {
    const shown = { messageId: order.messageId, item: order.data.item };
    show(shown, "cooking", `${name}, waits for the oven`);
    await kitchen.withLockOrThrow("oven", async () => {
      show(shown, "cooking", `${name}, in the oven`);
      // The door jams now and then.
      const bake = (attempt) => (attempt === 1 && Math.random() < 0.3 ? Promise.reject(new Error("jammed")) : pause(700));
      await retry(bake, { minDelayMs: 200, retryIf: () => true });
    });
    await order.ack();
    show(shown, "served", time(Date.now()));
    cards.delete(order.messageId);
    await events.pub({ data: `${shown.item}: served by the ${name}` });
  }
}

// Cooks: who gives no sign of life for five seconds is gone.
const cooks = ephemeral({ id: "cooks", schema: any, ttlMs: 10_000 });
const NAMES = ["Ada", "Grace", "Edsger", "Barbara", "Tony", "Leslie"];
let came = 0;

$("cook").addEventListener("click", async () => {
  const name = NAMES[came % NAMES.length];
  came += 1;
  await cooks.upsert({ key: name, value: {} });
});

async function watchCooks() {
  for await (const change of cooks.reader().stream()) {
    if (change.type === "upsert") await events.pub({ data: `${change.entry.key} came in` });
    if (change.type === "expire") await events.pub({ data: `${change.key} went home` });
    const { entries } = await cooks.snapshot();
    $("cooks").replaceChildren();
    for (const { key, expiresAt } of entries) line($("cooks"), key, `until ${time(expiresAt)}`);
  }
}

// The bell: three times in ten seconds.
const bell = ratelimit({ id: "bell", limit: 3, windowSecs: 10 });

$("bell").addEventListener("click", async () => {
  const { limited, remaining, retryAfter } = await bell.check("front desk");
  $("rung").value = limited ? `not for ${Math.ceil(retryAfter / 1_000)} s` : `${remaining} left`;
});

// The closing of the day: a job of five steps, each done once, whatever happens in between.
const STEPS = ["count the till", "wash up", "put out the fire", "lock the back door", "turn the sign"];
const closing = job({
  id: "close-the-day",
  schema: any,
  defaults: { maxAttempts: 3, backoff: { kind: "exp", baseMs: 300 } },
  process: async ({ ctx }) => {
    for (const [at, step] of STEPS.entries()) {
      ctx.signal.throwIfAborted();
      $("closing").value = step;
      await ctx.step({ id: step, run: () => pause(1_000) });
      $("progress").value = at + 1;
    }
    return "closed";
  },
});
let present;

$("close").addEventListener("click", async () => {
  $("progress").value = 0;
  [$("close").disabled, $("cancel").disabled] = [true, false];
  present = await closing.submit({ input: {} });
  const { result, error } = await closing.join({ id: present });
  $("closing").value = result ?? error?.message ?? "cancelled";
  [$("close").disabled, $("cancel").disabled] = [false, true];
});

$("cancel").addEventListener("click", () => closing.cancel({ id: present, reason: "somebody came in" }));

// The schedule: a digest every ten seconds.
const clock = scheduler({ id: "kitchen" });
const digest = job({
  id: "digest",
  schema: any,
  process: () => {
    line($("digests"), `${$("served").children.length} served, ${$("cooks").children.length} at work`, time(Date.now()));
  },
});

async function schedule() {
  await clock.register({ id: "digest", cron: "*/10 * * * * *", input: {}, job: digest });
  clock.start();
  for (;;) {
    const info = await clock.get({ id: "digest" });
    $("next").value = time(info.nextRunAt);
    await pause(250);
  }
}

follow();
stove("left stove");
stove("right stove");
watchCooks();
schedule();

// What a visitor would do first, so that the page is not empty.
for (const item of ["Tea", "Scones", "Soup"]) {
  $("item").value = item;
  $("order").requestSubmit();
}
$("cook").click();
