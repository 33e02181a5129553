// Headless Chromium on a page of a folder.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { argv, env, exit } from "node:process";
import { chromium } from "playwright-core";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".wasm": "application/wasm" };
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // For the memory growth tests.
  "--enable-precise-memory-info",
  "--js-flags=--expose-gc",
];

async function serve(folder) {
  const server = createServer(async (request, response) => {
    const path = normalize(new URL(request.url, "http://localhost").pathname);
    try {
      const body = await readFile(join(folder, path === "/" ? "index.html" : path));
      response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "text/html" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

/**
 * Opens a page of the folder, and calls `look` with its tab and URL. Returns the result of `look`, and what the page
 * complained of meanwhile: errors that it logged or did not catch.
 */
export async function withPage(folder, page, look) {
  const server = await serve(folder);
  const browser = await chromium.launch({ executablePath: env.TIDELOCK_CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
  try {
    const tab = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    const complaints = [];
    tab.on("pageerror", (error) => complaints.push(error.stack ?? String(error)));
    tab.on("console", (message) => {
      if (message.type() === "error" && !message.location().url.endsWith("favicon.ico")) complaints.push(message.text());
    });
    await tab.goto(`http://127.0.0.1:${server.address().port}/${page}`);
    return { seen: await look(tab, complaints), complaints };
  } finally {
    await browser.close();
    server.close();
  }
}

/** The outcome that a page promises in `globalThis.outcome`. */
export async function outcomeOf(tab, complaints) {
  await tab.waitForFunction("globalThis.outcome !== undefined", undefined, { timeout: 600_000 }).catch((cause) => {
    throw new Error(`the page found nothing: ${complaints.join("\n")}`, { cause });
  });
  return tab.evaluate("globalThis.outcome");
}

/** A program that visits an example's page, `DRIVER FOLDER [SCREENSHOT]`, and fails if the page complains. */
export async function visit(name, look) {
  const [folder, screenshot] = argv.slice(2);
  const { complaints } = await withPage(folder, "", async (tab) => {
    await look(tab);
    if (screenshot !== undefined) await tab.screenshot({ path: screenshot, fullPage: true });
  });
  for (const complaint of complaints) console.error(`the page complained: ${complaint}`);
  console.log(complaints.length === 0 ? `${name} works` : `${name} complains`);
  exit(complaints.length === 0 ? 0 : 1);
}

/** An item of a list that contains a text. */
export const item = (tab, list, text) => tab.locator(`#${list} li`, { hasText: text }).first();

/** Waits until an output matches. */
export const output = (tab, id, pattern) =>
  tab.waitForFunction(([id, source]) => new RegExp(source).test(document.getElementById(id).value), [id, pattern.source]);
