import "./queue.test.js";
