// Guarantees that several primitives share.

import type { Changed, RateLimitInfo, SetRateLimitConfig } from "tidelock/browser/queue";
import { any, expect, failure, pinned, settled } from "./harness.js";

const DAY = 24 * 3_600_000;

/** A receive that finds nothing waits as long as requested. */
export function waitsAsTold(make: () => { recv(cfg?: object): Promise<unknown> }): Promise<void> {
  return pinned(async (time) => {
    const reader = make();
    const ended: string[] = [];
    const wait = (called: string, cfg?: object) =>
      void reader.recv(cfg).then((received) => ended.push(`${called} ${String(received)}`));
    wait("default");
    wait("short", { timeoutMs: 9.5 });
    wait("long", { timeoutMs: 40 * DAY });
    wait("none", { timeoutMs: 0 });
    wait("negative", { timeoutMs: -1 });
    wait("told", { wait: false, timeoutMs: 1_000 });
    const abort = new AbortController();
    wait("aborted", { timeoutMs: Infinity, signal: abort.signal });
    await settled();
    expect(ended.splice(0)).to.deep.equal(["none null", "negative null", "told null"]);
    const steps = [9, 1, 29_989, 1, 40 * DAY - 30_001, 1];
    for (const [at, step] of steps.entries()) {
      await time.advance(step);
      const over = ["short null", "default null", "long null"][(at - 1) / 2];
      expect(ended.splice(0)).to.deep.equal(over === undefined ? [] : [over]);
    }
    await time.advance(40 * DAY);
    abort.abort();
    await settled();
    expect(ended.splice(0)).to.deep.equal(["aborted null"]);
    expect((await failure(() => reader.recv({ timeoutMs: NaN }))).message).to.equal("timeoutMs must be >= 0");
  });
}

type Source = { recv(cfg: object): Promise<unknown>; stream(cfg?: object): AsyncIterable<unknown> };

/** A stream that is left while it waits ends at once, and later items go to somebody else. */
export async function isLeftAtOnce(from: Source, write: () => unknown): Promise<void> {
  const events = from.stream({ timeoutMs: Infinity })[Symbol.asyncIterator]();
  const ended: unknown[] = [];
  const end = (result: IteratorResult<unknown>) => ended.push(result.done);
  void events.next().then(end);
  await settled();
  void events.return?.().then(end);
  await settled();
  expect(ended).to.deep.equal([true, true]);
  await write();
  expect(await from.recv({ wait: false })).to.not.equal(null);
}

/** An aborted wait takes nothing, even if another listener of the abort has just written what it waited for. */
export async function takesNothingOnceAborted(from: Source, write: () => unknown): Promise<void> {
  const abort = new AbortController();
  abort.signal.addEventListener("abort", () => void write());
  const waiting = from.recv({ timeoutMs: Infinity, signal: abort.signal });
  await settled();
  abort.abort();
  expect(await waiting).to.equal(null);
  expect(await from.recv({ wait: false })).to.not.equal(null);
}

type Pipe = { write(value: never): Promise<unknown>; read(): Promise<unknown> };

/** A value that a schema rejects causes the schema's own error, and has no effect. */
export async function refusesInvalid(make: (schema: { parse(value: unknown): never }) => Pipe): Promise<void> {
  const issue = { message: "no" };
  const refusing = [
    [{ safeParse: () => ({ success: false as const, error: issue }) }, issue],
    [{ "~standard": { version: 1 as const, vendor: "test", validate: () => ({ issues: [issue] }) } }, undefined],
  ] as const;
  for (const [schema, thrown] of refusing) {
    const { write, read } = make(schema as never);
    const error: unknown = await failure(() => write("one" as never));
    if (thrown) expect(error).to.equal(thrown);
    else expect(error).to.include({ name: "SchemaError", message: "no" });
    expect(await read()).to.equal(null);
  }
  const late = make({ parse: async () => "x" } as never);
  expect((await failure(() => late.write("one" as never))).message).to.equal("schema must validate synchronously");
}

/**
 * Ids and tenants have 1 to 256 characters. `calls` are all calls that take a tenant. Returns a handle with the longest
 * names.
 */
