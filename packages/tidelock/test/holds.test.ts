import { describe, expect, test } from "./harness.js";

/** Starts a separate program, in runtimes that can. */
interface Programs {
  execFile(file: string, args: string[], options: { timeout: number }, end: (error: unknown, said: string) => void): void;
}
const { process } = globalThis as { process?: { execPath: string } };
const isElsewhere = process === undefined || "Deno" in globalThis;

/** The output of `projects/holds.mjs`, with the error that it ended with. */
async function said(which: string): Promise<string> {
  const name: string = "node:child_process";
  const { execFile } = (await import(name)) as Programs;
  return new Promise((resolve) => {
    const end = (error: unknown, said: string) => resolve(error ? String(error) : said.trim());
    execFile(process!.execPath, ["projects/holds.mjs", which], { timeout: 30_000 }, end);
  });
}

describe("processes", () => {
  const held = {
    delay: "delayed",
    lease: "2",
    nack: "2",
    stream: "delayed",
    expiry: "expire",
    join: "sent",
    group: "completed",
    live: "completed",
  };
  for (const [which, last] of Object.entries(held)) {
    test(`what is due holds the process while a call waits for it: ${which}`, async () => {
      if (!isElsewhere) expect(await said(which)).to.equal(last);
    });
  }

  test("what is due holds no process while nobody waits", async () => {
    if (isElsewhere) return;
    expect(await said("nothing")).to.equal("ended");
    expect(await said("withdrawn")).to.equal("null");
  });
});
