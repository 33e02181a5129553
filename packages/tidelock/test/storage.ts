// A `localStorage` for the tests, for runtimes that have none.

export class FakeStorage {
  readonly items = new Map<string, string>();
  /** The error of the next write. */
  fails: Error | undefined;
  /** Runs before an item is read. */
  onRead: (name: string) => void = () => {};

  get length(): number {
    return this.items.size;
  }

  key(index: number): string | null {
    return [...this.items.keys()][index] ?? null;
  }

  getItem(name: string): string | null {
    const text = this.items.get(name) ?? null;
    this.onRead(name);
    return text;
  }

  setItem(name: string, text: string): void {
    if (this.fails) throw this.fails;
    this.items.set(name, text);
  }

  removeItem(name: string): void {
    this.items.delete(name);
  }

  clear(): void {
    this.items.clear();
  }
}

/** Runs `body` with a `localStorage` that starts empty. */
export async function withStorage<T>(body: (storage: FakeStorage) => T | Promise<T>): Promise<T> {
  const before = Object.getOwnPropertyDescriptor(globalThis, "localStorage");
  const storage = new FakeStorage();
  Object.defineProperty(globalThis, "localStorage", { value: storage, configurable: true, writable: true });
  try {
    return await body(storage);
  } finally {
    if (before) Object.defineProperty(globalThis, "localStorage", before);
    else Reflect.deleteProperty(globalThis, "localStorage");
  }
}
