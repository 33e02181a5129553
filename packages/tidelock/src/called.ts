// Class names that survive minification: consoles, loggers and test runners show them.

/** Gives a class its name. */
export function called(made: object, name: string): void {
  Object.defineProperty(made, "name", { value: name });
}