export async function refusesNames<H>(
  make: (options: { id?: string; tenantId?: string }) => H,
  calls: (handle: H, tenantId: string) => (() => unknown)[],
): Promise<H> {
  const long = "too long (max 256 chars)";
  const names = [["", "must be non-empty"], ["x".repeat(257), long], ["\u{1f600}".repeat(257), long]] as const;
  for (const [name, said] of names) {
    expect((await failure(() => make({ id: name }))).message).to.equal(`config.id ${said}`);
    expect((await failure(() => make({ tenantId: name }))).message).to.equal(`config.tenantId ${said}`);
    for (const call of calls(make({}), name)) expect((await failure(call)).message).to.equal(`tenantId ${said}`);
  }
  const longest = "\u{1f600}".repeat(256);
  return make({ id: longest, tenantId: longest });
}

/**
 * Values are checked in this order: names and numbers, schema, size. `bad` are calls with an invalid name or number.
 */
export async function checksInOrder<H>(
  make: (options: { schema: { parse(value: unknown): string }; limits: { payloadBytes: number } }) => H,
  write: (handle: H, data: string) => Promise<unknown>,
  bad: (handle: H) => (() => Promise<unknown>)[],
): Promise<void> {
  let parsed = 0;
  const parse = (value: unknown): string => {
    parsed += 1;
    if (value === "bad") throw new Error("of the schema");
    return any<string>().parse(value);
  };
  const handle = make({ schema: { parse }, limits: { payloadBytes: 2 } });
  for (const call of bad(handle)) await failure(call);
  expect(parsed).to.equal(0);
  expect((await failure(() => write(handle, "bad"))).message).to.equal("of the schema");
  expect((await failure(() => write(handle, "long"))).message).to.equal("payload exceeds limit (2 bytes): 6 bytes");
}

/** What can have a limit of its rate. */
interface Limited {
  setRateLimit(cfg: SetRateLimitConfig): Promise<Changed>;
  stats(): Promise<{ rateLimit: RateLimitInfo | null }>;
}

/** The arguments of a limit of the rate are checked. */
export async function checksRates(limited: Limited): Promise<void> {
  const most = { limit: Number.MAX_SAFE_INTEGER, perMs: 3_650 * DAY };
  const cases: [cfg: object, text: string][] = [
    [{ perMs: 1 }, "limit must be > 0"],
    [{ perMs: 1, limit: null }, "limit must be > 0"],
    [{ perMs: 1, limit: "5" }, "limit must be > 0"],
    [{ perMs: 1, limit: 0 }, "limit must be > 0"],
    [{ perMs: 1, limit: Infinity }, "limit must be > 0"],
    [{ perMs: 1, limit: 1.5 }, "limit must be a whole number > 0, but is 1.5"],
    [{ perMs: 1, limit: 2 ** 53 }, `limit must be > 0 and at most ${most.limit}, but is ${2 ** 53}`],
    [{ limit: 1 }, "perMs must be > 0"],
    [{ limit: 1, perMs: null }, "perMs must be > 0"],
    [{ limit: 1, perMs: "1000" }, "perMs must be > 0"],
    [{ limit: 1, perMs: 0 }, "perMs must be > 0"],
    [{ limit: 1, perMs: Number.NaN }, "perMs must be > 0"],
    [{ limit: 1, perMs: most.perMs + 1 }, `perMs must be > 0 and at most ${most.perMs}, but is ${most.perMs + 1}`],
  ];
  for (const [cfg, text] of cases) {
    const error = await failure(() => limited.setRateLimit(cfg as SetRateLimitConfig));
    expect(error.message, JSON.stringify(cfg)).to.equal(text);
  }
  expect((await limited.stats()).rateLimit).to.equal(null);
  // As everywhere, a fraction of a millisecond is rounded up.
  for (const [given, perMs] of [[0.5, 1], [1, 1], [most.perMs, most.perMs]] as const) {
    await limited.setRateLimit({ ...most, perMs: given });
    expect((await limited.stats()).rateLimit).to.deep.equal({ ...most, perMs, used: 0, windowEndsAt: null });
  }
}
