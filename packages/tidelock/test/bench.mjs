// Runs a page with benchmarks in headless Chromium, and prints its rows: `bench.mjs FOLDER PAGE`.

import { argv, exit } from "node:process";
import { outcomeOf, withPage } from "./browser.mjs";

const [folder, page] = argv.slice(2);
const { seen, complaints } = await withPage(folder, page, outcomeOf);
for (const complaint of complaints) console.error(`the page complained: ${complaint}`);
console.log(JSON.stringify(seen));
exit(complaints.length > 0 ? 1 : 0);
