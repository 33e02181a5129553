// Turns of the page between pieces of work that follow each other without one.

/** How long they may do so, in ms. */
const STRETCH = 8;
/** And how many: where a test's timers stand still, a few go on whatever its clock says. */
const FEW = 16;

/** What has set the timer that tells of the next turn. A test may have replaced it since: then that never comes. */
let by: typeof setTimeout | undefined;
let since = 0;
let pieces = 0;

function end(): void {
  by = undefined;
}

/** Resolves when a piece of work may begin; `undefined`: at once. */
export function turn(): Promise<void> | undefined {
  const now = Date.now();
  if (by !== setTimeout) {
    by = setTimeout;
    since = now;
    pieces = 0;
    setTimeout(end, 0);
  }
  pieces += 1;
  if (pieces <= FEW || now - since <= STRETCH) return undefined;
  end();
  return new Promise((resolve) => void setTimeout(resolve, 0));
}
