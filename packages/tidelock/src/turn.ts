// Gives the page turns between pieces of work that follow each other without one.

/** How long work may continue without a turn, in ms. */
const STRETCH = 8;
/** And how many pieces: even if a test's clock and timers are pinned, a few may always follow each other. */
const FEW = 16;

/** The timer function that announces the next turn. If a test has replaced it since, the announcement never comes. */
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
