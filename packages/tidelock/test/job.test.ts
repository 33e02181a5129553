import { job, type JobContext, type JobDefinition, type JobEvent, type JobHandle } from "tidelock/browser/job";
import { any, describe, expect, failure, pinned, settled, test, type PinnedTime } from "./harness.js";
import { checksRates, isLeftAtOnce, takesNothingOnceAborted } from "./shared.js";

type Definition = JobDefinition<{ parse(value: unknown): any }, any>;

let made = 0;

/** A handle with jobs of its own. */
function make(process: Definition["process"] = () => "done", options: Partial<Definition> = {}) {
  made += 1;
  const handle: JobHandle<any, any> = job({ id: `job ${made}`, schema: any<any>(), process, ...options });
  return handle;
}

/** The events of a job so far. */
async function history(handle: JobHandle<any, any>, id: string): Promise<JobEvent[]> {
  const abort = new AbortController();
  const events: JobEvent[] = [];
  const reading = (async () => {
    for await (const { data } of handle.events(id).live({ after: "0", signal: abort.signal })) events.push(data);
  })();
  for (let before = -1; before < events.length; ) {
    before = events.length;
    await settled();
  }
  abort.abort();
  await reading;
  return events;
}

const types = (events: JobEvent[]) => events.map(({ type }) => type).join(" ");

/** A run that continues until it is told to end. */
function held() {
  const runs: { ctx: JobContext; input: any; end: (value?: unknown) => void; fail: (error: unknown) => void }[] = [];
  const process: Definition["process"] = ({ ctx, input }) =>
    new Promise((end, fail) => {
      runs.push({ ctx, input, end, fail });
    });
  return { runs, process };
}

/** Lets a run begin, or its end be reported. */
const turn = settled;

const message = async (call: () => unknown) => (await failure(call)).message;

describe("job", () => {
  test("a job runs, and gives its result to whoever joins it", () =>
    pinned(async (time) => {
      const seen: unknown[] = [];
      const handle = make(({ input }) => {
        seen.push(input);
        return { twice: input.n * 2 };
      });
      const id = await handle.submit({ input: { n: 21 } });
      expect(await handle.join({ id })).to.deep.equal({
        id,
        status: "completed",
        result: { twice: 42 },
        finishedAt: time.now(),
      });
      expect(seen).to.deep.equal([{ n: 21 }]);
      expect(await history(handle, id)).to.deep.equal([
        { id, ts: time.now(), type: "submitted" },
        { id, ts: time.now(), type: "started", runId: `${id}-1`, attempt: 1 },
        { id, ts: time.now(), type: "completed" },
      ]);
    }));

  test("a result of nothing is none, and one of any kind comes back equal", async () => {
    const nothing = make(() => undefined);
    const id = await nothing.submit({ input: 1 });
    expect(Object.keys(await nothing.join({ id }))).to.have.members(["id", "status", "finishedAt"]);
    const values = make(() => new Map([["at", new Date(5)]]));
    const terminal = await values.join({ id: await values.submit({ input: 1n }) });
    expect(terminal.result).to.deep.equal(new Map([["at", new Date(5)]]));
  });

  test("handles of one id share the jobs, and each runs its own process", async () => {
    const id = "shared jobs";
    const { runs, process } = held();
    const one = make(process, { id });
    const other = make(() => "other", { id });
    const first = await one.submit({ input: 1 });
    await turn();
    const second = await other.submit({ input: 2 });
    expect(await one.join({ id: second })).to.include({ status: "completed", result: "other" });
    const joined = other.join({ id: first });
    runs[0]?.end("one");
    expect(await joined).to.include({ status: "completed", result: "one" });
  });

  test("a handle that never submits runs nothing, not even what another one submits", async () => {
    const id = "one works";
    let ran = 0;
    make(() => (ran += 1), { id });
    const { runs, process } = held();
    const works = make(process, { id });
    await works.submit({ input: 1 });
    await works.submit({ input: 2 });
    await turn();
    expect(ran).to.equal(0);
    expect(runs.length).to.equal(1);
  });

  test("jobs run one at a time, in the order of their submits", async () => {
    const { runs, process } = held();
    const handle = make(process);
    const ids = await Promise.all([1, 2, 3].map((input) => handle.submit({ input })));
    for (const [at, id] of ids.entries()) {
      await turn();
      expect(runs.map(({ input }) => input)).to.deep.equal([1, 2, 3].slice(0, at + 1));
      runs[at]?.end(at);
      expect(await handle.join({ id })).to.include({ status: "completed", result: at });
    }
  });

  test("any number of short runs leaves the page its turns, and nobody waits for one in vain", async () => {
    const handle = make(({ input }) => input);
    const ids = await Promise.all(Array.from({ length: 3_000 }, (_, input) => handle.submit({ input })));
    let turns = 0;
    const timer = setInterval(() => {
      turns += 1;
    }, 0);
    await handle.join({ id: ids[2_999] as string });
    clearInterval(timer);
    expect(turns).to.be.above(4);
    handle.stop();
  });

  test("the handler begins before the promise of its submit is seen, and after the call has returned", async () => {
    const order: string[] = [];
    const handle = make(() => void order.push("handler"));
    const submitted = handle.submit({ input: 1 });
    order.push("returned");
    await submitted;
    order.push("submitted");
    expect(order).to.deep.equal(["returned", "handler", "submitted"]);
  });

  test("stop lets the run end and starts no more, and the next submit starts the worker again", async () => {
    const { runs, process } = held();
    const handle = make(process);
    const first = await handle.submit({ input: 1 });
    await turn();
    handle.stop();
    handle.stop();
    expect(runs[0]?.ctx.signal.aborted).to.equal(false);
    const joined = handle.join({ id: first });
    runs[0]?.fail(new Error("no"));
    // A failure of a run in progress counts as one.
    expect(await joined).to.deep.include({ status: "failed", error: { message: "no" } });
    const other = make(() => "never", { id: handle.id });
    const second = await make(held().process, { id: handle.id, defaults: {} }).submit({ input: 2 });
    await turn();
    expect(runs.length).to.equal(1);
    expect(await other.join({ id: second, timeoutMs: 0 })).to.deep.include({ status: "timed_out" });
  });

  test("a handle that was stopped in a run goes on with the next submit, still one at a time", async () => {
    const { runs, process } = held();
    const handle = make(process);
    await handle.submit({ input: 1 });
    await turn();
    handle.stop();
    const second = await handle.submit({ input: 2 });
    await turn();
    expect(runs.length).to.equal(1);
    runs[0]?.end();
    await turn();
    expect(runs.length).to.equal(2);
    runs[1]?.end("again");
    expect(await handle.join({ id: second })).to.include({ result: "again" });
    handle.stop();
    const third = await handle.submit({ input: 3 });
    await turn();
    runs[2]?.end("and again");
    expect(await handle.join({ id: third })).to.include({ result: "and again" });
  });

  test("after stop nothing is claimed, though the run goes on", async () => {
    const id = "stopped";
    const { runs, process } = held();
    const handle = make(process, { id });
    const first = await handle.submit({ input: 1 });
    const second = await handle.submit({ input: 2 });
    await turn();
    handle.stop();
    runs[0]?.end();
    await handle.join({ id: first });
    await turn();
    expect(runs.length).to.equal(1);
    expect(types(await history(handle, second))).to.equal("submitted");
    // Another handle runs the remaining job.
    const other = make(() => "other", { id });
    await other.submit({ input: 3 });
    expect(await handle.join({ id: second })).to.include({ result: "other" });
  });
});

