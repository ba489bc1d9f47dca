// A server in Node: it tells who it is, and ends what it has begun when it is told to stop.
const http = require("http");

const server = http.createServer((request, answer) => {
  answer.setHeader("Content-Type", "application/json");
  answer.end(JSON.stringify({ release: process.env.RELEASE, path: request.url, host: request.headers.host }));
});
server.listen(Number(process.env.PORT), "127.0.0.1");
process.on("SIGTERM", () => server.close(() => process.exit(0)));
