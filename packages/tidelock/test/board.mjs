// Drives the example in headless Chromium, as a visitor would: `board.mjs FOLDER [SCREENSHOT]`.

import { strict as assert } from "node:assert";
import { item, output, visit } from "./browser.mjs";

await visit("the board", async (tab) => {
  // The initial cook goes home without a click.
  await item(tab, "cooks", "Ada").waitFor();
  const isGone = tab.waitForFunction(() => !document.getElementById("cooks").textContent.includes("Ada"));

  await tab.fill("#item", "Porridge");
  await tab.click("#order button");
  await item(tab, "served", "Porridge").waitFor();
  await item(tab, "events", "Porridge: ordered").waitFor();
  await item(tab, "events", "Porridge: served").waitFor();
  assert.equal(await tab.locator("#waiting li, #cooking li").count(), 0, "all that was ordered is served");

  for (const left of ["2 left", "1 left", "0 left"]) {
    await tab.click("#bell");
    await output(tab, "rung", new RegExp(left));
  }
  await tab.click("#bell");
  await output(tab, "rung", /^not for \d+ s$/);

  await tab.click("#close");
  await output(tab, "closing", /till|wash|fire|door|sign/);
  await tab.click("#cancel");
  await output(tab, "closing", /somebody came in/);
  await tab.click("#close");
  await output(tab, "closing", /^closed$/);
  assert.equal(await tab.locator("#progress").evaluate((bar) => bar.value), 5);

  await isGone;
  await item(tab, "events", "Ada went home").waitFor();
  await item(tab, "digests", "served").waitFor();
  await tab.click("#cook");
  await item(tab, "cooks", "Grace").waitFor();
  await tab.fill("#item", "Crumpets");
  await tab.press("#item", "Enter");
  await item(tab, "served", "Crumpets").waitFor();
});