describe("job input", () => {
  test("it is checked at the submit, kept as it was given, and parsed again for process", async () => {
    let parsed = 0;
    const schema = {
      parse(value: unknown) {
        parsed += 1;
        if (typeof value !== "object" || value === null) throw new TypeError("no object");
        return { ...value, parsed };
      },
    };
    const handle = make(({ input }) => input, { schema });
    expect(await failure(() => handle.submit({ input: 5 }))).to.be.instanceOf(TypeError);
    const input = { a: 1, later: "same" };
    const submitted = handle.submit({ input });
    input.later = "changed";
    const id = await submitted;
    expect((await handle.join({ id })).result).to.deep.equal({ a: 1, later: "same", parsed: 3 });
    expect(() => handle.validateInput(5)).to.throw(TypeError, "no object");
    expect(handle.validateInput({})).to.equal(undefined);
  });

  test("input that the schema of the worker refuses ends the job, whatever attempts are left", async () => {
    const id = "two schemas";
    const strict = {
      parse(value: unknown) {
        if (value !== "good") throw new Error("not good");
        return value;
      },
    };
    const worker = make(() => "done", { id, schema: strict });
    const sender = make(held().process, { id });
    const good = await worker.submit({ input: "good" });
    await worker.join({ id: good });
    sender.stop();
    const bad = sender.submit({ input: "bad", maxAttempts: 3 });
    // The worker that was there first takes it.
    const terminal = await worker.join({ id: await bad });
    expect(terminal).to.deep.include({ status: "failed", error: { message: "not good", code: "UNDECODABLE" } });
  });

  test("input and meta are limited together, and nothing is written that is too large", async () => {
    const handle = make(() => "done");
    const fits = "x".repeat(131_072 - 2);
    await handle.submit({ input: fits });
    expect(await message(() => handle.submit({ input: `${fits}y` }))).to.equal(
      "payload exceeds limit (131072 bytes): 131073 bytes",
    );
    expect(await message(() => handle.submit({ input: fits, meta: {} }))).to.equal(
      "payload exceeds limit (131072 bytes): 131074 bytes",
    );
    expect((await failure(() => handle.submit({ input: () => 1 }))).name).to.equal("DataCloneError");
  });

  test("a result that is too large or no value ends the job after one run", async () => {
    let runs = 0;
    const handle = make(({ input }) => {
      runs += 1;
      return input === "large" ? "x".repeat(131_071) : () => 1;
    });
    const large = await handle.join({ id: await handle.submit({ input: "large", maxAttempts: 3 }) });
    expect(large).to.deep.include({ status: "failed" });
    expect(large.error).to.deep.equal({
      message: "payload exceeds limit (131072 bytes): 131073 bytes",
      code: "UNENCODABLE",
    });
    const none = await handle.join({ id: await handle.submit({ input: "function", maxAttempts: 3 }) });
    expect(none.error?.code).to.equal("UNENCODABLE");
    expect(runs).to.equal(2);
  });

  test("arguments out of range are refused with name, value and range", async () => {
    const handle = make();
    const refused = async (options: object) => message(() => handle.submit({ input: 1, ...options }));
    expect(await refused({ keyTtlMs: Number.NaN })).to.equal("keyTtlMs must be > 0");
    expect(await refused({ delayMs: Infinity })).to.equal("delayMs must be >= 0");
    expect(await refused({ delayMs: 3_650 * 86_400_000 + 1 })).to.contain("delayMs").and.contain("315360000001");
    expect(await refused({ at: Number.NaN })).to.equal("at must be >= 0");
    expect(await refused({ at: Date.now() + 3_651 * 86_400_000 })).to.contain("at must be >= 0 and at most");
    expect(await refused({ maxAttempts: 1.5 })).to.equal("maxAttempts must be a whole number > 0, but is 1.5");
    expect(await refused({ maxAttempts: Infinity })).to.equal("maxAttempts must be > 0");
    expect(await refused({ leaseMs: "5" })).to.equal("leaseMs must be > 0");
    const backoff = (options: object) => refused({ backoff: { kind: "fixed", baseMs: 1, ...options } });
    expect(await backoff({ kind: "linear" })).to.equal('backoff.kind must be "fixed" or "exp", but is linear');
    expect(await backoff({ baseMs: -1 })).to.equal("backoff.baseMs must be >= 0");
    expect(await backoff({ baseMs: undefined })).to.equal("backoff.baseMs must be >= 0");
    expect(await backoff({ maxMs: Number.NaN })).to.equal("backoff.maxMs must be >= 0");
    expect(await backoff({ jitter: 1.1 })).to.equal("backoff.jitter must be >= 0 and at most 1, but is 1.1");
    expect(await message(() => handle.join({ id: "1", timeoutMs: Number.NaN }))).to.equal("timeoutMs must be >= 0");
  });

  test("a definition is refused at once", () => {
    expect(() => make(undefined, { id: "" })).to.throw("config.id must be non-empty");
    expect(() => make(undefined, { id: "x".repeat(257) })).to.throw("config.id too long (max 256 chars)");
    expect(() => make(undefined, { defaults: { leaseMs: Number.NaN } })).to.throw("defaults.leaseMs must be > 0");
    expect(() => make(undefined, { defaults: { backoff: { kind: "exp", baseMs: -1 } } })).to.throw(
      "defaults.backoff.baseMs must be >= 0",
    );
  });

  test("names of any characters never meet", async () => {
    const a = make(() => "a", { id: "\u{1f600}".repeat(256) });
    const b = make(() => "b", { id: `${"\u{1f600}".repeat(255)}v` });
    const [first, second] = [await a.submit({ input: 1 }), await b.submit({ input: 1 })];
    expect(await a.join({ id: first })).to.include({ result: "a" });
    expect(await b.join({ id: second })).to.include({ result: "b" });
  });
});

