// Rows of the speed table: in Node `bench.mjs`, in a page by `globalThis.outcome`.

export interface Row {
  readonly name: string;
  readonly ops_per_s: number;
  readonly p50_ms: number;
  readonly target: string;
  readonly note: string;
}

interface Host {
  process?: object;
  outcome?: Promise<Row[]>;
}
const host = globalThis as Host;

/** The length of a round in ms, and the number of rounds; the median counts. */
const ROUND = 500;
const ROUNDS = 5;
/** Number of calls between two checks of the clock. */
const CALLS = 500;

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

/** Calls per second, each awaited before the next; `prepare` is not counted. */
async function rate(call: (at: number) => Promise<unknown>, prepare?: () => Promise<unknown>): Promise<number> {
  const rates: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    let [calls, spent] = [0, 0];
    while (spent < ROUND) {
      if (prepare) for (let at = 0; at < CALLS; at += 1) await prepare();
      const start = performance.now();
      for (let at = 0; at < CALLS; at += 1) await call(calls + at);
      spent += performance.now() - start;
      calls += CALLS;
    }
    rates.push((calls * 1_000) / spent);
  }
  return median(rates);
}

async function rows(): Promise<Row[]> {
  const start = performance.now();
  const { queue, ratelimit } = await import("tidelock/browser");
  const schema = { parse: (value: unknown) => value };
  await queue({ id: "first", schema }).send({ data: 1 });
  const imported = performance.now() - start;

  const row = (name: string, ops_per_s: number, target: string): Row => ({ name, ops_per_s, p50_ms: 0, target, note: "" });
  const data = "x".repeat(98);
  const identifiers = Array.from({ length: 1_000 }, (_, at) => `user ${at}`);
  const limiter = ratelimit({ id: "api", limit: 1_000_000_000 });
  const checks = await rate((at) => limiter.check(identifiers[at % identifiers.length] as string));
  const orders = queue({ id: "orders", schema });
  const receive = async () => await (await orders.recv())?.ack();
  const sends = await rate(() => orders.send({ data }));
  while (await orders.recv({ wait: false }).then(async (received) => await received?.ack()));
  const receives = await rate(receive, () => orders.send({ data }));
  return [
    row("ratelimit.check", checks, "300,000/s"),
    row("queue.send", sends, "300,000/s"),
    row("queue.recv_ack", receives, "200,000/s"),
    { ...row("page.import", 0, "20 ms"), p50_ms: imported, note: "import to the end of the first call" },
  ];
}

const outcome = rows();
if (host.process) console.log(JSON.stringify(await outcome));
else host.outcome = outcome;
