import { describe, expect, run, test } from "./harness.js";

describe("harness", () => {
  test("a run that has chosen no test has failed", async () => {
    expect(await run("no test\0is called so")).to.deep.include({ passed: 0 }).and.have.property("failed").with.length(1);
  });
});