describe("job timing", () => {
  test("a delay, an instant, and the instant before a delay", () =>
    pinned(async (time) => {
      const started: [unknown, number][] = [];
      const begin = time.now();
      const handle = make(({ input }) => void started.push([input, time.now() - begin]));
      await handle.submit({ input: "delay", delayMs: 1_000 });
      await handle.submit({ input: "at", at: begin + 2_000, delayMs: 1 });
      await handle.submit({ input: "past", at: begin - 5_000 });
      await handle.submit({ input: "negative", delayMs: -5 });
      await handle.submit({ input: "years", delayMs: 9 * 365 * 86_400_000 });
      await time.advance(999);
      expect(started).to.deep.equal([["past", 0], ["negative", 0]]);
      await time.advance(10_000);
      expect(started.slice(2)).to.deep.equal([["delay", 1_000], ["at", 2_000]]);
    }));

  test("a key gives the same id while it is remembered, and an empty one is none", () =>
    pinned(async (time) => {
      let ran = 0;
      const handle = make(() => (ran += 1));
      const first = await handle.submit({ input: 1, key: "k", keyTtlMs: 1 });
      expect(await handle.submit({ input: 2, key: "k" })).to.equal(first);
      expect(await handle.submit({ input: 2, key: "" })).not.to.equal(await handle.submit({ input: 2, key: "" }));
      await handle.join({ id: first });
      // As long as the job's record, which is kept for 7 days.
      await time.advance(7 * 86_400_000 - 1);
      expect(await handle.submit({ input: 3, key: "k" })).to.equal(first);
      await time.advance(1);
      expect(await handle.submit({ input: 3, key: "k" })).not.to.equal(first);
      expect(ran).to.equal(4);
    }));

  test("a key outlives the record of its job by its own life", () =>
    pinned(async (time) => {
      const handle = make();
      const first = await handle.submit({ input: 1, key: "k", keyTtlMs: 8 * 86_400_000 });
      await handle.join({ id: first });
      await time.advance(7 * 86_400_000 + 1);
      expect(await handle.join({ id: first })).to.deep.include({ status: "failed" });
      expect(await handle.submit({ input: 1, key: "k" })).to.equal(first);
      await time.advance(86_400_000);
      expect(await handle.submit({ input: 1, key: "k" })).not.to.equal(first);
    }));

  const failing = () => {
    throw new Error("no");
  };

  async function waits(time: PinnedTime, handle: JobHandle<any, any>, options: object): Promise<number[]> {
    const id = await handle.submit({ input: 1, ...options });
      await time.advance(2 * 86_400_000);
    const retries = (await history(handle, id)).filter((event) => event.type === "retry");
    return retries.map((event) => (event.type === "retry" ? event.nextAt - event.ts : -1));
  }

  test("failures are tried again by the backoff until the attempts are used up", () =>
    pinned(async (time) => {
      const handle = make(failing);
      expect(await waits(time, handle, { maxAttempts: 3 })).to.deep.equal([0, 0]);
      const fixed = { kind: "fixed", baseMs: 100 } as const;
      expect(await waits(time, handle, { maxAttempts: 3, backoff: fixed })).to.deep.equal([100, 100]);
      const exp = { kind: "exp", baseMs: 100, maxMs: 350 } as const;
      expect(await waits(time, handle, { maxAttempts: 5, backoff: exp })).to.deep.equal([100, 200, 350, 350]);
      const hours = { kind: "exp", baseMs: 3_000_000 } as const;
      expect(await waits(time, handle, { maxAttempts: 3, backoff: hours })).to.deep.equal([3_000_000, 3_600_000]);
      const long = { kind: "fixed", baseMs: 86_400_000, maxMs: 2 * 86_400_000 } as const;
      expect(await waits(time, handle, { maxAttempts: 2, backoff: long })).to.deep.equal([86_400_000]);
      expect(await waits(time, handle, { maxAttempts: 0 })).to.deep.equal([]);
      const capped = { kind: "fixed", baseMs: 500, maxMs: 100 } as const;
      expect(await waits(time, handle, { maxAttempts: 2, backoff: capped })).to.deep.equal([100]);
      const days = { kind: "exp", baseMs: 10 * 86_400_000, maxMs: 30 * 86_400_000 } as const;
      expect(await waits(time, handle, { maxAttempts: 2, backoff: days })).to.deep.equal([7 * 86_400_000]);
    }));

  test("jitter spreads a wait around it, and not beyond the maximum", () =>
    pinned(async (time) => {
      const handle = make(failing);
      const backoff = { kind: "fixed", baseMs: 1_000, jitter: 0.5, maxMs: 1_200 } as const;
      const spread = await waits(time, handle, { maxAttempts: 40, backoff });
      expect(spread.length).to.equal(39);
      for (const wait of spread) expect(wait).to.be.within(500, 1_200);
      expect(new Set(spread).size).to.be.greaterThan(10);
    }));

  test("defaults stand for what a submit leaves out, and are replaced as a whole", () =>
    pinned(async (time) => {
      const backoff = { kind: "exp", baseMs: 100, maxMs: 150 } as const;
      const handle = make(failing, { defaults: { maxAttempts: 3, backoff } });
      expect(await waits(time, handle, {})).to.deep.equal([100, 150]);
      expect(await waits(time, handle, { maxAttempts: undefined })).to.deep.equal([100, 150]);
      expect(await waits(time, handle, { backoff: { kind: "exp", baseMs: 100 } })).to.deep.equal([100, 200]);
      expect(await waits(time, handle, { maxAttempts: 1 })).to.deep.equal([]);
    }));

  test("options may be getters of a class, and defaults inherited", async () => {
    class Options {
      get input() {
        return 1;
      }
      get maxAttempts() {
        return 7;
      }
      get key() {
        return "own";
      }
    }
    const handle = make(held().process, { defaults: Object.create({ leaseMs: 5_000, maxAttempts: 3 }) as object });
    const first = await handle.submit(new Options());
    expect(await handle.submit(Object.create({ input: 2, key: "own" }) as { input: number })).to.equal(first);
    const second = await handle.submit({ input: 3, maxAttempts: undefined });
    const seen = [await handle.get(first), await handle.get(second)];
    expect(seen.map((info) => [info?.input, info?.key, info?.maxAttempts])).to.deep.equal([
      [1, "own", 7],
      [3, null, 3],
    ]);
    handle.stop();
  });

  test("the error of a run is told, also one that is none", async () => {
    const thrown: unknown[] = [new Error("an error"), "a text", 5, null, { message: "like an error" }];
    const handle = make(({ input }) => {
      throw thrown[input];
    });
    const texts = ["an error", "a text", "5", "null", "like an error"];
    for (const [input, expected] of texts.entries()) {
      const id = await handle.submit({ input, maxAttempts: 2 });
      const { status, error } = await handle.join({ id });
      expect({ status, error }).to.deep.equal({ status: "failed", error: { message: expected } });
      const events = await history(handle, id);
      expect(types(events)).to.equal("submitted started retry started failed");
      expect(events[2]).to.deep.include({ runId: `${id}-1`, reason: expected });
      expect(events[4]).to.deep.include({ type: "failed", reason: expected });
    }
  });
});

