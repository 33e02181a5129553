import * as entry from "tidelock/browser/retry";
import { queue } from "tidelock/browser/queue";
import { DEFAULT_RETRY_OPTIONS, isRetryableTransportError, retry, type RetryOptions } from "tidelock/browser/retry";
import { countTimers, describe, expect, failure, pinned, settled, test, type PinnedTime } from "./harness.js";

const reset = () => Object.assign(new Error("gone"), { code: "ECONNRESET" });

/** A function that fails `times` times, and then returns the number of its attempt. */
function failing(times: number, error: () => unknown = reset) {
  const calls: number[] = [];
  const at: number[] = [];
  const fn = async (attempt: number) => {
    calls.push(attempt);
    at.push(Date.now());
    if (calls.length <= times) throw error();
    return attempt;
  };
  return { fn, calls, at };
}

/** Runs a call to its end; returns when its attempts began. */
async function attempts(time: PinnedTime, opts: RetryOptions, times = Infinity): Promise<number[]> {
  const start = time.now();
  const { fn, at } = failing(times);
  const ended = retry(fn, opts).catch(() => {});
  await time.advance(60_000);
  await ended;
  return at.map((instant) => instant - start);
}

describe("retry", () => {
  test("the entry has these values and no others", () => {
    expect(Object.keys(entry).sort()).to.deep.equal(["DEFAULT_RETRY_OPTIONS", "isRetryableTransportError", "retry"]);
  });

  test("the defaults are those of the contract, and frozen", () => {
    const { retryIf, ...numbers } = DEFAULT_RETRY_OPTIONS;
    expect(numbers).to.deep.equal({ attempts: 8, minDelayMs: 100, maxDelayMs: 2_000, factor: 2, jitter: 0.2 });
    expect(retryIf).to.equal(isRetryableTransportError);
    expect(Object.isFrozen(DEFAULT_RETRY_OPTIONS)).to.equal(true);
  });

  test("a first success is one call with number 1, made before the promise is given, and no timer", () =>
    pinned(async () => {
      const timers = countTimers();
      const { fn, calls } = failing(0);
      const value = retry(fn);
      expect(calls).to.deep.equal([1]);
      expect(await value).to.equal(1);
      expect(timers.count).to.equal(0);
      expect(await retry(() => "not a promise")).to.equal("not a promise");
    }));

  test("numbers count up, and the value comes after the failures", () =>
    pinned(async (time) => {
      const { fn, calls } = failing(2);
      const value = retry(fn);
      await time.advance(1_000);
      expect(await value).to.equal(3);
      expect(calls).to.deep.equal([1, 2, 3]);
    }));

  test("without jitter the pauses grow up to the longest", () =>
    pinned(async (time) => {
      const begun = await attempts(time, { jitter: 0 });
      expect(begun).to.deep.equal([0, 100, 300, 700, 1_500, 3_100, 5_100, 7_100]);
    }));

  test("with jitter they spread, and none is longer than the longest", () =>
    pinned(async (time) => {
      const begun = await attempts(time, { attempts: 30, minDelayMs: 1_000, maxDelayMs: 1_000 });
      const pauses = begun.slice(1).map((at, index) => at - (begun[index] as number));
      expect(Math.min(...pauses)).to.be.at.least(800);
      expect(Math.max(...pauses)).to.be.at.most(1_000);
      expect(new Set(pauses).size).to.be.above(10);
    }));

  test("numbers out of range are brought into it", () =>
    pinned(async (time) => {
      const once = [{ attempts: 0 }, { attempts: -3 }, { attempts: 1.9 }, { attempts: 0.2 }];
      for (const opts of once) expect(await attempts(time, opts)).to.deep.equal([0]);
      expect(await attempts(time, { attempts: 2, minDelayMs: -5, jitter: 0 })).to.deep.equal([0, 0]);
      expect(await attempts(time, { attempts: 3, minDelayMs: 50, maxDelayMs: 20, jitter: 0 })).to.deep.equal([0, 50, 100]);
      expect(await attempts(time, { attempts: 3, minDelayMs: 5_000, jitter: 0 })).to.deep.equal([0, 5_000, 10_000]);
      expect(await attempts(time, { attempts: 3, factor: 0.1, jitter: -1 })).to.deep.equal([0, 100, 200]);
      expect(await attempts(time, { attempts: 2, minDelayMs: 0.1, maxDelayMs: 0, jitter: 0 })).to.deep.equal([0, 1]);
      const [, second] = await attempts(time, { attempts: 2, minDelayMs: 10, maxDelayMs: 1_000, jitter: 7 });
      expect(second).to.be.within(0, 20);
    }));

  test("attempts may be without end", () =>
    pinned(async (time) => {
      expect(await attempts(time, { attempts: Infinity, minDelayMs: 1_000, maxDelayMs: 1_000, jitter: 0 }, 40)).to.have.length(41);
    }));

  test("what is no number is refused, and nothing is called", async () => {
    const cases: [RetryOptions, string][] = [
      [{ attempts: Number.NaN }, "attempts must be > 0"],
      [{ attempts: -Infinity }, "attempts must be > 0"],
      [{ minDelayMs: Number.NaN }, "minDelayMs must be >= 0"],
      [{ maxDelayMs: Infinity }, "maxDelayMs must be >= 0"],
      [{ factor: "2" as unknown as number }, "factor must be > 0"],
      [{ jitter: null as unknown as number }, "jitter must be >= 0"],
      [{ attemptTimeoutMs: Number.NaN }, "attemptTimeoutMs must be > 0"],
      [{ deadlineMs: Number.NaN }, "deadlineMs must be > 0"],
    ];
    for (const [opts, text] of cases) {
      const { fn, calls } = failing(0);
      expect((await failure(() => retry(fn, opts))).message).to.equal(text);
      expect(calls).to.deep.equal([]);
    }
    const given = { attempts: undefined, minDelayMs: undefined, signal: undefined, retryIf: undefined };
    expect(await retry(failing(0).fn, given)).to.equal(1);
  });

  test("the very last error object is thrown", () =>
    pinned(async (time) => {
      const errors: Error[] = [];
      const { fn, calls } = failing(Infinity, () => errors[errors.push(reset()) - 1]);
      const failed = failure(() => retry(fn, { attempts: 3 }));
      await time.advance(5_000);
      expect(await failed).to.equal(errors[2]);
      expect(calls).to.have.length(3);
    }));

  test("an error that does not pass is thrown at once, also if it is no error", async () => {
    for (const error of [new Error("declined"), "a text", undefined, 5]) {
      const { fn, calls } = failing(Infinity, () => error);
      let thrown: unknown = "nothing";
      await retry(fn).catch((caught: unknown) => (thrown = caught));
      expect(thrown).to.equal(error);
      expect(calls).to.have.length(1);
    }
  });

  test("a retryIf that answers by a promise is refused, and the error at hand is the cause", async () => {
    const late = async () => {
      throw new Error("later");
    };
    for (const retryIf of [async () => false, late, () => ({ then: () => {} })] as unknown as (() => boolean)[]) {
      const last = reset();
      const { fn, calls } = failing(9, () => last);
      const refused = await failure(() => retry(fn, { retryIf }));
      expect(refused.message).to.equal("retryIf must answer synchronously, with true or false");
      expect(refused.cause).to.equal(last);
      expect(isRetryableTransportError(refused)).to.equal(false);
      expect(calls).to.deep.equal([1]);
    }
  });

  test("retryIf decides; one attempt is one, whatever it says; one that throws says no", () =>
    pinned(async (time) => {
      const asked: unknown[] = [];
      const odd = new Error("odd");
      const { fn, calls } = failing(1, () => odd);
      const value = retry(fn, { retryIf: (error) => asked.push(error) > 0 });
      await time.advance(1_000);
      expect(await value).to.equal(2);
      expect([asked, calls]).to.deep.equal([[odd], [1, 2]]);
      expect(await failure(() => retry(failing(9, () => odd).fn, { attempts: 1, retryIf: () => true }))).to.equal(odd);
      const throws = () => {
        throw new Error("its own");
      };
      expect(await failure(() => retry(failing(9, () => odd).fn, { retryIf: throws }))).to.equal(odd);
    }));

  test("aborted before, it calls nothing", async () => {
    const { fn, calls } = failing(0);
    const error = await failure(() => retry(fn, { signal: AbortSignal.abort("why") }));
    expect(error).to.include({ name: "AbortError", message: "retry aborted", cause: "why", lastError: undefined });
    expect(error).to.be.instanceOf(Error);
    expect(calls).to.deep.equal([]);
  });

  test("aborted in a pause, it ends at once with the last error, and leaves no timer", () =>
    pinned(async () => {
      const cleared: unknown[] = [];
      const { clearTimeout } = globalThis;
      globalThis.clearTimeout = ((timer: unknown) => {
        cleared.push(timer);
        clearTimeout(timer as number);
      }) as typeof clearTimeout;
      const abort = new AbortController();
      const last = reset();
      const failed = failure(() => retry(failing(9, () => last).fn, { signal: abort.signal, minDelayMs: 10_000, maxDelayMs: 10_000 }));
      await settled();
      abort.abort();
      expect(await failed).to.include({ name: "AbortError", lastError: last, cause: abort.signal.reason as unknown });
      expect(cleared).to.have.length(1);
    }));

  test("aborted in an attempt, it ends at once, and the attempt is told", () =>
    pinned(async () => {
      const abort = new AbortController();
      let told: AbortSignal | undefined;
      const hangs = (_: number, { signal }: { signal: AbortSignal }) => {
        told = signal;
        return new Promise<never>(() => {});
      };
      const failed = failure(() => retry(hangs, { signal: abort.signal }));
      await settled();
      expect(told?.aborted).to.equal(false);
      abort.abort("why");
      expect(await failed).to.include({ name: "AbortError", cause: "why" });
      expect([told?.aborted, told?.reason]).to.deep.equal([true, "why"]);
      const itself = new AbortController();
      const aborts = () => {
        itself.abort();
        return new Promise<never>(() => {});
      };
      expect(await failure(() => retry(aborts, { signal: itself.signal }))).to.include({ name: "AbortError" });
    }));

  test("who asks for the signal only after the attempt was left finds it fired", () =>
    pinned(async (time) => {
      const told: AbortSignal[] = [];
      let go = () => {};
      const late = new Promise<void>((resolve) => void (go = resolve));
      const value = retry(
        async (attempt, control) => {
          if (attempt > 1) return attempt;
          await late;
          told.push(control.signal);
          return attempt;
        },
        { attemptTimeoutMs: 50 },
      );
      await time.advance(1_000);
      expect(await value).to.equal(2);
      go();
      await settled();
      expect(told.map(({ aborted, reason }) => [aborted, (reason as Error).name])).to.deep.equal([[true, "TimeoutError"]]);
    }));

  test("a value that is there wins over an abort", async () => {
    const abort = new AbortController();
    const value = await retry(
      async () => {
        await undefined;
        abort.abort();
        return "value";
      },
      { signal: abort.signal },
    );
    expect(value).to.equal("value");
    const other = new AbortController();
    const fn = () => {
      other.abort();
      return "at once";
    };
    expect(await retry(fn, { signal: other.signal })).to.equal("at once");
  });

  test("an attempt that fails after the abort: what does not pass is thrown, what passes was aborted", async () => {
    for (const [error, name] of [[new Error("declined"), "Error"], [reset(), "AbortError"]] as const) {
      const abort = new AbortController();
      const fn = () => {
        abort.abort();
        throw error;
      };
      const retrying: unknown[] = [];
      const failed = await failure(() => retry(fn, { signal: abort.signal, onRetry: (event) => retrying.push(event) }));
      expect([failed.name, retrying]).to.deep.equal([name, []]);
      if (name === "AbortError") expect(failed).to.include({ lastError: error });
    }
    const abort = new AbortController();
    const obeys = async () => {
      abort.abort(new Error("stop"));
      abort.signal.throwIfAborted();
    };
    expect(await failure(() => retry(obeys, { signal: abort.signal }))).to.include({ name: "AbortError", lastError: undefined });
  });

  test("no listener stays on the signal", () =>
    pinned(async (time) => {
      const abort = new AbortController();
      let listeners = 0;
      const { signal } = abort;
      const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
      signal.addEventListener = (...args: unknown[]) => {
        listeners += 1;
        (add as (...args: unknown[]) => void)(...args);
      };
      signal.removeEventListener = (...args: unknown[]) => {
        listeners -= 1;
        (remove as (...args: unknown[]) => void)(...args);
      };
      const value = retry(failing(3).fn, { signal });
      await settled();
      expect(listeners).to.equal(1);
      await time.advance(5_000);
      await value;
      expect(listeners).to.equal(0);
    }));

  test("an attempt is cut off after its time, told so, and made again", () =>
    pinned(async (time) => {
      const told: AbortSignal[] = [];
      const retrying: unknown[] = [];
      const value = retry(
        (attempt, { signal }) => {
          told.push(signal);
          return attempt < 3 ? new Promise<number>(() => {}) : attempt;
        },
        { attemptTimeoutMs: 50, jitter: 0, retryIf: () => false, onRetry: (event) => retrying.push(event) },
      );
      await time.advance(49);
      expect(told.map(({ aborted }) => aborted)).to.deep.equal([false]);
      await time.advance(1);
      expect(told.map(({ aborted }) => aborted)).to.deep.equal([true]);
      await time.advance(1_000);
      expect(await value).to.equal(3);
      expect((told[0]?.reason as Error).name).to.equal("TimeoutError");
      expect(retrying).to.deep.equal([
        { attempt: 1, error: null, delayMs: 100, elapsedMs: 50 },
        { attempt: 2, error: null, delayMs: 200, elapsedMs: 200 },
      ]);
    }));

  test("a pause that would reach the deadline is halved into what is left, for one final attempt", () =>
    pinned(async (time) => {
      const given: unknown[] = [];
      const opts = { deadlineMs: 1_000, minDelayMs: 800, jitter: 0, onGiveUp: (failure: object) => given.push(failure) };
      expect(await attempts(time, opts)).to.deep.equal([0, 800, 900]);
      expect(given[0]).to.include({ attempts: 3, elapsedMs: 900, reason: "deadline" });
    }));

  test("a deadline that passes in a pause, with a late timer, ends the call", () =>
    pinned(async (time) => {
      const { fn, calls } = failing(9);
      const given: unknown[] = [];
      const opts = { deadlineMs: 1_000, minDelayMs: 800, jitter: 0, onGiveUp: (failure: object) => given.push(failure) };
      const failed = failure(() => retry(fn, opts));
      await settled();
      time.set(time.now() + 500);
      await time.advance(800);
      expect(await failed).to.include({ code: "ECONNRESET" });
      expect(calls).to.have.length(1);
      expect(given[0]).to.include({ attempts: 1, elapsedMs: 1_300, reason: "deadline" });
    }));

  test("a hanging attempt is cut off at the deadline", () =>
    pinned(async (time) => {
      const given: unknown[] = [];
      const onGiveUp = (failure: unknown) => given.push(failure);
      const failed = failure(() => retry(() => new Promise(() => {}), { deadlineMs: 300, onGiveUp }));
      await time.advance(300);
      expect(await failed).to.include({ name: "TimeoutError" });
      expect(given).to.deep.equal([{ attempts: 1, elapsedMs: 300, reason: "deadline", error: null }]);
    }));

  test("limits of time hold over ten years", () =>
    pinned(async (time) => {
      const month = 30 * 24 * 3_600_000;
      const failed = failure(() => retry(() => new Promise(() => {}), { deadlineMs: month }));
      let over = false;
      void failed.then(() => (over = true));
      await time.advance(month - 1);
      expect(over).to.equal(false);
      await time.advance(1);
      expect(over).to.equal(true);
    }));

  test("why it gives up is told once, and what listeners throw changes nothing", () =>
    pinned(async (time) => {
      const given: { reason: string; attempts: number; error: unknown }[] = [];
      const throws = (failure: (typeof given)[number]) => {
        given.push(failure);
        throw new Error("its own");
      };
      const declined = new Error("declined");
      await failure(() => retry(failing(9, () => declined).fn, { onGiveUp: throws }));
      const last = reset();
      const failed = failure(() => retry(failing(9, () => last).fn, { attempts: 2, onGiveUp: throws, onRetry: throws as never }));
      await time.advance(1_000);
      expect(await failed).to.equal(last);
      await failure(() => retry(failing(0).fn, { signal: AbortSignal.abort(), onGiveUp: throws }));
      expect(given.filter(({ reason }) => reason).map(({ reason, attempts, error }) => [reason, attempts, error])).to.deep.equal([
        ["not_retryable", 1, declined],
        ["attempts", 2, last],
        ["stopped", 0, null],
      ]);
      expect(await retry(failing(0).fn, { onGiveUp: throws })).to.equal(1);
      const rejects = (async () => Promise.reject(new Error("its own"))) as () => never;
      const again = failure(() => retry(failing(9, reset).fn, { attempts: 2, onRetry: rejects, onGiveUp: rejects }));
      await time.advance(1_000);
      expect((await again).message).to.not.equal("its own");
      expect(given.filter(({ reason }) => reason)).to.have.length(3);
    }));

  test("calls that are given one budget retry as often as it allows, and give up without", () =>
    pinned(async (time) => {
      const budget = { capacity: 3, perSecond: 0, perSuccess: 0.5 };
      const given: { reason: string; attempts: number }[] = [];
      const opts: RetryOptions = { budget, jitter: 0, onGiveUp: (failure) => given.push(failure) };
      const last = reset();
      const calls = Array.from({ length: 5 }, () => failing(9, () => last));
      const failures = Promise.all(calls.map(({ fn }) => failure(() => retry(fn, opts))));
      await time.advance(60_000);
      expect(await failures).to.deep.equal(Array(5).fill(last));
      // Each of the first three calls took one of the three tokens.
      expect(calls.map(({ calls }) => calls.length)).to.deep.equal([2, 2, 2, 1, 1]);
      expect(given.map(({ reason }) => reason)).to.deep.equal(Array(5).fill("budget"));
      // First attempts take no token, and two successes earn one.
      await retry(failing(0).fn, opts);
      expect(await attempts(time, opts)).to.have.length(1);
      await retry(failing(0).fn, opts);
      expect(await attempts(time, opts)).to.have.length(2);
      expect(await attempts(time, { ...opts, budget: { ...budget } })).to.have.length(4);
    }));

  test("a budget gains by time, up to what it holds", () =>
    pinned(async (time) => {
      const opts: RetryOptions = { budget: { capacity: 2, perSecond: 1, perSuccess: 0 }, minDelayMs: 0, maxDelayMs: 0 };
      const made = async () => {
        const { fn, calls } = failing(9);
        const ended = failure(() => retry(fn, opts));
        await time.advance(1);
        await ended;
        return calls.length;
      };
      expect(await made()).to.equal(3);
      await time.advance(999);
      expect(await made()).to.equal(2);
      await time.advance(60_000);
      expect(await made()).to.equal(3);
    }));

  test("numbers of a budget are brought into their range, and what is no number is refused", () =>
    pinned(async (time) => {
      const held = (capacity: number) => attempts(time, { budget: { capacity, perSecond: -1, perSuccess: 5 }, jitter: 0 });
      expect(await held(0)).to.have.length(2);
      expect(await held(2.9)).to.have.length(3);
      for (const name of ["capacity", "perSecond", "perSuccess"]) {
        const error = await failure(() => retry(failing(0).fn, { budget: { [name]: Number.NaN } }));
        expect(error.message).to.match(new RegExp(`^budget\\.${name} must be >`));
      }
    }));

  test("retries without a pause let the page's timers run", async () => {
    let ticked = 0;
    const timer = setInterval(() => (ticked += 1), 1);
    await retry(failing(200).fn, { attempts: Infinity, minDelayMs: 0, maxDelayMs: 0 });
    clearInterval(timer);
    expect(ticked).to.be.above(0);
  });
});

