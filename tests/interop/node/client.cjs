// Calls methods of the npm package `binance`, one for each line of JSON on stdin, and answers with one line each.
// The first line has the options of its client. The package is found by NODE_PATH.
"use strict";

const readline = require("node:readline");
const { PortfolioClient } = require("binance");

// The package logs to stdout, which belongs to the answers.
console.log = console.error;
let client;

async function answer(line) {
  const request = JSON.parse(line);
  if (client === undefined) {
    client = new PortfolioClient(request);
    return {};
  }
  try {
    return { result: await client[request.method](request.parameters) };
  } catch (error) {
    return { code: error.code ?? 0, message: String(error.message ?? error) };
  }
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await answer(line))}\n`);
  }
})();