describe("job limits", () => {
  test("a run over its limit times out in that instant, and not a millisecond before", () =>
    pinned(async (time) => {
      const { runs, process } = held();
      const handle = make(process);
      const id = await handle.submit({ input: 1, leaseMs: 1_000 });
      const joined = handle.join({ id });
      await time.advance(999);
      expect(runs[0]?.ctx.signal.aborted).to.equal(false);
      await time.advance(1);
      expect(runs[0]?.ctx.signal.aborted).to.equal(true);
      expect(runs[0]?.ctx.signal.reason).to.include({ name: "JobTimeoutError", message: "job execution timed out" });
      expect(await joined).to.deep.equal({
        id,
        status: "timed_out",
        error: { message: "job execution timed out", code: "TIMEOUT" },
        finishedAt: time.now(),
      });
      runs[0]?.end("late");
      await settled();
      expect(await handle.join({ id })).to.include({ status: "timed_out" });
      const events = await history(handle, id);
      expect(types(events)).to.equal("submitted started failed");
      expect(events[2]).to.deep.equal({ id, ts: time.now(), type: "failed", reason: "job execution timed out" });
    }));

  test("the default limit is 30 s, and that of the definition stands for it", () =>
    pinned(async (time) => {
      const usual = make(held().process);
      const short = make(held().process, { defaults: { leaseMs: 10 } });
      const [one, other] = [await usual.submit({ input: 1 }), await short.submit({ input: 1 })];
      await time.advance(10);
      expect(await short.join({ id: other, timeoutMs: 0 })).to.deep.include({ status: "timed_out", finishedAt: time.now() });
      await time.advance(29_989);
      expect((await usual.join({ id: one, timeoutMs: 0 })).error?.code).to.equal("JOIN_TIMEOUT");
      await time.advance(1);
      expect((await usual.join({ id: one, timeoutMs: 0 })).error?.code).to.equal("TIMEOUT");
    }));

  test("a limit of 10 years does not end early", () =>
    pinned(async (time) => {
      const { runs, process } = held();
      const handle = make(process);
      const years = 3_650 * 86_400_000;
      const id = await handle.submit({ input: 1, leaseMs: years });
      await time.advance(years - 1);
      expect(runs[0]?.ctx.signal.aborted).to.equal(false);
      await time.advance(1);
      expect(await handle.join({ id })).to.deep.include({ status: "timed_out", finishedAt: time.now() });
    }));

  test("with attempts left a timeout is tried again, by the backoff", () =>
    pinned(async (time) => {
      const { runs, process } = held();
      const handle = make(process);
      const backoff = { kind: "fixed", baseMs: 500 } as const;
      const id = await handle.submit({ input: 1, leaseMs: 1_000, maxAttempts: 2, backoff });
      await time.advance(1_000);
      const events = await history(handle, id);
      expect(types(events)).to.equal("submitted started retry");
      expect(events[2]).to.deep.equal({
        id,
        ts: time.now(),
        type: "retry",
        runId: `${id}-1`,
        nextAt: time.now() + 500,
        reason: "job execution timed out",
      });
      await time.advance(499);
      expect(runs.length).to.equal(1);
      await time.advance(1);
      expect(runs.length).to.equal(2);
      // The result of the first run no longer counts.
      runs[0]?.end("first");
      await settled();
      runs[1]?.end("second");
      expect(await handle.join({ id })).to.include({ status: "completed", result: "second" });
    }));

  test("the worker goes on at once after a timeout", () =>
    pinned(async (time) => {
      const { runs, process } = held();
      const handle = make(process);
      await handle.submit({ input: 1, leaseMs: 1_000 });
      await handle.submit({ input: 2 });
      await time.advance(1_000);
      expect(runs.map(({ input }) => input)).to.deep.equal([1, 2]);
    }));

  test("a heartbeat begins the limit anew, with its own length from then on", () =>
    pinned(async (time) => {
      const { runs, process } = held();
      const handle = make(process);
      const id = await handle.submit({ input: 1, leaseMs: 1_000 });
      const over = () => runs[0]?.ctx.signal.aborted;
      await time.advance(900);
      await runs[0]?.ctx.heartbeat();
      await time.advance(999);
      expect(over()).to.equal(false);
      await runs[0]?.ctx.heartbeat({ leaseMs: 3_000 });
      await time.advance(2_999);
      expect(over()).to.equal(false);
      await runs[0]?.ctx.heartbeat();
      await time.advance(2_999);
      expect(over()).to.equal(false);
      await time.advance(1);
      expect(over()).to.equal(true);
      const events = await history(handle, id);
      expect(types(events)).to.equal("submitted started heartbeat heartbeat heartbeat failed");
      expect(events[2]).to.deep.equal({ id, ts: events[0]!.ts + 900, type: "heartbeat", runId: `${id}-1` });
      expect(await message(() => runs[0]!.ctx.heartbeat({ leaseMs: Number.NaN }))).to.equal("leaseMs must be > 0");
    }));

  test("with a late timer every call sees a run over its limit as over, in the order of what became due", () =>
    pinned(async (time) => {
      const { runs, process } = held();
      const handle = make(process);
      const begin = time.now();
      const backoff = { kind: "fixed", baseMs: 100 } as const;
      const id = await handle.submit({ input: 1, leaseMs: 1_000, maxAttempts: 2, backoff });
      await settled();
      time.set(begin + 999);
      expect((await handle.join({ id, timeoutMs: 0 })).error?.code).to.equal("JOIN_TIMEOUT");
      time.set(begin + 5_000);
      runs[0]?.end("late");
      await settled();
      expect(types(await history(handle, id))).to.equal("submitted started retry started");
      const [, , retry, again] = await history(handle, id);
      expect(retry).to.include({ ts: begin + 1_000, nextAt: begin + 1_100 });
      expect(again).to.include({ ts: begin + 5_000 });
      time.set(begin + 6_000);
      expect(await handle.join({ id, timeoutMs: 0 })).to.deep.include({ status: "timed_out", finishedAt: begin + 6_000 });
    }));

  test("heartbeat and step of a run that is over are refused", () =>
    pinned(async (time) => {
      const { runs, process } = held();
      const handle = make(process);
      const lost = async (ctx: JobContext) => {
        for (const call of [() => ctx.heartbeat(), () => ctx.step({ id: "s", run: () => 1 })]) {
          const error = await failure(call);
          expect(error).to.be.instanceOf(Error);
          expect(error).to.include({ name: "LeaseLostError", message: "job run is over" });
        }
      };
      await handle.submit({ input: 1, leaseMs: 1_000 });
      await time.advance(1_000);
      await lost(runs[0]!.ctx);
      const second = await handle.submit({ input: 2 });
      await settled();
      await handle.cancel({ id: second });
      await lost(runs[1]!.ctx);
      const third = await handle.submit({ input: 3 });
      await settled();
      runs[2]?.end();
      await handle.join({ id: third });
      await lost(runs[2]!.ctx);
      // A step whose body was running when the run ended stores nothing.
      const fourth = await handle.submit({ input: 4, leaseMs: 1_000, maxAttempts: 2 });
      await settled();
      let ended = (_: string) => {};
      const step = failure(() => runs[3]!.ctx.step({ id: "s", run: () => new Promise<string>((end) => (ended = end)) }));
      await time.advance(1_000);
      ended("late");
      expect((await step).name).to.equal("LeaseLostError");
      expect(await runs[4]!.ctx.step({ id: "s", run: () => "new" })).to.equal("new");
      await handle.cancel({ id: fourth });
    }));
});

describe("job cancel", () => {
  test("it aborts the signal of a running handler before it returns, and is final", () =>
    pinned(async (time) => {
      const { runs, process } = held();
      const handle = make(process);
      const id = await handle.submit({ input: 1, maxAttempts: 5 });
      const second = await handle.submit({ input: 2 });
      await settled();
      const joined = make(undefined, { id: handle.id }).join({ id });
      const cancelled = handle.cancel({ id, reason: "not wanted" });
      expect(runs[0]?.ctx.signal.aborted).to.equal(true);
      expect(await cancelled).to.equal(undefined);
      runs[0]?.end("late");
      expect(await joined).to.deep.equal({
        id,
        status: "cancelled",
        error: { message: "not wanted", code: "CANCELLED" },
        finishedAt: time.now(),
      });
      const events = await history(handle, id);
      expect(types(events)).to.equal("submitted started cancelled");
      expect(events[2]).to.include({ reason: "not wanted" });
      // The slot is free.
      expect(runs.map(({ input }) => input)).to.deep.equal([1, 2]);
      await handle.cancel({ id: second, reason: "" });
      expect(await handle.join({ id: second })).to.deep.equal({ id: second, status: "cancelled", finishedAt: time.now() });
      expect(Object.keys((await history(handle, second))[2]!)).not.to.include("reason");
    }));

  test("a waiting job is taken out, and one that has just been submitted never begins", async () => {
    const { runs, process } = held();
    const handle = make(process);
    await handle.submit({ input: 1 });
    const waiting = await handle.submit({ input: 2 });
    await handle.cancel({ id: waiting });
    runs[0]?.end();
    await settled();
    expect(runs.length).to.equal(1);
    let id = "";
    const fresh = make(process);
    const submitted = fresh.submit({ input: 3 }).then((submitted) => (id = submitted));
    await submitted;
    await fresh.cancel({ id });
    expect(await fresh.join({ id })).to.include({ status: "cancelled" });
  });

  test("ended and unknown jobs are left as they are", async () => {
    const handle = make(() => "done");
    const id = await handle.submit({ input: 1 });
    await handle.join({ id });
    for (const other of [id, "12345", "no number", ""]) expect(await handle.cancel({ id: other })).to.equal(undefined);
    expect(await handle.join({ id })).to.include({ status: "completed" });
  });

  test("a listener of the signal may cancel another job, and sees it as cancelled", async () => {
    const { runs, process } = held();
    const [one, other] = [make(process), make(process)];
    const [first, second] = [await one.submit({ input: 1 }), await other.submit({ input: 2 })];
    await settled();
    let seen: boolean | undefined;
    runs[0]?.ctx.signal.addEventListener("abort", () => {
      void other.cancel({ id: second });
      seen = runs[1]?.ctx.signal.aborted;
    });
    await one.cancel({ id: first });
    expect(seen).to.equal(true);
    expect(await other.join({ id: second })).to.include({ status: "cancelled" });
  });

  test("a failure of the run aborts its signal too", async () => {
    const { runs, process } = held();
    const handle = make(process);
    const id = await handle.submit({ input: 1 });
    await settled();
    const error = new Error("no");
    runs[0]?.fail(error);
    await handle.join({ id });
    expect(runs[0]?.ctx.signal.aborted).to.equal(true);
    expect(runs[0]?.ctx.signal.reason).to.equal(error);
    const fine = await handle.submit({ input: 2 });
    await settled();
    runs[1]?.end();
    await handle.join({ id: fine });
    expect(runs[1]?.ctx.signal.aborted).to.equal(false);
  });
});