describe("isRetryableTransportError", () => {
  const codes =
    "ECONNRESET ETIMEDOUT ECONNREFUSED ENOTFOUND EPIPE EHOSTUNREACH ECONNABORTED EAI_AGAIN ENETUNREACH ENETDOWN".split(" ");

  test("codes, in any case, on any object", () => {
    for (const code of codes) {
      expect(isRetryableTransportError({ code }), code).to.equal(true);
      expect(isRetryableTransportError({ code: code.toLowerCase() }), code).to.equal(true);
    }
    expect(isRetryableTransportError({ code: "ENOENT" })).to.equal(false);
    expect(isRetryableTransportError({ code: 20 })).to.equal(false);
  });

  test("names", () => {
    expect(isRetryableTransportError({ name: "TimeoutError" })).to.equal(true);
    expect(isRetryableTransportError(new DOMException("", "NetworkError"))).to.equal(true);
    expect(isRetryableTransportError(new DOMException("", "AbortError"))).to.equal(false);
  });

  test("along eight causes", () => {
    const deep = (causes: number) => {
      let error: unknown = reset();
      for (let depth = 0; depth < causes; depth += 1) error = new Error("outer", { cause: error });
      return error;
    };
    expect(isRetryableTransportError(deep(8))).to.equal(true);
    expect(isRetryableTransportError(deep(9))).to.equal(false);
    const circle: { cause?: unknown } = {};
    circle.cause = circle;
    expect(isRetryableTransportError(circle)).to.equal(false);
  });

  test("texts of objects, by words and their beginnings", () => {
    const yes = [
      "read ECONNRESET", "etimedout", "Connection refused", "connections are down", "socket hang up", "Broken pipe",
      "NetworkError when attempting to fetch resource.", "LOADING dataset", "TRYAGAIN later", "clusterdown", "(network)",
    ];
    for (const message of yes) {
      expect(isRetryableTransportError(new Error(message)), message).to.equal(true);
      expect(isRetryableTransportError({ message }), message).to.equal(true);
    }
    const no = ["disconnection", "websocket", "reloading", "broken  pipe", "timeout", "", "étatnetwork"];
    for (const message of no) expect(isRetryableTransportError(new Error(message)), message).to.equal(false);
    expect(isRetryableTransportError(new Error("outer", { cause: new Error("connection") }))).to.equal(false);
  });

  test("what is no object never is", () => {
    for (const value of [null, undefined, "ECONNRESET", "connection", 5, true, 5n, () => {}]) {
      expect(isRetryableTransportError(value)).to.equal(false);
    }
  });

  test("errors of schemas never are, whatever their texts", async () => {
    const error = new Error("connection reset");
    const parses = { parse: () => { throw error; } };
    const thrown = await failure(() => queue({ id: "orders", schema: parses }).send({ data: 1 as never }));
    expect(thrown).to.equal(error);
    expect(isRetryableTransportError(thrown)).to.equal(false);
  });
});
