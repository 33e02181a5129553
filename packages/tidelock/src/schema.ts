// Schemas: anything that validates a value and determines its output.

import { instead } from "./check.js";
import { isPromise, textOf } from "./core.js";
import { final } from "./mark.js";

/** A validator of values: an object with `safeParse`, or `parse`, or a Standard Schema; checked in this order. */
export type Schema<Out = unknown> =
  | { safeParse(value: unknown): { success: true; data: Out } | { success: false; error: unknown } }
  | { parse(value: unknown): Out }
  | {
      readonly "~standard": {
        readonly version: 1;
        readonly vendor: string;
        validate(value: unknown): unknown;
        readonly types?: { readonly input: unknown; readonly output: Out } | undefined;
      };
    };

/** The output type of a schema. */
export type Infer<S extends Schema> = S extends {
  readonly "~standard": { readonly types?: infer Types };
}
  ? NonNullable<Types> extends { readonly output: infer Out }
    ? Out
    : never
  : S extends { safeParse(value: unknown): infer Result }
    ? Extract<Result, { success: true }> extends { data: infer Out }
      ? Out
      : never
    : S extends { parse(value: unknown): infer Out }
      ? Out
      : unknown;

interface Standard {
  validate(value: unknown): unknown;
}

interface Issue {
  readonly message?: string;
}

/** Checks that an object can validate values. @internal */
export function schemaOf<S extends Schema>(given: S): S {
  const any = given as { safeParse?: unknown; parse?: unknown; "~standard"?: Standard } | null | undefined;
  const checks = [any?.safeParse, any?.parse, any?.["~standard"]?.validate];
  if (checks.some((check) => typeof check === "function")) return given;
  throw new Error(`config.schema must have safeParse, parse or ~standard, but ${instead(given, "has none")}`);
}

/** The output of a schema for a value. @internal */
export function parse<Out>(schema: Schema<Out>, value: unknown): Out {
  try {
    return parsed(schema, value);
  } catch (error) {
    // Marked as permanent, whatever its text says.
    throw final(error);
  }
}

function parsed<Out>(schema: Schema<Out>, value: unknown): Out {
  const any = schema as { safeParse?: unknown; parse?: unknown; "~standard": Standard };
  if (typeof any.safeParse === "function") {
    const result = synchronous(called(any, "safeParse", value)) as
      | { success: true; data: Out }
      | { success: false; error: unknown };
    if (result.success) return result.data;
    throw result.error;
  }
  if (typeof any.parse === "function") return synchronous(called(any, "parse", value)) as Out;
  const result = synchronous(any["~standard"].validate(value)) as { value: Out; issues?: readonly Issue[] };
  if (result.issues === undefined) return result.value;
  const error = new Error(result.issues[0]?.message ?? "invalid value");
  error.name = "SchemaError";
  throw Object.assign(error, { issues: result.issues });
}

/**
 * Calls the schema. An asynchronous one may throw an error of its own here; as a Standard Schema it returns a promise.
 */
function called(schema: object, method: string, value: unknown): unknown {
  const any = schema as Record<string, (value: unknown) => unknown> & { "~standard"?: Standard };
  try {
    return any[method]!(value);
  } catch (error) {
    if (any["~standard"] !== undefined && /async/i.test(textOf(error))) synchronous(any["~standard"].validate(value));
    throw error;
  }
}

/** Rejects asynchronous results. @internal */
export function synchronous(result: unknown): unknown {
  if (isPromise(result)) throw new Error("schema must validate synchronously");
  return result;
}