describe("job join", () => {
  test("it gives up at its limit, and the job goes on", () =>
    pinned(async (time) => {
      const { runs, process } = held();
      const handle = make(process);
      const id = await handle.submit({ input: 1, leaseMs: 3_600_000 });
      await settled();
      const terminal = { id, status: "timed_out", error: { message: "join timed out", code: "JOIN_TIMEOUT" } };
      expect(await handle.join({ id, timeoutMs: 0 })).to.deep.equal({ ...terminal, finishedAt: time.now() });
      const joined = handle.join({ id, timeoutMs: 1_000 });
      const endless = handle.join({ id });
      await time.advance(1_000);
      expect(await joined).to.deep.equal({ ...terminal, finishedAt: time.now() });
      await time.advance(600_000);
      runs[0]?.end("done");
      expect(await endless).to.deep.equal({ id, status: "completed", result: "done", finishedAt: time.now() });
    }));

  test("what is no job is told at once", () =>
    pinned(async (time) => {
      const handle = make();
      for (const id of ["1234567890", "no number", "", "9".repeat(30)]) {
        expect(await handle.join({ id })).to.deep.equal({
          id,
          status: "failed",
          error: { message: "job not found", code: "NOT_FOUND" },
          finishedAt: time.now(),
        });
      }
    }));

  test("state and events go 7 days after the end", () =>
    pinned(async (time) => {
      const handle = make();
      const id = await handle.submit({ input: 1 });
      await handle.join({ id });
      await time.advance(7 * 86_400_000 - 1);
      expect(await handle.join({ id })).to.include({ status: "completed" });
      await time.advance(1);
      expect((await handle.join({ id })).error?.code).to.equal("NOT_FOUND");
      expect(await history(handle, id)).to.deep.equal([]);
    }));

  test("every join gets a copy of its own", async () => {
    const handle = make(() => ({ list: [1] }));
    const id = await handle.submit({ input: 1 });
    const first = await handle.join({ id });
    first.result.list.push(2);
    expect((await handle.join({ id })).result).to.deep.equal({ list: [1] });
  });
});

describe("job steps", () => {
  test("what a step gave is not done again in a later attempt", async () => {
    const done: string[] = [];
    const handle = make(async ({ ctx }) => {
      const charge = await ctx.step({
        id: "charge",
        run: () => {
          done.push("charge");
          return { at: new Date(5), nothing: undefined };
        },
      });
      const again = await ctx.step({ id: "charge", run: () => done.push("again") });
      done.push("deliver");
      if (done.length < 3) throw new Error("no");
      return [charge, again];
    });
    const id = await handle.submit({ input: 1, maxAttempts: 2 });
    const charge = { at: new Date(5), nothing: undefined };
    expect((await handle.join({ id })).result).to.deep.equal([charge, charge]);
    expect(done).to.deep.equal(["charge", "deliver", "deliver"]);
    // It was stored once.
    const events = await history(handle, id);
    expect(types(events)).to.equal("submitted started step retry started completed");
    expect(events[2]).to.deep.equal({ id, ts: events[2]?.ts, type: "step", stepId: "charge" });
  });

  test("the error of a step comes out as it is and is not kept", async () => {
    const errors: unknown[] = [];
    const thrown = { some: "object" };
    let tries = 0;
    const handle = make(async ({ ctx }) => {
      const attempt = async () => {
        try {
          return await ctx.step({
            id: "s",
            run: async () => {
              tries += 1;
              if (tries < 3) throw thrown;
              return tries;
            },
          });
        } catch (error) {
          errors.push(error);
          return undefined;
        }
      };
      await attempt();
      await attempt();
      return attempt();
    });
    expect((await handle.join({ id: await handle.submit({ input: 1 }) })).result).to.equal(3);
    expect(errors.length).to.equal(2);
    expect(errors[0]).to.equal(thrown);
  });

  test("a step is refused that is under way, has no name, or gives too much", async () => {
    const handle = make(async ({ ctx }) => {
      const texts: string[] = [];
      let end = () => {};
      const first = ctx.step({ id: "s", run: () => new Promise<void>((ended) => (end = ended)) });
      texts.push(await message(() => ctx.step({ id: "s", run: () => 1 })));
      end();
      await first;
      texts.push(await message(() => ctx.step({ id: "", run: () => 1 })));
      texts.push(await message(() => ctx.step({ id: "large", run: () => "x".repeat(131_071) })));
      texts.push((await failure(() => ctx.step({ id: "none", run: () => () => 1 }))).name);
      return texts;
    });
    const { result } = await handle.join({ id: await handle.submit({ input: 1 }) });
    expect(result[0]).to.contain("is under way");
    expect(result.slice(1)).to.deep.equal([
      "id must be non-empty",
      "payload exceeds limit (131072 bytes): 131073 bytes",
      "DataCloneError",
    ]);
  });
});

describe("job events", () => {
  test("live tells each event as it happens, and goes on after the end until its signal", async () => {
    const { runs, process } = held();
    const handle = make(process);
    const id = await handle.submit({ input: 1 });
    const abort = new AbortController();
    const events: JobEvent[] = [];
    const all = handle.events(id).live({ after: "0-0", signal: abort.signal });
    const later = handle.events(id).live({ signal: abort.signal });
    let open = 2;
    const follow = async (live: typeof all, to: JobEvent[]) => {
      for await (const event of live) {
        expect(event.cursor).to.equal(event.eventId);
        expect(event.publishedAt).to.equal(event.data.ts);
        to.push(event.data);
      }
      open -= 1;
    };
    const late: JobEvent[] = [];
    const following = [follow(all, events), follow(later, late)];
    await settled();
    expect(types(events)).to.equal("submitted started");
    runs[0]?.end();
    await handle.join({ id });
    await settled();
    await settled();
    expect(types(events)).to.equal("submitted started completed");
    expect(types(late)).to.equal("completed");
    expect(open).to.equal(2);
    abort.abort();
    await Promise.all(following);
    expect(open).to.equal(0);
  });

  test("it goes on behind a cursor, and another text is refused at once", async () => {
    const handle = make();
    const id = await handle.submit({ input: 1 });
    await handle.join({ id });
    const cursors: string[] = [];
    for await (const { cursor } of handle.events(id).live({ after: "0" })) {
      cursors.push(cursor);
      if (cursors.length === 3) break;
    }
    const seen: string[] = [];
    for await (const { data } of handle.events(id).live({ after: cursors[0] })) {
      seen.push(data.type);
      if (seen.length === 2) break;
    }
    expect(seen).to.deep.equal(["started", "completed"]);
    expect(() => handle.events(id).live({ after: "5" })).to.throw("invalid cursor: 5");
    const other = await handle.submit({ input: 1 });
    // A cursor belongs to one job.
    expect(() => handle.events(other).live({ after: cursors[0] })).to.throw(`invalid cursor: ${cursors[0]}`);
    expect(() => handle.events("no job").live({ after: cursors[0] })).to.throw(`invalid cursor: ${cursors[0]}`);
  });

  test("who leaves the loop while nothing comes does not wait for an event", async () => {
    const handle = make();
    const ended = await handle.submit({ input: 1 });
    await handle.join({ id: ended });
    for (const id of [ended, await make(held().process, { id: handle.id }).submit({ input: 1, delayMs: 1_000_000 })]) {
      const events = handle.events(id).live()[Symbol.asyncIterator]();
      const next = events.next();
      await settled();
      await events.return?.();
      expect((await next).done).to.equal(true);
    }
  });

  test("of any id, with a signal that was aborted before or is aborted later, it ends quietly", async () => {
    const handle = make();
    for (const id of ["no number", "12345", await handle.submit({ input: 1 })]) {
      const aborted: unknown[] = [];
      for await (const event of handle.events(id).live({ after: "0", signal: AbortSignal.abort() })) aborted.push(event);
      expect(aborted).to.deep.equal([]);
      const abort = new AbortController();
      const following = (async () => {
        for await (const _ of handle.events(id).live({ after: "$", signal: abort.signal }));
      })();
      await settled();
      abort.abort();
      await following;
    }
  });
});

