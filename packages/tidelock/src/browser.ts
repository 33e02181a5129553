/** All of Tidelock in a page. */

export * from "./ephemeral.js";
export * from "./job.js";
export * from "./mutex.js";
export * from "./queue.js";
export * from "./ratelimit.js";
export * from "./registry.js";
export * from "./retry.js";
export * from "./scheduler.js";
export * from "./store.js";
export * from "./topic.js";
