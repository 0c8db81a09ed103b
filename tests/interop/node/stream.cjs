// Follows a user data stream with a package of npm, and writes each event as one line of JSON to stdout.
// The line on stdin has the name of the package, the key, and the addresses. The package is found by NODE_PATH.
"use strict";

const readline = require("node:readline");

// The packages log to stdout, which belongs to the events.
console.log = console.info = console.debug = console.error;

function write(event) {
  // JSON.stringify refuses the whole numbers above 2**53 that one of the packages keeps.
  const text = JSON.stringify(event, (_, value) => (typeof value === "bigint" ? String(value) : value));
  process.stdout.write(`${text}\n`);
}

const FOLLOW = {
  async binance({ apiKey, apiSecret, restUrl, wsUrl }) {
    const { WebsocketClient } = require("binance");
    const options = { api_key: apiKey, api_secret: apiSecret, wsUrl, restOptions: { baseUrl: restUrl } };
    const client = new WebsocketClient(options);
    client.on("message", write);
    await client.subscribePortfolioMarginUserDataStream();
  },

  async official({ apiKey, apiSecret, restUrl, wsUrl }) {
    const { DerivativesTradingPortfolioMargin } = require("@binance/derivatives-trading-portfolio-margin");
    const client = new DerivativesTradingPortfolioMargin({
      configurationRestAPI: { apiKey, apiSecret, basePath: restUrl },
      configurationWebsocketStreams: { wsURL: `${wsUrl}/pm` },
    });
    const { listenKey } = await (await client.restAPI.startUserDataStream()).data();
    const connection = await client.websocketStreams.connect();
    connection.userData(listenKey).on("message", write);
  },
};

readline.createInterface({ input: process.stdin }).once("line", async (line) => {
  const options = JSON.parse(line);
  await FOLLOW[options.client](options);
});
