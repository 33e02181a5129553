import "./ephemeral.test.js";
import "./queue.test.js";
import "./registry.test.js";
