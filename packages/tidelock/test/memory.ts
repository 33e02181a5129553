// What must not grow: each load is repeated until a round leaves nothing behind, which never happens with a leak. In
// Node `memory.mjs few|all`, with `--expose-gc`; in a page `memory.html?count=few|all`.

import { any, countListeners, pinned, type Outcome } from "./harness.js";

type Package = typeof import("tidelock/browser");

interface Host {
  gc?(): void;
  process?: { argv: string[]; exitCode?: number; memoryUsage(): { heapUsed: number } };
  performance: { now(): number; memory?: { usedJSHeapSize: number } };
  location?: { search: string };
  outcome?: Promise<Outcome & { notes: string[] }>;
}
const host = globalThis as unknown as Host;

const DAY = 24 * 3_600_000;
/** Number of concurrent calls in a load: factories, timers and promises come and go with each batch. */
const BATCH = 1_000;
/** What the host's own bookkeeping may use, in bytes. */
const SLACK = 100_000;
/** Maximum number of rounds after the first. */
const ROUNDS = 12;

/** Captures the WebAssembly memory, which the package does not expose. */
function catchMemory(): Promise<[Package, WebAssembly.Memory]> {
  const { Instance } = WebAssembly;
  let memory: WebAssembly.Memory | undefined;
  WebAssembly.Instance = new Proxy(Instance, {
    construct(target, args: ConstructorParameters<typeof Instance>) {
      const instance = new target(...args);
      memory = instance.exports.memory as WebAssembly.Memory;
      return instance;
    },
  });
  return import("tidelock/browser").then((tidelock) => {
    WebAssembly.Instance = Instance;
    if (memory === undefined) throw new Error("the package has made no instance");
    return [tidelock, memory];
  });
}

const { setTimeout } = globalThis;
const turn = () => new Promise<void>((resolve) => void setTimeout(resolve, 0));

/**
 * Collects garbage. Some of it is freed in later turns, so this continues until three turns in a row have freed
 * nothing.
 */
async function collect(): Promise<void> {
  let least = Infinity;
  for (let quiet = 0; quiet < 3; quiet += 1) {
    host.gc?.();
    await turn();
    if (heap() < least - 4_096) [least, quiet] = [heap(), -1];
  }
}

function heap(): number {
  return host.process?.memoryUsage().heapUsed ?? host.performance.memory?.usedJSHeapSize ?? Number.NaN;
}

/** Calls `run` `count` times, in concurrent batches. */
async function inBatches(count: number, run: (at: number) => unknown): Promise<void> {
  for (let at = 0; at < count; at += BATCH) {
    await Promise.all(Array.from({ length: Math.min(BATCH, count - at) }, (_, of) => run(at + of)));
  }
}

interface Load {
  readonly name: string;
  /** The number of calls for which it is promised. */
  readonly count: number;
  /** The number of calls that suffices to see growth. */
  readonly few: number;
  run(count: number, round: number): Promise<void>;
}

