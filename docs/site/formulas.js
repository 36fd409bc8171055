// Reads lines of JSON, [TeX, whether it stands on its own line], and answers each with a line of JSON, its HTML.
const katex = require("../../build/katex/node_modules/katex");
const lines = require("readline").createInterface({ input: process.stdin });

lines.on("line", (line) => {
  const [tex, displayMode] = JSON.parse(line);
  console.log(JSON.stringify(katex.renderToString(tex, { displayMode, strict: "error" })));
});
