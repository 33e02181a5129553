// The output types of other packages' schemas are inferred.

import { queue, type Infer, type Schema } from "tidelock/browser/queue";
import { type } from "arktype";
import * as v from "valibot";
import { z } from "zod";
import * as mini from "zod/mini";

/** Whether neither type is wider than the other. */
type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const equal = <A, B>(_is: Equal<{ [K in keyof A]: A[K] }, { [K in keyof B]: B[K] }>): void => {};

type Order = { item: string; count: number; at: Date };

const ofZod = z.object({ item: z.string(), count: z.number().default(1), at: z.string().transform((text) => new Date(text)) });
const ofMini = mini.object({ item: mini.string(), count: mini._default(mini.number(), 1), at: mini.date() });
const ofValibot = v.object({
  item: v.string(),
  count: v.optional(v.number(), 1),
  at: v.pipe(v.string(), v.transform((text) => new Date(text))),
});
const ofArktype = type({ item: "string", count: "number = 1", at: "string.date.parse" });
const ofParse = { parse: (value: unknown): Order => value as Order };
const ofSafeParse = {
  safeParse: (value: unknown): { success: true; data: Order } | { success: false; error: Error } =>
    value === undefined ? { success: false, error: new Error("none") } : { success: true, data: value as Order },
};

for (const schema of [ofZod, ofMini, ofValibot, ofArktype, ofParse, ofSafeParse]) schema satisfies Schema;

equal<Infer<typeof ofZod>, Order>(true);
equal<Infer<typeof ofMini>, Order>(true);
equal<Infer<typeof ofValibot>, Order>(true);
equal<Infer<typeof ofArktype>, Order>(true);
equal<Infer<typeof ofParse>, Order>(true);
equal<Infer<typeof ofSafeParse>, Order>(true);

export async function received(): Promise<Order[]> {
  const zod = await queue({ id: "zod", schema: ofZod }).recv();
  const small = await queue({ id: "mini", schema: ofMini }).recv();
  const valibot = await queue({ id: "valibot", schema: ofValibot }).recv();
  const arktype = await queue({ id: "arktype", schema: ofArktype }).recv();
  // A value that is not an order is detected before it is sent.
  // @ts-expect-error `item` is a text.
  void queue({ id: "zod", schema: ofZod }).send({ data: { item: 1, count: 1, at: new Date() } });
  return [zod, small, valibot, arktype].flatMap((message): Order[] => (message === null ? [] : [message.data]));
}
