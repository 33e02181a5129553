// A binary heap: the item that is due first is on top.

/** A key to check at an instant. */
export interface Due {
  readonly at: number;
  readonly key: string;
}

export function heapPush(heap: Due[], item: Due): void {
  let at = heap.length;
  heap.push(item);
  while (at > 0) {
    const above = (at - 1) >> 1;
    if ((heap[above] as Due).at <= item.at) break;
    heap[at] = heap[above] as Due;
    at = above;
  }
  heap[at] = item;
}

export function heapPop(heap: Due[]): Due | undefined {
  const top = heap[0];
  const item = heap.pop();
  if (item === undefined || heap.length === 0) return top;
  let at = 0;
  for (;;) {
    let below = 2 * at + 1;
    if (below >= heap.length) break;
    if (below + 1 < heap.length && (heap[below + 1] as Due).at < (heap[below] as Due).at) below += 1;
    if ((heap[below] as Due).at >= item.at) break;
    heap[at] = heap[below] as Due;
    at = below;
  }
  heap[at] = item;
  return top;
}
