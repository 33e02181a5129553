// Opens a page of a folder in headless Chromium: `chromium.mjs FOLDER PAGE`.
//
// The page reports through a promise in `globalThis.outcome`, of `{ passed, failed: [{ name, error }], notes }`.

import { argv, exit } from "node:process";
import { outcomeOf, withPage } from "./browser.mjs";

const [folder, page] = argv.slice(2);
const { seen, complaints } = await withPage(folder, page, outcomeOf);
const { passed, failed, notes = [] } = seen;
for (const note of notes) console.log(note);
for (const { name, error } of failed) console.error(`FAILED ${name}\n${error}\n`);
for (const complaint of complaints) console.error(`the page complained: ${complaint}`);
console.log(`${passed} passed, ${failed.length} failed`);
// A page that has run no test has not passed.
exit(passed > 0 && failed.length + complaints.length === 0 ? 0 : 1);
