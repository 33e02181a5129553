import "./queue.test.js";
import "./store.test.js";
