import { ephemeral, job, mutex, queue, ratelimit, retry, scheduler, topic } from "tidelock/browser";

const $ = (id) => document.getElementById(id);
const text = { parse: (value) => String(value) };
const any = { parse: (value) => value };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const time = (at) => new Date(at).toLocaleTimeString();

function line(list, left, right = "") {
  const item = document.createElement("li");
  item.append(Object.assign(document.createElement("span"), { textContent: left }), right);
  list.prepend(item);
  while (list.children.length > 30) list.lastChild.remove();
  return item;
}

// What happens: everybody publishes, the board follows live.
const events = topic({ id: "events", schema: text });

async function follow() {
  for await (const event of events.live()) line($("events"), event.data, time(event.publishedAt));
}

// Orders: two stoves take them from a queue. The oven is one, so whoever bakes holds a lock.
const orders = queue({ id: "orders", schema: any, delivery: { defaultLeaseMs: 10_000 } });
const oven = mutex({ id: "kitchen" });

$("order").addEventListener("submit", async (event) => {
  event.preventDefault();
  const item = $("item").value.trim() || "Tea";
  $("item").value = "";
  const { messageId } = await orders.send({ data: { item, orderedAt: Date.now() } });
  line($("orders"), item, "waits").id = `order-${messageId}`;
  await events.pub({ data: `${item} was ordered` });
});

async function stove(name) {
  for await (const order of orders.stream()) {
    const shown = document.getElementById(`order-${order.messageId}`)?.lastChild;
    const say = (state) => {
      if (shown) shown.textContent = state;
    };
    say(`on ${name}`);
    await oven.withLockOrThrow("oven", async () => {
      say("in the oven");
      // The oven door jams sometimes.
      await retry((attempt) => (Math.random() < 0.3 && attempt < 3 ? Promise.reject(new Error("jammed")) : pause(700)), {
        minDelayMs: 200,
        retryIf: () => true,
      });
    });
    await order.ack();
    say("served");
    await events.pub({ data: `${order.data.item} was served by ${name}` });
  }
}

// Cooks: who gives no sign of life for five seconds is gone.
const cooks = ephemeral({ id: "cooks", schema: any, ttlMs: 5_000 });
const NAMES = ["Ada", "Grace", "Edsger", "Barbara", "Tony", "Leslie"];
let came = 0;

$("cook").addEventListener("click", async () => {
  const name = NAMES[came % NAMES.length];
  came += 1;
  await cooks.upsert({ key: name, value: { since: Date.now() } });
});

async function watchCooks() {
  const reader = cooks.reader();
  for await (const change of reader.stream()) {
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
  $("rung").value = limited ? `not for ${Math.ceil(retryAfter / 1_000)} s` : `rung, ${remaining} left`;
});

// The closing of the day: a job of five steps, each done once, whatever happens in between.
const closing = job({
  id: "close-the-day",
  schema: any,
  defaults: { maxAttempts: 3, backoff: { kind: "exp", baseMs: 300 } },
  process: async ({ ctx }) => {
    for (let step = 1; step <= 5; step += 1) {
      await ctx.step({ id: `step ${step}`, run: () => pause(600) });
      ctx.signal.throwIfAborted();
      $("progress").value = step;
    }
    return "the day is closed";
  },
});
let present;

$("close").addEventListener("click", async () => {
  $("progress").value = 0;
  $("closing").value = "";
  $("close").disabled = true;
  present = await closing.submit({ input: {} });
  const { status, result, error } = await closing.join({ id: present });
  $("closing").value = result ?? `${status}: ${error?.message ?? ""}`;
  $("close").disabled = false;
});

$("cancel").addEventListener("click", () => present && closing.cancel({ id: present, reason: "somebody came in" }));

// The schedule: a digest every ten seconds.
const clock = scheduler({ id: "kitchen" });
const digest = job({
  id: "digest",
  schema: any,
  process: () => {
    line($("digests"), `${$("events").children.length} events on the board`, time(Date.now()));
  },
});

async function schedule() {
  await clock.register({ id: "digest", cron: "*/10 * * * * *", input: {}, job: digest });
  clock.start();
  for (;;) {
    const info = await clock.get({ id: "digest" });
    $("next").value = time(info.nextRunAt);
    await pause(1_000);
  }
}

follow();
stove("the left stove");
stove("the right stove");
watchCooks();
schedule();

// What a visitor would do first, so that the page is not empty.
for (const item of ["Tea", "Scones"]) {
  $("item").value = item;
  $("order").requestSubmit();
}
$("cook").click();
globalThis.board = { orders, events, cooks, bell, closing, clock };