function loads({ queue, topic, registry, ephemeral, mutex, ratelimit, scheduler, job, createMemoryStore }: Package): Load[] {
  const schema = any<unknown>();
  const limits = { maxEntries: 200_000 };
  const handles = () => ({
    orders: queue({ id: "orders", schema }),
    events: topic({ id: "events", schema, retentionMs: 1_000 }),
    services: registry({ id: "services", schema, limits }),
    room: ephemeral({ id: "room", schema, ttlMs: 1_000, limits }),
    limiter: ratelimit({ id: "api", limit: 1 }),
  });
  // A timer uses the clock at which its object set it, so each load that pins the time has its own objects.
  const [real, withFiles, withTenants, withRecords] = [handles(), handles(), handles(), handles()];
  const listeners = countListeners();
  const { signal } = listeners;
  return [
    // First, while the core's memory is small: what it has freed keeps a file alive until it is reused.
    {
      name: "files in records that were replaced, and in messages that are done",
      count: 100_000,
      few: 2_000,
      run: (count) =>
        pinned(async (time) => {
          const { orders, events, services, room } = withFiles;
          for (let done = 0; done < count; done += 100) {
            await inBatches(100, async (at) => {
              const file = new Blob(["text"]);
              await services.upsert({ key: "file", value: file });
              await room.upsert({ key: "file", value: { file } });
              await events.pub({ data: [file], meta: { file } });
              await orders.send({ data: file, orderingKey: String(at) });
              await (await orders.recv())?.ack();
            });
            await time.advance(DAY);
          }
        }, Date.now()),
    },
    {
      name: "receives that timed out",
      count: 1_000_000,
      few: 10_000,
      run: (count) => inBatches(count, () => real.orders.recv({ timeoutMs: 1 })),
    },
    {
      name: "waits on one signal that timed out",
      count: 100_000,
      few: 10_000,
      async run(count) {
        const readers = [real.orders, real.events.reader(), real.services.reader(), real.room.reader()];
        await inBatches(count, (at) => readers[at % readers.length]?.recv({ timeoutMs: 1, signal }));
        if (listeners.listeners() !== 0) throw new Error(`${listeners.listeners()} listeners are left`);
      },
    },
    {
      name: "messages through a queue",
      count: 1_000_000,
      few: 5_000,
      run: (count) =>
        inBatches(count, async (data) => {
          await real.orders.send({ data });
          await (await real.orders.recv())?.ack();
        }),
    },
    {
      name: "tenants used once",
      count: 100_000,
      few: 3_000,
      run: (count, round) =>
        pinned(async (time) => {
          const { orders, events, services, room, limiter } = withTenants;
          await inBatches(count, async (at) => {
            const tenantId = `tenant ${round} ${at}`;
            await orders.send({ data: at, tenantId });
            await (await orders.recv({ tenantId }))?.ack();
            await events.pub({ data: at, tenantId });
            await (await events.reader().recv({ tenantId }))?.commit();
            await services.upsert({ key: "key", value: at, tenantId });
            await services.remove({ key: "key", tenantId });
            await room.upsert({ key: "key", value: at, tenantId });
            await limiter.check(tenantId);
          });
          await time.advance(9 * DAY);
        }, Date.now()),
    },
    {
      name: "records that expired",
      count: 100_000,
      few: 10_000,
      run: (count, round) =>
        pinned(async (time) => {
          const { services, room } = withRecords;
          await inBatches(count, async (at) => {
            await services.upsert({ key: `round-${round}/${at}`, value: at, ttlMs: 1_000 });
            await room.upsert({ key: `round-${round}/${at}`, value: at });
          });
          await time.advance(DAY);
        }, Date.now()),
    },
    {
      name: "handles of jobs that were dropped before these were run, or cancelled by another",
      count: 10_000,
      few: 1_000,
      run: (count, round) =>
        pinned(async (time) => {
          let runs = 0;
          const make = (at: number) => job({ id: `${round} ${at}`, schema, process: () => (runs += 1) });
          const submitted: string[] = [];
          await inBatches(count, async (at) => {
            const handle = make(at);
            await handle.join({ id: await handle.submit({ input: at }) });
            submitted[at] = await handle.submit({ input: at, delayMs: 1_000 });
          });
          await collect();
          for (let at = 0; at < count; at += 2) await make(at).cancel({ id: submitted[at]! });
          await time.advance(9 * DAY);
          if (runs !== 1.5 * count) throw new Error(`${runs} runs of ${count} jobs`);
        }, Date.now()),
    },
    {
      name: "factories that were dropped",
      count: 100_000,
      few: 2_000,
      async run(count, round) {
        for (let at = 0; at < count; at += BATCH) {
          for (let of = at; of < Math.min(at + BATCH, count); of += 1) {
            const id = `${round} ${of}`;
            void queue({ id, schema }).send({ data: of });
            void topic({ id, schema }).pub({ data: of });
            void registry({ id, schema }).upsert({ key: "key", value: of });
            void ephemeral({ id, schema, ttlMs: 1_000_000 }).upsert({ key: "key", value: of });
            void ratelimit({ id, limit: 1 }).check("ada");
            void mutex({ id }).acquire("door");
            job({ id, schema, process: () => {} });
            scheduler({ id });
            createMemoryStore().set("key", of, 1_000_000);
          }
          await collect();
        }
      },
    },
  ];
}

/** Whether a round has left less than one word per call. */
function isSettled([inHeap, inMemory]: readonly [number, number], times: number): boolean {
  return inHeap < SLACK + 8 * times && inMemory <= times;
}

/** Runs the loads whose names contain `only`. */
async function measure(count: string, only: string): Promise<Outcome & { notes: string[] }> {
  if (host.gc === undefined) throw new Error("nothing can be told of memory that is not collected: --expose-gc");
  const [tidelock, memory] = await catchMemory();
  const failed: { name: string; error: string }[] = [];
  const notes: string[] = [];
  const chosen = loads(tidelock).filter(({ name }) => name.includes(only));
  for (const load of chosen) {
    const times = count === "all" ? load.count : load.few;
    const start = host.performance.now();
    const used = async (round: number) => {
      await load.run(times, round);
      await collect();
      return [heap(), memory.buffer.byteLength] as const;
    };
    let before = await used(0);
    let grown = [Infinity, Infinity] as const;
    let round = 1;
    // A leak grows in every round. Without one, memory still settles first: it fragments, and tables double.
    for (; round <= ROUNDS && !isSettled(grown, times); round += 1) {
      const now = await used(round);
      grown = [now[0] - before[0], now[1] - before[1]];
      before = now;
    }
    const seconds = ((host.performance.now() - start) / 1_000).toFixed(1);
    const what = `${times} ${load.name}: ${grown[0]} bytes of heap, ${grown[1]} of WebAssembly in round ${round}, ${seconds} s`;
    notes.push(what);
    if (!isSettled(grown, times)) failed.push({ name: load.name, error: what });
  }
  return { passed: chosen.length - failed.length, failed, notes };
}

if (host.process) {
  const [count = "few", only = ""] = host.process.argv.slice(2);
  const { passed, failed, notes } = await measure(count, only);
  for (const note of notes) console.log(note);
  for (const { name, error } of failed) console.error(`FAILED ${name}\n${error}\n`);
  console.log(`${passed} passed, ${failed.length} failed`);
  if (failed.length > 0) host.process.exitCode = 1;
} else {
  const asked = new URLSearchParams(host.location?.search);
  host.outcome = measure(asked.get("count") ?? "few", asked.get("only") ?? "");
}