describe("job event readers", () => {
  test("readers of a group share the events, another group gets all, and a commit is true once", () =>
    pinned(async (time) => {
      const { runs, process } = held();
      const handle = make(process);
      const id = await handle.submit({ input: 1 });
      const { reader } = handle.events(id);
      const [one, other, audit] = [reader(), reader("default"), reader("audit")];
      expect([one.group, audit.group]).to.deep.equal(["default", "audit"]);
      const first = await one.recv({ wait: false });
      const second = await other.recv({ wait: false });
      expect([first?.data.type, second?.data.type]).to.deep.equal(["submitted", "started"]);
      expect(first?.data).to.deep.equal({ id, ts: time.now(), type: "submitted" });
      expect(first?.cursor).to.equal(first?.eventId);
      expect(first?.publishedAt).to.equal(time.now());
      expect(await one.recv({ wait: false })).to.equal(null);
      const seen = await audit.recv({ wait: false });
      expect(seen?.data.type).to.equal("submitted");
      expect(seen?.deliveryId).not.to.equal(first?.deliveryId);
      expect(await first?.commit()).to.equal(true);
      expect(await first?.commit()).to.equal(false);
      const waiting = other.recv();
      runs[0]?.end();
      expect((await waiting)?.data.type).to.equal("completed");
    }));

  test("without a commit an event comes again after 60 s, and not a millisecond before", () =>
    pinned(async (time) => {
      const handle = make(held().process);
      const id = await handle.submit({ input: 1, leaseMs: 600_000 });
      const reader = handle.events(id).reader();
      const first = await reader.recv();
      await (await reader.recv())?.commit();
      await time.advance(59_999);
      expect(await reader.recv({ wait: false })).to.equal(null);
      await time.advance(1);
      const again = await reader.recv({ wait: false });
      expect(again?.eventId).to.equal(first?.eventId);
      expect(again?.deliveryId).not.to.equal(first?.deliveryId);
      expect(await first?.commit()).to.equal(false);
      expect(await again?.commit()).to.equal(true);
    }));

  test("where nothing comes any more, a receive waits for its time and a stream for its signal", () =>
    pinned(async (time) => {
      const handle = make();
      const id = await handle.submit({ input: 1 });
      await handle.join({ id });
      for (const [job, count] of [[id, 3], ["no number", 0], ["12345", 0]] as const) {
        const reader = handle.events(job).reader();
        const seen: string[] = [];
        for await (const delivery of reader.stream({ wait: false })) {
          seen.push(delivery.data.type);
          await delivery.commit();
        }
        expect(seen.length).to.equal(count);
        let received: unknown = "nothing yet";
        void reader.recv({ timeoutMs: 1_000 }).then((value) => (received = value));
        await time.advance(999);
        expect(received).to.equal("nothing yet");
        await time.advance(1);
        expect(received).to.equal(null);
        const abort = new AbortController();
        const streaming = (async () => {
          for await (const _ of reader.stream({ signal: abort.signal, timeoutMs: Infinity }));
        })();
        await settled();
        abort.abort();
        await streaming;
        expect(await reader.recv({ signal: abort.signal })).to.equal(null);
      }
    }));

  test("a wait of a group that is left or aborted takes nothing", async () => {
    for (const check of [isLeftAtOnce, takesNothingOnceAborted]) {
      const handle = make();
      const id = await handle.submit({ input: 1, delayMs: 60_000 });
      const reader = handle.events(id).reader();
      await (await reader.recv())?.commit();
      await check(reader, () => handle.cancel({ id }));
    }
  });

  test("events that a group has lost are told", async () => {
    const handle = make(async ({ ctx }) => {
      await ctx.step({ id: "s", run: () => 1 });
      for (let beat = 0; beat < 1_000; beat += 1) await ctx.heartbeat();
    });
    const id = await handle.submit({ input: 1 });
    const reader = handle.events(id).reader();
    const types: string[] = [];
    const first = await reader.recv();
    await first?.commit();
    await handle.join({ id });
    const gaps: unknown[] = [];
    const onGap = (gap: object) => void gaps.push(gap);
    for await (const delivery of reader.stream({ wait: false, onGap })) {
      types.push(delivery.data.type);
      await delivery.commit();
    }
    expect(types.at(-1)).to.equal("completed");
    expect(types.length).to.equal(1_000);
    expect(gaps.length).to.equal(1);
    expect(gaps[0]).to.include({ missed: 3, cause: "trimmed" });
    const lost: unknown[] = [];
    for await (const { data } of handle.events(id).live({ after: first?.cursor, onGap: (gap) => void lost.push(gap) })) {
      if (data.type === "completed") break;
    }
    expect(lost.length).to.equal(1);
    expect(() => handle.events(id).reader("")).to.throw("group must be non-empty");
  });
});

describe("job promises", () => {
  test("calls take effect in their order, without await between", async () => {
    const handle = make(held().process);
    await handle.submit({ input: 0 });
    const [a, b, keyed] = await Promise.all([
      handle.submit({ input: 1 }),
      handle.submit({ input: 2, key: "k" }),
      handle.submit({ input: 3, key: "k" }),
    ]);
    expect(Number(a)).to.be.lessThan(Number(b));
    expect(keyed).to.equal(b);
    const joined = handle.join({ id: a });
    const cancelled = handle.cancel({ id: a });
    const after = handle.join({ id: a, timeoutMs: 0 });
    expect((await joined).status).to.equal("cancelled");
    expect((await after).status).to.equal("cancelled");
    await cancelled;
  });

  test("methods work detached from their object", async () => {
    const { submit, join, cancel, stop, events, validateInput } = make(() => "done");
    const id = await submit({ input: 1 });
    expect(await join({ id })).to.include({ result: "done" });
    await cancel({ id });
    validateInput(1);
    const { live } = events(id);
    for await (const { data } of live({ after: "0" })) {
      expect(data.type).to.equal("submitted");
      break;
    }
    stop();
  });

  test("process may call its own handle", async () => {
    const order: unknown[] = [];
    const handle: JobHandle<any, any> = make(async ({ input }) => {
      order.push(input);
      if (input === 0) return undefined;
      const next = await handle.submit({ input: input - 1 });
      handle.stop();
      await handle.submit({ input: 0 });
      return next;
    });
    const { result } = await handle.join({ id: await handle.submit({ input: 2 }) });
    expect((await handle.join({ id: result })).status).to.equal("completed");
    await settled();
    expect(order).to.deep.equal([2, 1, 0, 0, 0]);
  });
});

