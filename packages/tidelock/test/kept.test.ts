import { job } from "tidelock/browser/job";
import { queue } from "tidelock/browser/queue";
import { registry } from "tidelock/browser/registry";
import { scheduler } from "tidelock/browser/scheduler";
import { topic } from "tidelock/browser/topic";
import { any, describe, expect, pinned, test, type PinnedTime } from "./harness.js";

/** Stores and releases files until the page has searched several times for objects to release. */
async function churn(time: PinnedTime): Promise<void> {
  const other = registry({ id: "other", schema: any<Blob>() });
  for (let round = 0; round < 5; round += 1) {
    for (let at = 0; at < 300; at += 1) void other.upsert({ key: "file", value: new Blob(["other"]) });
    await time.advance(1);
  }
}

describe("files", () => {
  test("a file stays while it is stored anywhere, and in every copy that was given out", () =>
    pinned(async (time) => {
      const file = () => new Blob(["kept"], { type: "text/plain" });
      const schema = any<unknown>();
      const orders = queue({ id: "orders", schema });
      const events = topic({ id: "events", schema });
      const records = registry({ id: "records", schema });
      await orders.send({ data: { deep: [new Map([["file", file()]])] }, meta: { file: file() } });
      await events.pub({ data: file() });
      await records.upsert({ key: "file", value: file() });
      const { value: given } = await records.upsert({ key: "other", value: file() });
      await records.remove({ key: "other" });
      await churn(time);

      const received = await orders.recv();
      const { deep } = received?.data as { deep: [Map<string, Blob>] };
      const files = [
        deep[0].get("file"),
        received?.meta?.file,
        (await events.reader().recv())?.data,
        (await records.get({ key: "file" }))?.value,
        given,
      ] as Blob[];
      expect(await Promise.all(files.map((file) => file.text()))).to.deep.equal(Array(5).fill("kept"));
    }));

  test("a file stays in the input and the result of a job, and in the input of a schedule", () =>
    pinned(async (time) => {
      const seen: string[] = [];
      const copy = job({
        id: "copies a file",
        schema: any<{ file: Blob }>(),
        async process({ input: { file }, ctx }) {
          const again = await ctx.step({ id: "copy", run: () => new Blob([file]) });
          seen.push(await again.text());
          return { again };
        },
      });
      const clock = scheduler({ id: "files" });
      await clock.register({ id: "copy", cron: "0 0 1 1 *", input: { file: new Blob(["of a schedule"]) }, job: copy });
      const later = await copy.submit({ input: { file: new Blob(["of a job"]) }, delayMs: 60_000 });
      await churn(time);
      clock.start();
      const triggered = await clock.triggerNow({ id: "copy" });
      await copy.join({ id: triggered });
      await churn(time);
      await time.advance(60_000);
      const { result } = await copy.join({ id: later });
      await churn(time);
      expect(seen).to.deep.equal(["of a schedule", "of a job"]);
      expect(await result?.again.text()).to.equal("of a job");
      const again = await copy.join({ id: triggered });
      expect(await again.result?.again.text()).to.equal("of a schedule");
      await clock.unregister({ id: "copy" });
      await clock.stop();
      copy.stop();
    }));
});
