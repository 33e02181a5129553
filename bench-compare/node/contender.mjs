// The counterpart of `src/main.rs` for libraries from npm: one process runs one workload once. The protocol is the
// same: it prints `ready`, waits for a line, runs, prints one line of JSON, and ends when its input does.
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { setTimeout as sleep } from "node:timers/promises";

const PAYLOAD = 100;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** The longest time for which a rate is measured. */
const ENOUGH = 3_000;
/** A wait that takes longer fails. */
const PATIENCE = 30_000;

/** BullMQ with its defaults, over the client that it recommends. */
async function bullmq(url) {
  const [{ Queue, Worker }, { Redis }] = [await import("bullmq"), await import("ioredis")];
  const connect = () => new Redis(url, { maxRetriesPerRequest: null });
  const name = "compare";
  return {
    open() {
      const queue = new Queue(name, { connection: connect() });
      return {
        ready: () => queue.waitUntilReady(),
        enqueue: (payload) => queue.add("item", payload),
        schedule: (number, data) => queue.upsertJobScheduler(`schedule-${number}`, { every: DAY }, { name: "item", data }),
        enqueueMany: (payloads, delay) => queue.addBulk(payloads.map((data) => ({ name: "item", data, opts: { delay } }))),
      };
    },
    work(concurrency, seen, limiter) {
      const options = { connection: connect(), concurrency, limiter };
      const worker = new Worker(name, async (job) => seen.handle(job.data), options);
      return worker.waitUntilReady();
    },
  };
}

/** The limiter that most Node.js programs use, with a counter per user and second in Redis. */
async function rateLimiterFlexible(url) {
  const [{ RateLimiterRedis }, { Redis }] = [await import("rate-limiter-flexible"), await import("ioredis")];
  const storeClient = new Redis(url);
  await storeClient.ping();
  const limiter = new RateLimiterRedis({ storeClient, points: 1_000_000, duration: 1 });
  return { check: (user) => limiter.consume(user) };
}

/** What the handlers of a worker have received. */
class Seen {
  count = 0;
  arrivals = [];
  constructor(wanted) {
    this.wanted = wanted;
    this.all = new Promise((resolve) => (this.resolve = resolve));
  }

  handle(payload) {
    const now = performance.now();
    if (this.count === 0) this.first = now;
    this.arrivals.push([Number.parseInt(payload, 10), now]);
    this.count += 1;
    if (this.count === this.wanted) this.resolve();
  }

  /** Waits until all items have arrived, or for the longest time of a rate; returns their number. */
  async waitForAll() {
    await Promise.race([this.all, sleep(ENOUGH)]);
    if (this.count < 2) throw new Error(`${this.count} of ${this.wanted} items came`);
    return Math.min(this.count, this.wanted);
  }

  async came(items) {
    const start = performance.now();
    while (this.count < items) {
      if (performance.now() - start > PATIENCE) throw new Error(`item ${items} did not come`);
      await sleep(1);
    }
  }

  delays(departures) {
    return this.arrivals.map(([number, arrival]) => arrival - departures[number]);
  }
}

const payload = (number) => `${String(number).padStart(8, "0")}-`.padEnd(PAYLOAD, "x");

function rate(items, start) {
  return { items, seconds: (performance.now() - start) / 1_000 };
}

function latencies(samples, start) {
  samples.sort((a, b) => a - b);
  const percentile = (percent) => samples[Math.ceil(((samples.length - 1) * percent) / 100)] ?? 0;
  return { ...rate(samples.length, start), p50_ms: percentile(50), p99_ms: percentile(99) };
}

/** Calls for each number below `items`; a caller takes the next number when its last call is answered. */
async function spread(items, callers, call) {
  let next = 0;
  const caller = async () => {
    while (next < items) await call(next++);
  };
  await Promise.all(Array.from({ length: callers }, caller));
}

async function fill(library, task, begin, delay) {
  const jobs = library.open();
  await jobs.ready();
  const start = await begin();
  for (let first = 0; first < task.items; first += task.batch) {
    const count = Math.min(task.batch, task.items - first);
    await jobs.enqueueMany(Array.from({ length: count }, (_, index) => payload(first + index)), delay);
  }
  return rate(task.items, start);
}

/** Processes prepared items, from the first to the last. */
async function workOff(library, task, begin, limiter) {
  await begin();
  const seen = new Seen(task.items);
  await library.work(task.callers, seen, limiter);
  return rate(await seen.waitForAll(), seen.first);
}

const limiter = (task) => ({ max: task.limit, duration: task.window });

