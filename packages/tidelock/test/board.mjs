// Drives the example in headless Chromium, as a visitor would: `board.mjs FOLDER [SCREENSHOT]`.

import { strict as assert } from "node:assert";
import { argv, exit } from "node:process";
import { withPage } from "./browser.mjs";

const [folder, screenshot] = argv.slice(2);

const { complaints } = await withPage(folder, "", async (tab) => {
  const item = (list, text) => tab.locator(`#${list} li`, { hasText: text }).first();
  const output = (id, pattern) =>
    tab.waitForFunction(([id, source]) => new RegExp(source).test(document.getElementById(id).value), [id, pattern.source]);

  // The cook of the beginning goes home without a click.
  await item("cooks", "Ada").waitFor();
  const isGone = tab.waitForFunction(() => !document.getElementById("cooks").textContent.includes("Ada"));

  await tab.fill("#item", "Porridge");
  await tab.click("#order button");
  await item("served", "Porridge").waitFor();
  await item("events", "Porridge: ordered").waitFor();
  await item("events", "Porridge: served").waitFor();
  assert.equal(await tab.locator("#waiting li, #cooking li").count(), 0, "all that was ordered is served");

  for (const left of ["2 left", "1 left", "0 left"]) {
    await tab.click("#bell");
    await output("rung", new RegExp(left));
  }
  await tab.click("#bell");
  await output("rung", /^not for \d+ s$/);

  await tab.click("#close");
  await output("closing", /wash up/);
  await tab.click("#cancel");
  await output("closing", /somebody came in/);
  await tab.click("#close");
  await output("closing", /^closed$/);
  assert.equal(await tab.locator("#progress").evaluate((bar) => bar.value), 5);

  await isGone;
  await item("events", "Ada went home").waitFor();
  await item("digests", "served").waitFor();
  await tab.click("#cook");
  await item("cooks", "Grace").waitFor();
  await tab.fill("#item", "Tea");
  await tab.press("#item", "Enter");
  await item("cooking", "Tea").waitFor();
  if (screenshot !== undefined) await tab.screenshot({ path: screenshot, fullPage: true });
});
for (const complaint of complaints) console.error(`the page complained: ${complaint}`);
console.log(complaints.length === 0 ? "the board works" : "the board complains");
exit(complaints.length === 0 ? 0 : 1);