describe("job, looked at", () => {
  const NONE = { expiresAt: null, keptUntil: null, finishedAt: null, lease: null, lastFailure: null, cancelReason: null };

  test("a job is shown as it is now: waiting, running, failed and waiting again, ended", () =>
    pinned(async (time) => {
      const start = time.now();
      const { runs, process } = held();
      const handle = make(process);
      const options = { delayMs: 1_000, key: "k", meta: { from: "test" }, maxAttempts: 2 };
      const backoff = { kind: "fixed", baseMs: 500 } as const;
      const id = await handle.submit({ input: { n: 1n }, leaseMs: 60_000, backoff, ...options });
      const waits = await handle.get(id);
      expect(waits).to.deep.equal({
        ...NONE, id, state: "submitted", attempt: 0, failures: 0, maxAttempts: 2, submittedAt: start, due: start + 1_000,
        startedAt: null, expiresAt: start + 1_000 + 7 * 24 * 3_600_000, key: "k", fence: 0, steps: 0, input: { n: 1n },
        meta: { from: "test" }, lastFailures: [],
      });
      await time.advance(1_000);
      await runs[0]!.ctx.step({ id: "s", run: () => 1 });
      const runs1 = await handle.get(id);
      expect(runs1).to.include({ state: "running", attempt: 1, startedAt: start + 1_000, steps: 1 });
      expect(runs1?.lease?.end).to.equal(start + 61_000);
      expect(runs1?.fence).to.be.above(0);
      runs[0]!.fail(new Error("no"));
      await turn();
      const failure = { message: "no", attempt: 1, at: start + 1_000 };
      const again = await handle.get(id);
      expect(again).to.include({ state: "submitted", failures: 1, due: start + 1_500, lease: null });
      expect(again?.lastFailure).to.deep.equal(failure);
      await time.advance(500);
      runs[1]!.end(new Date(7));
      await turn();
      const done = await handle.get(id);
      expect(done).to.deep.include({ state: "completed", result: new Date(7), lastFailures: [failure], steps: 0 });
      expect(done).to.include({ finishedAt: start + 1_500, keptUntil: start + 1_500 + 7 * 24 * 3_600_000 });
      for (const none of ["1", "x", ""]) expect(await handle.get(none)).to.equal(null);
    }));

  test("a failure, a timeout and a cancel say why", () =>
    pinned(async (time) => {
      const { runs, process } = held();
      const handle = make(process);
      const failed = await handle.submit({ input: 1 });
      await turn();
      runs[0]!.fail("plain");
      await turn();
      expect((await handle.get(failed))?.lastFailure).to.deep.equal({ message: "plain", attempt: 1, at: time.now() });
      const late = await handle.submit({ input: 1, leaseMs: 100 });
      await time.advance(100);
      const end = { code: "TIMEOUT", message: "job execution timed out", attempt: 1, at: time.now() };
      expect(await handle.get(late)).to.deep.include({ state: "timed_out", lastFailure: end });
      const other = await handle.submit({ input: 1, delayMs: 5 });
      await handle.cancel({ id: other, reason: "not needed" });
      expect(await handle.get(other)).to.include({ state: "cancelled", cancelReason: "not needed", lastFailure: null });
    }));

  test("jobs are listed by where they are, page by page", () =>
    pinned(async (time) => {
      const { runs, process } = held();
      const handle = make(process);
      const submit = (delayMs?: number) => handle.submit({ input: 1, delayMs });
      const [first, second, third, later, much] = await Promise.all([submit(), submit(), submit(), submit(50), submit(90)]);
      const ids = async (filter: Parameters<typeof handle.list>[0]) => (await handle.list(filter)).items.map(({ id }) => id);
      await turn();
      expect(await ids("running")).to.deep.equal([first]);
      expect(await ids("ready")).to.deep.equal([second, third]);
      expect(await ids("delayed")).to.deep.equal([later, much]);
      runs[0]!.end();
      await turn();
      runs[1]!.fail(new Error("no"));
      await turn();
      await handle.cancel({ id: later! });
      await time.advance(30_000);
      expect(await ids("completed")).to.deep.equal([first]);
      expect(await ids("failed")).to.deep.equal([second]);
      expect(await ids("timed_out")).to.deep.equal([third]);
      expect(await ids("cancelled")).to.deep.equal([later]);
      const [shown] = (await handle.list("failed")).items;
      expect(shown).to.deep.include({ id: second, lastFailure: { message: "no", attempt: 1, at: shown?.finishedAt } });
      expect(shown).to.not.have.any.keys("input", "lastFailures", "meta");
      const batch = await Promise.all([1, 2, 3].map(() => submit(600_000)));
      const page = await handle.list("delayed", { limit: 2 });
      expect(page.items.map(({ id }) => id)).to.deep.equal(batch.slice(0, 2));
      const rest = await handle.list("delayed", { limit: 2, after: page.next! });
      expect([rest.items.map(({ id }) => id), rest.next]).to.deep.equal([batch.slice(2), null]);
      expect(await message(() => handle.list("lost" as never))).to.match(/^filter must be one of "ready", .*, but is lost$/);
      expect(await message(() => handle.list("ready", { limit: 0 }))).to.equal("limit must be > 0");
    }));

  test("stats count what there is, and what there was", () =>
    pinned(async (time) => {
      const { runs, process } = held();
      const handle = make(process);
      const zeros = { completed: 0, failed: 0, cancelled: 0, timedOut: 0 };
      expect(await handle.stats()).to.deep.equal({
        ready: 0, delayed: 0, running: 0, ...zeros, oldestReadyAgeMs: null, nextDue: null, paused: null, rateLimit: null,
        settling: false,
        totals: { submitted: 0, ...zeros, retries: 0, stale: 0 },
      });
      for (const key of ["a", "a", "b", "c"]) void handle.submit({ input: 1, key, maxAttempts: 2, leaseMs: 60_000 });
      void handle.submit({ input: 1, delayMs: 9_000 });
      await turn();
      await time.advance(1_000);
      expect(await handle.stats()).to.include({ ready: 2, delayed: 1, running: 1, oldestReadyAgeMs: 1_000 });
      expect((await handle.stats()).nextDue).to.equal(time.now() + 8_000);
      runs[0]!.fail(new Error("no"));
      await turn();
      for (const at of [1, 2, 3]) {
        runs[at]!.end();
        await turn();
      }
      const { totals, ...now } = await handle.stats();
      expect(now).to.include({ ready: 0, running: 0, completed: 3, failed: 0 });
      expect(totals).to.deep.equal({ submitted: 4, completed: 3, failed: 0, cancelled: 0, timedOut: 0, retries: 1, stale: 0 });
    }));

  test("a job that failed is run again, with attempts counted anew and what its steps gave", () =>
    pinned(async () => {
      let fails = true;
      let steps = 0;
      const handle = make(async ({ ctx }) => {
        const step = await ctx.step({ id: "s", run: () => (steps += 1) });
        if (fails) throw new Error("no");
        return step;
      });
      const id = await handle.submit({ input: 1 });
      expect(await handle.join({ id })).to.include({ status: "failed" });
      fails = false;
      expect(await handle.retry(id)).to.deep.equal({ outcome: "submitted" });
      expect(await handle.join({ id })).to.include({ status: "completed", result: 1 });
      expect(await handle.get(id)).to.include({ attempt: 1, failures: 0 });
      expect(types(await history(handle, id))).to.equal("submitted started step failed submitted started completed");
      expect(await handle.retry(id)).to.deep.equal({ outcome: "not_retryable", state: "completed" });
      for (const none of ["1", "x"]) expect(await handle.retry(none)).to.deep.equal({ outcome: "not_found" });
    }));

  test("a retry starts no worker", async () => {
    let ran = 0;
    const handle = make(() => void (ran += 1));
    const id = await handle.submit({ input: 1, delayMs: 60_000 });
    handle.stop();
    await handle.cancel({ id });
    expect(await handle.retry(id)).to.deep.equal({ outcome: "submitted" });
    await turn();
    expect([ran, (await handle.stats()).ready]).to.deep.equal([0, 1]);
    const other = await handle.submit({ input: 2 });
    await handle.join({ id: other });
    expect(ran).to.equal(2);
  });

  test("a pause starts no run until its end, and a job that does not run can be removed", () =>
    pinned(async (time) => {
      const { runs, process } = held();
      const handle = make(process);
      const first = await handle.submit({ input: 1, leaseMs: 60_000 });
      await turn();
      expect(await handle.remove(first)).to.equal("held");
      expect(await handle.pause({ reason: "repairs" })).to.equal("yes");
      expect(await handle.pause({ reason: "repairs" })).to.equal("no");
      const second = await handle.submit({ input: 2 });
      const third = await handle.submit({ input: 3, leaseMs: 60_000 });
      runs[0]!.end();
      await turn();
      expect(runs).to.have.length(1);
      expect((await handle.stats()).paused).to.deep.equal({ until: null, reason: "repairs" });
      expect(await handle.remove(second)).to.equal("removed");
      expect(await handle.remove(second)).to.equal("absent");
      expect(await handle.remove("x")).to.equal("absent");
      expect(await handle.pause({ forAtMostMs: 500 })).to.equal("yes");
      await time.advance(499);
      expect(runs).to.have.length(1);
      await time.advance(1);
      expect(runs.map(({ input }) => input)).to.deep.equal([1, 3]);
      expect(await handle.resume()).to.equal("no");
      expect(await message(() => handle.pause({ forAtMostMs: 0 }))).to.equal("forAtMostMs must be > 0");
      runs[1]!.end();
      expect(await handle.join({ id: third })).to.include({ status: "completed" });
    }));

  test("a limit of the rate starts so many runs in each window, of all handles together", () =>
    pinned(async (time) => {
      const id = "limited jobs";
      const ran: [input: number, at: number][] = [];
      const process = ({ input }: { input: number }) => void ran.push([input, Date.now()]);
      const [one, other] = [make(process, { id }), make(process, { id })];
      const limit = { limit: 2, perMs: 1_000 };
      expect(await one.setRateLimit(limit)).to.equal("yes");
      expect(await other.setRateLimit(limit)).to.equal("no");
      const start = time.now();
      for (const input of [1, 2, 3, 4, 5]) void (input % 2 === 0 ? one : other).submit({ input });
      await turn();
      const first = [[1, start], [2, start]];
      expect(ran).to.have.deep.members(first);
      const { rateLimit, ready } = await other.stats();
      expect([rateLimit, ready]).to.deep.equal([{ ...limit, used: 2, windowEndsAt: start + 1_000 }, 3]);
      await time.advance(999);
      expect(ran).to.have.length(2);
      await time.advance(1);
      expect(ran).to.have.deep.members([...first, [3, start + 1_000], [4, start + 1_000]]);
      await time.advance(5_000);
      expect(ran[4]).to.deep.equal([5, start + 2_000]);
      expect((await one.stats()).rateLimit).to.deep.equal({ ...limit, used: 0, windowEndsAt: null });
    }));

  test("every run counts towards a limit of the rate, which lasts until it is replaced or removed", () =>
    pinned(async (time) => {
      const ran: unknown[] = [];
      const handle = make(({ input }) => {
        ran.push(input);
        if (input === "fails") throw new Error("no");
      });
      await handle.setRateLimit({ limit: 2, perMs: 1_000 });
      void handle.submit({ input: "fails", maxAttempts: 2 });
      for (const input of [1, 2, 3]) void handle.submit({ input });
      await turn();
      expect(ran).to.have.length(2);
      await time.advance(100);
      // Runs that were started in the window under way count towards another limit.
      expect(await handle.setRateLimit({ limit: 3, perMs: 500 })).to.equal("yes");
      const windowEndsAt = time.now() + 500;
      expect((await handle.stats()).rateLimit).to.include({ limit: 3, perMs: 500, windowEndsAt });
      await turn();
      expect(ran).to.have.length(3);
      expect((await handle.stats()).rateLimit).to.deep.equal({ limit: 3, perMs: 500, used: 3, windowEndsAt });
      expect(await handle.removeRateLimit()).to.equal("yes");
      expect(await handle.removeRateLimit()).to.equal("no");
      await turn();
      expect(ran).to.have.members(["fails", "fails", 1, 2, 3]);
      expect((await handle.stats()).rateLimit).to.equal(null);
      // The page's timer for the end of the window fires here, and not in a later test.
      await time.advance(500);
    }));

  test("a limit of the rate is a whole number from 1, in a time from 1 ms to 10 years", () => checksRates(make()));
});

