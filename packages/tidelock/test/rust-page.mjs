// Drives the example written in Rust in headless Chromium, as a visitor would: `rust-page.mjs FOLDER [SCREENSHOT]`.

import { strict as assert } from "node:assert";
import { item, output, visit } from "./browser.mjs";

await visit("the post office", async (tab) => {
  const post = async (text) => {
    await tab.fill("#text", text);
    await tab.click("#postcard button");
  };

  for (const [text, left] of [["The sea is warm", /^2 left$/], ["It rains", /^1 left$/], ["Home on Sunday", /^0 left$/]]) {
    await post(text);
    await output(tab, "stamps", left);
  }
  await post("One more");
  await output(tab, "stamps", /^Sold out: the next one in \d+ s$/);
  assert.equal(await tab.inputValue("#text"), "One more", "what was not sent is still in the form");

  await item(tab, "waiting", "To Ada").waitFor();
  await item(tab, "delivered", "Home on Sunday").waitFor();
  const delivered = ["Ada reads: Home on Sunday", "Ada reads: It rains", "Ada reads: The sea is warm"];
  assert.deepEqual(await tab.locator("#delivered li").allTextContents(), delivered);
  assert.equal(await tab.locator("#waiting li").count(), 0, "all that was posted is delivered");
});