/** What a rate limit lets through under constant load, from the start of the second window to that of the last one. */
async function held(library, task, begin) {
  await begin();
  const seen = new Seen(0);
  await library.work(task.callers, seen, limiter(task));
  await seen.came(1);
  await sleep(task.window + task.seconds * 1_000);
  const times = seen.arrivals.map(([, arrival]) => arrival);
  if (times.length >= task.items) throw new Error(`all ${task.items} items came: no limit holds them`);
  const last = Math.floor((times.length - 1) / task.limit) * task.limit;
  if (last <= task.limit) throw new Error("less than two windows came");
  return { items: last - task.limit, seconds: (times[last] - times[task.limit]) / 1_000 };
}

const WORKS = {
  async enqueue(library, task, begin) {
    const jobs = library.open();
    await jobs.ready();
    const start = await begin();
    await spread(task.items, task.callers, (number) => jobs.enqueue(payload(number)));
    return rate(task.items, start);
  },
  bulk: (library, task, begin) => fill(library, task, begin),
  fill: (library, task, begin) => fill(library, task, begin),
  delay: (library, task, begin) => fill(library, task, begin, HOUR),
  process: (library, task, begin) => workOff(library, task, begin),
  paced: (library, task, begin) => workOff(library, task, begin, limiter(task)),
  held,
  async flow(library, task, begin) {
    const [jobs, seen] = [library.open(), new Seen(task.items)];
    await jobs.ready();
    await library.work(task.callers, seen);
    const start = await begin();
    await spread(task.items, task.callers, (number) => jobs.enqueue(payload(number)));
    return rate(await seen.waitForAll(), start);
  },
  async idle(library, task, begin) {
    const [jobs, seen] = [library.open(), new Seen(1)];
    await jobs.ready();
    await library.work(task.callers, seen);
    await jobs.enqueue(payload(0));
    await seen.came(1);
    const [start, departures] = [await begin(), [0]];
    while (departures.length <= task.items && performance.now() - start < task.seconds * 1_000) {
      await sleep(5);
      const number = departures.length;
      departures.push(performance.now());
      await jobs.enqueue(payload(number));
      await seen.came(number + 1);
    }
    return latencies(seen.delays(departures).slice(1), start);
  },
  check,
  schedule,
  async ordered(_library, _task, begin) {
    await begin();
    return { items: 0, seconds: 0, unsupported: "per-key order only in BullMQ Pro" };
  },
  async loaded(library, task, begin) {
    const [jobs, seen, departures, calls] = [library.open(), new Seen(0), [], []];
    await jobs.ready();
    await library.work(task.callers, seen);
    const start = await begin();
    while (performance.now() - start < task.seconds * 1_000) {
      await sleep(1);
      while (start + (departures.length * 1_000) / task.rate <= performance.now()) {
        departures.push(performance.now());
        calls.push(jobs.enqueue(payload(departures.length - 1)));
      }
    }
    await Promise.all(calls);
    await seen.came(departures.length);
    return latencies(seen.delays(departures), start);
  },
};

/** Defines schedules that run once a day. */
async function schedule(library, task, begin) {
  const jobs = library.open();
  await jobs.ready();
  const start = await begin();
  await spread(task.items, 64, (number) => jobs.schedule(number, payload(number)));
  return rate(task.items, start);
}

/** Checks the limit of one of a thousand users. */
async function check(library, task, begin) {
  const start = await begin();
  await spread(task.items, task.callers, (number) => library.check(`user:${number % 1_000}`));
  return rate(task.items, start);
}

const LIBRARIES = { bullmq, "rate-limiter-flexible": rateLimiterFlexible };

function readTask() {
  const number = (standard) => ({ type: "string", default: String(standard) });
  const options = {
    url: { type: "string" },
    items: number(1_000),
    callers: number(1),
    batch: number(100),
    rate: number(100),
    seconds: number(1),
    limit: number(100_000),
    window: number(1_000),
  };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const { url, ...numbers } = values;
  const measures = Object.fromEntries(Object.entries(numbers).map(([name, text]) => [name, Number(text)]));
  return { contender: positionals[0], work: positionals[1], task: { url, ...measures } };
}

async function main() {
  const { contender, work, task } = readTask();
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const begin = async () => {
    process.stdout.write("ready\n");
    await lines.next();
    return performance.now();
  };
  const library = await LIBRARIES[contender](task.url);
  const outcome = await WORKS[work](library, task, begin);
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
  await lines.next();
  process.exit(0);
}

await main();