describe("job progress", () => {
  test("the last value is shown, and told at most each 100 ms and with the end", () =>
    pinned(async (time) => {
      const { runs, process } = held();
      const handle = make(process);
      const start = time.now();
      const id = await handle.submit({ input: 1 });
      await turn();
      const { ctx, end } = runs[0]!;
      expect("progress" in ((await handle.get(id)) ?? {})).to.equal(false);
      const value = { done: 1, of: new Set([1, 2]) };
      await ctx.progress(value);
      value.done = 7;
      await time.advance(100);
      expect((await handle.get(id))?.progress).to.deep.equal({ done: 1, of: new Set([1, 2]) });
      for (let percent = 10; percent < 90; percent += 10) {
        await ctx.progress(percent);
        await time.advance(20);
      }
      await ctx.progress("nearly");
      end("done");
      await turn();
      const told = (await history(handle, id)).filter(({ type }) => type === "progress");
      for (const [at, event] of told.entries()) {
        if (at > 0 && at < told.length - 1) expect(event.ts - told[at - 1]!.ts).to.be.at.least(100);
      }
      expect(told[0]).to.deep.include({ id, type: "progress", value: { done: 1, of: new Set([1, 2]) } });
      expect(told.at(-1)).to.deep.include({ value: "nearly", ts: start + 260 });
      expect(told.length).to.be.within(3, 5);
      expect((await handle.list("completed")).items[0]?.progress).to.equal("nearly");
      const reader = handle.events(id).reader();
      const types: string[] = [];
      for await (const { data } of reader.stream({ wait: false })) types.push(data.type);
      expect(types.filter((type) => type === "progress")).to.have.length(told.length);
    }));

  test("progress does not prolong a run", () =>
    pinned(async (time) => {
      const { runs, process } = held();
      const handle = make(process);
      const id = await handle.submit({ input: 1, leaseMs: 1_000 });
      await turn();
      for (let at = 0; at < 9; at += 1) {
        await runs[0]!.ctx.progress(at);
        await time.advance(100);
      }
      expect(runs[0]!.ctx.signal.aborted).to.equal(false);
      await time.advance(100);
      expect(runs[0]!.ctx.signal.aborted).to.equal(true);
      expect(await handle.join({ id })).to.include({ status: "timed_out" });
    }));

  test("what is too large, no value, or comes after the end is refused", () =>
    pinned(async () => {
      const { runs, process } = held();
      const handle = make(process);
      await handle.submit({ input: 1 });
      await turn();
      const { ctx, end } = runs[0]!;
      await ctx.progress("x".repeat(4_094));
      expect(await message(() => ctx.progress("x".repeat(4_095)))).to.equal("payload exceeds limit (4096 bytes): 4097 bytes");
      expect((await failure(() => ctx.progress(() => 1))).name).to.equal("DataCloneError");
      end();
      await turn();
      expect(await failure(() => ctx.progress(1))).to.include({ name: "LeaseLostError", message: "job run is over" });
    }));
});
