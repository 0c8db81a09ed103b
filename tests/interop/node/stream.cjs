// Follows user data streams with a package of npm; the package is found by NODE_PATH, its name is the first argument.
// The line on stdin has the URL of the exchange, the accounts (pairs of API key and secret) and the mode:
//   events  each event of the first account is a line of JSON on stdout;
//   times, cost  as in tests/benchmarks/streams/clients.py.
"use strict";

const readline = require("node:readline");

// The packages log to stdout, which belongs to the events.
console.log = console.info = console.debug = console.error;

let events = 0;
let mode;

function write(value) {
  // JSON.stringify refuses the whole numbers above 2**53 that one of the packages keeps.
  const text = JSON.stringify(value, (_, inner) => (typeof inner === "bigint" ? String(inner) : inner));
  process.stdout.write(`${text}\n`);
}

function tell(number, what) {
  if (mode === "times") write([number, what, Date.now() / 1000]);
}

function receive(number, event) {
  events += 1;
  if (mode === "events") write(event);
  else if (event.e === "ORDER_TRADE_UPDATE") tell(number, Number(event.o.i));
  else if (event.e === "listenKeyExpired") tell(number, "the event");
}

const FOLLOW = {
  async binance(number, apiKey, apiSecret, url) {
    const { WebsocketClient } = require("binance");
    const wsUrl = url.replace("http", "ws");
    const client = new WebsocketClient({ api_key: apiKey, api_secret: apiSecret, wsUrl, restOptions: { baseUrl: url } });
    client.on("message", (event) => receive(number, event));
    for (const kind of ["reconnecting", "reconnected", "close", "exception", "error"]) {
      client.on(kind, () => tell(number, kind));
    }
    await client.subscribePortfolioMarginUserDataStream();
  },

  async official(number, apiKey, apiSecret, url) {
    const { DerivativesTradingPortfolioMargin } = require("@binance/derivatives-trading-portfolio-margin");
    const client = new DerivativesTradingPortfolioMargin({
      configurationRestAPI: { apiKey, apiSecret, basePath: url },
      configurationWebsocketStreams: { wsURL: `${url.replace("http", "ws")}/pm` },
    });
    const { listenKey } = await (await client.restAPI.startUserDataStream()).data();
    const connection = await client.websocketStreams.connect();
    connection.userData(listenKey).on("message", (event) => receive(number, event));
    for (const kind of ["close", "error"]) connection.on(kind, () => tell(number, `${kind} event`));
  },
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  if (mode === undefined) {
    const given = JSON.parse(line);
    mode = given.mode;
    given.accounts.forEach(([key, secret], number) => FOLLOW[process.argv[2]](number, key, secret, given.url));
    return;
  }
  const { user, system } = process.cpuUsage();
  write([events, (user + system) / 1e6, process.memoryUsage().rss / 1000]);
});
