// Opens a page of a folder in headless Chromium: `chromium.mjs FOLDER [PAGE] [SCREENSHOT]`.
//
// The page says what it found by a promise in `globalThis.outcome`, of `{ passed, failed: [{ name, error }] }`.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { env, exit, argv } from "node:process";
import { chromium } from "playwright-core";

const [folder, page = "index.html", screenshot] = argv.slice(2);
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const server = createServer(async (request, response) => {
  const path = normalize(new URL(request.url, "http://localhost").pathname);
  try {
    const body = await readFile(join(folder, path));
    response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream" }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const browser = await chromium.launch({ executablePath: env.TIDELOCK_CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
let code = 0;
try {
  const tab = await browser.newPage();
  const complaints = [];
  tab.on("pageerror", (error) => complaints.push(error.stack ?? String(error)));
  tab.on("console", (message) => {
    if (message.type() === "error" && !message.text().includes("404")) complaints.push(message.text());
  });
  await tab.goto(`http://127.0.0.1:${server.address().port}/${page}`);
  await tab.waitForFunction("globalThis.outcome !== undefined", undefined, { timeout: 60_000 }).catch((error) => {
    throw new Error(`the page found nothing: ${complaints.join("\n")}`, { cause: error });
  });
  const { passed, failed, notes = [] } = await tab.evaluate("globalThis.outcome");
  if (screenshot !== undefined) await tab.screenshot({ path: screenshot, fullPage: true });
  for (const note of notes) console.log(note);
  for (const { name, error } of failed) console.error(`FAILED ${name}\n${error}\n`);
  for (const complaint of complaints) console.error(`the page complained: ${complaint}`);
  console.log(`${passed} passed, ${failed.length} failed`);
  if (failed.length + complaints.length > 0) code = 1;
} finally {
  await browser.close();
  server.close();
}
exit(code);
